"""`mlrun-assets open`, without a browser."""

import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest

from mlrun_assets.registries.registry import report_file
from mlrun_assets_tests.cli.conftest import Called
from mlrun_assets_tests.examples import finished, project

Call = Callable[..., Called]


@pytest.mark.parametrize("display", [None, ":0"])
def test_the_report_is_printed_and_opened_if_there_is_a_display(
    display: str | None, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    config = project(tmp_path, monkeypatch)
    none = call("open", cwd=tmp_path)
    assert none.returncode == 2 and "no report yet" in none.stderr
    first, second = (finished(config, name).manifest for name in ("first", "second"))
    for manifest in (first, second):
        page = report_file(config.reports_dir, manifest.report).with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.touch()
    for words, report in (
        (["first"], first.report),
        ([first.id], first.report),
        ([], second.report),
    ):
        shown = call("open", *words, cwd=tmp_path)
        page = Path(shown.stdout.strip())
        assert shown.returncode == 0 and page.name == f"{report}.html" and page.is_file()
        assert opened == ([page.as_uri()] if display else [])
        opened.clear()
