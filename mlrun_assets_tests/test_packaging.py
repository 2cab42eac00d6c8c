"""The source as a whole: array types and imports."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    file
    for room in ("mlrun_assets", "mlrun_assets_tests", "benchmarks")
    for file in (ROOT / room).rglob("*.py")
)


def test_array_types_are_defined_in_one_module() -> None:
    alias = re.compile(r"^\w+(: TypeAlias)? = (npt?\.)?(NDArray|ndarray)\b", re.MULTILINE)
    defining = [file.name for file in SOURCES if alias.search(file.read_text("utf-8"))]
    assert defining == ["arrays.py"]
