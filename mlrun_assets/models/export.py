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
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.data.text import LETTER, LOOK_ALIKES, REPLACED, Step, language_profile
from mlrun_assets.errors import ExportError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import digest_directory, new_directory, size_in_bytes, write_atomically
from mlrun_assets.metrics import label_numbers, val_metrics
from mlrun_assets.models.probe import probe_onnx, probe_transformers
from mlrun_assets.records import (
    MIN_AGREEMENT,
    CheckpointRecord,
    DatasetRecord,
    ExportRecord,
    OnnxExport,
)
from mlrun_assets.types import LabelIds

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

ROWS_COMPARED = 200
ONNX_DIR = "onnx"
MODEL_FILE = "model.onnx"
FLOAT32, INT8 = "float32", "int8"


def export_model(
    directory: Path,
    dataset: DatasetRecord,
    checkpoint: CheckpointRecord,
    config: DeploymentConfig,
    language: str,
) -> ExportRecord:
    """Copy the checkpoint to ``export/``, add ``onnx/``, and probe both in fresh processes.

    The copy brings texts into the normal form of ``language`` before it reads them.

    The transformers form predicts the first 200 val rows, an ONNX form all of them. Latency is for
    one text at a time. ``size_bytes`` is the size of the transformers form.

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
            shutil.copytree(model_dir, export_dir, dirs_exist_ok=True)
            deploy_tokenizer(export_dir, language_profile(language).steps, dataset.max_length)
            size_bytes = size_in_bytes(export_dir)
            reference = Reference.of(model_dir, val, dataset.max_length)
            texts, expected = reference.texts[:ROWS_COMPARED], reference.answers[:ROWS_COMPARED]
            answers = probe_transformers(export_dir, texts)
            forms, left_out = _export_onnx(export_dir, reference, config)
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
        rows_compared=len(texts),
        agreement=_agreement(expected, answers.labels),
        onnx=tuple(forms),
        onnx_reasons=tuple(left_out),
        **answers.speed,
    )


@dataclass(frozen=True)
class Reference:
    """The checkpoint's own labels for all val rows; ``truth`` are label numbers."""

    labels: tuple[str, ...]
    texts: list[str]
    truth: LabelIds
    answers: list[str]
    max_length: int

    @classmethod
    def of(cls, model_dir: Path, val: pl.DataFrame, max_length: int) -> Self:
        """Predict the val rows with the checkpoint in float32."""
        from mlrun_assets.models.predictor import Predictor

        predictor = Predictor(model_dir, max_length, exact=True)
        texts, labels = val["text"].to_list(), predictor.labels
        answers = [labels[number] for number in predictor.probabilities(texts).argmax(axis=1)]
        truth = label_numbers(val["label"], labels)
        return cls(labels, texts, truth, answers, max_length)

    def f1_macro(self, answers: list[str]) -> float:
        """Macro-F1 of ``answers`` on the val rows."""
        predicted = label_numbers(pl.Series(answers), self.labels)
        return val_metrics(self.truth, predicted)["f1_macro"]


def _agreement(expected: list[str], labels: list[str]) -> float:
    """Share of rows with the same label."""
    return sum(a == b for a, b in zip(expected, labels, strict=True)) / len(expected)


# The ONNX forms


def _export_onnx(
    export_dir: Path, reference: Reference, config: DeploymentConfig
) -> tuple[list[OnnxExport], list[str]]:
    """Add ``onnx/`` to ``export_dir``: int8 if it costs no quality, else float32, else nothing.

    Returns:
        Every form that was tried, and a sentence with the reason for each that is left out.

    Raises:
        OSError: the disk is full.
    """
    if not config.onnx:
        return [], []
    from mlrun_assets.models.onnx_export import write_float32, write_int8

    onnx_dir, workshop = export_dir / ONNX_DIR, export_dir / ".workshop"
    model_file, float32_file = onnx_dir / MODEL_FILE, workshop / MODEL_FILE
    workshop.mkdir()
    tried: list[OnnxExport] = []
    left_out = []
    try:
        add_reader(export_dir, onnx_dir, reference.max_length)
        write_float32(export_dir, float32_file)
        write_int8(float32_file, model_file)
        for precision in (INT8, FLOAT32):
            if precision == FLOAT32:
                float32_file.replace(model_file)
            # A process without torch predicts all val rows.
            answers = probe_onnx(onnx_dir, reference.texts)
            form = OnnxExport(
                file=f"{ONNX_DIR}/{MODEL_FILE}",
                precision=precision,
                size_bytes=size_in_bytes(onnx_dir),
                agreement=_agreement(reference.answers, answers.labels),
                val_f1_macro=reference.f1_macro(answers.labels),
                kept=True,
                **answers.speed,
            )
            shortcoming = _shortcoming(form, reference, config)
            tried.append(form.model_copy(update={"kept": shortcoming is None}))
            if shortcoming is None:
                break
            left_out.append(f"ONNX in {precision} is left out: {shortcoming}.")
        else:
            shutil.rmtree(onnx_dir)
    except ExportError as error:
        shutil.rmtree(onnx_dir, ignore_errors=True)
        left_out.append(f"ONNX is left out, and the transformers form is deployed: {error}.")
    finally:
        shutil.rmtree(workshop)
    return tried, left_out


def _shortcoming(form: OnnxExport, reference: Reference, config: DeploymentConfig) -> str | None:
    """The reason why a form can't replace the checkpoint; None: it can."""
    if form.agreement < MIN_AGREEMENT:
        return (
            f"it gives the checkpoint's label to {100 * form.agreement:.1f} % of "
            f"{len(reference.texts):,} val rows, below the required {100 * MIN_AGREEMENT:.1f} %"
        )
    loss = reference.f1_macro(reference.answers) - form.val_f1_macro
    if form.precision == INT8 and loss > config.max_int8_loss:
        return (
            f"val macro-F1 falls by {loss:.4f}, and deployment.max_int8_loss allows "
            f"{config.max_int8_loss:.4f}"
        )
    return None


def add_reader(model_dir: Path, onnx_dir: Path, max_length: int) -> None:
    """Write to ``onnx_dir`` all that the graph needs to be used: reader, tokenizer, settings.

    For an ensemble, the n-gram model is copied too. The tokenizer file holds ``max_length`` and the
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
    settings = {"id2label": config["id2label"], "max_length": max_length, "ngrams": ngrams}
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


@cache
def characters(pattern: str) -> str:
    r"""A class of all characters that ``pattern`` matches: ``\w`` and ``\s`` mean others there."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    runs = (match.group() for match in re.finditer(f"(?:{pattern})+", every))
    ranges = (rf"\x{{{ord(run[0]):x}}}-\x{{{ord(run[-1]):x}}}" for run in runs)
    return f"[{''.join(ranges)}]"


def deploy_tokenizer(model_dir: Path, steps: frozenset[Step], max_length: int) -> None:
    """Make the model in ``model_dir`` normalise texts as its training data was; change its files.

    Also sets the limit at which ``truncation=True`` cuts a text, and for an ensemble the normal
    form of the n-gram model. Texts in normal form keep their token ids, except the space beside a
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
