"""The tables about how well the model does, and what the rules say to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlrun_assets.evaluation.calibration import TEMPERATURES
from mlrun_assets.records import (
    BaselineCandidate,
    Calibration,
    CheckOutcome,
    ClassScores,
    Comparison,
    DatasetRecord,
    DecisionRecord,
    ErrorByChance,
    EvaluationRecord,
    RuleOutcome,
    RuleResult,
    RunRecords,
    Score,
    Scores,
)
from mlrun_assets.reports.formatting import (
    NOTHING,
    Markdown,
    code,
    count,
    difference,
    escape,
    joined,
    number,
    prose,
    score,
    seconds,
)
from mlrun_assets.reports.tables import CELL_LIMIT, table

MOST_CLASSES = 25
MOST_SLICES = 20
MOST_PARTS = 15
LABEL_LIMIT = 48
_SCORES_HEADER = ("", ">accuracy", ">macro-F1", ">weighted-F1")


def scores_table(records: RunRecords) -> Markdown:
    """The model beside its baselines, the model in production and the thresholds."""
    rows = []
    if records.evaluation:
        rows.append(scores_row(Markdown("**this model**"), records.evaluation.test))
        rows += _without_leaks_row(records.evaluation)
    if records.baseline:
        chosen = escape(records.baseline.chosen, LABEL_LIMIT)
        majority = escape(records.baseline.majority_label, LABEL_LIMIT)
        linear = Markdown(f"n-gram baseline ({chosen})")
        rows.append(scores_row(linear, records.baseline.linear))
        always = Markdown(f"majority class ({majority})")
        rows.append(scores_row(always, records.baseline.majority))
    if records.evaluation:
        rows += _production_row(records.evaluation)
        rows += _threshold_row(records.evaluation, records.decision)
        rows.append(scores_row(Markdown("this model on val"), records.evaluation.val))
    return table(_SCORES_HEADER, rows)


def scores_rows_table(scores: dict[str, Scores]) -> Markdown:
    """The scores of one model on several splits, by name."""
    return table(_SCORES_HEADER, (scores_row(escape(name), one) for name, one in scores.items()))


def scores_row(name: Markdown, scores: Scores) -> list[Markdown]:
    """One model's row of the scores."""
    return [name, score(scores.accuracy), score(scores.f1_macro), score(scores.f1_weighted)]


def f1_name(evaluation: EvaluationRecord) -> Markdown:
    """The F1 that the thresholds and comparisons mean: ``macro-F1`` or ``weighted-F1``."""
    return escape(f"{evaluation.f1_kind}-F1")


def per_class_table(classes: Sequence[ClassScores]) -> Markdown:
    """Scores of each label; of the `MOST_CLASSES` with the lowest F1 where there are more.

    The first column is the number that a picture shows where it can't draw the label.
    """
    numbered = list(enumerate(classes, 1))
    if len(numbered) > MOST_CLASSES:
        numbered = sorted(numbered, key=lambda item: item[1].f1)[:MOST_CLASSES]
    return table(
        [">no.", "label", ">precision", ">recall", ">F1", ">rows", ">predicted"],
        (
            [
                count(place),
                escape(label.label, LABEL_LIMIT),
                score(label.precision),
                score(label.recall),
                score(label.f1),
                count(label.support),
                count(label.predicted),
            ]
            for place, label in numbered
        ),
    )


def slices_table(evaluation: EvaluationRecord) -> Markdown:
    """Accuracy on the parts of the test split, at most `MOST_SLICES`, with rows enough first."""
    return table(
        ["slice", "value", ">rows", ">accuracy"],
        (
            [
                escape(part.column, LABEL_LIMIT),
                escape(part.value, LABEL_LIMIT),
                count(part.rows),
                score(part.accuracy) if part.accuracy else Markdown("insufficient evidence"),
            ]
            for part in sorted(evaluation.slices, key=lambda each: each.accuracy is None)[
                :MOST_SLICES
            ]
        ),
    )


def parts_table(comparison: Comparison) -> Markdown:
    """Recall of both models by label and slice, the largest loss first, at most `MOST_PARTS`."""
    parts = sorted((*comparison.labels, *comparison.slices), key=lambda part: -part.loss.value)
    return table(
        ["label or slice", ">rows", ">this model", f">{comparison.against}", ">loss"],
        (
            [
                escape(part.part, LABEL_LIMIT),
                count(part.rows),
                score(part.recall),
                score(part.other_recall),
                difference(part.loss),
            ]
            for part in parts[:MOST_PARTS]
        ),
    )


