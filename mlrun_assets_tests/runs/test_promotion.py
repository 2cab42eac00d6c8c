"""A person's way with production: with a card, against the verdict, side by side."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import DataConfig, LoadedConfig
from mlrun_assets.errors import (
    ComparisonError,
    ExperimentError,
    MlrunError,
    ProductionError,
    ReportUpdateError,
)
from mlrun_assets.experiment import Experiment, lock_experiment, unlock_experiment
from mlrun_assets.files import digest_directory
from mlrun_assets.production.compare import differences_table, list_differences, side_by_side
from mlrun_assets.production.versions import find_model, find_version, history, versions
from mlrun_assets.records import (
    Comparison,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    ReportRecord,
    StageRun,
    Status,
    Verdict,
)
from mlrun_assets.registries.registry import read_registry, write_run_line
from mlrun_assets.runs import MADE_FROM, closing
from mlrun_assets.runs.closing import complete_experiment, reconcile, write_report
from mlrun_assets.runs.opening import open_experiment
from mlrun_assets.runs.promotion import (
    deploy_if_approved,
    promote_by_hand,
    roll_back,
    user_name,
)
from mlrun_assets.runs.stage import Stage, run_stage
from mlrun_assets_tests.examples import comparison, deployed, finished, full_run, project, score
from mlrun_assets_tests.reports.markdown_structure import uneven_rows


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    return project(tmp_path, monkeypatch)


def let_deploy(experiment: Experiment, deploys: bool = True) -> None:
    experiment.save(experiment.load(DecisionRecord).model_copy(update={"deploys": deploys}))


def rows(listing: str) -> dict[str, list[str]]:
    """The cells of each line by the first."""
    cells = [
        [cell.strip() for cell in line.split("  ") if cell.strip()] for line in listing.splitlines()
    ]
    return {line[0]: line[1:] for line in cells if line}


def test_a_card_is_written_before_anybody_decides_and_goes_with_the_model(
    config: LoadedConfig,
) -> None:
    experiment = finished(config, "first")
    kept = deploy_if_approved(experiment, config)
    assert not kept.moved
    card = (experiment.directory / "records/model_card.md").read_text(encoding="utf-8")
    assert "base_model: FacebookAI/xlm-roberta-base" in card and "license: cc-by-4.0" in card
    experiment.save(kept)
    report = Path(write_report(experiment.manifest, experiment, config).file)
    assert "The model card, `records/model_card.md`" in report.read_text(encoding="utf-8")

    promote_by_hand(experiment, config, None, "Hodan")
    assert (config.production_dir / "current/README.md").read_text(encoding="utf-8") == card


def test_production_keeps_how_the_experiment_made_its_texts(config: LoadedConfig) -> None:
    learned = DataConfig(text_columns=("headline", "text"), language="swa")
    of_then = config.settings.model_copy(update={"data": learned})
    experiment = finished(config.model_copy(update={"settings": of_then}), "first")
    serving = promote_by_hand(experiment, config, None, "Hodan").after
    assert serving is not None
    assert (serving.text_columns, serving.language) == (("headline", "text"), "swa")
    # One of an older config, which can't be read, is promoted without them and without a card.
    older = finished(config, "older")
    frozen = older.directory / "config.yaml"
    frozen.write_text(frozen.read_text().replace("text_columns", "columns_of_then"))
    serving = promote_by_hand(older, config, None, "Hodan").after
    assert serving is not None and serving.text_columns is None
    assert not (config.production_dir / "current" / "README.md").exists()


def test_who_moves_production_where_nobody_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert user_name() == f"uid {os.getuid()}"


def test_against_the_verdict_or_without_a_comparison_a_reason_is_needed(
    config: LoadedConfig,
) -> None:
    first, second = finished(config, "first"), finished(config, "second")
    third = finished(config, "third", Verdict.INCOMPARABLE)
    promote_by_hand(first, config, None, "Hodan")
    with pytest.raises(ComparisonError, match=rf"nothing, and {first.id} is in .*--reason"):
        promote_by_hand(second, config, None, "Hodan")
    for reason in (None, "", "  "):
        with pytest.raises(ProductionError, match=r"verdict is INCOMPARABLE .*--reason"):
            promote_by_hand(third, config, reason, "Hodan")
        with pytest.raises(ProductionError, match="reason is empty"):
            roll_back(config, None, reason or "", "Hodan")
    let_deploy(second)
    kept = deploy_if_approved(second, config)
    assert not kept.moved and kept.after and kept.after.version == first.id
    assert "production has changed since the comparison" in kept.sentence
    assert (config.production_dir / "current" / "weights").read_text() == "first"
    for experiment in (second, third):
        promote_by_hand(experiment, config, "better on the radio", "Hodan")
    assert [move.forced for move in history(config.production_dir)] == [False, True, True]


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (
            Status.RUNNING,
            "wait until it ends, or, if it was killed, continue it with `mlrun-assets",
        ),
        (Status.BLOCKED, "correct the data"),
        (Status.FAILED, "continue it with `mlrun-assets run --resume exp_"),
    ],
)
def test_a_run_without_a_model_says_what_to_do(
    config: LoadedConfig, status: Status, remedy: str
) -> None:
    experiment = finished(config, "first")
    experiment.update(status=status)
    experiment.paths.record(ExportRecord.asset).unlink()
    with pytest.raises(
        ExperimentError, match=f"no evaluated model .the run is {status}.; {remedy}"
    ):
        promote_by_hand(experiment, config, "I like it", "Hodan")


def test_a_model_that_was_compared_with_what_serves_needs_no_reason(config: LoadedConfig) -> None:
    first = deployed(config, "first")
    # A comparison that was not possible names what served, as one that was does.
    other = Comparison(against=first.id, comparable=False, reason="other labels", rows=0)
    judged = first.load(EvaluationRecord).model_copy(update={"production": other})
    second, third = (finished(config, name, Verdict.APPROVED, judged) for name in ("2nd", "3rd"))
    promote_by_hand(second, config, "I like it", "Hodan")
    assert [move.forced for move in history(config.production_dir)] == [False, False]
    with pytest.raises(ComparisonError, match=f"{third.id} was compared with {first.id}"):
        promote_by_hand(third, config, None, "Hodan")
    # The first was judged when nothing served; it serves again, and is what it is.
    roll_back(config, None, "worse on the radio", "Hodan")
    assert not promote_by_hand(first, config, None, "Hodan").moved
    weights = (config.production_dir / "current" / "weights").resolve()
    weights.unlink()
    weights.write_text("harmed")
    assert promote_by_hand(first, config, None, "Hodan").moved


def line_and_report(config: LoadedConfig, experiment: Experiment) -> tuple[str, str]:
    """The end of an experiment's registry line, and the line below the verdict in its report."""
    name = experiment.manifest.report
    registry = (config.reports_dir / "_registry.md").read_text(encoding="utf-8")
    (line,) = (line for line in registry.splitlines() if line.startswith(f"- {name} |"))
    report = (config.reports_dir / "implementation" / f"{name}.md").read_text(encoding="utf-8")
    assert (experiment.directory / "report.md").exists()
    return line.rpartition(", ")[2], report.splitlines()[4]


