"""Write a classifier as an ONNX graph: in float32 with torch's exporter, then in int8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mlrun_assets.errors import ExportError
from mlrun_assets.machine import quiet_transformers
from mlrun_assets.types import Float32Array

# Two texts, one of them padded: the exporter would take an axis of length 1 as fixed.
EXAMPLE = ["one", "two words and a few more"]
INPUTS = ("input_ids", "attention_mask")


def write_float32(model_dir: Path, file: Path) -> None:
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


# int8

BLOCK = 32
LARGEST = 127
ZERO_POINT = 128
# Accuracy level of MatMulNBits that rounds the activations to int8 too, block by block.
INT8_ACTIVATIONS = 4
# Smaller tables are kept: rounding them saves next to nothing.
SMALLEST_TABLE = 10_000


def write_int8(float32_file: Path, file: Path) -> None:
    """Write the graph in ``float32_file`` with its large matrices in int8.

    Raises:
        OSError: the disk is full.
    """
    model = onnx.load(str(float32_file))
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    nodes, replaced = [], set()
    new: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        tables = [name for name in node.input if name in weights]
        smaller = _smaller(node, weights[tables[0]]) if len(tables) == 1 else None
        if smaller is None:
            nodes.append(node)
        else:
            nodes += smaller[0]
            new |= {each.name: each for each in smaller[1]}
            replaced.add(tables[0])
    used = {name for node in nodes for name in node.input}  # a replaced table may be read elsewhere
    kept = [each for name, each in weights.items() if name not in replaced or name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *new.values()])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, str(file))


def _smaller(
    node: onnx.NodeProto, weight: onnx.TensorProto
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]] | None:
    """The nodes and tensors that replace ``node`` and its ``weight``; None: they are kept."""
    name, table = weight.name, numpy_helper.to_array(weight)
    if table.dtype != np.float32 or table.ndim != 2 or table.size < SMALLEST_TABLE:
        return None
    # The two kinds of node round a table differently, and one table may be read by both.
    whole, scales = f"{name}_{node.op_type}_int8", f"{name}_{node.op_type}_scales"
    out = node.output[0]
    if node.op_type == "Gather" and node.input[0] == name:
        # Embeddings: look up integers and one scale for a row, and multiply them.
        factors = _scales(table)
        integers = np.rint(table / factors).astype(np.int8)
        ids = node.input[1]
        nodes = [
            helper.make_node("Gather", [whole, ids], [f"{out}_int8"]),
            helper.make_node("Cast", [f"{out}_int8"], [f"{out}_unscaled"], to=TensorProto.FLOAT),
            helper.make_node("Gather", [scales, ids], [f"{out}_scales"]),
            helper.make_node("Mul", [f"{out}_unscaled", f"{out}_scales"], [out]),
        ]
    elif node.op_type == "MatMul" and node.input[1] == name and len(table) % BLOCK == 0:
        # A matrix (inputs, outputs) gets one scale for 32 inputs of an output.
        inputs, outputs = table.shape
        blocks = np.ascontiguousarray(table.T).reshape(outputs, inputs // BLOCK, BLOCK)
        factors = _scales(blocks)
        integers = (np.rint(blocks / factors) + ZERO_POINT).astype(np.uint8)
        factors = factors.reshape(-1)
        sizes = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK}
        sizes["accuracy_level"] = INT8_ACTIVATIONS
        product = [node.input[0], whole, scales]
        nodes = [helper.make_node("MatMulNBits", product, [out], domain="com.microsoft", **sizes)]
    else:
        return None
    tensors = [numpy_helper.from_array(integers, whole), numpy_helper.from_array(factors, scales)]
    return nodes, tensors


def _scales(table: Float32Array) -> Float32Array:
    """Scales along the last axis that make the largest number 127; zeros stay zeros."""
    largest = np.abs(table).max(axis=-1, keepdims=True)
    return np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
