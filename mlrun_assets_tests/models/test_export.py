"""Whether ``export/`` has an ONNX form, and what is left when it can't be made."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import ExportError
from mlrun_assets.files import digest_directory, digest_file, size_in_bytes
from mlrun_assets.models import export, onnx_export, probe
from mlrun_assets.models.probe import Answers
from mlrun_assets.records import ExportRecord
from mlrun_assets_tests.examples import LABELS, checkpoint_record, dataset_record, sample_rows

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

ROWS = 205
Export = Callable[..., ExportRecord]


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    import torch

    from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
    from mlrun_assets.encoders.source import resolve_encoder

    torch.manual_seed(0)  # for the head, which is drawn
    directory = tmp_path_factory.mktemp("classifier")
    source = resolve_encoder(str(tiny_encoder), None, directory)
    load_classifier(source, LABELS).save_pretrained(str(directory / "model"))
    load_tokenizer(source).save_pretrained(str(directory / "model"))
    return directory / "model"


def speed(rows_per_second: float) -> dict[str, float]:
    times = {"load_seconds": 0.1, "latency_ms_p50": 1.0, "latency_ms_p95": 2.0}
    return times | {"rows_per_second": rows_per_second}


@pytest.fixture
def run_export(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Exports a classifier that is always right; graphs and fresh processes are stood in for."""
    shutil.copytree(classifier, tmp_path / "model")
    dataset = dataset_record(dict.fromkeys(LABELS, 1))
    val = pl.DataFrame((sample_rows("train") * 2)[:ROWS])
    texts = val["text"].to_list()
    answers = export.ExpectedLabels(classifier, texts, dataset.max_length)._labels
    file = tmp_path / dataset.splits["val"].file
    file.parent.mkdir(parents=True, exist_ok=True)
    val.with_columns(pl.Series("label", answers)).write_parquet(file)
    other = {name: LABELS[number - 1] for number, name in enumerate(LABELS)}
    wrong_rows = 0

    def probe_onnx(onnx_dir: Path, texts: list[str]) -> Answers:
        wrong = [other[label] for label in answers[:wrong_rows]]
        labels = [*wrong, *answers[wrong_rows : len(texts)]]
        return Answers(labels, speed(100.0))

    def probe_transformers(_: Path, texts: list[str]) -> Answers:
        return Answers(answers[: len(texts)], speed(50.0))

    monkeypatch.setattr(export, "probe_onnx", probe_onnx)
    monkeypatch.setattr(export, "probe_transformers", probe_transformers)
    monkeypatch.setattr(onnx_export, "write_graph", lambda _, file: file.write_text("graph"))
    checkpoint = checkpoint_record(digest=digest_directory(classifier))

    def run(*, wrong: int = 0, **settings: object) -> ExportRecord:
        """Export with an ONNX form that answers ``wrong`` of 200 rows with another label."""
        nonlocal wrong_rows
        wrong_rows = wrong  # 199 / 200 is 99.5 %, 198 / 200 is not
        return export.export_model(
            tmp_path, dataset, checkpoint, DeploymentConfig(**settings), "som"
        )

    return run


def weights_and_names(directory: Path) -> tuple[str, set[str]]:
    names = {path.name for path in directory.iterdir()}
    return digest_file(directory / "model.safetensors"), names


def left_behind(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"model", "data", "val.parquet"}


def test_the_onnx_form_is_added_with_all_that_it_needs(run_export: Export, tmp_path: Path) -> None:
    record = run_export(wrong=1)
    assert record.onnx is not None and record.onnx_reason is None
    assert record.onnx.agreement == pytest.approx(199 / 200)
    assert (tmp_path / "export" / record.onnx.file).read_text() == "graph"
    assert {path.name for path in (tmp_path / "export/onnx").iterdir()} == {
        "model.onnx",
        "config.json",
        "tokenizer.json",
        "onnx_classifier.py",
    }
    assert record.digest == digest_directory(tmp_path / "export")
    sizes = [size_in_bytes(tmp_path / name) for name in ("export", "export/onnx")]
    assert (record.size_bytes, record.onnx.size_bytes) == (sizes[0] - sizes[1], sizes[1])
    assert (record.rows_per_second, record.onnx.rows_per_second) == (50.0, 100.0)


