"""The data-quality checks: one function per check, and how they run.

To add a check: a function `Dataset -> QualityCheck` in the module of its kind, its name in
`config.data.CheckName`, its line in `CHECKS` below, its thresholds in `config.data.QualityConfig`,
its row in `docs/data.md`, and a test in `mlrun_assets_tests/data/checks/`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import chain

import polars as pl

from mlrun_assets.config import CheckName, extra_column
from mlrun_assets.data.checks.base import Check, CheckResult, Dataset, Measured, judged, off
from mlrun_assets.data.checks.content import empty_or_short, encoding, pii, tokenizer_fit, too_long
from mlrun_assets.data.checks.drift import drift_from_previous, split_drift
from mlrun_assets.data.checks.labels import label_noise, test_power
from mlrun_assets.data.checks.language import code_switching, language
from mlrun_assets.data.checks.leakage import near_duplicates, split_leakage
from mlrun_assets.data.rows import (
    MOST_LISTED,
    RAW_CHARACTERS,
    Quarantine,
    QuarantinedRow,
    is_number,
    look_alikes,
)
from mlrun_assets.data.text import shorten
from mlrun_assets.errors import count, listed, percent
from mlrun_assets.progress import task
from mlrun_assets.records import SPLITS, Bound, QualityCheck, Severity


def run_check(name: CheckName, check: Check, dataset: Dataset) -> CheckResult:
    """Run ``check`` on the rows that ``data.quality.exempt`` does not exempt.

    A column that the check adds is extended to the whole split: exempt rows get false.
    """
    if not dataset.config.quality.exempt.get(name):
        return _result(name, check, dataset)
    looked_at = _looked_at(name, dataset)
    result = _result(name, check, _filtered(dataset, looked_at))
    left_out = sum(int((~kept).sum()) for kept in looked_at.values())
    message = f"{result.check.message} ({count(left_out, 'row')} exempt)"
    columns = {}
    for split, column in result.columns.items():
        whole = pl.Series(column.name, [False]).new_from_index(0, len(looked_at[split]))
        columns[split] = whole.scatter(looked_at[split].arg_true(), column)
    told = result.check.model_copy(update={"message": message})
    return replace(result, check=told, columns=columns)


def _looked_at(name: CheckName, dataset: Dataset) -> dict[str, pl.Series]:
    """By split: whether the check looks at the row."""
    is_exempt = pl.any_horizontal(
        pl.col("id").is_null(),  # of no row; the expression needs a column
        *(
            pl.col(extra_column(column)).is_in(list(map(str, values))).fill_null(value=False)
            for column, values in dataset.config.quality.exempt.get(name, {}).items()
        ),
    )
    return {
        split: rows.frame.select(~is_exempt).to_series() for split, rows in dataset.splits.items()
    }


def _filtered(dataset: Dataset, kept: dict[str, pl.Series]) -> Dataset:
    splits = {
        split: replace(rows, frame=rows.frame.filter(kept[split]))
        for split, rows in dataset.splits.items()
    }
    return replace(dataset, splits=splits)


# Checks that say something about data without a row. The others would be true of nothing.
_OF_NO_ROWS: tuple[CheckName, ...] = (
    "schema",
    "splits_nonempty",
    "label_domain",
    "every_label_in_every_split",
)


def _result(name: CheckName, check: Check, dataset: Dataset) -> CheckResult:
    filled = sum(not rows.frame.is_empty() for rows in dataset.splits.values())
    needed = 2 if name == "split_leakage" else 1
    if filled < needed and name not in _OF_NO_ROWS:
        return CheckResult(off(name, f"not measured: {count(filled, 'split')} with rows"))
    result = check(dataset)
    return result if isinstance(result, CheckResult) else CheckResult(result)


# One row of a label shows nothing of what its rows have in common.
LEARNABLE_ROWS = 2
FEWEST_LABELS = 2


def run_checks(dataset: Dataset) -> tuple[CheckResult, ...]:
    """Run all checks, in the order of `CHECKS`; a check that is turned off is listed as off.

    ``dataset`` is what `set_conflicts_aside` returns: the rows that are trained on.
    """
    results = []
    with task("checking the data", len(CHECKS), "checks") as advance:
        for name, check in CHECKS.items():
            if name in dataset.config.quality.skip:
                results.append(CheckResult(off(name)))
            elif dataset.token_problem and name in ON_TOKENS:
                results.append(CheckResult(off(name, f"no token counts: {dataset.token_problem}")))
            else:
                results.append(run_check(name, check, dataset))
            advance()
    return tuple(results)


def schema(dataset: Dataset) -> QualityCheck:
    """The share of quarantined rows of each split is within max_invalid_fraction."""
    limit = dataset.config.quality.max_invalid_fraction
    aside = {name: dataset.splits[name].quarantined for name in SPLITS}
    bad = {name: len(rows) - rows.reasons[CONFLICT] for name, rows in aside.items()}
    shares = {name: rows / dataset.splits[name].rows_read for name, rows in bad.items() if rows}
    share, every = max(shares.values(), default=0.0), sum(bad.values())
    measured = Measured(share, limit, every)
    if not every:
        return judged("schema", measured, "no row was quarantined")
    firsts: dict[str, QuarantinedRow] = {}
    for row in chain.from_iterable(aside.values()):
        firsts.setdefault(row.reason, row)
    counts = sum((rows.reasons for rows in aside.values()), Counter[str]())
    reasons = (
        f"{reason}: {rows}, first {firsts[reason].file}, line {firsts[reason].line}: "
        f"{firsts[reason].detail}"
        for reason, rows in counts.most_common()
        if reason != CONFLICT
    )
    cut = any(rows.unlisted for rows in aside.values())
    which = f"the first {MOST_LISTED:,} rows of each reason" if cut else "each row"
    why = f"({listed(reasons, most=3)}); data/quarantine.jsonl lists {which}"
    over = ", ".join(
        f"{percent(value)} of {name}" for name, value in shares.items() if value > limit
    )
    return judged(
        "schema",
        measured,
        f"{count(every, 'row')} quarantined, at most {percent(share)} of a split {why}",
        f"{over} quarantined {why}",
        Severity.ERROR,
    )


def splits_nonempty(dataset: Dataset) -> QualityCheck:
    """Every split has rows."""
    fewest = min(rows.frame.height for rows in dataset.splits.values())
    empty = (
        f"{name} ({rows.source})" for name, rows in dataset.splits.items() if rows.frame.is_empty()
    )
    return judged(
        "splits_nonempty",
        Measured(fewest, 1, bound=Bound.AT_LEAST),
        f"the smallest split has {count(fewest, 'row')}",
        f"no usable row in {', '.join(empty)}",
        Severity.ERROR,
    )


def label_domain(dataset: Dataset) -> QualityCheck:
    """The number of labels is as configured, no two look alike, and all or none are numbers.

    The labels are those of ``data.labels`` or of train, and the unknown ones of all splits. With
    ``data.labels``, numbers beside names are meant.
    """
    labels, expected = dataset.labels, dataset.num_labels
    strays = {
        label: stray for split in dataset.splits.values() for label, stray in split.strays.items()
    }
    alike = [
        f"write {_spelled(label, other)} as `{other}`"
        + (
            f" (first in {strays[label].file}, line {strays[label].line})"
            if label in strays
            else ""
        )
        for other, label in look_alikes([*(dataset.config.labels or labels), *strays])
    ]
    numbers = [label for label in labels if is_number(label)]
    message = f"{count(len(labels), 'label')}: {listed(labels) or 'none'}"
    measured = Measured(len(labels), FEWEST_LABELS, bound=Bound.AT_LEAST)
    if alike:
        measured = Measured(len(alike), 0)
        message = (
            "labels that differ only by case, spaces, invisible characters or look-alike letters "
            f"must be one label: {listed(alike, most=5)}"
        )
    elif 0 < len(numbers) < len(labels) and not dataset.config.labels:
        names = [label for label in labels if label not in numbers]
        measured = Measured(min(len(numbers), len(names)), 0)
        message = (
            f"the labels are numbers ({listed(numbers, most=5)}) and names "
            f"({listed(names, most=5)}); write all as names, or list them in data.labels if the "
            "numbers are names"
        )
    elif len(labels) < FEWEST_LABELS:
        message = f"{message}; two are needed"
    elif expected is not None:
        measured = Measured(len(labels), expected, bound=Bound.EXACTLY)
        if expected != len(labels):
            message = f"{message}; model.num_labels is {expected}: correct the one that is wrong"
    return judged("label_domain", measured, message, severity=Severity.ERROR)


def _spelled(label: str, other: str) -> str:
    """``label`` with the code points that ``other`` lacks, unless they are printable ASCII."""
    odd = sorted({each for each in label if each not in other and not " " <= each <= "~"})
    points = f" ({', '.join(f'U+{ord(each):04X}' for each in odd)})" if odd else ""
    return f"`{label}`{points}"


def every_label_in_every_split(dataset: Dataset) -> QualityCheck:
    """Train has two rows of every label, val has one; a label that test lacks is a warning.

    Val and test have no label that train lacks: a model can't predict it, and a score of the other
    rows would hide that.
    """
    name: CheckName = "every_label_in_every_split"
    if not dataset.labels:
        none = Measured(0, 1, bound=Bound.AT_LEAST)
        return judged(name, none, "train has no label", severity=Severity.ERROR)
    rows_of = {split: _label_rows(dataset, split) for split in dataset.splits}
    missing = {
        split: [label for label, rows in counts.items() if not rows]
        for split, counts in rows_of.items()
    }
    few = [label for label, rows in rows_of["train"].items() if 0 < rows < LEARNABLE_ROWS]
    strays = [
        f"`{label}` ({count(stray.rows, 'row')} of {split}, first {stray.file}, line {stray.line})"
        for split in ("val", "test")
        for label, stray in dataset.splits[split].strays.items()
    ]
    problems = [f"{split} lacks {listed(labels)}" for split, labels in missing.items() if labels]
    if few:
        problems.append(
            f"train has a single row of {listed(few)}, too few to learn a label from: label "
            "more rows, or remove these labels"
        )
    if strays:
        problems.append(
            f"train lacks {listed(strays, most=5)}: label training rows, or correct or remove "
            "these rows, because the scores leave them out"
        )
    if strays or any(missing.values()):
        problems.append("`mlrun-assets split FILE… --output DIR` spreads labels over new splits")
    blocks = few or strays or missing["train"] or missing["val"]
    return judged(
        name,
        Measured(len(few) + len(strays) + sum(map(len, missing.values())), 0),
        "every label is in every split",
        "; ".join(problems),
        Severity.ERROR if blocks else Severity.WARN,
    )


def exact_duplicates(dataset: Dataset) -> QualityCheck:
    """No text appears twice in one split."""
    repeated = {
        name: rows.frame.height - rows.frame["key"].n_unique()
        for name, rows in dataset.splits.items()
    }
    total = sum(repeated.values())
    where = ", ".join(f"{count} in {name}" for name, count in repeated.items() if count)
    return judged(
        "exact_duplicates",
        Measured(total, 0, total),
        "no text appears twice in a split",
        f"rows that repeat an earlier text of their split: {where}; remove them",
    )


def conflicting_labels(dataset: Dataset) -> QualityCheck:
    """Equal texts have equal labels."""
    limit = dataset.config.quality.max_conflicting_fraction
    dataset = dataset.with_set_aside()
    every = dataset.every("key")
    rows = every.join(conflicting_keys(dataset), on="key", how="semi").height
    share = rows / max(1, every.height)
    blocks = share > limit
    wrong = (
        f"{count(rows, 'row')} ({percent(share, 2)}) with the text of a row that has another label"
    )
    return judged(
        "conflicting_labels",
        Measured(share, limit if blocks or not rows else 0, rows),
        "equal texts have equal labels",
        wrong if blocks else f"{wrong}; quarantined: decide which label is right",
        Severity.ERROR if blocks else Severity.WARN,
    )


def conflicting_keys(dataset: Dataset) -> pl.DataFrame:
    """The keys of texts that have more than one label, in the column ``key``."""
    labels = dataset.every("key", "label").group_by("key").agg(pl.col("label").n_unique())
    return labels.filter(pl.col("label") > 1).select("key")


CONFLICT = "conflicting labels"


def set_conflicts_aside(dataset: Dataset) -> Dataset:
    """Quarantine the rows that `conflicting_labels` warns of; if it blocks, all rows stay."""
    name: CheckName = "conflicting_labels"
    if name in dataset.config.quality.skip:
        return dataset
    looked_at = _looked_at(name, dataset)
    examined = _filtered(dataset, looked_at)
    if not conflicting_labels(examined).warns:
        return dataset
    keys = conflicting_keys(examined)["key"].implode()
    splits, set_aside = {}, {}
    for split, rows in dataset.splits.items():
        conflicts = rows.frame["key"].is_in(keys) & looked_at[split]
        set_aside[split] = rows.frame.filter(conflicts)
        quarantined = Quarantine(
            QuarantinedRow(
                split=split,
                file=row["file"],
                line=row["line"],
                reason=CONFLICT,
                detail=f"other rows with this text do not have the label `{row['label']}`",
                raw=shorten(row["text"], RAW_CHARACTERS),
            )
            for row in set_aside[split].iter_rows(named=True)
        )
        splits[split] = replace(
            rows,
            frame=rows.frame.filter(~conflicts),
            quarantined=rows.quarantined + quarantined,
        )
    return replace(dataset, splits=splits, set_aside=set_aside)


def class_balance(dataset: Dataset) -> QualityCheck:
    """The training split has enough rows of each label, in similar numbers."""
    quality = dataset.config.quality
    counts = _label_rows(dataset, "train")
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    ratio = most / fewest if fewest else None
    rare = [label for label, count in counts.items() if count < quality.min_rows_per_label]
    balance = "no label has a row"
    if ratio:
        balance = f"the largest label has {ratio:.1f} times the rows of the smallest"
    measured = Measured(ratio, quality.imbalance_ratio, bound=Bound.BELOW)
    problems = []
    if rare:
        problems.append(f"fewer than {count(quality.min_rows_per_label, 'row')} of {listed(rare)}")
    if ratio and ratio >= quality.imbalance_ratio:
        problems.append(balance)
    elif rare:
        measured = Measured(fewest, quality.min_rows_per_label, bound=Bound.AT_LEAST)
    wrong = "; ".join([*problems, "label more rows of the rare labels"])
    return judged("class_balance", measured, balance, wrong)


def truncation(dataset: Dataset) -> QualityCheck:
    """Few texts are longer than ``model.max_length``."""
    limit = dataset.config.quality.max_truncated_fraction
    tokens = dataset.every("tokens")["tokens"]
    cut = int((tokens > dataset.max_length).sum())
    share = cut / max(1, len(tokens))
    said = f"{percent(share)} of the texts are longer than"
    return judged(
        "truncation",
        Measured(share, limit, cut),
        f"{said} {dataset.max_length} tokens",
        f"{said} model.max_length {dataset.max_length}; raise it, or put the most important column "
        "first (data.text_columns)",
    )


CHECKS: dict[CheckName, Check] = {
    "schema": schema,
    "splits_nonempty": splits_nonempty,
    "label_domain": label_domain,
    "every_label_in_every_split": every_label_in_every_split,
    "exact_duplicates": exact_duplicates,
    "conflicting_labels": conflicting_labels,
    "near_duplicates": near_duplicates,
    "split_leakage": split_leakage,
    "class_balance": class_balance,
    "test_power": test_power,
    "label_noise": label_noise,
    "split_drift": split_drift,
    "drift_from_previous": drift_from_previous,
    "truncation": truncation,
    "tokenizer_fit": tokenizer_fit,
    "language": language,
    "code_switching": code_switching,
    "empty_or_short": empty_or_short,
    "too_long": too_long,
    "encoding": encoding,
    "pii": pii,
}

ON_TOKENS: tuple[CheckName, ...] = ("truncation", "tokenizer_fit")


def _label_rows(dataset: Dataset, split: str) -> dict[str, int]:
    rows = dict(dataset.splits[split].frame["label"].value_counts().iter_rows())
    return {label: rows.get(label, 0) for label in dataset.labels}
