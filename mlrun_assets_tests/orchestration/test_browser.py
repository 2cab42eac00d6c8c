"""Dagster's UI in Chromium, as a person uses it: two small runs under a real `dagster dev`.

Each test leaves a screenshot in ``MLRUN_SCREENSHOTS``, else in pytest's temporary directory. They
share one server and go on from each other's runs, through fixtures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import pytest

from mlrun_assets.config import LoadedConfig, load_config
from mlrun_assets.experiment import Experiment, all_experiments
from mlrun_assets.orchestration.automation import DATA_TAG
from mlrun_assets.production.versions import history
from mlrun_assets_tests.examples import ROOT, write_project

playwright = pytest.importorskip("playwright.sync_api", reason="make browser installs playwright")
expect = playwright.expect
pytestmark = [pytest.mark.slow, pytest.mark.browser]

STARTS, ENDS = 120_000, 240_000  # ms: a busy machine is no reason to fail
RUN_NAME = "first in the browser"


@dataclass(frozen=True)
class Site:
    """A running `dagster dev`, its project and its history."""

    url: str
    config: LoadedConfig
    instance: dg.DagsterInstance
    pictures: Path

    def page_of(self, place: str) -> str:
        return f"{self.url}/{place}"

    def job(self, name: str) -> str:
        return self.page_of(f"locations/mlrun_assets/jobs/{name}/playground")

    def runs(self, job: str | None = None) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs(dg.RunsFilter(job_name=job)))

    def wait_for(self, what: Callable[[], Any]) -> None:
        """Wait until ``what`` is true; a run that has failed is shown with its reason."""
        end = time.monotonic() + ENDS / 1000
        while not what():
            assert time.monotonic() < end, self.runs()
            time.sleep(0.5)

    def latest(self) -> Experiment:
        return all_experiments(self.config.experiments_dir)[0]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Site]:
    """`dagster dev` on a project whose model never reaches its thresholds."""
    home = tmp_path_factory.mktemp("project")
    file = write_project(
        home,
        tiny_encoder,
        model={"candidates": ["ngrams"]},
        deployment={"min_accuracy": 0.99, "min_f1": 0.99},
    )
    history = home / ".dagster"
    history.mkdir()
    shutil.copy(ROOT / ".dagster" / "dagster.yaml", history)
    pictures = Path(os.environ.get("MLRUN_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    pictures.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)],
        cwd=ROOT,  # where `[tool.dagster]` is
        env={**os.environ, "DAGSTER_HOME": str(history), "MLRUN_CONFIG": str(file)},
        start_new_session=True,
    )
    try:
        _wait_for_start(f"http://127.0.0.1:{port}/server_info", server)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DAGSTER_HOME", str(history))
            instance = dg.DagsterInstance.get()
        with instance:
            yield Site(f"http://127.0.0.1:{port}", load_config(file), instance, pictures)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        finally:
            os.killpg(server.pid, signal.SIGKILL) if server.poll() is None else None


def _wait_for_start(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTS / 1000
    while time.monotonic() < end:
        assert server.poll() is None, "dagster dev has ended"
        try:
            urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"{url}: no answer")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program, "no Chromium: apt install chromium"
    expect.set_options(timeout=STARTS)
    with playwright.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, site: Site, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page whose console stays empty of errors, and that is pictured at the end."""
    opened = browser.new_page(viewport={"width": 1500, "height": 950})
    opened.set_default_timeout(STARTS)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    yield opened
    opened.screenshot(path=site.pictures / f"{request.node.name.removeprefix('test_')}.png")
    opened.close()
    assert errors == []


def fill_launchpad(page: Any, text: str) -> None:
    page.locator(".CodeMirror").last.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)
    expect(page.get_by_text("No errors")).to_be_visible()


def launch(page: Any, site: Site, job: str, **settings: str) -> dg.DagsterRun:
    """Launch a job with one op from its launchpad, and wait for its end."""
    page.goto(site.job(job))
    expect(page.locator(".CodeMirror")).to_contain_text("config")
    (op,) = (each.name for each in _definition(job).nodes)
    fill_launchpad(page, json.dumps({"ops": {op: {"config": settings}}}))
    known = {run.run_id for run in site.runs(job)}
    page.get_by_role("button", name="Launch Run").click()
    site.wait_for(lambda: any(r.is_finished for r in site.runs(job) if r.run_id not in known))
    return next(run for run in site.runs(job) if run.run_id not in known)


def _definition(job: str) -> dg.JobDefinition:
    from mlrun_assets.definitions import defs

    return defs.resolve_job_def(job)


def open_launchpad(page: Any, site: Site) -> None:
    page.goto(site.page_of("asset-groups"))
    page.get_by_role("button", name="Materialize all").wait_for()
    page.locator("button:has-text('Materialize all')").locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()


