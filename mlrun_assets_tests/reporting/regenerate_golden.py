"""Write ``golden_report.md`` again, after a change of the report that is meant.

    python -m mlrun_assets_tests.reporting.regenerate_golden

Then read what changed in it: the golden report is the report as people see it.
"""

from __future__ import annotations

from pathlib import Path

from mlrun_assets.files import write_atomically
from mlrun_assets.reporting.markdown import CAPTIONS, render_report
from mlrun_assets_tests.reporting.conftest import full_run

GOLDEN_REPORT = Path(__file__).with_name("golden_report.md")
PICTURES = {name: f"../plots/{name}.png" for name in CAPTIONS}


def golden_report() -> str:
    return render_report(full_run(), PICTURES)


if __name__ == "__main__":
    write_atomically(GOLDEN_REPORT, golden_report())
