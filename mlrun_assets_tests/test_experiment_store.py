"""Experiments on the disk: where things stand in them, and how one is found."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import mlrun_assets


def test_a_path_in_an_experiment_has_one_name() -> None:
    """Such as ``records/predictions.parquet``: written twice, it is changed once."""
    paths: Counter[str] = Counter()
    for file in Path(mlrun_assets.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                paths[node.value] += bool(re.fullmatch(r"[\w-]+/[\w-]+\.\w+", node.value))
    assert paths["records/predictions.parquet"] == 1
    assert [path for path, times in paths.items() if times > 1] == []
