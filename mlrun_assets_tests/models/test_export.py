"""Which forms end up in ``export/``, and what is left when one can't be made."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import ExportError
from mlrun_assets.files import digest_directory, digest_file, size_in_bytes
from mlrun_assets.models import export, onnx_export
from mlrun_assets.models.probe import Answers
from mlrun_assets.records import ExportRecord
from mlrun_assets_tests.examples import LABELS, checkpoint_record, dataset_record, sample_rows

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

ROWS = 205
Export = Callable[..., ExportRecord]
# What a form is made to say wrongly, of 205 rows: 204 / 205 is 99.5 %, 203 / 205 is not.
Wrong = dict[str, int]


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
    answers = export.Reference.of(classifier, val, dataset.max_length).answers
    file = tmp_path / dataset.splits["val"].file
    file.parent.mkdir(parents=True, exist_ok=True)
    val.with_columns(pl.Series("label", answers)).write_parquet(file)
    other = {name: LABELS[number - 1] for number, name in enumerate(LABELS)}
    wrong: Wrong = {}

    def probe_onnx(onnx_dir: Path, texts: list[str]) -> Answers:
        rows = wrong[(onnx_dir / "model.onnx").read_text()]
        labels = [*(other[label] for label in answers[:rows]), *answers[rows:]]
        return Answers(labels, speed(100.0))

    def probe_transformers(_: Path, texts: list[str]) -> Answers:
        return Answers(answers[: len(texts)], speed(50.0))

    monkeypatch.setattr(export, "probe_onnx", probe_onnx)
    monkeypatch.setattr(export, "probe_transformers", probe_transformers)
    monkeypatch.setattr(onnx_export, "write_float32", lambda _, file: file.write_text("float32"))
    monkeypatch.setattr(onnx_export, "write_int8", lambda _, file: file.write_text("int8"))
    checkpoint = checkpoint_record(digest=digest_directory(classifier))

    def run(wrongly: Wrong, **settings: object) -> ExportRecord:
        wrong.update(wrongly)
        return export.export_model(
            tmp_path, dataset, checkpoint, DeploymentConfig(**settings), "som"
        )

    return run


def forms(record: ExportRecord) -> list[tuple[str, bool]]:
    return [(form.precision, form.kept) for form in record.onnx]


def weights_and_names(directory: Path) -> tuple[str, set[str]]:
    names = {path.name for path in directory.iterdir()}
    return digest_file(directory / "model.safetensors"), names


def left_behind(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"model", "data", "val.parquet"}


def test_int8_that_costs_nothing_is_the_only_form(run_export: Export, tmp_path: Path) -> None:
    record = run_export({"int8": 0})
    assert forms(record) == [("int8", True)]
    assert record.kept_onnx == record.onnx[0]
    assert record.onnx_reasons == ()
    assert (tmp_path / "export/onnx/model.onnx").read_text() == "int8"
    assert {path.name for path in (tmp_path / "export/onnx").iterdir()} == {
        "model.onnx",
        "config.json",
        "tokenizer.json",
        "onnx_classifier.py",
    }
    assert record.digest == digest_directory(tmp_path / "export")
    sizes = [size_in_bytes(tmp_path / name) for name in ("export", "export/onnx")]
    assert record.size_bytes == sizes[0] - sizes[1]
    assert record.rows_per_second == 50.0


def test_int8_that_answers_otherwise_gives_way_to_float32(
    run_export: Export, tmp_path: Path
) -> None:
    record = run_export({"int8": 2, "float32": 0})
    assert forms(record) == [("int8", False), ("float32", True)]
    assert record.onnx[0].agreement == pytest.approx(203 / 205)
    assert len(record.onnx_reasons) == 1
    assert "99.0 % of 205 val rows" in record.onnx_reasons[0]
    assert (tmp_path / "export/onnx/model.onnx").read_text() == "float32"


def test_int8_that_costs_f1_is_kept_only_where_the_config_allows_it(run_export: Export) -> None:
    # One of 205 rows that are shared evenly by the labels is 0.0049; shared otherwise, it is more.
    record = run_export({"int8": 1, "float32": 0}, max_int8_loss=0.001)
    assert forms(record) == [("int8", False), ("float32", True)]
    assert "deployment.max_int8_loss allows 0.0010" in record.onnx_reasons[0]
    assert forms(run_export({"int8": 1}, max_int8_loss=1.0)) == [("int8", True)]


def test_no_form_that_agrees_leaves_no_directory(run_export: Export, tmp_path: Path) -> None:
    record = run_export({"int8": 9, "float32": 2})
    assert forms(record) == [("int8", False), ("float32", False)]
    assert record.kept_onnx is None
    assert len(record.onnx_reasons) == 2
    assert not (tmp_path / "export/onnx").exists()


def test_it_can_be_turned_off(run_export: Export, tmp_path: Path) -> None:
    record = run_export({}, onnx=False)
    assert record.onnx == record.onnx_reasons == ()
    assert weights_and_names(tmp_path / "export") == weights_and_names(tmp_path / "model")


def test_a_model_that_can_not_be_exported_is_deployed_as_it_is(
    run_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: Path, __: Path) -> None:
        raise ExportError("torch can't export it to ONNX: no such operator")

    monkeypatch.setattr(onnx_export, "write_float32", refuses)
    record = run_export({})
    assert record.onnx == ()
    assert len(record.onnx_reasons) == 1
    assert "no such operator" in record.onnx_reasons[0]
    assert weights_and_names(tmp_path / "export") == weights_and_names(tmp_path / "model")
    assert left_behind(tmp_path) == {"export"}


def test_a_full_disk_leaves_the_export_that_was_there(
    run_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_export({"int8": 0})

    def full(_: Path, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx_export, "write_int8", full)
    with pytest.raises(ExportError, match="No space left on device"):
        run_export({"int8": 0})
    assert digest_directory(tmp_path / "export") == before.digest
    assert left_behind(tmp_path) == {"export"}


def test_a_changed_checkpoint_is_not_exported(run_export: Export, tmp_path: Path) -> None:
    (tmp_path / "model" / "config.json").write_text("{}")
    with pytest.raises(ExportError, match="not the files that training wrote"):
        run_export({})
    assert left_behind(tmp_path) == set()
