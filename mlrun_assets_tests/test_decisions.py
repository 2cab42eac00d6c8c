"""The decision notes: their form, their index, and the references to them."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
DECISIONS = ROOT / "docs" / "decisions"
NOTES = sorted(path.name for path in DECISIONS.glob("*.md") if path.name != "README.md")
NUMBERS = {name[:3] for name in NOTES}
SECTIONS = ["Context", "Decision", "Evidence", "Consequences"]
WIDTH = 100


class Header(NamedTuple):
    """The first lines of a note. The index repeats them."""

    number: str
    title: str
    status: str
    date: str


def _text(name: str) -> str:
    return (DECISIONS / name).read_text(encoding="utf-8")


def _header(name: str) -> Header:
    found = re.match(
        r"# (\d{3}): (.+)\n\n- Date: (\d{4}-\d{2}-\d{2})(?:, revised (\d{4}-\d{2}-\d{2}))?\n"
        r"- Status: (.+)\n\n## ",
        _text(name),
    )
    assert found is not None, f"{name}: title, date and status"
    number, title, made, revised, status = found.groups()
    assert date.fromisoformat(made) <= date.fromisoformat(revised or made)
    return Header(number, title, status, made)


@pytest.mark.parametrize("name", NOTES)
def test_note_has_the_form(name: str) -> None:
    header = _header(name)
    assert name.startswith(f"{header.number}-")
    superseded = re.fullmatch(r"superseded by (\d{3})", header.status)
    if superseded:
        assert superseded[1] in NUMBERS - {header.number}
    else:
        assert header.status == "accepted"
    sections = re.split(r"^## (.+)$", _text(name), flags=re.MULTILINE)
    assert sections[1::2] == SECTIONS
    assert all(body.strip() for body in sections[2::2])


@pytest.mark.parametrize("name", NOTES)
def test_note_is_wrapped(name: str) -> None:
    assert [line for line in _text(name).splitlines() if len(line) > WIDTH] == []


def test_numbers_are_unique() -> None:
    assert len(NUMBERS) == len(NOTES)


def test_index_lists_every_note_and_no_other() -> None:
    row = re.compile(r"^\| \[(\d{3})\]\((.+?)\) \| (.+?) \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)
    listed = [
        (file, Header(number, title, status, made))
        for number, file, title, status, made in row.findall(_text("README.md"))
    ]
    assert listed == [(name, _header(name)) for name in NOTES]


def test_numbers_named_elsewhere_exist() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("mlrun_assets/**/*.py")]
    named = {
        number
        for page in pages
        for number in re.findall(r"docs/decisions/(\d{3})", page.read_text(encoding="utf-8"))
    }
    assert named
    assert named <= NUMBERS
