"""How far probabilities can be trusted: calibration, precision by confidence; rows to label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from mlrun_assets.errors import RecordError
from mlrun_assets.evaluation.comparison import ChallengerPredictions
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import write_atomically
from mlrun_assets.records import (
    AcceptedRows,
    Calibration,
    ErrorByChance,
    LabelNext,
    ReliabilityBin,
    Score,
)
from mlrun_assets.statistics import wilson_interval
from mlrun_assets.types import FloatArray, IntArray, LabelIds, Probabilities

BINS = 15
CURVE_POINTS = 20
DRAWS = 2000
# How many rows of all draws are in memory at once.
_ROWS_AT_ONCE = 1 << 21


def calibrate(test: ChallengerPredictions) -> Calibration:
    """Measure the calibration of the deployed probabilities on ``test``."""
    confidence, seed = test.config.evaluation.confidence, test.config.training.seed
    bins = reliability_bins(test.probabilities, test.truth, confidence)
    return Calibration(
        error=expected_calibration_error(bins),
        brier=brier_score(test.probabilities, test.truth),
        bins=bins,
        chance=calibration_error_by_chance(test.probabilities, seed),
    )


def accepted_rows(test: ChallengerPredictions, threshold: float) -> AcceptedRows:
    """The share of ``test`` with at least that confidence, and its precision."""
    accepted = test.probabilities.max(axis=1) >= threshold
    rows, right = int(accepted.sum()), int((accepted & test.right).sum())

    def share(part: int, whole: int) -> Score:
        low, high = wilson_interval(part, whole, test.config.evaluation.confidence)
        return Score(value=part / whole, low=low, high=high)

    return AcceptedRows(
        confidence=threshold,
        rows=rows,
        coverage=share(rows, len(accepted)),
        precision=share(right, rows) if rows else None,
    )


def coverage_curve(test: ChallengerPredictions) -> tuple[AcceptedRows, ...]:
    """The accepted rows at thresholds that accept from a twentieth of ``test`` to all of it."""
    confidences = np.sort(test.probabilities.max(axis=1))[::-1]
    last = np.ceil(np.linspace(0.05, 1.0, CURVE_POINTS) * len(confidences)).astype(np.int64) - 1
    thresholds = np.unique(confidences[last])[::-1].tolist()
    return tuple(accepted_rows(test, threshold) for threshold in thresholds)


def reliability_bins(
    probabilities: Probabilities, truth: LabelIds, confidence: float
) -> tuple[ReliabilityBin, ...]:
    """The non-empty of `BINS` bins of equal width; ``confidence`` is that of their intervals.

    ``probabilities`` has the shape (rows, labels), ``truth`` the shape (rows,).
    """
    highest = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    numbers = _bin_numbers(highest)
    bins = []
    for number in np.unique(numbers).tolist():
        held = right[numbers == number]
        low, high = wilson_interval(int(held.sum()), len(held), confidence)
        bins.append(
            ReliabilityBin(
                low=number / BINS,
                high=(number + 1) / BINS,
                rows=len(held),
                confidence=float(highest[numbers == number].mean()),
                accuracy=float(held.mean()),
                accuracy_low=low,
                accuracy_high=high,
            )
        )
    return tuple(bins)


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean gap between confidence and accuracy over the rows of ``bins`` (Guo et al., 2017)."""
    gap = sum(each.rows * abs(each.confidence - each.accuracy) for each in bins)
    return gap / sum(each.rows for each in bins)