def advised(experiment: Experiment) -> bool:
    """Whether the report advises to deploy the model, beside other things to do next."""
    report = (experiment.directory / "report.md").read_text(encoding="utf-8")
    assert "## What to do next\n" in report and "- Label " in report
    return "mlrun-assets promote" in report


def test_of_an_experiment_that_is_gone_the_line_changes(config: LoadedConfig) -> None:
    first, second = deployed(config, "first"), finished(config, "second")
    shutil.rmtree(first.directory)
    promote_by_hand(second, config, None, "Hodan")
    assert flags(config) == [False, True]
    roll_back(config, None, "wrong on the radio", "Cali")
    assert line_and_report(config, second)[0] == "not deployed"
    assert flags(config) == [True, False]
    assert not first.directory.exists()


def test_line_and_report_of_the_model_that_is_left_are_told_too(config: LoadedConfig) -> None:
    first = deployed(config, "first")
    now = f"{first.id} is in production, as the first version: verdict APPROVED."
    assert line_and_report(config, first) == ("deployed", now)
    report = (first.directory / "report.md").read_text(encoding="utf-8")
    assert "no model in production to compare it with" in report
    assert "No model is in production yet" not in report
    assert not advised(first)
    second = finished(config, "second")
    let_deploy(second)
    assert deploy_if_approved(second, config).moved
    now = f"{second.id} is in production, in place of {first.id}: verdict APPROVED."
    assert line_and_report(config, first) == ("not deployed", now)
    assert line_and_report(config, second) == ("deployed", now)
    assert advised(first) and not advised(second)
    roll_back(config, None, "wrong on the radio", "Cali")
    now = f"{first.id} is in production, in place of {second.id}: wrong on the radio."
    assert line_and_report(config, second) == ("not deployed", now)
    # Once more moves nothing, and leaves what is told.
    roll_back(config, first.id, "to be sure", "Cali")
    assert line_and_report(config, first) == ("deployed", now)


