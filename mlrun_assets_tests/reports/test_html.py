from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from mlrun_assets.errors import RecordError
from mlrun_assets.records import RunRecords
from mlrun_assets.reports.report import render_html, render_report
from mlrun_assets_tests.examples import full_run, poisoned
from mlrun_assets_tests.reports.markdown_structure import tables
from mlrun_assets_tests.reports.regenerate_golden import PICTURES

PNGS = {path: path.encode() for path in PICTURES.values()}


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, *names: str) -> list[str | None]:
        return [value for _, found in self.tags for name, value in found.items() if name in names]

    def count(self, name: str) -> int:
        return sum(tag == name for tag, _ in self.tags)


def page(run: RunRecords) -> tuple[str, Page]:
    html = render_html(render_report(run, PICTURES), "A <title> & more", PNGS)
    return html, Page(html)


@pytest.mark.parametrize("bad", [False, True])
def test_nothing_is_fetched_from_anywhere(bad: bool) -> None:
    html, found = page(poisoned(full_run()) if bad else full_run())
    assert found.attributes("href", "srcset", "action", "data", "onload", "onerror") == []
    assert all(str(value).startswith("data:image/png;base64,") for value in found.attributes("src"))
    assert found.count("script") == found.count("link") == found.count("iframe") == 0
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in str(found.attributes("content"))


def test_the_pictures_are_inside() -> None:
    _, found = page(full_run())
    sources = [str(source).partition(",")[2] for source in found.attributes("src")]
    assert [base64.b64decode(source) for source in sources] == list(PNGS.values())
    assert all(found.attributes("alt"))


def test_the_page_shows_the_report() -> None:
    _, found = page(full_run())
    run, report = full_run(), render_report(full_run(), PICTURES)
    assert run.decision
    assert found.count("h1") == 1
    assert found.count("table") == len(tables(report))
    assert f"{run.decision.verdict}: " in found.text
    assert "A <title> & more" in found.text
    assert ("meta", {"name": "color-scheme", "content": "light dark"}) in found.tags


def test_html_in_the_markdown_is_text() -> None:
    html = render_html("# a\n\n<img src=x onerror=alert(1)>\n", "t", {})
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert Page(html).count("img") == 0


def test_a_path_with_any_character_finds_its_picture() -> None:
    path = "../exp (1)/plots/a [b] ç.png"
    html = render_html(render_report(full_run(), {"labels": path}), "t", {path: b"png"})
    assert Page(html).attributes("src") == ["data:image/png;base64,cG5n"]


def test_a_missing_picture_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"plots/a\.png, which does not exist"):
        render_html("![a](plots/a.png)", "t", {})