def calibration_error_by_chance(probabilities: Probabilities, seed: int) -> ErrorByChance:
    """The expected calibration error of a perfectly calibrated model, from `DRAWS` simulations.

    It is not zero: in a bin of few rows the share that is right is off by chance, and the error
    takes each gap without its sign. So rows are drawn right with the model's own confidence, again
    and again, and the error of each draw is taken (consistency resampling, Broecker and Smith,
    Weather and Forecasting 22, 2007, 651-661).
    """
    confidence = np.sort(probabilities.max(axis=1))
    starts = np.unique(_bin_numbers(confidence), return_index=True)[1]
    generator = np.random.default_rng(seed)
    gaps = np.zeros((DRAWS, len(starts)))
    step = max(1, _ROWS_AT_ONCE // len(confidence))
    for first in range(0, DRAWS, step):
        some = gaps[first : first + step]
        right = generator.random((len(some), len(confidence))) < confidence
        some[:] = np.add.reduceat(confidence - right, starts, axis=1)
    errors = np.abs(gaps).sum(axis=1) / len(confidence)
    return ErrorByChance(mean=float(errors.mean()), p95=float(np.quantile(errors, 0.95)))


def brier_score(probabilities: Probabilities, truth: LabelIds) -> float:
    """Squared distance from the true label, summed over the labels: 0 to 2 (Brier, 1950)."""
    wanted = np.eye(probabilities.shape[1])[truth]
    return float(((probabilities - wanted) ** 2).sum(axis=1).mean())


def _bin_numbers(confidence: FloatArray) -> IntArray:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


# The rows to label next: those on which models disagree, or about which they are unsure

MOST_ROWS = 100
MOST_CANDIDATES = 2000
# Between the two likeliest labels: 0.75 and 0.25 are this far apart.
UNSURE_MARGIN = 0.5
_PLACE = ("id", "split", "file", "line", "label")
_SAID = ("prediction", "probability", "second", "margin")


def read_unlabelled(file: Path, seed: int) -> pl.DataFrame:
    """The unlabelled texts of the experiment, or a sample of `MOST_CANDIDATES` of them.

    Raises:
        RecordError: they are gone, or can't be read.
    """
    try:
        texts = pl.read_parquet(file, glob=False).with_columns(split=pl.lit("unlabelled"))
    except (OSError, pl.exceptions.PolarsError) as error:
        why = "they are gone" if isinstance(error, FileNotFoundError) else str(error)
        raise RecordError(
            f"{file}: the texts without labels can't be read: {why.splitlines()[0]}; materialize "
            "validated_dataset again, in the same experiment"
        ) from error
    return texts.sample(MOST_CANDIDATES, seed=seed) if texts.height > MOST_CANDIDATES else texts


def with_predictions(
    candidates: pl.DataFrame,
    probabilities: Probabilities,
    labels: tuple[str, ...],
    others: Mapping[str, LabelIds],
) -> pl.DataFrame:
    """``candidates`` with the prediction of each model.

    Args:
        candidates: the rows.
        probabilities: the challenger's, shape (rows, labels).
        labels: the names of the labels.
        others: label numbers of shape (rows,) from each other model.

    Returns:
        With the columns ``prediction``, its ``probability``, the label that comes ``second``, the
        ``margin`` between the two, and a column of labels for each other model.
    """
    names = np.array(labels, dtype=object)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    highest = np.take_along_axis(probabilities, order, axis=1)
    answers = {"prediction": order[:, 0], "second": order[:, 1], **others}
    return candidates.with_columns(
        pl.Series("probability", highest[:, 0]),
        pl.Series("margin", highest[:, 0] - highest[:, 1]),
        *(pl.Series(name, names[numbers], dtype=pl.String) for name, numbers in answers.items()),
    )


def rank(rows: pl.DataFrame, others: Sequence[str]) -> pl.DataFrame:
    """The rows that are most worth labelling first, alternating between predicted labels.

    The priority of a row is the share of the other models that disagree (query by committee, Seung
    et al., 1992), plus what the margin between the two likeliest labels lacks to 1 (margin
    sampling, Settles, 2009), plus 1 where the row has a label that no model gives (``doubted``). A
    row that all agree on and that the challenger is sure of is left out. With a column
    ``accepted``, the rows that are not accepted are listed instead. Since the labels take turns,
    the rarest gets as much of a person's time as the commonest.
    """
    differ = [pl.col(name) != pl.col("prediction") for name in others]
    disagree = pl.mean_horizontal(differ) if differ else pl.lit(0.0)
    doubted = pl.lit(value=False)
    if "label" in rows.columns:
        doubted = (disagree == 0) & (pl.col("label") != pl.col("prediction"))
    judged = rows.with_columns(disagree=disagree, doubted=doubted).with_columns(
        priority=pl.col("disagree") + 1.0 - pl.col("margin") + pl.col("doubted").cast(pl.Float64)
    )
    listed = (pl.col("disagree") > 0) | pl.col("doubted") | (pl.col("margin") < UNSURE_MARGIN)
    if "accepted" in rows.columns:
        listed = ~pl.col("accepted")
    worth = judged.filter(listed).sort("priority", descending=True, maintain_order=True)
    turns = worth.with_columns(turn=pl.int_range(pl.len()).over("prediction"))
    return turns.sort("turn", maintain_order=True)


def write_label_next(
    directory: Path, rows: pl.DataFrame, others: Sequence[str], *, show_text: bool
) -> LabelNext:
    """Write the first `MOST_ROWS` of the ranked rows to ``records/label_next.jsonl``.

    A line gives file and line of the row, each prediction, and why it was chosen. It has the text
    only with ``show_text``.
    """
    listed = rank(rows, others).head(MOST_ROWS)
    wanted = (*_PLACE, *_SAID, *others, "priority")
    columns = [name for name in wanted if name in listed.columns]
    lines = [
        orjson.dumps(
            {name: row[name] for name in columns}
            | {"why": _why(row, others)}
            | ({"text": row["text"]} if show_text else {}),
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for row in listed.with_columns(
            pl.col("probability", "margin", "priority").round(4)
        ).iter_rows(named=True)
    ]
    write_atomically(ExperimentPaths(directory).label_next, b"".join(lines))
    return LabelNext(
        split=rows["split"][0],
        candidates=rows.height,
        rows=len(lines),
        doubted=int(listed["doubted"].sum()),
    )


def _why(row: Mapping[str, object], others: Sequence[str]) -> str:
    reasons = [f"{name} says {row[name]}" for name in others if row[name] != row["prediction"]]
    if float(str(row["margin"])) < UNSURE_MARGIN:
        reasons.append(f"it may as well be {row['second']}")
    if row.get("accepted") is False:
        reasons.append("its label is not accepted")
    if row["doubted"]:
        reasons.append(f"no model says {row['label']}: the label may be wrong")
    return "; ".join(reasons)
