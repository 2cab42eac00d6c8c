"""docs/notebook.ipynb: its cells run, and what it shows is what they print."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets_tests.examples import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "notebook.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def _printed(cell: dict[str, Any]) -> str:
    return "".join(
        "".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout"
    )


def test_it_was_executed_from_top_to_bottom_without_errors() -> None:
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    kinds = {output["output_type"] for cell in CODE for output in cell["outputs"]}
    assert kinds <= {"stream", "execute_result"}


@pytest.mark.slow  # two runs, one of them with the real encoder
@pytest.mark.docs
def test_its_cells_print_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, Any] = {}
    printed = []
    for cell in CODE:
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            exec("".join(cell["source"]), names)
        printed.append(output.getvalue())
    # A processor of another kind may change the last digits, and with them a row or two.
    for number, cell in enumerate(CODE):
        if "check_data" in "".join(cell["source"]):
            assert printed[number] == _printed(cell)
        if "predict" in "".join(cell["source"]):
            labels = re.findall("label='([a-z]+)'", printed[number])
            assert labels == re.findall("label='([a-z]+)'", _printed(cell)) == ["sports", "health"]
    assert names["run"].status == "Complete"
    assert names["run"].f1.value == pytest.approx(0.83, abs=0.05)
    assert len(names["compared"].pairs) == 1
    os.environ.pop("DAGSTER_HOME", None)  # set by the runs
