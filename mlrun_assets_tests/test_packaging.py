"""The source as a whole: array types and imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions

import pytest

from mlrun_assets_tests.examples import ROOT

ROOMS = ("mlrun_assets", "mlrun_assets_tests", "benchmarks")


def test_array_types_are_defined_in_one_module() -> None:
    alias = re.compile(r"^\w+(: TypeAlias)? = (npt?\.)?(NDArray|ndarray)\b", re.MULTILINE)
    sources = [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]
    defining = [file.name for file in sources if alias.search(file.read_text("utf-8"))]
    assert defining == ["types.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_every_imported_package_is_declared(room: str) -> None:
    """What is only there because another package needs it may go with that package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["ray"], *extras["mlflow"]]
    if room != "mlrun_assets":
        declared += extras["dev"]
    names = {normal(re.split(r"[\[<>=!~ ]", requirement)[0]) for requirement in declared}
    # A script imports those beside it.
    if room == "benchmarks":
        names |= {normal(file.stem) for file in (ROOT / room).glob("*.py")}
        names.add("setfit")  # a rival, which benchmarks/candidates.py says to install
    undeclared = {
        (module, file.name)
        for file in (ROOT / room).rglob("*.py")
        for module in imported(ast.parse(file.read_text("utf-8")))
        # A module that is not installed has the name of its package.
        if names.isdisjoint(map(normal, distributions().get(module, [module])))
    }
    assert not undeclared


def test_the_import_walk_finds_every_form() -> None:
    source = (
        "import os, one.part\nfrom two.part import name\nfrom . import sibling\n"
        "def function():\n    import three as other\n"
        "    import_module('four.part')\n    importlib.import_module('five')\n"
    )
    assert set(imported(ast.parse(source))) == {"one", "two", "three", "four", "five"}


def test_one_module_imports_from_beyond_the_public_api_of_dagster() -> None:
    private = {
        file.name
        for file in (ROOT / "mlrun_assets").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        for name in import_names(node)
        if name.startswith(("dagster._", "dagster_shared"))
    }
    assert private == {"dagster_internals.py"}


def imported(tree: ast.Module) -> Iterator[str]:
    """Top-level packages that a module imports, our own and the standard library's aside."""
    ours = {"mlrun_assets", "mlrun_assets_tests", "onnx_classifier"}  # the last: in each export
    for node in ast.walk(tree):
        for name in import_names(node):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names | ours:
                yield top


def import_names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(
            func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
            args=[ast.Constant(value=str(module)), *_],
        ):
            return [module]
    return []


@cache
def distributions() -> dict[str, list[str]]:
    """The packages that provide each importable module."""
    return dict(packages_distributions())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
