"""The documents say what the code does."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from mlrun_assets.cli.__main__ import commands
from mlrun_assets.config import parse_config
from mlrun_assets.data.checks.suite import CHECKS
from mlrun_assets_tests.examples import ROOT, SAMPLE, sample_rows
from mlrun_assets_tests.regenerate_docs import (
    SCHEMA_FILE,
    TABLE_FILE,
    VARIABLES,
    schema_text,
    table_text,
)
from mlrun_assets_tests.test_definitions import EDGES

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_generated_documents_are_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()
    assert TABLE_FILE.read_text(encoding="utf-8") == table_text()


def test_every_environment_variable_is_documented() -> None:
    files = [*(ROOT / "mlrun_assets").rglob("*.py"), ROOT / "Makefile"]
    found = re.findall(
        r"\b(?:MLRUN_[A-Z]+(?:_[A-Z]+)*|DAGSTER_HOME|DAGSTER_MODULE_NAME)\b",
        "\n".join(file.read_text(encoding="utf-8") for file in files),
    )
    assert set(found) <= set(VARIABLES)
    assert len(set(found)) >= 5


def test_the_picture_of_the_graph_is_the_graph() -> None:
    diagram = re.search(r"```mermaid\ngraph LR\n(.*?)```", README, re.DOTALL)
    assert diagram is not None
    drawn = {
        pair
        for line in diagram[1].splitlines()
        for pair in product(*(re.findall(r"\w+", side) for side in line.split("-->")))
    }
    real = {
        (parent, child)
        for child, parents in EDGES.items()
        for parent in parents
        if child != "deployment_report"
    }
    assert drawn == real


ROOMS = sorted(path.parent for path in (ROOT / "mlrun_assets").rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(ROOT).as_posix())
def test_the_map_of_a_room_lists_each_of_its_modules(room: Path) -> None:
    modules = {path.name for path in room.glob("*.py") if path.name != "__init__.py"}
    modules |= {f"{path.parent.name}/" for path in room.glob("*/__init__.py")}
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    lines = re.findall(r"^ *(\w+(?:\.py|/)) +(\S.*)$", text, re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(modules)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"^make (\w+)", README, re.MULTILINE))))
def test_documented_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    documented = set(re.findall(r"^\.venv/bin/mlrun-assets (\w[\w-]*)", README, re.MULTILINE))
    assert documented == set(commands.commands)


def test_documented_config_is_valid() -> None:
    block = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert block is not None
    config = parse_config(block[1], "README.md")
    assert config.training.learning_rate == pytest.approx(2e-5)


def test_documented_exit_codes_are_those_of_the_errors() -> None:
    from mlrun_assets import errors
    from mlrun_assets.cli.run import EXIT_CODES

    assert errors.ConfigError.exit_code == 2
    assert errors.DataBlockedError.exit_code == 3
    assert set(EXIT_CODES.values()) == {0, 1, 3, 130}
    for code in ("0 done", "1 failed", "2 the config", "3 blocked", "130 cancelled"):
        assert code in README


def test_relative_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_make_targets_print_their_help() -> None:
    printed = subprocess.run(
        ["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True
    ).stdout
    for target in ("setup", "run", "ui", "check", "test"):
        assert f"make {target}" in printed


def test_the_sample_is_what_its_readme_says() -> None:
    page = (SAMPLE / "README.md").read_text(encoding="utf-8")
    texts = []
    for split in ("train", "val", "test"):
        rows = sample_rows(split)
        found = [row["label"] for row in rows]
        counts = [found.count(label) for label in ("farming", "health", "sports")]
        assert f"| {split} | {len(rows)} | {' | '.join(map(str, counts))} |" in page
        texts += [row["text"] for row in rows]
    assert len(set(texts)) == len(texts) == 625
    words = [re.findall(r"[\w']+", text.casefold()) for text in texts]
    runs = [
        tuple(sentence[start : start + 5])
        for sentence in words
        for start in range(len(sentence) - 4)
    ]
    assert len(set(runs)) == len(runs)


def test_the_sample_is_clean_under_our_own_checks(tmp_path: Path) -> None:
    import numpy as np

    from mlrun_assets.config import load_config
    from mlrun_assets.data.validation import TokenCounts, validate_dataset
    from mlrun_assets.records import CheckOutcome

    def count(texts: list[str]) -> TokenCounts:
        return TokenCounts(
            np.array([len(text.split()) for text in texts], dtype=np.int64),
            np.zeros(len(texts), dtype=np.int64),
        )

    record = validate_dataset(load_config(ROOT / "ml_config.yaml"), tmp_path, count)
    assert record.ready
    failed = [check.name for check in record.checks if check.outcome is not CheckOutcome.PASSED]
    # 105 test rows can't show a difference of five points: that is the check's point.
    assert failed == ["test_power"]
    assert [check.name for check in record.checks] == list(CHECKS)


def test_importing_the_command_line_is_light() -> None:
    code = (
        "import sys, mlrun_assets.cli.__main__; "
        "print('torch' in sys.modules, 'dagster' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.split() == ["False", "False"]


def test_schema_describes_the_shipped_config() -> None:
    first = (ROOT / "ml_config.yaml").read_text(encoding="utf-8").splitlines()[0]
    named = first.partition("$schema=")[2]
    assert json.loads((ROOT / named).read_text(encoding="utf-8"))["title"] == "Config"
