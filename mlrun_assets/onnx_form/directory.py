"""What lies in ``onnx/`` beside the graph: all that is needed to serve it, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mlrun_assets.errors import ExportError
from mlrun_assets.files import write_atomically

MODEL_FILE = "model.onnx"
CLASSIFIER_FILE = "onnx_classifier.py"


def add_what_serves(model_dir: Path, onnx_dir: Path, max_length: int) -> None:
    """Put tokenizer, settings, reader and, of a mixture, the n-gram model into ``onnx_dir``.

    The tokenizer carries ``max_length`` and the padding, so that a reader has to know neither.

    Raises:
        ExportError: the tokenizer can't be used without transformers.
        OSError: the disk is full.
    """
    from mlrun_assets.ngrams import ngram_scorer
    from mlrun_assets.onnx_form import classifier

    onnx_dir.mkdir(parents=True, exist_ok=True)
    ngrams = (model_dir / ngram_scorer.NGRAMS_DIR).is_dir()
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    settings = {"id2label": config["id2label"], "max_length": max_length, "ngrams": ngrams}
    write_atomically(onnx_dir / "config.json", json.dumps(settings, indent=2) + "\n")
    write_atomically(onnx_dir / "tokenizer.json", _tokenizer(model_dir, max_length))
    shutil.copyfile(classifier.__file__, onnx_dir / CLASSIFIER_FILE)
    if ngrams:
        shutil.copyfile(ngram_scorer.__file__, onnx_dir / "ngram_scorer.py")
        shutil.copytree(model_dir / ngram_scorer.NGRAMS_DIR, onnx_dir / ngram_scorer.NGRAMS_DIR)


def _tokenizer(model_dir: Path, max_length: int) -> str:
    from transformers import AutoTokenizer

    known = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    tokenizer = getattr(known, "backend_tokenizer", None)
    if tokenizer is None:
        raise ExportError("its tokenizer is Python code of transformers and has no tokenizer.json")
    tokenizer.enable_truncation(max_length, direction=known.truncation_side)
    tokenizer.enable_padding(
        pad_id=known.pad_token_id, pad_token=known.pad_token, direction=known.padding_side
    )
    return str(tokenizer.to_str())
