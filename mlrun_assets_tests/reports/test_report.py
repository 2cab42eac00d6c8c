import base64
from collections import Counter
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest

from mlrun_assets import records as r
from mlrun_assets.errors import RecordError
from mlrun_assets.markdown import visible
from mlrun_assets.records import RunRecords
from mlrun_assets.reports.formatting import NOTHING
from mlrun_assets.reports.report import first_page, render_html, render_report
from mlrun_assets.reports.sentences import title
from mlrun_assets_tests.examples import (
    POISON,
    RUNS,
    blocked_run,
    cancelled_run,
    changed_run,
    comparison,
    decide_again,
    empty_run,
    ended,
    failed_run,
    full_run,
    part_comparison,
    poisoned,
    relabelled,
    run_with_model,
    score,
)
from mlrun_assets_tests.reports.markdown_structure import images, kinds, tables, uneven_rows
from mlrun_assets_tests.reports.regenerate_golden import PICTURES


def report_with(stage: str, **changes: object) -> str:
    return render_report(changed_run(stage, **changes), {})


def test_scores_without_leaking_rows_are_below_those_of_all_rows() -> None:
    run = full_run()
    assert run.evaluation
    clean = run.evaluation.test.model_copy(update={"rows": run.evaluation.test.rows - 4})
    _, below = report_with("evaluation", test_without_leaks=clean).split("| **this model**")
    assert below.splitlines()[1].startswith("| this model, without 4 test rows")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_run_gives_a_sound_report_whatever_its_strings(name: str) -> None:
    clean, bad = RUNS[name](), poisoned(RUNS[name]())
    # A multi-line error is shown whole in a block of its own.
    clean = replace(clean, manifest=clean.manifest.model_copy(update={"error": "a\nb"}))
    bad = replace(bad, manifest=bad.manifest.model_copy(update={"error": f"a{POISON}"}))
    report, expected = render_report(bad, PICTURES), render_report(clean, PICTURES)
    assert tables(expected) and uneven_rows(expected) == []
    assert set(images(expected)) <= set(PICTURES.values())
    assert name != "full" or len(images(expected)) == len(PICTURES)
    assert "\n\n\n" not in expected and expected.endswith("</details>\n")
    assert uneven_rows(report) == []
    ordinary = {"text", "code_inline", "softbreak"}
    found, wanted = (
        Counter(kind for kind in kinds(text) if kind not in ordinary) for text in (report, expected)
    )
    assert not {"html_inline", "s_open"} & set(found)
    assert found == wanted
    assert visible(report) == report


@pytest.mark.parametrize(
    ("run", "start", "why"),
    [
        (full_run(), "🔴 **REJECTED: do not deploy this model.** Test", "is below 0.820."),
        (blocked_run(), "🔴 **Blocked: the data must be fixed first.** 7", "7 rows of test"),
        (failed_run(), "🔴 **Failed: ", "trained_checkpoint: the loss is not finite"),
        (cancelled_run(), "⚪ **Cancelled: ", ".** Cancelled in trained_checkpoint."),
        (empty_run(), "⚪ **Interrupted: ", "No reason"),
        (ended(r.Status.RUNNING, None), "⚪ **Running: ", "No verdict"),
    ],
)
def test_the_third_line_gives_outcome_and_reason(run: RunRecords, start: str, why: str) -> None:
    title, _, line = render_report(run, {}).splitlines()[:3]
    assert title.startswith("# Tiny encoder v2, 2026-11-23: ") and title.split()[-1] in line
    assert line.startswith(start) and why in line


def test_a_failed_run_shows_the_error_in_full_and_what_to_do() -> None:
    report = render_report(failed_run(), {})
    assert "```text\ntrained_checkpoint: the loss is not finite\n  rows: a1, a2\nlower " in report
    assert "Stages that left no record: trained checkpoint, evaluation, " in report
    assert report.index("## What to do next") < report.index("## Data\n")
    assert report.count("## What to do next") == 1
    assert "Continue it with `mlrun-assets run --resume exp_20261123T031500Z`" in report
    assert "The model was not evaluated." in report
    assert render_report(cancelled_run(), {}).lower().count("cancelled in") == 1


