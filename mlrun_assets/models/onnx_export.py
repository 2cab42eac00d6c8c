"""Write a classifier as an ONNX graph in float32, with torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mlrun_assets.errors import ExportError
from mlrun_assets.machine import quiet_transformers

# Two texts, one of them padded: the exporter would take an axis of length 1 as fixed.
EXAMPLE = ["one", "two words and a few more"]
INPUTS = ("input_ids", "attention_mask")


def write_graph(model_dir: Path, file: Path) -> None:
    """Write the classifier in ``model_dir`` to ``file``, for any number of texts and tokens.

    Raises:
        ExportError: torch can't export the model; the message has the reason in one line.
        OSError: the disk is full.
    """
    with _quiet():
        model = AutoModelForSequenceClassification.from_pretrained(
            # Eager attention: the fused one adds a test for rows that are masked completely.
            str(model_dir),
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(str(model_dir), local_files_only=True)
        encoded = tokenizer(EXAMPLE, padding=True, return_tensors="pt")
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
        try:
            program = torch.onnx.export(
                model,
                kwargs={name: encoded[name] for name in INPUTS},
                input_names=INPUTS,
                output_names=["logits"],
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch can't export it to ONNX: {_cause(error)}") from error
        program.save(str(file), external_data=False)


def _cause(error: BaseException) -> str:
    """The first line of the innermost error; the exporter wraps it in advice of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the log lines and warnings of the exporter within the block."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), quiet_transformers():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