def candidates_table(candidates: Iterable[BaselineCandidate]) -> Markdown:
    """The linear models that were tried."""
    return table(
        ["model", ">val accuracy", ">val macro-F1", ">time"],
        (
            [one.name, score(one.val_accuracy), score(one.val_f1_macro), seconds(one.seconds)]
            for one in candidates
        ),
    )


def rules_table(rules: Iterable[RuleResult]) -> Markdown:
    """What each rule of the decision compared, and what follows."""
    return table(
        ["rule", "outcome", ">value", ">limit", "why"],
        (
            [
                code(rule.rule),
                _outcome(rule.outcome),
                _rule_value(rule),
                number(rule.limit),
                prose(rule.sentence, CELL_LIMIT),
            ]
            for rule in rules
        ),
    )


def _outcome(outcome: RuleOutcome) -> Markdown:
    quiet = outcome in {RuleOutcome.PASSED, RuleOutcome.OFF}
    return Markdown(outcome.value if quiet else f"**{outcome.value}**")


def _rule_value(rule: RuleResult) -> Markdown:
    if rule.value is None or rule.low is None or rule.high is None:
        return number(rule.value)
    return score(Score(value=rule.value, low=rule.low, high=rule.high))


def _f1_cells(evaluation: EvaluationRecord, value: float | None) -> list[Markdown]:
    macro = evaluation.f1_kind == "macro"
    return [score(value) if macro else NOTHING, NOTHING if macro else score(value)]


def _without_leaks_row(evaluation: EvaluationRecord) -> list[list[Markdown]]:
    clean = evaluation.test_without_leaks
    if clean is None:
        return []
    leaking = evaluation.test.rows - clean.rows
    name = Markdown(f"this model, without {count(leaking)} test rows known from other splits")
    return [scores_row(name, clean)]


def _production_row(evaluation: EvaluationRecord) -> list[list[Markdown]]:
    production = evaluation.production
    if production is None or not production.comparable:
        return []
    name = Markdown(f"production ({escape(production.against, LABEL_LIMIT)})")
    cells = _f1_cells(evaluation, production.other_f1)
    return [[name, score(production.other_accuracy), *cells]]


def _threshold_row(
    evaluation: EvaluationRecord, decision: DecisionRecord | None
) -> list[list[Markdown]]:
    limits = {rule.rule: rule.limit for rule in decision.rules} if decision else {}
    if "min_accuracy" not in limits and "min_f1" not in limits:
        return []
    cells = _f1_cells(evaluation, limits.get("min_f1"))
    return [[Markdown("threshold"), score(limits.get("min_accuracy")), *cells]]


_CALIBRATED = " gives a perfectly calibrated model on as many rows"
_CODE_SWITCHED = "code-switched"
_TWO_WAY_SLICES = ("truncated", _CODE_SWITCHED)


def calibration_sentence(evaluation: EvaluationRecord) -> Markdown:
    """How far the probabilities can be believed, in words, and the correlation coefficient."""
    calibration = evaluation.calibration
    believed = (
        f"{_says(calibration)}; {_on_average(evaluation, calibration)}. {_errors(calibration)}"
        if calibration
        else f"Expected calibration error {score(evaluation.calibration_error)}."
    )
    return Markdown(
        f"{believed} Matthews correlation {score(evaluation.test.mcc)}; evaluated at "
        f"{number(round(evaluation.rows_per_second, 1))} rows/s."
    )


def _says(calibration: Calibration) -> str:
    """Of the bin that most rows are in."""
    fullest = max(calibration.bins, key=lambda each: each.rows)
    rows = sum(each.rows for each in calibration.bins)
    low, high = fullest.accuracy_low, fullest.accuracy_high
    interval = "" if low is None or high is None else f" {_between(low, high)}"
    return (
        f"**When it says {_whole(fullest.confidence)}, it is right {_whole(fullest.accuracy)}"
        f"{interval} of the time** ({count(fullest.rows)} of {count(rows)} rows)"
    )


def _on_average(evaluation: EvaluationRecord, calibration: Calibration) -> str:
    rows = sum(each.rows for each in calibration.bins)
    confidence = sum(each.rows * each.confidence for each in calibration.bins) / rows
    accuracy = evaluation.test.accuracy
    if confidence > accuracy.high:
        judged = "it is too sure of itself"
    elif confidence < accuracy.low:
        judged = "it is less sure than it could be"
    else:
        judged = "these rows do not show it to be too sure, or less sure than it could be"
    return (
        f"on average it says {_whole(confidence)} and is right {_whole(accuracy.value)} "
        f"{_between(accuracy.low, accuracy.high)}: {judged}"
    )