def test_a_stage_that_was_still_running_is_shown_where_the_run_did_not_complete() -> None:
    report = report_with("manifest", status=r.Status.INTERRUPTED)
    assert "| `deployment_report` | running | – |" in report  # noqa: RUF001


def test_a_run_that_fails_late_keeps_its_verdict() -> None:
    report = report_with("manifest", status=r.Status.FAILED, error="disk full")
    assert report.splitlines()[2] == "🔴 **Failed: the run did not finish.** disk full."
    assert "was **REJECTED**" in report
    assert "Stages that left no record: none." in report


def test_nothing_is_claimed_of_stages_that_left_no_record() -> None:
    report = render_report(empty_run(), {}).partition("```yaml")[0]
    for word in ("beat", "Scores", "## Data", "fine-tuned", "Export", "Git commit", "Prior runs"):
        assert word not in report
    assert "## Data\n" in render_report(blocked_run(), {})


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.01, 0.07, "is shown to beat"),
        (-0.02, 0.05, "is not shown to beat"),
        (0.0, 0.05, "is not shown to beat"),
        (-0.09, -0.01, "is shown to be worse than"),
    ],
)
def test_the_baseline_sentence_follows_the_interval(low: float, high: float, shown: str) -> None:
    difference = r.Score(value=(low + high) / 2, low=low, high=high)
    report = report_with("evaluation", baseline=comparison(difference))
    assert f"**The model {shown} the n-gram baseline" in report


@pytest.mark.parametrize(
    ("chosen", "described"),
    [
        ("ngrams", "n-grams only, without `./encoder`"),
        ("frozen", "`./encoder` without fine-tuning"),
        ("frozen+ngrams", "`./encoder` without fine-tuning, plus n-grams"),
        ("helped+ngrams", "`./encoder` without fine-tuning, with helper rows, plus n-grams"),
    ],
)
def test_the_first_sentence_says_that_the_model_is_not_the_encoder(
    chosen: str, described: str
) -> None:
    page = first_page(render_report(run_with_model(chosen), {}))
    assert f" It is `{chosen}`: {described}." in page


@pytest.mark.parametrize("chosen", ["encoder", "encoder+ngrams"])
def test_the_encoder_of_the_config_needs_no_such_line(chosen: str) -> None:
    assert f" It is `{chosen}`" not in render_report(run_with_model(chosen), {})


def test_a_candidate_takes_the_time_of_all_its_parts() -> None:
    run = full_run()
    assert run.checkpoint and run.checkpoint.fine_tuning and run.baseline and run.baseline.frozen
    seeds = tuple(
        each.model_copy(update={"seconds": 100.0}) for each in run.checkpoint.fine_tuning.seeds
    )
    tuned = run.checkpoint.fine_tuning.model_copy(update={"seeds": seeds})
    checkpoint = run.checkpoint.model_copy(update={"fine_tuning": tuned})
    frozen = run.baseline.frozen.model_copy(update={"seconds": 10.0})
    baseline = run.baseline.model_copy(update={"seconds": 1.0, "frozen": frozen})
    report = render_report(replace(run, checkpoint=checkpoint, baseline=baseline), {})
    rows = [row.split(" | ") for row in report.splitlines() if "ngrams`" in row and " ± " in row]
    assert [row[3] for row in rows] == ["1.0 s", "11.0 s"]
    (chosen,) = [row for row in report.splitlines() if row.startswith("| **`encoder+ngrams`**")]
    assert "| 0.707 [0.568, 0.831] | 82 | 3 min 21 s |" in chosen


@pytest.mark.parametrize(("above", "advised"), [(0.1, False), (0.05, True), (-0.1, True)])
def test_what_to_label_if_the_model_is_not_shown_to_be_better(above: float, advised: bool) -> None:
    run = run_with_model("frozen+ngrams", loss_above_chosen=above, loss_error=0.05)
    step = "Label rows of health first, which has 24 training rows (farming"
    assert (step in render_report(replace(run, decision=None), {})) == advised
    assert step not in render_report(run, {})  # a rule that failed names labels already
    assert run.dataset
    train = run.dataset.splits["train"]
    even = train.model_copy(update={"label_rows": dict.fromkeys(train.label_rows, 24)})
    dataset = run.dataset.model_copy(update={"splits": {**run.dataset.splits, "train": even}})
    report = render_report(replace(run, decision=None, dataset=dataset), {})
    assert ("Label more rows of all labels: " in report) == advised
    assert "the largest label, has" not in report


