"""Stage ``exported_model``: the model as it may be deployed, as transformers and as ONNX.

Both forms are loaded in fresh processes, and their labels are compared with the checkpoint's.

The tokenizer of a deployed model normalises texts itself: the steps of
`mlrun_assets.data.text.normalise` are written into its file, so everything that reads this file
(transformers, the ONNX reader) gives a text the same token ids, in the normal form or not.
"""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.data.text import LETTER, LOOK_ALIKES, REPLACED, Step, language_profile
from mlrun_assets.errors import ExportError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import (
    digest_directory,
    link_or_copy,
    new_directory,
    size_in_bytes,
    write_atomically,
)
from mlrun_assets.models.probe import probe_onnx, probe_transformers
from mlrun_assets.progress import task
from mlrun_assets.records import (
    MIN_AGREEMENT,
    CheckpointRecord,
    DatasetRecord,
    ExportRecord,
    OnnxExport,
)

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

# Of val. Float32 takes long: of articles of 256 tokens, a core predicts six in a second.
ROWS_COMPARED, ROWS_COMPARED_ONNX = 100, 200
ONNX_FILE = "onnx/model.onnx"


def export_model(
    directory: Path,
    dataset: DatasetRecord,
    checkpoint: CheckpointRecord,
    config: DeploymentConfig,
    language: str,
) -> ExportRecord:
    """Copy the checkpoint to ``export/``, add ``onnx/``, and probe both in fresh processes.

    The copy brings texts into the normal form of ``language`` before it reads them.

    The transformers form predicts the first 100 val rows, the ONNX form the first 200. Latency is
    for one text at a time. ``size_bytes`` is the size of the transformers form.

    Raises:
        ExportError: the checkpoint is not the one that was trained, the export does not load, or
            the disk is full. The earlier content of ``export/`` is kept.
    """
    model_dir = directory / checkpoint.model_dir
    if digest_directory(model_dir) != checkpoint.digest:
        raise ExportError(
            f"{model_dir}: these are not the files that training wrote (their digest differs); "
            "materialize trained_checkpoint again"
        )
    val = pl.read_parquet(directory / dataset.splits["val"].file, glob=False)
    paths = ExperimentPaths(directory)
    try:
        with new_directory(paths.export, replace=True) as export_dir:
            shutil.copytree(model_dir, export_dir, copy_function=_copy, dirs_exist_ok=True)
            deploy_tokenizer(export_dir, language_profile(language).steps, dataset.max_length)
            size_bytes = size_in_bytes(export_dir)
            texts = val["text"].head(ROWS_COMPARED_ONNX).to_list()
            max_length = dataset.max_length
            # The probe mostly imports while the graph is written.
            with task("writing and testing the export"), ThreadPoolExecutor(1) as probes:
                asked = probes.submit(probe_transformers, export_dir, texts[:ROWS_COMPARED])
                expected = ExpectedLabels(model_dir, texts, max_length)
                graph_error = _write_onnx(export_dir, max_length) if config.onnx else None
                answers = asked.result()
            onnx, onnx_reason = None, graph_error
            if config.onnx and not graph_error:
                with task("testing its ONNX form"):
                    onnx, onnx_reason = _probe_onnx(export_dir, expected)
            digest = digest_directory(export_dir)
    except OSError as error:
        free = shutil.disk_usage(directory).free
        raise ExportError(
            f"{paths.export}: the export could not be written ({error}; {free / 1e6:,.0f} MB are "
            "free): make room and materialize exported_model again"
        ) from error
    return ExportRecord(
        model_dir=paths.relative(paths.export),
        digest=digest,
        size_bytes=size_bytes,
        rows_compared=len(answers.labels),
        agreement=expected.agreement(answers.labels),
        onnx=onnx,
        onnx_reason=onnx_reason,
        **answers.speed,
    )


def _copy(source: str, target: str) -> None:
    """Copy a file of the model. The weights stay as they are, so a link to them is enough."""
    copy = link_or_copy if source.endswith(".safetensors") else shutil.copy2
    copy(source, target)


class ExpectedLabels:
    """The labels that the checkpoint itself predicts for ``texts``."""

    def __init__(self, model_dir: Path, texts: list[str], max_length: int) -> None:
        self.texts = texts
        self._model_dir, self._max_length = model_dir, max_length
        self._labels = self._predict(texts)

    def agreement(self, labels: list[str]) -> float:
        """The share of ``labels`` that are the checkpoint's; the texts are the first ones.

        A bfloat16 label may be another than that of float32, so the checkpoint predicts the texts
        whose labels differ again, in float32.
        """
        differ = [row for row, label in enumerate(labels) if label != self._labels[row]]
        if differ:
            exact = self._predict([self.texts[row] for row in differ], exact=True)
            differ = [row for row, label in zip(differ, exact, strict=True) if label != labels[row]]
        return (len(labels) - len(differ)) / len(labels)

    def _predict(self, texts: list[str], *, exact: bool = False) -> list[str]:
        from mlrun_assets.models.predictor import Predictor

        predictor = Predictor(self._model_dir, self._max_length, exact=exact)
        numbers = predictor.probabilities(texts).argmax(axis=1)
        return [predictor.labels[number] for number in numbers]


# The ONNX form


def _write_onnx(export_dir: Path, max_length: int) -> str | None:
    """Add ``onnx/`` to ``export_dir``; or return the reason why that is not possible.

    Raises:
        OSError: the disk is full.
    """
    from mlrun_assets.models.onnx_export import write_graph

    file = export_dir / ONNX_FILE
    try:
        add_reader(export_dir, file.parent, max_length)
        write_graph(export_dir, file)
    except ExportError as error:
        return _without_onnx(file, error)
    return None


