"""The graph and the exported directory give the labels of the checkpoint, without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from transformers import BertForSequenceClassification

from mlrun_assets.errors import ExportError
from mlrun_assets.models import onnx_export
from mlrun_assets.models.export import add_reader
from mlrun_assets.models.onnx_export import write_float32, write_int8
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.models.probe import probe_onnx
from mlrun_assets.models.served import onnx_classifier
from mlrun_assets.models.served.onnx_classifier import OnnxClassifier
from mlrun_assets.types import Probabilities
from mlrun_assets_tests.examples import LABELS, sample_rows

MAX_LENGTH = 24
# Of all lengths: empty, one word, cut off at the limit, other scripts.
TEXTS = ["", "gool", "ሰላም 你好 🙂", *(row["text"] for row in sample_rows("test")[:60])]
TEXTS += [" ".join(TEXTS[3:13])]


@pytest.fixture(scope="session")
def forms(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories of the float32 form, and of int8 with embeddings alone or all matrices."""
    root = tmp_path_factory.mktemp("forms")
    places = {name: root / name for name in ("float32", "int8", "all int8")}
    for place in places.values():
        add_reader(tiny_model, place, MAX_LENGTH)
    write_float32(tiny_model, places["float32"] / "model.onnx")
    write_int8(places["float32"] / "model.onnx", places["int8"] / "model.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "SMALLEST_TABLE", 1000)
        write_int8(places["float32"] / "model.onnx", places["all int8"] / "model.onnx")
    return places


@pytest.fixture
def copied(forms: dict[str, Path], tmp_path: Path) -> Path:
    """A float32 form that a test may break."""
    return Path(shutil.copytree(forms["float32"], tmp_path / "onnx"))


@pytest.fixture(scope="session")
def expected(tiny_model: Path) -> Probabilities:
    return Predictor(tiny_model, MAX_LENGTH, exact=True).probabilities(TEXTS)


def test_the_graph_gives_the_checkpoints_probabilities(
    expected: Probabilities, forms: dict[str, Path]
) -> None:
    classifier = OnnxClassifier(forms["float32"])
    assert np.abs(classifier.probabilities(TEXTS) - expected).max() < 1e-5
    # One text alone has no padding and another shape.
    alone = np.concatenate([classifier.probabilities([text]) for text in TEXTS[:5]])
    assert np.abs(alone - expected[:5]).max() < 1e-5


@pytest.mark.parametrize(("name", "tolerance"), [("int8", 0.02), ("all int8", 0.05)])
def test_int8_is_smaller_and_hardly_differs(
    expected: Probabilities, forms: dict[str, Path], name: str, tolerance: float
) -> None:
    sizes = {form: (place / "model.onnx").stat().st_size for form, place in forms.items()}
    # Most of the tiny encoder is its table of embeddings, which takes a byte a number and a scale.
    assert sizes[name] < sizes["float32"] - 600 * 32 * 2
    nodes = {node.op_type for node in onnx.load(str(forms[name] / "model.onnx")).graph.node}
    assert ("MatMulNBits" in nodes) == (name == "all int8")
    assert 0 < np.abs(OnnxClassifier(forms[name]).probabilities(TEXTS) - expected).max() < tolerance


@pytest.mark.parametrize("also", [False, True], ids=["only int8", "also float32"])
def test_a_table_that_several_nodes_read_stays_right(also: bool, tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(128, 128)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["states"]),
        helper.make_node("MatMul", ["states", "table"], ["products"]),
    ]
    if also:
        nodes.append(helper.make_node("Add", ["products", "table"], ["sums"]))
    graph = helper.make_graph(
        nodes,
        "shared",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [128])],
        [helper.make_tensor_value_info("sums" if also else "products", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(table, "table")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "float32")
    write_int8(tmp_path / "float32", tmp_path / "int8")
    kept = {each.name for each in onnx.load(str(tmp_path / "int8")).graph.initializer}
    assert ("table" in kept) == also and len(kept) == 4 + also
    feed = {"ids": np.arange(128)[::-1].copy()}
    exact, rounded = (
        onnxruntime.InferenceSession(str(tmp_path / name)).run(None, feed)[0]
        for name in ("float32", "int8")
    )
    assert 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()


def test_a_fresh_process_serves_the_directory_without_torch(
    expected: Probabilities, forms: dict[str, Path]
) -> None:
    answers = probe_onnx(forms["float32"], TEXTS)
    assert answers.labels == [LABELS[number] for number in expected.argmax(axis=1)]
    assert 0 < answers.speed["latency_ms_p50"] <= answers.speed["latency_ms_p95"]
    assert answers.speed["rows_per_second"] > 0


def test_a_reader_that_imports_torch_or_has_no_graph_is_one_error(copied: Path) -> None:
    reader = copied / "onnx_classifier.py"
    reader.write_text(f"import sys\nsys.modules['torch'] = sys\n{reader.read_text()}")
    with pytest.raises(ExportError, match="imported torch"):
        probe_onnx(copied, TEXTS[:2])
    (copied / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match="a fresh process can't use it with onnx: "):
        probe_onnx(copied, TEXTS[:2])


def test_the_snippet_of_the_reader_works_from_anywhere(copied: Path) -> None:
    code = (
        "import sys; sys.path.append('onnx')\n"
        "from onnx_classifier import OnnxClassifier\n"
        "print(OnnxClassifier('onnx').predict(['Kooxdu waxay dhalisay laba gool.']))\n"
        "print('torch' in sys.modules, 'mlrun_assets' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    lines = subprocess.check_output(command, text=True, cwd=copied.parent).splitlines()
    assert lines[0].strip("[]'") in LABELS
    assert lines[1] == "False False"


def test_an_ensemble_is_served_as_an_ensemble(
    tiny_ensemble: Path, forms: dict[str, Path], tmp_path: Path
) -> None:
    place = tmp_path / "onnx"
    add_reader(tiny_ensemble, place, MAX_LENGTH)
    shutil.copy(forms["float32"] / "model.onnx", place)  # the encoder is the same
    expected = Predictor(tiny_ensemble, MAX_LENGTH, exact=True).probabilities(TEXTS)
    assert np.abs(OnnxClassifier(place).probabilities(TEXTS) - expected).max() < 1e-4
    answers = probe_onnx(place, TEXTS)
    assert answers.labels == [LABELS[number] for number in expected.argmax(axis=1)]
    shutil.rmtree(place / "ngrams")  # half of the model never serves
    with pytest.raises(ExportError, match="ngrams"):
        probe_onnx(place, TEXTS)


def test_an_error_of_the_exporter_is_one_line(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    real = BertForSequenceClassification.forward

    def depends_on_data(self: object, *arguments: object, **more: object) -> object:
        outputs = real(self, *arguments, **more)
        return outputs if float(outputs.logits.sum()) > 0 else None

    monkeypatch.setattr(BertForSequenceClassification, "forward", depends_on_data)
    with pytest.raises(ExportError, match="torch can't export it to ONNX: ") as caught:
        write_float32(tiny_model, tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()
    assert capfd.readouterr() == ("", "")


def test_threads_keep_to_the_affinity_and_to_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert onnx_classifier._threads() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert onnx_classifier._threads() == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert onnx_classifier._threads() == 2