def _errors(calibration: Calibration) -> str:
    least, most = TEMPERATURES
    limit = ""
    if calibration.temperature < 1.01 * least:
        limit = " (its limit: val can't tell how sure it may be)"
    elif calibration.temperature > 0.99 * most:
        limit = " (its limit: it is too sure by more than that)"
    return (
        f"Expected calibration error {score(calibration.error)}"
        f"{_beside_chance(calibration.error, calibration.chance, _CALIBRATED)}, Brier score "
        f"{score(calibration.brier)}; with the logits divided by a temperature of "
        f"{number(round(calibration.temperature, 2))}{limit}, fitted on val, "
        f"{score(calibration.error_scaled)}"
        f"{_beside_chance(calibration.error_scaled, calibration.chance_scaled, '')} and "
        f"{score(calibration.brier_scaled)}. The model is deployed without it: its labels would be "
        "the same."
    )


def _beside_chance(error: float, chance: ErrorByChance | None, explained: str) -> str:
    """Whether an error shows anything; nothing where the record does not say what chance does."""
    if chance is None:
        return ""
    judged = "more than" if error > chance.p95 else "no more than"
    return (
        f" ({judged} chance{explained}: {score(chance.mean)} on average, at most "
        f"{score(chance.p95)} in 95 of 100 splits)"
    )


def _whole(fraction: float) -> str:
    """``97 %``; all and nothing are said only where they are exact."""
    if 0.995 <= fraction < 1.0:
        return "> 99 %"
    return "< 1 %" if 0.0 < fraction < 0.005 else f"{100 * fraction:.0f} %"


def _between(low: float, high: float) -> str:
    return f"[{_whole(low)}, {_whole(high)}]"


def undivided_sentence(evaluation: EvaluationRecord, dataset: DatasetRecord | None) -> Markdown:
    """Which of the slices with two sides there are not, and why; nothing where there are both.

    Where code-switching was not looked for, no row is tagged, and that tells nothing of the rows.
    """
    if evaluation.calibration is None:
        return Markdown("")  # an evaluation from before there were such slices
    found = {part.column for part in evaluation.slices}
    missing = [name for name in _TWO_WAY_SLICES if name not in found]
    said = []
    if _CODE_SWITCHED in missing and not _looked_for_code_switching(dataset):
        missing.remove(_CODE_SWITCHED)
        said = ["Code-switched: no slice, since that was not checked."]
    if missing:
        named = " and ".join(missing).capitalize()
        said.insert(0, f"{named}: every test row or none, so no slice.")
    return Markdown(" ".join(said))


def _looked_for_code_switching(dataset: DatasetRecord | None) -> bool:
    checks = dataset.checks if dataset else ()
    return any(
        check.name == "code_switching" and check.outcome is not CheckOutcome.OFF for check in checks
    )


def parts_comparison(evaluation: EvaluationRecord) -> Comparison:
    """The comparison whose parts the report shows: with production, else with the baseline."""
    production = evaluation.production
    return production if production and production.comparable else evaluation.baseline


def parts_sentence(comparison: Comparison) -> Markdown:
    """What the table of the parts shows, and how many are shown to have lost."""
    parts = (*comparison.labels, *comparison.slices)
    lost = [escape(part.part) for part in parts if part.loss.low > 0]
    return Markdown(
        "Recall of each label and accuracy on each slice of 30 rows or more "
        f"({count(len(parts))} in all), beside {escape(comparison.against)}; the loss has "
        f"Newcombe's paired interval{_held(comparison)}. Shown to have lost: "
        f"{joined(lost) if lost else 'none'}."
    )


def _held(comparison: Comparison) -> str:
    if comparison.parts_confidence is None:
        return " on its own, and one of many loses by chance"
    said = number(round(100 * comparison.parts_confidence, 2))
    return f", each at {said} % confidence so that all hold together"


def label_next_sentence(evaluation: EvaluationRecord) -> Markdown | None:
    """What to do with the rows to label next; None where no row stands out."""
    found = evaluation.label_next
    if found is None or evaluation.label_next_file is None or not found.rows:
        return None
    listed = f"{count(found.rows)} of {count(found.candidates)}"
    file = f"{code(evaluation.label_next_file)} of the experiment"
    how = "those that the models disagree on or are unsure of, the predicted labels in turn"
    if found.split == "unlabelled":
        return Markdown(
            f"Label first: {listed} texts without labels in {file}, {how}. Add them to the "
            "training rows; a test split needs rows drawn at random."
        )
    doubted = f"; {count(found.doubted)} have a label that no model gives" if found.doubted else ""
    return Markdown(
        f"Label more texts like the {listed} val rows in {file}: {how}. Look at their own labels "
        f"too{doubted}. With {code('data.unlabelled_path')} set, texts to label are listed "
        "instead; test rows never are, so that the test split stays fair."
    )