def _probe_onnx(export_dir: Path, expected: ExpectedLabels) -> tuple[OnnxExport | None, str | None]:
    """The ONNX form if it gives the ``expected`` labels; else it is removed for a reason."""
    file = export_dir / ONNX_FILE
    try:
        # A process without torch predicts the rows.
        answers = probe_onnx(file.parent, expected.texts)
        agreement = expected.agreement(answers.labels)
        if agreement < MIN_AGREEMENT:
            raise ExportError(
                f"it gives the checkpoint's label to {100 * agreement:.1f} % of "
                f"{len(expected.texts):,} val rows, below the required {100 * MIN_AGREEMENT:.1f} %"
            )
    except ExportError as error:
        return None, _without_onnx(file, error)
    size_bytes = size_in_bytes(file.parent)
    form = OnnxExport(file=ONNX_FILE, size_bytes=size_bytes, agreement=agreement, **answers.speed)
    return form, None


def _without_onnx(file: Path, error: ExportError) -> str:
    shutil.rmtree(file.parent)
    return f"ONNX is left out, and the transformers form is deployed: {error}."


def add_reader(model_dir: Path, onnx_dir: Path, max_length: int) -> None:
    """Write to ``onnx_dir`` all that the graph needs to be used: reader, tokenizer, settings.

    The n-gram model is copied too if there is one. The tokenizer file holds ``max_length`` and the
    padding, so that a reader needs to know neither.

    Raises:
        OSError: the disk is full.
    """
    from transformers import AutoTokenizer

    from mlrun_assets.models.served import ngram_scorer, onnx_classifier

    tokenizer = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    backend.enable_padding(
        pad_id=tokenizer.pad_token_id,
        pad_token=tokenizer.pad_token,
        direction=tokenizer.padding_side,
    )
    ngrams = (model_dir / ngram_scorer.NGRAMS_DIR).is_dir()
    config = json.loads((model_dir / "config.json").read_text(encoding="utf-8"))
    settings = {
        "id2label": config["id2label"],
        "max_length": max_length,
        "ngrams": ngrams,
        "accept_confidence": config.get("accept_confidence"),
    }
    write_atomically(onnx_dir / "config.json", json.dumps(settings, indent=2) + "\n")
    write_atomically(onnx_dir / "tokenizer.json", backend.to_str())
    shutil.copyfile(onnx_classifier.__file__, onnx_dir / "onnx_classifier.py")
    if ngrams:
        shutil.copyfile(ngram_scorer.__file__, onnx_dir / "ngram_scorer.py")
        shutil.copytree(model_dir / ngram_scorer.NGRAMS_DIR, onnx_dir / ngram_scorer.NGRAMS_DIR)


# The tokenizer of a deployed model


def normaliser(steps: frozenset[Step]) -> Normalizer:
    """The ``steps`` of `normalise` for `tokenizers`.

    One difference remains: `tokenizers` has older tables of Unicode, and does not sort 98 combining
    marks that came after them (from Unicode 10 on) among other marks.
    """
    from tokenizers import Regex, normalizers

    letter, space = characters(LETTER), characters(r"\s")
    parts: list[Normalizer] = [
        normalizers.Replace(*replaced) for step, replaced in REPLACED.items() if step in steps
    ]
    if Step.NFC in steps:
        parts.append(normalizers.NFC())
    if Step.APOSTROPHE in steps:
        between = Regex(f"(?<={letter})[{LOOK_ALIKES}](?={letter})")
        parts.append(normalizers.Replace(between, "'"))
    if Step.WHITE_SPACE in steps:
        parts += [normalizers.Replace(Regex(f"{space}+"), " "), normalizers.Strip()]
    return normalizers.Sequence(parts)


# The planes behind the third have no letters and no spaces.
END_OF_LETTERS = 0x40000


@cache
def characters(pattern: str) -> str:
    r"""A class of all characters that ``pattern`` matches: ``\w`` and ``\s`` mean others there."""
    every = "".join(map(chr, range(END_OF_LETTERS)))
    runs = (match.group() for match in re.finditer(f"(?:{pattern})+", every))
    ranges = (rf"\x{{{ord(run[0]):x}}}-\x{{{ord(run[-1]):x}}}" for run in runs)
    return f"[{''.join(ranges)}]"


def deploy_tokenizer(model_dir: Path, steps: frozenset[Step], max_length: int) -> None:
    """Make the model in ``model_dir`` normalise texts as its training data was; change its files.

    Also sets the limit at which ``truncation=True`` cuts a text, and the normal form of the n-gram
    model if there is one. Texts in normal form keep their token ids, except the space beside a
    special token that is written out in a text, such as ``</s>``, with byte-level BPE.

    Raises:
        OSError: the disk is full.
    """
    from tokenizers import Tokenizer, models, normalizers
    from transformers import AutoTokenizer

    from mlrun_assets.encoders.trimming import plain_tokenizer
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    tokenizer = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
    backend, ours = tokenizer.backend_tokenizer, normaliser(steps)
    own = backend.normalizer
    backend.normalizer = normalizers.Sequence([ours, own]) if own else ours
    tokenizer.model_max_length = max_length
    # A class of a family would build its own normalizer again.
    plain_tokenizer(backend, tokenizer).save_pretrained(str(model_dir))
    file = model_dir / NGRAMS_DIR / "model.json"
    if file.is_file():
        carrier = Tokenizer(models.WordLevel({}, unk_token=""))
        carrier.normalizer = ours
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings["normaliser"] = json.loads(carrier.to_str())
        write_atomically(file, json.dumps(settings, ensure_ascii=False))
