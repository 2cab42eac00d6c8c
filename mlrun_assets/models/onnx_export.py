"""Write a classifier as an ONNX graph in float32, with torch's exporters.

torch has two: one traces a call and takes 2 s for 12 layers, the newer one analyses the program and
takes 13 s. A trace can hold the sizes of the traced call as constants, so its graph is compared
with the model on texts of other sizes, and written again by the newer one if it differs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from mlrun_assets.errors import ExportError
from mlrun_assets.machine import quiet_transformers

# Two texts, one of them padded: the exporter would take an axis of length 1 as fixed.
EXAMPLE = ["one", "two words and a few more"]
OTHERS = (["one"], ["one", "two", "three words, and then a few more of them"])
INPUTS = ("input_ids", "attention_mask")
# Largest difference between graph and model, as a share of the largest logit.
TOLERANCE = 1e-4


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
        names = {"input_names": list(INPUTS), "output_names": ["logits"]}
        example = {name: encoded[name] for name in INPUTS}
        others = [tokenizer(texts, padding=True, return_tensors="pt") for texts in OTHERS]
        if _traced(model, file, example, names, others):
            return
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
        try:
            program = torch.onnx.export(
                model,
                kwargs=example,
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
                dynamo=True,
                verbose=False,
                **names,
            )
        except torch.onnx.OnnxExporterError as error:
            raise ExportError(f"torch can't export it to ONNX: {_cause(error)}") from error
        program.save(str(file), external_data=False)


def _traced(
    model: PreTrainedModel,
    file: Path,
    example: dict[str, torch.Tensor],
    names: dict[str, Any],
    others: list[Any],
) -> bool:
    """Trace ``model`` to ``file``; False: that fails, or the graph differs on ``others``."""
    axes = {name: {0: "batch", 1: "tokens"} for name in INPUTS} | {"logits": {0: "batch"}}
    try:
        torch.onnx.export(model, (example,), str(file), dynamic_axes=axes, dynamo=False, **names)
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        for encoded in others:
            feed = {name: encoded[name] for name in INPUTS}
            with torch.inference_mode():
                wanted = model(**feed).logits.numpy()
            (found,) = session.run(["logits"], {name: feed[name].numpy() for name in INPUTS})
            if found.shape != wanted.shape or abs(found - wanted).max() > TOLERANCE * max(
                1.0, abs(wanted).max()
            ):
                return False
    except OSError:
        raise
    except Exception:  # noqa: BLE001  each family fails with an error of its own
        return False
    return True


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