def test_a_model_deployed_again_after_another_decision_has_the_card_of_that_decision(
    config: LoadedConfig,
) -> None:
    first = finished(config, "first", Verdict.REJECTED)
    promote_by_hand(first, config, "to try it", "Hodan")
    deployed(config, "second")

    def card() -> str:
        assert promote_by_hand(first, config, "better by now", "Hodan").moved
        written = (config.production_dir / "current/README.md").read_text(encoding="utf-8")
        roll_back(config, None, "no", "Hodan")
        return written

    assert "**REJECTED**" in card()
    assert len(versions(config.production_dir)) == 2
    decision = first.load(DecisionRecord)
    first.save(decision.model_copy(update={"verdict": Verdict.INCONCLUSIVE}))
    assert "**INCONCLUSIVE**" in card()


@pytest.mark.parametrize("deploys", [True, False])
def test_production_made_again_of_what_serves_says_that_it_serves(
    config: LoadedConfig, deploys: bool
) -> None:
    first = deployed(config, "first")
    let_deploy(first, deploys)
    again = deploy_if_approved(first, config)
    assert not again.moved and f"{first.id} is already in production" in again.sentence

    # Another model of the same experiment is not the one that serves.
    (first.directory / "export" / "weights").write_text("trained again")
    digest = digest_directory(first.directory / "export")
    first.save(first.load(ExportRecord).model_copy(update={"digest": digest}))
    assert deploy_if_approved(first, config).moved is deploys


def flags(config: LoadedConfig) -> list[bool]:
    return [line.deployed for line in read_registry(config.reports_dir).runs]


def test_an_experiment_that_is_worked_on_tells_of_it_at_its_end(config: LoadedConfig) -> None:
    first = deployed(config, "first")
    lock_experiment(first.directory)
    second = deployed(config, "second")
    assert flags(config) == [True, True]
    unlock_experiment(first.directory)
    reconcile(config)
    now = f"{second.id} is in production, in place of {first.id}: verdict APPROVED."
    assert line_and_report(config, first) == ("not deployed", now)
    assert flags(config) == [False, True]


