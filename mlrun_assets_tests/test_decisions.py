"""The decision notes: their form, their index, and the references to them."""

from __future__ import annotations

import re
from datetime import date

import pytest

from mlrun_assets_tests.examples import ROOT

DECISIONS = ROOT / "docs" / "decisions"
NOTES = sorted(path.name for path in DECISIONS.glob("*.md") if path.name != "README.md")
NUMBERS = {name[:3] for name in NOTES}


def _text(name: str) -> str:
    return (DECISIONS / name).read_text(encoding="utf-8")


def _header(name: str) -> tuple[str, str, str, str]:
    """Number, title, status and date; the index repeats them."""
    found = re.match(
        r"# (\d{3}): (.+)\n\n- Date: (\d{4}-\d{2}-\d{2})(?:, revised (\d{4}-\d{2}-\d{2}))?\n"
        r"- Status: (.+)\n\n## ",
        _text(name),
    )
    assert found is not None, f"{name}: title, date and status"
    number, title, made, revised, status = found.groups()
    assert date.fromisoformat(made) <= date.fromisoformat(revised or made)
    return number, title, status, made


@pytest.mark.parametrize("name", NOTES)
def test_note_has_the_form(name: str) -> None:
    number, _, status, _ = _header(name)
    assert name.startswith(f"{number}-")
    allowed = {"accepted", *(f"superseded by {other}" for other in NUMBERS - {number})}
    removed = re.fullmatch(r"superseded: (\w+ )?removed, because .+", status)
    assert status in allowed or removed
    sections = re.split(r"^## (.+)$", _text(name), flags=re.MULTILINE)
    assert sections[1::2] == ["Context", "Decision", "Evidence", "Consequences"]
    assert all(body.strip() for body in sections[2::2])
    assert max(map(len, _text(name).splitlines())) <= 100


def test_index_lists_every_note_and_no_other() -> None:
    row = re.compile(r"^\| \[(\d{3})\]\((.+?)\) \| (.+?) \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)
    listed = [(file, (number, *rest)) for number, file, *rest in row.findall(_text("README.md"))]
    assert listed == [(name, _header(name)) for name in NOTES]
    assert len(NUMBERS) == len(NOTES)


def test_numbers_named_elsewhere_exist() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("mlrun_assets/**/*.py")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert set() < set(re.findall(r"docs/decisions/(\d{3})", text)) <= NUMBERS
