"""The graph: its keys and edges, what loading it costs, and that the documented selection is it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from ruamel.yaml import YAML

from mlrun_assets.config import load_config
from mlrun_assets.definitions import defs
from mlrun_assets.experiment import all_experiments
from mlrun_assets.orchestration import assets
from mlrun_assets.runs import MADE_FROM, STAGE_RECORDS, dependants
from mlrun_assets_tests.examples import ROOT, MakeProject

EDGES = {
    "experiment": {"raw_auxiliary", "raw_test", "raw_train", "raw_val"},
    "validated_dataset": {"experiment", "raw_auxiliary", "raw_test", "raw_train", "raw_val"},
    "training_plan": {"experiment", "validated_dataset"},
    "baseline_metrics": {"training_plan", "validated_dataset"},
    "trained_checkpoint": {"baseline_metrics", "training_plan", "validated_dataset"},
    "evaluation_metrics": {"baseline_metrics", "trained_checkpoint", "validated_dataset"},
    "exported_model": {"trained_checkpoint"},
    "deployment_decision": {"baseline_metrics", "evaluation_metrics", "exported_model"},
    "production_model": {"deployment_decision", "evaluation_metrics", "exported_model"},
    "experiment_registry": {"deployment_decision", "evaluation_metrics", "production_model"},
    "tech_debt_registry": {"deployment_decision", "evaluation_metrics", "validated_dataset"},
    "predictions": {"production_model"},
}
EDGES["deployment_report"] = set(EDGES) - {"predictions"}


def graph() -> dg.AssetGraph:
    return defs.resolve_asset_graph()


def names(keys: set[dg.AssetKey]) -> set[str]:
    return {key.to_user_string() for key in keys}


def test_edges() -> None:
    edges = {
        key.to_user_string(): names(graph().get(key).parent_keys)
        for key in graph().materializable_asset_keys
    }
    assert edges == EDGES


@pytest.mark.parametrize("parse", [dg.AssetSelection.from_string, dg.AssetSelection.from_coercible])
def test_the_documented_selection_is_every_asset_that_can_be_materialized(parse: Any) -> None:
    selected = parse("+deployment_report").resolve(graph())
    assert names(selected) == set(EDGES) - {"predictions"}  # that is no part of an experiment


def test_everything_downstream_of_a_stage() -> None:
    assert dependants("experiment") == set(MADE_FROM) - {"experiment"}
    assert dependants("deployment_report") == set()
    assert "production_model" in dependants("trained_checkpoint")
    assert "validated_dataset" not in dependants("baseline_metrics")


def test_every_asset_is_described_owned_grouped_and_has_kinds() -> None:
    for key in graph().get_all_asset_keys():
        node = graph().get(key)
        assert node.description and node.owners and node.kinds
        assert node.code_version or key not in graph().materializable_asset_keys
        assert node.group_name != "default"


def test_checks_of_the_stages() -> None:
    checked = {key.asset_key.to_user_string() for key in graph().asset_check_keys}
    assert checked == {
        "validated_dataset",
        "trained_checkpoint",
        "evaluation_metrics",
        "exported_model",
        "experiment_registry",
        "tech_debt_registry",
        "deployment_report",
    }


HEAVY = (
    "torch transformers pandas sklearn scipy datasets evaluate pandera accelerate "
    "tokenizers sentencepiece"
)


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("definitions", HEAVY),
        ("cli.__main__", f"{HEAVY} dagster"),
        ("runs.closing", f"{HEAVY} dagster numpy polars jinja2"),  # for `status`
    ],
)
def test_loading_a_module_imports_nothing_heavy(module: str, heavy: str) -> None:
    code = f"import sys, mlrun_assets.{module}; print({{*{heavy.split()}}} & {{*sys.modules}})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_a_run_without_its_data_imports_nothing_heavy(tmp_path: Path) -> None:
    paths = {f"{split}_path": f"{split}.jsonl" for split in ("train", "val", "test")}
    (tmp_path / "ml_config.yaml").write_text(json.dumps({"data": paths}), encoding="utf-8")
    (tmp_path / "train.jsonl").touch()
    code = (
        "import atexit, sys; from mlrun_assets.cli.__main__ import main; sys.argv[1:] = ['run']; "
        f"atexit.register(lambda: print({{*{HEAVY.split()}}} & {{*sys.modules}})); main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "val.jsonl: no such file" in ended.stderr
    assert ended.stdout.splitlines()[-1] == "set()"


def test_workspace_and_project_name_the_same_location() -> None:
    file = ROOT / "workspace.yaml"
    assert file.read_text() == (ROOT / "mlrun_assets/workspace.yaml").read_text()
    workspace = YAML(typ="safe").load(file)["load_from"][0]
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    project, newer = tools["dagster"], tools["dg"]["project"]
    assert workspace["python_module"]["module_name"] == project["module_name"]
    assert workspace["python_module"]["location_name"] == project["code_location_name"]
    assert newer["code_location_target_module"] == project["module_name"]
    assert newer["code_location_name"] == project["code_location_name"]


@pytest.mark.slow
def test_dg_finds_the_definitions_without_a_variable() -> None:
    dg_command = Path(sys.executable).parent / "dg"
    if not dg_command.exists():
        pytest.skip("dg is not installed: pip install dagster-dg-cli")
    listed = json.loads(subprocess.check_output([dg_command, "list", "defs", "--json"], cwd=ROOT))
    assert {asset["asset_key"] for asset in listed["assets"]} >= set(EDGES)
    jobs = {"ml_run", "check_data", "compare", "promote", "rollback"}
    assert {job["name"] for job in listed["jobs"]} == jobs


@pytest.mark.slow
def test_dg_launches_assets_in_any_project(make_project: MakeProject, dagster_home: Path) -> None:
    dg_command = Path(sys.executable).parent / "dg"
    if not dg_command.exists():
        pytest.skip("dg is not installed: pip install dagster-dg-cli")
    config = make_project()
    launch = [dg_command, "launch", "-m", "mlrun_assets.definitions", "--assets", "experiment"]
    subprocess.check_call(launch, cwd=config.parent)
    assert all_experiments(load_config(config).experiments_dir)


def test_the_stages_their_order_and_their_records() -> None:
    assert [asset.key.to_user_string() for asset in assets.stages] == list(MADE_FROM)
    assert set(STAGE_RECORDS) == set(MADE_FROM)
    seen: set[str] = set()
    for name, sources in MADE_FROM.items():
        assert set(sources) <= seen
        seen.add(name)
