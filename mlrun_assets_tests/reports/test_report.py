from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from mlrun_assets import records as r
from mlrun_assets.records import RunRecords
from mlrun_assets.reports.formatting import NOTHING
from mlrun_assets.reports.report import CAPTIONS, render_report
from mlrun_assets_tests.examples import (
    POISON,
    RUNS,
    blocked_run,
    cancelled_run,
    changed_run,
    comparison,
    empty_run,
    ended,
    failed_run,
    full_run,
    part_comparison,
    poisoned,
    relabelled,
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
    lines = report_with("evaluation", test_without_leaks=clean).splitlines()
    whole = next(at for at, line in enumerate(lines) if line.startswith("| **this model**"))
    assert lines[whole + 1].startswith("| this model, without 4 test rows")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_run_gives_a_sound_report(name: str) -> None:
    report = render_report(RUNS[name](), PICTURES)
    assert tables(report)
    assert uneven_rows(report) == []
    assert images(report) == list(PICTURES.values())
    assert not {"html_block", "html_inline", "link_open"} & set(kinds(report))
    assert "\n\n\n" not in report
    assert report.endswith("```\n")


@pytest.mark.parametrize("name", sorted(RUNS))
def test_no_string_of_a_record_changes_the_structure(name: str) -> None:
    clean, bad = RUNS[name](), poisoned(RUNS[name]())
    # A multi-line error is shown whole in a block of its own.
    clean = replace(clean, manifest=clean.manifest.model_copy(update={"error": "a\nb"}))
    bad = replace(bad, manifest=bad.manifest.model_copy(update={"error": f"a{POISON}"}))
    report, expected = render_report(bad, PICTURES), render_report(clean, PICTURES)
    assert uneven_rows(report) == []
    ordinary = {"text", "code_inline", "softbreak"}
    found, wanted = (
        Counter(kind for kind in kinds(text) if kind not in ordinary) for text in (report, expected)
    )
    assert not {"html_block", "html_inline", "link_open", "s_open"} & set(found)
    assert found == wanted


@pytest.mark.parametrize(
    ("run", "start", "why"),
    [
        (full_run(), "**REJECTED**: ", "is below 0.820"),
        (blocked_run(), "**Blocked**: ", "7 rows of test"),
        (failed_run(), "**Failed**: ", "trained_checkpoint: the loss is not finite"),
        (cancelled_run(), "**Cancelled**: ", "cancelled in trained_checkpoint"),
        (empty_run(), "**Interrupted**: ", "no reason"),
        (ended(r.Status.RUNNING, None), "**Running**: ", "no verdict"),
    ],
)
def test_the_third_line_gives_outcome_and_reason(run: RunRecords, start: str, why: str) -> None:
    title, _, line = render_report(run, {}).splitlines()[:3]
    assert title == f"# ML run {run.manifest.name}"
    assert line.startswith(start) and why in line


def test_a_failed_run_shows_the_error_in_full_and_what_to_do() -> None:
    report = render_report(failed_run(), {})
    assert "```text\ntrained_checkpoint: the loss is not finite\n  rows: a1, a2\nlower " in report
    assert "Stages that left no record: trained checkpoint, evaluation, " in report
    assert report.index("## What to do next") < report.index("## Data issues")
    assert report.count("## What to do next") == 1
    assert "Re-execute the run from failure" in report
    assert "The model was not evaluated." in report


def test_a_one_line_error_is_shown_once() -> None:
    assert render_report(cancelled_run(), {}).count("cancelled in") == 1


def test_a_stage_that_was_still_running_is_shown_where_the_run_did_not_complete() -> None:
    report = report_with("manifest", status=r.Status.INTERRUPTED)
    assert "| `deployment_report` | running | – |" in report  # noqa: RUF001


def test_a_run_that_fails_late_keeps_its_verdict() -> None:
    report = report_with("manifest", status=r.Status.FAILED, error="disk full")
    assert report.splitlines()[2] == "**Failed**: disk full"
    assert "was **REJECTED**" in report
    assert "Stages that left no record: none." in report


def test_nothing_is_claimed_of_stages_that_left_no_record() -> None:
    report = render_report(empty_run(), {}).partition("```yaml")[0]
    for word in ("beat", "Scores", "Data issues", "Training", "Export", "Git commit", "prior runs"):
        assert word not in report
    assert "## Data issues" in render_report(blocked_run(), {})


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


def test_production_that_cannot_be_compared_has_no_scores() -> None:
    other = r.Comparison(against="exp_0", comparable=False, reason="other labels", rows=0)
    report = report_with("evaluation", production=other)
    assert "not comparable with production (exp_0): other labels" in report
    assert "| production (exp_0) |" not in report
    first = report_with("evaluation", production=None)
    assert "There is no comparison with a model in production" in first


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
    days = [9, 8, 7, 3, 2]
    rows = [line for line in report.splitlines() if line.startswith("| impl-ml-run-x-")]
    assert [int(row.split(" |")[0][-2:]) for row in rows] == days
    by_line = r.PriorRun(
        report="impl-ml-run-x-20261105", status="Complete", summary="accuracy 0.8 | by hand"
    )
    assert "| accuracy 0.8 &#124; by hand |" in report_with("experiment", prior_runs=(by_line,))
    assert "None: this is the first run" in report_with("experiment", prior_runs=())


def test_of_many_labels_the_lowest_are_shown() -> None:
    report = render_report(relabelled(full_run(), tuple(f"l{n}" for n in range(40))), {})
    assert "25 labels with the lowest F1, of 40." in report
    assert "| 40 | l39 | 0.000 | 0.000 | 0.000 | 0 |" in report


def test_a_split_that_does_not_add_up_is_marked() -> None:
    run = full_run()
    assert run.dataset
    train = run.dataset.splits["train"]
    kept, aside = train.rows_kept, train.rows_quarantined
    train = train.model_copy(update={"rows_read": kept + aside + 9})
    splits = {**run.dataset.splits, "train": train}
    report = report_with("dataset", splits=splits)
    assert f"| train | {kept + aside + 9} ≠ {kept} + {aside} |" in report


def test_pictures_are_linked_by_paths_that_hold_any_character() -> None:
    report = render_report(full_run(), {"labels": "../exp (1)/plots/rows of [a] label.png"})
    assert images(report) == ["../exp%20%281%29/plots/rows%20of%20%5Ba%5D%20label.png"]


def test_a_picture_without_a_caption_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        render_report(full_run(), {"unknown": "a.png"})
    assert set(PICTURES) == set(CAPTIONS)


def test_the_command_takes_the_name_as_one_word() -> None:
    report = report_with("manifest", original_name="it's; rm -rf `x`")
    assert "\nmlrun-assets run 'it'\"'\"'s; rm -rf `x`'\n```\n" in report


def test_one_seed_has_no_table_of_seeds() -> None:
    kept = full_run().checkpoint
    assert kept
    report = report_with("checkpoint", seeds=())
    assert f" Seed {kept.seed}.\n" in report
    assert "mean ± sd" not in report


def test_seeds_that_were_not_evaluated_show_val_alone() -> None:
    run = full_run()
    assert run.checkpoint
    best = next(each for each in run.checkpoint.seeds if each.seed == run.checkpoint.seed)
    report = render_report(replace(run, evaluation=None), {})
    row = next(line for line in report.splitlines() if line.startswith(f"| **{best.seed}** (kept)"))
    cells = row.split(" | ")
    assert cells[3:5] == [f"{best.val_accuracy:.3f}", f"{best.val_f1_macro:.3f}"]
    assert cells[5:] == [NOTHING, NOTHING, f"{NOTHING} |"]
    assert "mean ± sd" not in report


def test_a_reused_checkpoint_is_named_and_so_is_one_that_was_not() -> None:
    assert "**Not trained in this run**: the checkpoint of `exp_1`" in report_with(
        "checkpoint", reused_from="exp_1"
    )
    assert "exp_1 is not reused: it is gone" in report_with(
        "checkpoint", not_reused="exp_1 is not reused: it is gone"
    )


def test_a_table_of_parts_that_is_cut_has_a_note() -> None:
    known = full_run().evaluation
    assert known
    parts = tuple(part_comparison(f"label {number}", score(0.0)) for number in range(16))
    many = known.baseline.model_copy(update={"labels": parts, "slices": ()})
    report = report_with("evaluation", production=None, baseline=many)
    assert "15 labels and slices with the largest loss, of 16." in report