def test_the_ngram_model_is_the_baseline() -> None:
    run = run_with_model("ngrams")
    report = render_report(replace(run, decision=decide_again(run)), {})
    assert "It is the [n-gram baseline]" in report and "The model is the n-gram baseline" in report
    assert "to beat the n-gram baseline" not in report.partition("## Tech debt")[0]
    assert "The model is `ngrams`, the only candidate." in report
    assert "vocabulary is" not in report and "fine-tuned for" not in report


def test_production_that_cannot_be_compared_has_no_scores() -> None:
    other = r.Comparison(against="exp_0", comparable=False, reason="other labels", rows=0)
    report = report_with("evaluation", production=other)
    assert "not comparable with production (exp_0): other labels" in report
    assert "| production (exp_0) |" not in report
    first = report_with("evaluation", production=None)
    assert "There is no comparison with a model in production" in first


def test_the_model_in_production_is_not_said_to_differ_from_itself_by_chance() -> None:
    said = "It is the model in production (exp_0): the exported files are the same."
    report = report_with("decision", same_as="exp_0")
    assert report.count(said) == 2 and "**REJECTED: the same model is in production.**" in report
    assert said not in render_report(full_run(), {})


def test_the_threshold_is_in_the_column_of_its_f1() -> None:
    weighted = report_with("evaluation", f1_kind="weighted")
    assert "| threshold | 0.850 | – | 0.820 |" in weighted  # noqa: RUF001
    assert "| threshold | 0" not in render_report(replace(full_run(), decision=None), {})


def test_the_last_five_runs_are_those_of_the_latest_days() -> None:
    dated = [
        r.PriorRun(report=f"impl-ml-run-x-202610{day:02d}", status="Complete")
        for day in (3, 9, 1, 7, 2, 8)
    ]
    report = report_with("experiment", prior_runs=tuple(dated), best_run=None)
    rows = [line for line in report.splitlines() if line.startswith("| impl-ml-run-x-")]
    assert [int(row.split(" |")[0][-2:]) for row in rows] == [9, 8, 7, 3, 2]
    by_line = r.PriorRun(report="impl-ml-run-x-1", status="Complete", summary="0.8 | by hand")
    assert "| 0.8 &#124; by hand |" in report_with("experiment", prior_runs=(by_line,))
    assert "None: this is the first run" in report_with("experiment", prior_runs=())


def test_tables_that_are_cut_have_a_note() -> None:
    report = render_report(relabelled(full_run(), tuple(f"l{n}" for n in range(40))), {})
    assert "25 labels with the lowest F1, of 40." in report
    assert "| 40 | l39 | 0.000 | 0.000 | 0.000 | 0 |" in report
    known = full_run().evaluation
    assert known
    parts = tuple(part_comparison(f"label {number}", score(0.0)) for number in range(16))
    many = known.baseline.model_copy(update={"labels": parts, "slices": ()})
    report = report_with("evaluation", production=None, baseline=many)
    assert "15 labels and slices with the largest loss, of 16." in report


def test_a_split_that_does_not_add_up_is_marked() -> None:
    dataset = full_run().dataset
    assert dataset
    train = dataset.splits["train"].model_copy(update={"rows_read": 999})
    report = report_with("dataset", splits={**dataset.splits, "train": train})
    assert f"| train | 999 ≠ {train.rows_kept} + {train.rows_quarantined} |" in report


def test_a_picture_without_a_caption_is_refused() -> None:
    with pytest.raises(KeyError, match="unknown"):
        render_report(full_run(), {"unknown": "a.png"})


def test_the_run_can_be_reproduced() -> None:
    run = full_run()
    report = render_report(run, {})
    assert "```sh\nmlrun-assets run --config reproduce.yaml\n```" in report
    assert run.experiment
    machine = run.experiment.environment.model_copy(update={"git_commit": "0a1b; ls"})
    assert "```sh\ngit checkout '0a1b; ls'\nmlrun-assets run" in report_with(
        "experiment", environment=machine
    )


