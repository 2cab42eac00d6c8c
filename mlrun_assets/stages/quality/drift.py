"""Checks that the splits are alike, and that the data is like that of the run before."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from mlrun_assets.config import CheckName, QualityConfig
from mlrun_assets.records import QualityCheck, Severity
from mlrun_assets.stages.quality.finding import Dataset, Measured, failed, passed
from mlrun_assets.stages.quality.shift import MOST_ROWS, Shift, measure_shift


class _Problem(NamedTuple):
    """A distance that is too large, in words, with the threshold that it passed."""

    said: str
    value: float
    threshold: float
    severity: Severity


def split_drift(dataset: Dataset) -> QualityCheck:
    """Val and test have the labels, lengths and words of train."""
    frames = {name: rows.frame for name, rows in dataset.splits.items()}
    pairs = {f"{name} against train": (frames["train"], frames[name]) for name in ("val", "test")}
    return _judge("split_drift", pairs, dataset.config.quality, "draw the splits from one source")


def drift_from_previous(dataset: Dataset) -> QualityCheck:
    """Train and test are like those of the run before on data of this name."""
    previous, limit = dataset.previous, dataset.config.quality.drift_warns
    name: CheckName = "drift_from_previous"
    if previous is None:
        return passed(name, "no earlier run on data of this name", Measured(None, limit))
    pairs = {
        f"{split} against {previous.experiment}": (
            previous.frames[split],
            dataset.splits[split].frame,
        )
        for split in ("train", "test")
    }
    columns = ["id", "text", "label"]
    if all(before.equals(now.select(columns)) for before, now in pairs.values()):
        message = f"the rows are those of {previous.experiment}"
        return passed(name, message, Measured(0.0, limit))
    advice = "give the data another data.name if the change is meant"
    return _judge(name, pairs, dataset.config.quality, advice)


def _judge(
    name: CheckName,
    pairs: dict[str, tuple[pl.DataFrame, pl.DataFrame]],
    quality: QualityConfig,
    advice: str,
) -> QualityCheck:
    """The worst shift of several pairs of frames; a pair with an empty one is passed over."""
    measured = {
        what: measure_shift(before, now)
        for what, (before, now) in pairs.items()
        if before.height and now.height
    }
    problems = {what: _problems(shift, quality) for what, shift in measured.items()}
    sampled = any(frame.height > MOST_ROWS for pair in pairs.values() for frame in pair)
    note = f" (words and lengths of samples of {MOST_ROWS:,} rows)" if sampled else ""
    found = [problem for each in problems.values() for problem in each]
    if not found:
        worst = max((shift.stability_index for shift in measured.values()), default=None)
        said = "; ".join(f"{what}: {_describe(shift)}" for what, shift in measured.items())
        return passed(
            name, (said or "a split is empty") + note, Measured(worst, quality.drift_warns)
        )
    listed = "; ".join(
        f"{what}: {', '.join(problem.said for problem in each)}"
        for what, each in problems.items()
        if each
    )
    decides = next((each for each in found if each.severity is Severity.ERROR), found[0])
    figures = Measured(decides.value, decides.threshold)
    return failed(name, decides.severity, f"{listed}; {advice}{note}", figures)


def _problems(shift: Shift, quality: QualityConfig) -> list[_Problem]:
    """The distances of a shift that are beyond their thresholds."""
    auc = shift.auc or 0.5
    labels = f"the labels differ (PSI {shift.stability_index:.2f}, JSD {shift.divergence:.3f})"
    limits = {
        labels: (shift.stability_index, quality.drift_warns, quality.drift_blocks),
        f"a classifier tells the texts apart (AUC {auc:.2f} or more)": (
            auc,
            quality.separability_warns,
            quality.separability_blocks,
        ),
        f"the lengths differ (KS {shift.length_distance:.2f})": (
            shift.length_distance,
            quality.max_length_distance,
            float("inf"),
        ),
        f"{shift.unseen_words:.0%} of the words are new": (
            shift.unseen_words,
            quality.max_unseen_words,
            float("inf"),
        ),
    }
    return [
        _Problem(said, value, blocks, Severity.ERROR)
        if value > blocks
        else _Problem(said, value, warns, Severity.WARN)
        for said, (value, warns, blocks) in limits.items()
        if value > warns
    ]


def _describe(shift: Shift) -> str:
    return f"PSI {shift.stability_index:.2f}, {shift.unseen_words:.0%} of the words new" + (
        f", AUC {shift.auc:.2f}" if shift.auc is not None else ""
    )
