"""Write the golden report and the golden model card again, after a change that is meant.

    python -m mlrun_assets_tests.reporting.regenerate_golden

Then read what changed in them: they are the report and the card as people see them.
"""

from __future__ import annotations

from pathlib import Path

from mlrun_assets.files import write_atomically
from mlrun_assets.reporting.markdown import CAPTIONS, render_report
from mlrun_assets.reporting.model_card import Origin, render_model_card
from mlrun_assets_tests.reporting.conftest import full_run

GOLDEN_REPORT = Path(__file__).with_name("golden_report.md")
GOLDEN_CARD = Path(__file__).with_name("golden_model_card.md")
PICTURES = {name: f"../plots/{name}.png" for name in CAPTIONS}
ORIGIN = Origin(language="som", licence="cc-by-4.0", base_model="FacebookAI/xlm-roberta-base")


def golden_report() -> str:
    return render_report(full_run(), PICTURES, "../records/model_card.md")


def golden_card() -> str:
    return render_model_card(full_run(), ORIGIN)


if __name__ == "__main__":
    write_atomically(GOLDEN_REPORT, golden_report())
    write_atomically(GOLDEN_CARD, golden_card())