def test_the_weights_are_on_the_disk_once(run_export: Export, tmp_path: Path) -> None:
    run_export()
    model, exported = tmp_path / "model", tmp_path / "export"
    assert (model / "model.safetensors").samefile(exported / "model.safetensors")
    assert not (model / "tokenizer.json").samefile(exported / "tokenizer.json")  # it is changed


def test_a_form_that_answers_otherwise_leaves_no_directory(
    run_export: Export, tmp_path: Path
) -> None:
    record = run_export(wrong=2)
    assert record.onnx is None
    assert record.onnx_reason is not None and "99.0 % of 200 val rows" in record.onnx_reason
    assert not (tmp_path / "export/onnx").exists()


def test_it_can_be_turned_off(run_export: Export, tmp_path: Path) -> None:
    record = run_export(onnx=False)
    assert record.onnx is record.onnx_reason is None
    assert weights_and_names(tmp_path / "export") == weights_and_names(tmp_path / "model")


def test_a_model_that_can_not_be_exported_is_deployed_as_it_is(
    run_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: Path, __: Path) -> None:
        raise ExportError("torch can't export it to ONNX: no such operator")

    monkeypatch.setattr(onnx_export, "write_graph", refuses)
    record = run_export()
    assert record.onnx is None
    assert record.onnx_reason is not None and "no such operator" in record.onnx_reason
    assert weights_and_names(tmp_path / "export") == weights_and_names(tmp_path / "model")
    assert left_behind(tmp_path) == {"export"}


def test_a_full_disk_leaves_the_export_that_was_there(
    run_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_export()

    def full(_: Path, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_export, "write_graph", full)
    with pytest.raises(ExportError, match="No space left on device"):
        run_export()
    assert digest_directory(tmp_path / "export") == before.digest
    assert left_behind(tmp_path) == {"export"}


def test_a_changed_checkpoint_is_not_exported(run_export: Export, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="not the files that training wrote"):
        run_export()
    assert left_behind(tmp_path) == set()


def test_labels_that_differ_from_those_in_bfloat16_are_compared_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_float32 = {"one": "a", "two": "b", "three": "a"}

    def predict(_: object, texts: list[str], *, exact: bool = False) -> list[str]:
        return [in_float32[text] if exact else "a" for text in texts]

    monkeypatch.setattr(export.ExpectedLabels, "_predict", predict)
    expected = export.ExpectedLabels(Path("model"), list(in_float32), 32)
    assert expected.agreement(["a", "b", "a"]) == 1
    assert expected.agreement(["a", "b"]) == 1
    assert expected.agreement(["b", "b", "a"]) == pytest.approx(2 / 3)


def python(program: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_process_that_was_started_early_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import json, sys; _, texts = json.load(sys.stdin); print(json.dumps([texts, {}]))"
    started = []

    def start(mode: str) -> subprocess.Popen[str]:
        started.append(mode)
        return python(program)

    monkeypatch.setattr(probe, "_start", start)
    for _ in range(2):
        probe.start_early()
    assert probe.probe_onnx(Path("onnx"), ["a"]).labels == ["a"]
    assert started == ["transformers", "onnx"]
    assert probe.probe_transformers(Path("model"), ["b"]).labels == ["b"]
    assert started == ["transformers", "onnx"]
    assert probe.probe_transformers(Path("model"), ["c"]).labels == ["c"]
    assert started == ["transformers", "onnx", "transformers"]
    probe.start_early()
    killed = probe._waiting[0]
    killed.kill()
    killed.wait()
    assert probe.probe_transformers(Path("model"), ["d"]).labels == ["d"]


def test_an_interrupt_of_the_process_is_no_fault_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGINT); signal.pause()"
    monkeypatch.setattr(probe, "_start", lambda _: python(program))
    with pytest.raises(KeyboardInterrupt):
        probe.probe_transformers(Path("model"), ["a"])
