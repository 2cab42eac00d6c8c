"""The graph and the exported directory give the labels of the checkpoint, without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import BertForSequenceClassification

from mlrun_assets.errors import ExportError
from mlrun_assets.models.export import add_reader
from mlrun_assets.models.onnx_export import write_graph
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
def form(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the ONNX form."""
    place = tmp_path_factory.mktemp("form")
    add_reader(tiny_model, place, MAX_LENGTH)
    write_graph(tiny_model, place / "model.onnx")
    return place


@pytest.fixture
def copied(form: Path, tmp_path: Path) -> Path:
    """A form that a test may break."""
    return Path(shutil.copytree(form, tmp_path / "onnx"))


@pytest.fixture(scope="session")
def expected(tiny_model: Path) -> Probabilities:
    return Predictor(tiny_model, MAX_LENGTH, exact=True).probabilities(TEXTS)


def test_the_graph_gives_the_checkpoints_probabilities(expected: Probabilities, form: Path) -> None:
    classifier = OnnxClassifier(form)
    assert np.abs(classifier.probabilities(TEXTS) - expected).max() < 1e-5
    # One text alone has no padding and another shape.
    alone = np.concatenate([classifier.probabilities([text]) for text in TEXTS[:5]])
    assert np.abs(alone - expected[:5]).max() < 1e-5


def test_a_threshold_travels_to_the_reader(
    expected: Probabilities, tiny_model: Path, copied: Path, tmp_path: Path
) -> None:
    assert {accepted for _, accepted in OnnxClassifier(copied).predict_or_abstain(TEXTS)} == {None}
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    limit = float(np.median(expected.max(axis=1))) + 1e-4  # the two forms differ by less
    settings = json.loads((model / "config.json").read_text()) | {"accept_confidence": limit}
    (model / "config.json").write_text(json.dumps(settings))
    assert Predictor(model, MAX_LENGTH).accept_confidence == limit
    add_reader(model, copied, MAX_LENGTH)
    reader = OnnxClassifier(copied)
    answers = reader.predict_or_abstain(TEXTS)
    assert [label for label, _ in answers] == reader.predict(TEXTS)
    assert [accepted for _, accepted in answers] == (expected.max(axis=1) >= limit).tolist()
    assert {accepted for _, accepted in answers} == {True, False}


def test_a_fresh_process_serves_the_directory_without_torch(
    expected: Probabilities, form: Path
) -> None:
    answers = probe_onnx(form, TEXTS)
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
    tiny_ensemble: Path, form: Path, tmp_path: Path
) -> None:
    place = tmp_path / "onnx"
    add_reader(tiny_ensemble, place, MAX_LENGTH)
    shutil.copy(form / "model.onnx", place)  # the encoder is the same
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
        write_graph(tiny_model, tmp_path / "model.onnx")
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