def test_one_seed_has_no_table_of_seeds() -> None:
    checkpoint = full_run().checkpoint
    assert checkpoint and checkpoint.fine_tuning
    alone = checkpoint.fine_tuning.model_copy(update={"seeds": checkpoint.fine_tuning.seeds[:1]})
    report = report_with("checkpoint", fine_tuning=alone)
    assert " Seed 42.\n" in report and "mean ± sd" not in report


def test_seeds_that_were_not_evaluated_show_val_alone() -> None:
    report = render_report(replace(full_run(), evaluation=None), {})
    assert f"12.5 s | 0.378 | 0.312 | {NOTHING} | {NOTHING} | {NOTHING} |" in report
    assert "mean ± sd" not in report


def test_a_checkpoint_that_is_reused_or_could_not_be_is_named() -> None:
    reused = report_with("checkpoint", reused_from="exp_1")
    assert "**Not trained in this run**: the checkpoint of `exp_1`" in reused
    why = "exp_1 is not reused: it is gone"
    assert why in report_with("checkpoint", not_reused=why)


# The HTML file

SVGS = {path: path.encode() for path in PICTURES.values()}


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data

    def sources(self) -> list[str]:
        return [str(value) for name, value in self.attributes if name == "src"]


@pytest.mark.parametrize("run", [full_run(), poisoned(full_run())], ids=["full", "poisoned"])
def test_the_page_shows_the_report_and_fetches_nothing(run: RunRecords) -> None:
    report = render_report(run, PICTURES)
    html = render_html(report, run, SVGS)
    page = Page(html)
    assert f"<title>{escape(title(run), quote=False)}" in html and '<body class="bad">' in html
    assert visible(html) == html
    assert page.tags.count("h1") == 1 and page.tags.count("table") == len(tables(report))
    assert page.tags.count("details") == page.tags.count("summary") == report.count("<summary>")
    assert not {"script", "link", "iframe"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"srcset", "action", "data", "onload", "onerror"} & names
    links = {str(value) for name, value in page.attributes if name == "href"}
    targets = {f"#{value}" for name, value in page.attributes if name == "id"}
    assert "#glossary" in links and links <= targets
    pictures = [source.removeprefix("data:image/svg+xml;base64,") for source in page.sources()]
    assert sorted(map(base64.b64decode, pictures)) == sorted(SVGS.values())
    assert page.tags.count("figure") == page.tags.count("figcaption") == len(SVGS)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    contents = [str(value) for name, value in page.attributes if name == "content"]
    assert "light dark" in contents and any("default-src 'none'" in each for each in contents)


def test_the_verdict_has_a_colour_and_no_mark_of_another_font() -> None:
    run = changed_run("decision", verdict=r.Verdict.INCONCLUSIVE)
    html = render_html(render_report(run, {}), run, {})
    assert '<body class="unsure">' in html
    assert "<p><strong>INCONCLUSIVE: the test does not show whether to deploy it.</strong>" in html


def test_html_in_the_markdown_is_text() -> None:
    html = render_html("# a\n\n<img src=x onerror=alert(1)>\n\na <b>b</b>\n", full_run(), {})
    assert "&lt;img src=x onerror=alert(1)&gt;" in html and "a &lt;b&gt;b&lt;/b&gt;" in html
    assert not {"img", "b"} & set(Page(html).tags)


def test_a_path_with_any_character_finds_its_picture() -> None:
    path = "../exp (1)/plots/a [b] ç.svg"
    report = render_report(full_run(), {"labels": path})
    assert Page(render_html(report, full_run(), {path: b"svg"})).sources() == [
        "data:image/svg+xml;base64,c3Zn"
    ]


def test_the_first_page_stands_alone() -> None:
    page = first_page(render_report(full_run(), PICTURES))
    assert page.startswith("# Tiny encoder v2") and "## What to do next" in page
    assert "of the test split." in page and "](" not in page and "Dashed" not in page
    assert "## Scores" not in page


def test_a_missing_picture_is_an_error() -> None:
    with pytest.raises(RecordError, match=r"plots/a\.svg, which does not exist"):
        render_html("![a](plots/a.svg)", full_run(), {})
