from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import Mock, patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlrun_assets
from mlrun_assets.errors import ExperimentError, RecordError
from mlrun_assets.experiment import (
    Experiment,
    ExperimentPaths,
    all_experiments,
    experiment_of_run,
    find_experiment,
    take_directory,
)
from mlrun_assets.records import Manifest, Record, Status
from mlrun_assets.runs import STAGE_RECORDS


def finish(directory: Path, number: int, day: int = 1) -> None:
    """Make ``directory`` an experiment that is complete."""
    Manifest(
        id=directory.name,
        name=f"name-{number}",
        original_name=None,
        report=f"impl-ml-run-{number}",
        status=Status.COMPLETE,
        created_at=f"2026-11-0{day}T00:00:00Z",
        run_ids=(f"run-{number}",),
    ).save(Experiment(directory).paths.manifest)


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    for number in range(5):
        finish(tmp_path / f"exp_{number}", number, day=number + 1)
    return tmp_path


@pytest.mark.parametrize(
    ("find", "sought", "wanted"),
    [
        (find_experiment, "exp_1", "exp_1"),
        (find_experiment, "name-2", "exp_2"),
        (find_experiment, "name 2!", "exp_2"),
        (find_experiment, " name 2 ", "exp_2"),
        (experiment_of_run, "run-3", "exp_3"),
    ],
)
def test_an_experiment_is_found_with_each_manifest_read_once(
    experiments: Path, find: Callable[[Path, str], Experiment], sought: str, wanted: str
) -> None:
    load = Mock(wraps=Manifest.load)
    with patch.object(Manifest, "load", load):
        assert find(experiments, sought) == Experiment(experiments / wanted)
    assert len({str(call.args) for call in load.mock_calls}) == len(load.mock_calls) == 5


def test_experiments_of_one_second_are_ordered(tmp_path: Path) -> None:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    taken = [take_directory(tmp_path, now) for _ in range(11)]
    for number, directory in enumerate(taken):
        finish(directory, number)
    assert [each.directory for each in all_experiments(tmp_path)] == taken[::-1]


def test_a_missing_experiment_is_an_error(experiments: Path, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"no experiment `exp_9`; the latest are:\n  .*exp_4"):
        find_experiment(experiments, "exp_9")
    for outside, problem in {"../exp_1": "no experiment `", "": "name an experiment; "}.items():
        with pytest.raises(ExperimentError, match=problem):
            find_experiment(experiments, outside)
    assert experiment_of_run(experiments, "run-9") is None
    assert experiment_of_run(experiments, "run-0") == Experiment(experiments / "exp_0")


def test_a_manifest_of_another_schema_version(experiments: Path) -> None:
    file = Experiment(experiments / "exp_4").paths.manifest
    later = {**json.loads(file.read_bytes()), "schema_version": 2, "colour": "blue"}
    file.write_text(json.dumps(later))
    with pytest.raises(RecordError, match=r"schema version 2, and .* reads 1; use the version"):
        Manifest.load(file)
    ids = [each.id for each in all_experiments(experiments)]
    assert ids == ["exp_3", "exp_2", "exp_1", "exp_0"]
    with pytest.raises(RecordError, match="schema version 2"):
        find_experiment(experiments, "exp_4")


def all_paths(directory: Path) -> list[Path]:
    """Every path that is an attribute of `ExperimentPaths`."""
    paths = ExperimentPaths(directory)
    found = [getattr(paths, name) for name in vars(ExperimentPaths) if not name.startswith("_")]
    return [path for path in found if isinstance(path, Path)]


def test_no_other_module_names_a_file_of_an_experiment() -> None:
    files = {path.name for path in all_paths(Path("exp")) if path.suffix} - {"config.yaml"}
    assert "quarantine.jsonl" in files
    spelled: Counter[str] = Counter()
    for file in Path(mlrun_assets.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                spelled[node.value.rpartition("/")[2]] += 1
    assert {name: spelled[name] for name in files} == dict.fromkeys(files, 1)


def test_every_path_is_unique_and_below_the_experiment(tmp_path: Path) -> None:
    paths = ExperimentPaths(tmp_path / "exp_1")
    found = [*all_paths(paths.directory), paths.split("val"), paths.record("training_plan")]
    places = [paths.relative(path) for path in found]
    assert len(set(places)) == len(places) > 20
    assert {"manifest.json", "data/val.parquet", "records/training_plan.json"} <= set(places)
    assert all(not place.startswith(("/", "..")) for place in places)


def test_several_seeds_have_separate_directories(tmp_path: Path) -> None:
    paths = ExperimentPaths(tmp_path)
    assert paths.relative(paths.model_of(3)) == "seeds/3/model"
    assert paths.relative(paths.of_seed(paths.logs, 3)) == "logs/seed-3"
    assert (paths.model_of(None), paths.of_seed(paths.logs, None)) == (paths.encoder, paths.logs)


@pytest.mark.parametrize("kind", sorted({Manifest, *STAGE_RECORDS.values()}, key=str))
@settings(max_examples=20)
@given(draw=st.data())
def test_a_saved_record_is_read_back_as_it_was(kind: type[Record], draw: st.DataObject) -> None:
    record = draw.draw(
        st.builds(kind, schema_version=st.just(1)) if kind is Manifest else st.builds(kind)
    )
    with TemporaryDirectory() as directory:
        file = Path(directory) / "record.json"
        record.save(file)
        read = kind.load(file)
    assert repr(read) == repr(record)  # NaN is not equal to itself
