"""The source as a whole: array types and imports, and the wheel that is built of it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

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
    names.add("mlflow")  # the module of mlflow-skinny, which `make check` does not install
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


@pytest.mark.slow  # builds and installs a wheel
def test_the_wheel_works_outside_the_repository(tmp_path: Path, tiny_encoder: Path) -> None:
    source, home, venv = tmp_path / "source", tmp_path / "home", tmp_path / "venv"
    (source / "data").mkdir(parents=True)
    home.mkdir()
    for name in copied_into_the_container():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True)
        else:
            shutil.copy(ROOT / name, source)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def call(*command: object, cwd: Path) -> str:
        words = list(map(str, command))
        ended = subprocess.run(
            words, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    pip = (sys.executable, "-m", "pip", "--quiet")
    alone = ("--no-deps", "--no-index")
    call(*pip, "wheel", *alone, "--no-build-isolation", "-w", "dist", "./", cwd=source)
    call(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path)
    (wheel,) = (source / "dist").iterdir()
    call(*pip, "--python", venv / "bin/python", "install", *alone, wheel, cwd=tmp_path)
    shutil.rmtree(source)
    (packages,) = venv.glob("lib/python*/site-packages")
    # After the installation: pip would find the package of this environment.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")

    command = venv / "bin/mlrun-assets"
    assert call(command, "--version", cwd=home).split()[-1] in wheel.name
    call(command, "init", "demo", cwd=home)
    encoder = f"model.name={tiny_encoder}"
    assert "ready to train" in call(command, "check-data", "--set", encoder, cwd=home / "demo")


def copied_into_the_container() -> list[str]:
    lines = (ROOT / "deploy/Containerfile").read_text("utf-8").splitlines()
    return [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]


def test_a_build_of_the_container_is_sent_what_it_copies() -> None:
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert [line[1:] for line in sent if line.startswith("!")] == copied_into_the_container()


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
