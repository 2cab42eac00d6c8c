"""The documents agree with the code: commands, snippets, diagrams, tables, file names."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import product
from pathlib import Path

import click
import numpy as np
import polars as pl
import pytest

import mlrun_assets
from mlrun_assets import errors
from mlrun_assets.cli.__main__ import commands
from mlrun_assets.cli.run import EXIT_CODES
from mlrun_assets.config import load_config, parse_config
from mlrun_assets.data.checks.suite import CHECKS
from mlrun_assets.data.validation import TokenCounts, validate_dataset
from mlrun_assets.decision.verdict import RULES
from mlrun_assets.orchestration.resources import MlRun
from mlrun_assets.records import CheckOutcome, Verdict
from mlrun_assets_tests import regenerate_docs as generated
from mlrun_assets_tests.examples import ROOT, SAMPLE, sample_rows
from mlrun_assets_tests.test_definitions import EDGES


def _page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


README, CONTRIBUTING, MAKEFILE = _page("README.md"), _page("CONTRIBUTING.md"), _page("Makefile")
ARCHITECTURE, COMMAND_LINE = _page("docs/architecture.md"), _page("docs/command-line.md")
DATA, DECISION = _page("docs/data.md"), _page("docs/decision.md")
TUTORIAL = _page("docs/tutorial.md")
EXTENDING, TROUBLESHOOTING = _page("docs/extending.md"), _page("docs/troubleshooting.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted(ROOT.glob("docs/**/*.md"))


def _blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", page, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def _commands(page: str) -> list[list[str]]:
    """The documented calls of ``mlrun-assets``: their arguments."""
    found = re.findall(
        r"^(?:(?:\.\./)?\.venv/bin/)?mlrun-assets (.*)",
        "\n".join(_blocks(page, "sh")),
        re.MULTILINE,
    )
    return [shlex.split(line, comments=True) for line in found]


def _first_column(page: str, heading: str) -> list[str]:
    """The code in the first column of the table under a heading."""
    section = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_generated_documents_are_current() -> None:
    assert generated.SCHEMA_FILE.read_text(encoding="utf-8") == generated.schema_text()
    assert generated.TABLE_FILE.read_text(encoding="utf-8") == generated.table_text()


def test_every_environment_variable_is_documented() -> None:
    files = [*(ROOT / "mlrun_assets").rglob("*.py"), ROOT / "Makefile"]
    found = re.findall(
        r"\b(?:MLRUN_[A-Z]+(?:_[A-Z]+)*|DAGSTER_HOME|DAGSTER_MODULE_NAME)\b",
        "\n".join(file.read_text(encoding="utf-8") for file in files),
    )
    assert set(found) <= set(generated.VARIABLES)
    assert len(set(found)) >= 5


def test_diagram_of_the_graph_is_the_graph() -> None:
    diagram = next(block for block in _blocks(ARCHITECTURE, "mermaid") if "graph LR" in block)
    drawn = {
        pair
        for line in diagram.splitlines()[1:]
        for pair in product(*(re.findall(r"\w+", side) for side in line.split("-->")))
    }
    wanted = {name: parents for name, parents in EDGES.items() if name != "deployment_report"}
    assert drawn == {(parent, child) for child, parents in wanted.items() for parent in parents}


def test_diagrams_fit_on_a_screen_and_name_every_room() -> None:
    diagrams = _blocks(ARCHITECTURE, "mermaid")
    assert len(diagrams) == 4
    assert all(len(diagram.splitlines()) <= 30 for diagram in diagrams)
    package = ROOT / "mlrun_assets"
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    modules = {path.name for path in package.glob("*.py") if path.name != "__init__.py"}
    assert set(re.findall(r"\w+(?:/|\.py)", diagrams[0])) - {"br/"} == rooms | modules


def test_imports_go_down_the_diagram_of_the_rooms() -> None:
    *nodes, order = _blocks(ARCHITECTURE, "mermaid")[0].splitlines()[1:]
    levels = {node.split("[")[0].strip(): re.findall(r"(\w+)(?:/|\.py)", node) for node in nodes}
    layers = tomllib.loads(_page("pyproject.toml"))["tool"]["importlinter"]["contracts"][0][
        "layers"
    ]
    drawn = [sorted(levels[name], key=layers.index) for name in re.findall(r"\w+", order)]
    assert [room for level in drawn for room in level] == layers


@pytest.mark.parametrize("page", [ARCHITECTURE, EXTENDING], ids=["architecture", "extending"])
def test_named_files_exist(page: str) -> None:
    named = set(
        re.findall(r"[\w/]+\.(?:py|toml)\b|[\w/]+/(?=`)|[\w/]+/[\w.]+\.(?:md|json)\b", page)
    )
    assert len(named) > 10
    roots = (ROOT, ROOT / "mlrun_assets")
    assert [name for name in named if not any((root / name).exists() for root in roots)] == []


def test_names_in_extending_exist() -> None:
    rows = re.findall(r"^\| (`mlrun_assets/.*?) \| (.*) \|$", EXTENDING, re.MULTILINE)
    assert len(rows) >= 12
    for files, change in rows:
        source = "\n".join(map(_page, re.findall(r"`([\w/]+\.py)`", files)))
        for name in re.findall(r"`([A-Za-z_]{4,})`", change):
            assert re.search(rf"\b{name}\b", source), f"{files}: {name}"


ROOMS = sorted(path.parent for path in (ROOT / "mlrun_assets").rglob("__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(ROOT).as_posix())
def test_the_map_of_a_room_lists_each_of_its_modules(room: Path) -> None:
    modules = {path.name for path in room.glob("*.py") if path.name != "__init__.py"}
    modules |= {f"{path.parent.name}/" for path in room.glob("*/__init__.py")}
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    lines = re.findall(r"^ *(\w+(?:\.py|/)) +(\S.*)$", text, re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(modules)


def test_every_command_is_documented() -> None:
    assert {arguments[0] for arguments in _commands(COMMAND_LINE)} == set(commands.commands)


CALLS = [each for page in (README, COMMAND_LINE, TUTORIAL) for each in _commands(page)]


@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_documented_calls_are_valid(arguments: list[str]) -> None:
    command = commands.commands[arguments[0]]
    assert isinstance(command.make_context(arguments[0], arguments[1:]), click.Context)


@pytest.mark.slow  # two runs
@pytest.mark.docs
def test_the_tutorial_leads_to_labels(tmp_path: Path) -> None:
    """All of its commands in their order, with n-grams only and a verdict that allows all."""
    rows = [row for split in ("train", "val", "test") for row in sample_rows(split)]
    for name, part in {"rows": rows[:420], "more": rows[420:], "new": rows[:5]}.items():
        table = pl.DataFrame([{"text": row["text"], "topic": row["label"]} for row in part])
        (table.drop("topic") if name == "new" else table).write_csv(tmp_path / f"{name}.csv")
    settings = ["model.candidates=[ngrams]", "deployment.onnx=false", "deployment.min_f1=0"]
    settings += [
        "deployment.min_accuracy=0",
        "deployment.policy=off",
        "data.quality.skip=[language]",
    ]
    before = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}
    environment = {**before, "MLRUN_SET": "\n".join(settings)}
    folder = tmp_path
    for arguments in _commands(TUTORIAL):
        if arguments[0] == "rollback":  # nothing was in production before
            continue
        if arguments[0] == "open":
            environment = {k: v for k, v in environment.items() if "DISPLAY" not in k}
        call = [sys.executable, "-m", "mlrun_assets.cli", *arguments]
        subprocess.run(call, cwd=folder, env=environment, check=True, capture_output=True)
        folder = tmp_path / "my"
    labelled = [json.loads(line) for line in (folder / "labelled.jsonl").read_text().splitlines()]
    assert len(labelled) == 5 and {row["label"] for row in labelled} <= {
        "farming",
        "health",
        "sports",
    }


@pytest.mark.slow
@pytest.mark.docs
def test_the_site_loads_nothing_from_another_machine() -> None:
    pages = list((ROOT / "site").rglob("*.html"))
    if not (ROOT / "site/mermaid.min.js").exists():
        pytest.skip("make docs builds the site, with diagrams of its own where npm is installed")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img)\b[^>]* src="([^"]+)"', text)
        loaded += re.findall(r'<link rel="(?:stylesheet|icon)" href="([^"]+)"', text)
        assert any(name.endswith("mermaid.min.js") for name in loaded)
        root = ROOT / "site" if page.name == "404.html" else page.parent
        assert [name for name in loaded if not (root / name.lstrip("/")).exists()] == [], page


def test_the_program_of_the_tutorial_uses_names_that_exist() -> None:
    (program,) = _blocks(TUTORIAL, "python")
    used = re.findall(r"mlrun_assets\.(\w+)", program)
    assert used and all(hasattr(mlrun_assets, name) for name in used)


def test_documented_dagster_config_has_the_resource_of_the_graph() -> None:
    found = re.search(r"--config-json '(.*)'", COMMAND_LINE)
    assert found is not None
    resource = json.loads(found[1])["resources"]["ml_run"]["config"]
    assert set(resource) <= set(MlRun.to_config_schema().as_field().config_type.fields)


@pytest.mark.parametrize("page", ["README.md", "docs/data.md"])
def test_documented_config_is_valid(page: str) -> None:
    (block,) = _blocks(_page(page), "yaml")
    parse_config(block, page)


def test_readme_is_short_and_shows_small_pictures() -> None:
    assert len(README.splitlines()) <= 120
    pictures = [ROOT / name for name in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)]
    assert len(pictures) == 2
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


def test_documented_checks_rules_and_verdicts_are_all_of_them() -> None:
    assert _first_column(DATA, "Checks") == list(CHECKS)
    assert _first_column(DECISION, "Rules") == list(RULES)
    for page, heading in ((DECISION, "Verdicts"), (README, "The decision")):
        assert sorted(_first_column(page, heading)) == sorted(verdict.value for verdict in Verdict)


def test_documented_exit_codes_are_those_of_the_errors() -> None:
    section = COMMAND_LINE.partition("| exit code |")[2].partition("\n\n")[0]
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)}
    assert (errors.ConfigError.exit_code, errors.DataBlockedError.exit_code) == (2, 3)
    assert documented == set(EXIT_CODES.values()) | {errors.ConfigError.exit_code}


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    nodes = [
        node
        for file in (ROOT / "mlrun_assets").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    ]
    texts = "\n".join(
        node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str
    )
    checks = TROUBLESHOOTING.partition("\n## The data is blocked")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", checks, re.MULTILINE)) <= set(CHECKS)
    messages = re.findall(r"^\| `([^`]+)` \|", TROUBLESHOOTING.replace(checks, ""), re.MULTILINE)
    assert len(messages) >= 12
    assert [each for each in messages if each.rstrip("… ") not in texts] == []


def test_relative_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (page.parent / link).exists(), f"{page}: {link}"


def test_make_targets_that_are_documented_exist_and_print_their_help() -> None:
    for target in re.findall(r"^make (\w+)", README + CONTRIBUTING, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
    printed = subprocess.check_output(["make", "-C", str(ROOT), "help"], text=True)
    for target in ("setup", "run", "ui", "check", "test"):
        assert f"make {target}" in printed


def test_the_container_starts_a_command_and_its_port_is_published_to_this_machine() -> None:
    container = _page("deploy/Containerfile")
    copied = " ".join(re.findall(r"^COPY (.*) \S+$", container, re.MULTILINE)).split()
    assert copied and all((ROOT / name).exists() for name in copied)
    (started,) = re.findall(r"^CMD (.*)$", container, re.MULTILINE)
    name, *arguments = json.loads(started)
    assert commands.commands[name].make_context(name, arguments)
    assert re.findall(r" -p (\S+)", _page("docs/operations.md")) == ["127.0.0.1:3000:3000"]


def test_the_sample_is_what_its_readme_says() -> None:
    page = (SAMPLE / "README.md").read_text(encoding="utf-8")
    texts = []
    for split in ("train", "val", "test"):
        rows = sample_rows(split)
        found = Counter(row["label"] for row in rows)
        numbers = (len(rows), found["farming"], found["health"], found["sports"])
        assert f"| {split} | {' | '.join(map(str, numbers))} |" in page
        texts += [row["text"] for row in rows]
    assert len(set(texts)) == len(texts) == 625
    words = [re.findall(r"[\w']+", text.casefold()) for text in texts]
    runs = [tuple(each[at : at + 5]) for each in words for at in range(len(each) - 4)]
    assert len(set(runs)) == len(runs)


def test_the_sample_is_clean_under_our_own_checks(tmp_path: Path) -> None:
    def count(texts: list[str]) -> TokenCounts:
        return TokenCounts(
            np.array([len(text.split()) for text in texts]), np.zeros(len(texts), int)
        )

    record = validate_dataset(load_config(ROOT / "ml_config.yaml"), tmp_path, count)
    assert record.ready
    failed = [check.name for check in record.checks if check.outcome is not CheckOutcome.PASSED]
    # 105 test rows can't show a difference of five points: that is the check's point.
    assert failed == ["test_power"]
    assert [check.name for check in record.checks] == list(CHECKS)


def test_schema_describes_the_shipped_config() -> None:
    named = _page("ml_config.yaml").splitlines()[0].partition("$schema=")[2]
    assert json.loads(_page(named))["title"] == "Config"