def test_a_move_during_the_report_is_in_line_and_report(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever ends last, one line says deployed, and both reports say which."""
    first = deployed(config, "first")
    second = finished(config, "second")
    write = closing.write_report

    def moved_meanwhile(*arguments: Any) -> ReportRecord:
        record = write(*arguments)
        monkeypatch.setattr(closing, "write_report", write)
        promote_by_hand(second, config, None, "Hodan")
        return record

    first.update(stages={name: StageRun(status="done") for name in MADE_FROM})
    monkeypatch.setattr(closing, "write_report", moved_meanwhile)
    with run_stage(Stage(first, config, "run-1", print), "deployment_report"):
        complete_experiment(first, config, "run-1")
    now = f"{second.id} is in production, in place of {first.id}: verdict APPROVED."
    assert line_and_report(config, first) == ("not deployed", now)
    assert flags(config) == [False, True]


@pytest.mark.parametrize("by", ["the next run", "a rollback", "a promotion"])
def test_what_a_killed_promotion_did_not_write_is_written_by_the_next_command(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    first, second = deployed(config, "first"), finished(config, "second")
    line = "accuracy 0.9, APPROVED, not deployed"
    write_run_line(config.reports_dir, second.manifest.report, Status.COMPLETE, line)
    with monkeypatch.context() as patched:
        patched.setattr("mlrun_assets.runs.promotion.reconcile", interrupt)
        with pytest.raises(KeyboardInterrupt):
            promote_by_hand(second, config, None, "Hodan")
    assert flags(config) == [True, False]
    if by == "the next run":
        open_experiment(config, "third", "run-3")
    elif by == "a rollback":
        roll_back(config, second.id, "to be sure", "Cali")
    else:
        assert not promote_by_hand(second, config, None, "Cali").moved
    now = f"{second.id} is in production, in place of {first.id}: verdict APPROVED."
    assert line_and_report(config, first) == ("not deployed", now)
    assert line_and_report(config, second) == ("deployed", now)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_words_of_a_person_stay_in_a_line(config: LoadedConfig) -> None:
    deployed(config, "first")
    registry = config.reports_dir / "_registry.md"
    text = registry.read_text(encoding="utf-8")
    assert text.endswith(", deployed\n")
    registry.write_text(text.replace(", deployed\n", ", deployed; ask Hodan, not Cali\n"))
    reconcile(config)
    assert flags(config) == [True]
    deployed(config, "second")
    lines = registry.read_text(encoding="utf-8").splitlines()
    assert lines[-2].endswith(", not deployed; ask Hodan, not Cali")
    assert flags(config) == [False, True]


def test_a_line_of_another_project_is_left(config: LoadedConfig) -> None:
    other = "impl-ml-run-other-20261126"
    write_run_line(config.reports_dir, other, Status.COMPLETE, "accuracy 0.9, deployed")
    deployed(config, "first")
    assert flags(config) == [True, True]


def test_a_move_whose_report_can_not_be_written_is_made_and_told_later(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_full(path: Path, content: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    first = finished(config, "first")
    with monkeypatch.context() as patch:
        patch.setattr(closing, "write_atomically", disk_full)
        with pytest.raises(ReportUpdateError) as error:
            promote_by_hand(first, config, None, "Hodan")
    report = config.reports_dir / "implementation" / f"{first.manifest.report}.md"
    assert f"({report}: No space left on device)" in str(error.value)
    assert f"`mlrun-assets rollback --to {first.id} --reason WHY`" in str(error.value)
    assert [move.after for move in history(config.production_dir)] == [first.id]
    roll_back(config, first.id, "room again", "Hodan")
    assert line_and_report(config, first)[1].endswith("as the first version: verdict APPROVED.")


def test_two_models_side_by_side_tell_what_differs_and_why_each_serves(
    config: LoadedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([f"2026-11-23T03:15:0{second}Z" for second in range(3)])
    monkeypatch.setattr("mlrun_assets.production.pointer.timestamp", lambda: next(times))
    first = deployed(config, "first")
    run = full_run()
    assert run.plan and run.evaluation and run.checkpoint
    recipe = run.plan.recipe.model_copy(update={"learning_rate": 3e-5})
    second = finished(
        config,
        "second",
        Verdict.REJECTED,
        run.evaluation.model_copy(update={"production": comparison(score(0.043, 0.039), first.id)}),
        run.plan.model_copy(update={"recipe": recipe}),
        run.checkpoint.model_copy(update={"parameters": 7}),
    )
    reason = "sure of it: " + "the radio asks for it " * 5 + "now."
    record = promote_by_hand(second, config, reason, "Cali")
    assert record.sentence.endswith(" now.")
    found = side_by_side(config, ())
    listing = list_differences(found)
    told = rows(listing)
    assert told["first"] == ["second"]
    assert told["experiment"] == [first.id, second.id]
    assert told["why"] == ["verdict APPROVED", f"{reason} (forced)"]
    assert told["by"] == ["Hodan", "Cali"]
    assert told["deployed"] == ["2026-11-23T03:15:00Z", "2026-11-23T03:15:01Z"]
    assert told["verdict"] == ["APPROVED", "REJECTED"]
    assert told["learning_rate"] == ["0.005", "3e-05"]
    assert told["parameters"] == [f"{run.checkpoint.parameters:,}", "7"]
    assert "accuracy" not in told
    assert re.search(r"^\d+ other facts are the same$", listing, re.MULTILINE)
    assert "second and first: not compared row by row, because the predictions" in listing
    table = differences_table(found)
    assert uneven_rows(table) == [] and "| learning_rate | 0.005 | 3e-05 |" in table

    roll_back(config, None, "wrong on the radio", "Hodan")
    back = rows(list_differences(side_by_side(config, ["second"])))
    assert back["first"] == ["second"]
    assert back["why"] == ["wrong on the radio", f"{reason} (forced)"]


def test_experiments_are_compared_too_and_scores_of_other_test_splits_are_not(
    config: LoadedConfig,
) -> None:
    first = finished(config, "first")
    known = first.load(EvaluationRecord)
    calibration = known.calibration.model_copy(update={"error": 0.2})
    other = known.model_copy(update={"test_digest": "sha256:7", "calibration": calibration})
    second = finished(config, "second", Verdict.REJECTED, other)
    listing = list_differences(side_by_side(config, ("first", "second")))
    assert rows(listing)["calibration error"] == [f"{known.calibration.error:.3f}", "0.200"]
    assert "the scores are of different test splits and can't be compared" in listing
    shutil.rmtree(second.directory / "records")  # as in a run that has just begun
    begun = side_by_side(config, ("first", "second"))
    assert begun.facts["verdict"][0] == "APPROVED"


def predicted(experiment: Experiment, right: str) -> None:
    """Store predictions on ten rows, which are right where ``right`` has an x."""
    labels = ["sports", "health"] * 5
    other = {"sports": "health", "health": "sports"}
    said = [label if x == "x" else other[label] for label, x in zip(labels, right, strict=True)]
    frame = pl.DataFrame({"id": map(str, range(10)), "label": labels, "prediction": said})
    frame.write_parquet(experiment.paths.predictions)


def test_models_are_tested_on_the_rows_that_they_share(config: LoadedConfig) -> None:
    names = ("first", "second", "third")
    made = [finished(config, name) for name in names]
    for experiment, right in zip(made, ["x.........", "xxxxxxxxx.", "x........."], strict=True):
        predicted(experiment, right)
    found = side_by_side(config, names)
    assert found.models == names
    better, same = found.pairs
    assert (better.first, better.second, better.rows) == ("first", "second", 10)
    assert (better.only_first_right, better.only_second_right) == (0, 8)
    assert better.mcnemar_p == pytest.approx(2 / 2**8)
    assert better.f1_difference.low > 0 and better.sentence.endswith("second is better")
    assert same.f1_difference.value == 0 and same.sentence.endswith("no difference is shown")
    told = found.as_json()
    assert json.loads(json.dumps(told)) == told
    assert set(told) == {"models", "differ", "pairs", "notes"}
    made[2].save(made[0].load(ExportRecord))
    assert "third and first: the same model, byte for byte" in side_by_side(config, names).notes


def test_a_name_leads_to_the_latest_version_of_that_name(config: LoadedConfig) -> None:
    first, again = deployed(config, "first"), deployed(config, "first")
    other = deployed(config, "second")
    assert roll_back(config, "first", "good", "Hodan").after == find_model(config, again.id)
    assert find_model(config, first.id) == find_version(config.production_dir, first.id)
    assert find_model(config, "second") == find_version(config.production_dir, other.id)
    newer = finished(config, "second")
    assert find_model(config, "second") == newer
    shutil.rmtree(newer.directory)
    shutil.rmtree(other.directory)
    assert find_model(config, "second") == find_version(config.production_dir, other.id)


def test_a_version_whose_experiment_is_gone_tells_what_production_keeps(
    config: LoadedConfig,
) -> None:
    first, second = deployed(config, "first"), deployed(config, "second")
    shutil.rmtree(first.directory)
    listing = list_differences(side_by_side(config, ()))
    assert "the experiment of first is gone" in listing
    accuracy = f"{second.load(EvaluationRecord).test.accuracy.value:.3f}"
    gone, there = rows(listing)["accuracy"]
    assert gone == accuracy and there.startswith(f"{accuracy} [")
    # It serves again, and the other one is told.
    roll_back(config, None, "wrong on the radio", "Cali")
    assert line_and_report(config, second)[0] == "not deployed"
    assert not first.directory.exists()


def test_what_can_not_be_compared_is_one_message(config: LoadedConfig) -> None:
    def said(*names: str) -> str:
        with pytest.raises(MlrunError) as error:
            side_by_side(config, names)
        return str(error.value)

    assert "nothing is in production; name two experiments" in said()
    first = deployed(config, "first")
    assert f"{first.id} is the first version" in said()
    assert f"{first.id} is compared with itself" in said("first")
    assert f"no version `nobody`; there are:\n  first ({first.id})" in said("nobody")
    finished(config, "second")
    assert f"{first.id} is compared with itself" in said("first", "first", "second")