@pytest.fixture(scope="module")
def first_run(browser: Any, site: Site) -> Experiment:
    """A run of everything, launched with a name from the graph; the model is rejected."""
    opened = browser.new_page(viewport={"width": 1500, "height": 950})
    opened.set_default_timeout(STARTS)
    open_launchpad(opened, site)
    expect(opened.locator(".CodeMirror").last).to_contain_text("overrides")
    opened.screenshot(path=site.pictures / "launchpad.png")
    values = {"name": RUN_NAME, "overrides": ["training.seed=7"]}
    fill_launchpad(opened, json.dumps({"ops": {"experiment": {"config": values}}}))
    opened.locator("button", has_text=re.compile(r"^Materialize$")).last.click()
    site.wait_for(lambda: [run for run in site.runs() if run.is_finished])
    opened.close()
    return site.latest()


@pytest.fixture(scope="module")
def changed_data(site: Site, first_run: Experiment, browser: Any) -> dg.DagsterInstance:
    """The sensor is on, and the train split has lost a row."""
    opened = browser.new_page()
    opened.set_default_timeout(STARTS)
    opened.goto(site.page_of("automation"))
    row = opened.locator("[data-index]", has_text="new_data_sensor")
    row.locator("label[class*=formatSwitch]").click()
    site.wait_for(
        lambda: [s for s in site.instance.all_instigator_state() if s.status.value == "RUNNING"]
    )
    opened.close()
    file = site.config.directory / "data" / "train.jsonl"
    file.write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    return site.instance


@pytest.mark.usefixtures("first_run")
def test_the_graph_shows_every_asset(page: Any, site: Site) -> None:
    page.set_viewport_size({"width": 2000, "height": 1000})
    page.goto(site.page_of("asset-groups"))
    expect(page.get_by_text("raw_files", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Materialize all").wait_for()
    page.keyboard.press("Alt+e")  # all groups open
    for name in ("raw_train", "validated_dataset", "trained_checkpoint", "deployment_report"):
        expect(page.get_by_text(name, exact=True).first).to_be_visible()


def test_a_run_has_its_name_and_verdict(page: Any, site: Site, first_run: Experiment) -> None:
    assert first_run.manifest.original_name == RUN_NAME
    assert first_run.config(site.config).settings.training.seed == 7
    page.goto(site.page_of("runs"))
    expect(page.get_by_text("Success")).to_be_visible()
    expect(page.get_by_text(f"mlrun/name: {RUN_NAME}")).to_be_visible()
    expect(page.get_by_text("mlrun/verdict: REJECTED")).to_be_visible()


@pytest.mark.usefixtures("first_run")
def test_the_dataset_is_in_sync_and_shows_its_columns(page: Any, site: Site) -> None:
    page.goto(site.page_of("assets/validated_dataset"))
    expect(page.get_by_text("the text in normal form")).to_be_visible()
    expect(page.get_by_text("Row count")).to_be_visible()
    expect(page.get_by_text("Unsynced")).to_have_count(0)


@pytest.mark.usefixtures("changed_data")
def test_a_check_that_fails_says_why_and_what_to_do(page: Any, site: Site) -> None:
    page.goto(site.page_of("assets/evaluation_metrics?view=checks&checkDetail=min_accuracy"))
    expect(page.get_by_text("Rejects the model: test accuracy")).to_be_visible()
    expect(page.get_by_text("Test accuracy reaches deployment.min_accuracy.")).to_be_visible()


@pytest.mark.usefixtures("changed_data")
def test_a_picture_opens(page: Any, site: Site) -> None:
    page.goto(site.page_of("assets/evaluation_metrics"))
    row = page.locator("tr", has_text="confusion_picture")
    row.get_by_text("Show Markdown").click()
    picture = page.locator("img[alt='confusion']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 100


@pytest.mark.usefixtures("changed_data")
def test_a_rejected_model_is_promoted_with_a_reason(
    page: Any, site: Site, first_run: Experiment
) -> None:
    refused = launch(page, site, "promote", experiment=RUN_NAME, reason="")
    assert refused.status is dg.DagsterRunStatus.FAILURE
    done = launch(page, site, "promote", experiment=RUN_NAME, reason="a test")
    assert done.status is dg.DagsterRunStatus.SUCCESS
    assert [move.after for move in history(site.config.production_dir)] == [first_run.id]


def test_the_sensor_starts_one_run_for_a_change(
    page: Any, site: Site, first_run: Experiment, changed_data: dg.DagsterInstance
) -> None:
    def by_sensor() -> list[dg.DagsterRun]:
        return [run for run in site.runs("ml_run") if DATA_TAG in run.tags]

    site.wait_for(lambda: [run for run in by_sensor() if run.is_finished])
    assert [run.status for run in by_sensor()] == [dg.DagsterRunStatus.SUCCESS]
    second = site.latest()
    assert second.id != first_run.id
    assert launch(page, site, "promote", experiment=second.id, reason="newer").is_success
    assert launch(page, site, "rollback", to="", reason="older").is_success
    moves = [move.after for move in history(site.config.production_dir)]
    assert moves == [first_run.id, second.id, first_run.id]
    page.goto(site.page_of("runs"))
    expect(page.get_by_text("new_data_sensor")).to_have_count(1)
    assert len(by_sensor()) == 1
