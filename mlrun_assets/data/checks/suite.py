"""The data-quality checks: one function per check, and how they run.

To add a check: a function `Dataset -> QualityCheck` in the module of its kind, its name in
`config.data.CheckName`, its line in `CHECKS` below, its thresholds in `config.data.QualityConfig`,
its row in `docs/data.md`, and a test in `mlrun_assets_tests/data/checks/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import polars as pl

from mlrun_assets.config import CheckName, extra_column
from mlrun_assets.data.checks.base import Check, CheckResult, Dataset, Measured, failed, off, passed
from mlrun_assets.data.checks.content import empty_or_short, encoding, pii, tokenizer_fit, too_long
from mlrun_assets.data.checks.drift import drift_from_previous, split_drift
from mlrun_assets.data.checks.labels import label_noise, test_power
from mlrun_assets.data.checks.language import code_switching, language
from mlrun_assets.data.checks.leakage import near_duplicates, split_leakage
from mlrun_assets.errors import count
from mlrun_assets.records import SPLITS, Bound, QualityCheck, Severity


def run_check(name: CheckName, check: Check, dataset: Dataset) -> CheckResult:
    """Run ``check`` on the rows that ``data.quality.exempt`` does not exempt.

    Columns that the check adds are extended to the whole split: exempt rows get null, or false in a
    boolean column.
    """
    exempt = dataset.config.quality.exempt.get(name)
    if not exempt:
        return _result(check, dataset)
    looked_at = {split: _looked_at(rows.frame, exempt) for split, rows in dataset.splits.items()}
    splits = {
        split: replace(rows, frame=rows.frame.filter(looked_at[split]))
        for split, rows in dataset.splits.items()
    }
    result = _result(check, replace(dataset, splits=splits))
    left_out = sum(int((~kept).sum()) for kept in looked_at.values())
    message = f"{result.check.message} ({count(left_out, 'row')} exempt)"
    columns = {
        split: tuple(_as_long_as_the_split(column, looked_at[split]) for column in given)
        for split, given in result.columns.items()
    }
    return replace(
        result, check=result.check.model_copy(update={"message": message}), columns=columns
    )


def _result(check: Check, dataset: Dataset) -> CheckResult:
    result = check(dataset)
    return result if isinstance(result, CheckResult) else CheckResult(result)


def _looked_at(frame: pl.DataFrame, exempt: dict[str, tuple[str | int, ...]]) -> pl.Series:
    left_out = [
        pl.col(extra_column(column)).is_in([str(value) for value in values]).fill_null(value=False)
        for column, values in exempt.items()
    ]
    return frame.select((~pl.any_horizontal(left_out)).alias("looked_at")).to_series()


def _as_long_as_the_split(column: pl.Series, looked_at: pl.Series) -> pl.Series:
    nothing = False if column.dtype == pl.Boolean else None
    whole = pl.Series(column.name, [nothing], dtype=column.dtype)
    return whole.new_from_index(0, len(looked_at)).scatter(looked_at.arg_true(), column)


# One row of a label shows nothing of what its rows have in common.
LEARNABLE_ROWS = 2
FEWEST_LABELS = 2


def run_checks(dataset: Dataset) -> tuple[CheckResult, ...]:
    """Run all checks, in the order of `CHECKS`; a check that is turned off is listed as off."""
    return tuple(_run(name, check, dataset) for name, check in CHECKS.items())


def _run(name: CheckName, check: Check, dataset: Dataset) -> CheckResult:
    if name in dataset.config.quality.skip:
        return CheckResult(off(name))
    if dataset.token_problem and name in ON_TOKENS:
        return CheckResult(off(name, f"no token counts: {dataset.token_problem}"))
    return run_check(name, check, dataset)


def schema(dataset: Dataset) -> QualityCheck:
    """The share of quarantined rows of each split is within max_invalid_fraction."""
    limit = dataset.config.quality.max_invalid_fraction
    shares = {
        name: len(rows.quarantined) / rows.rows_read
        for name, rows in dataset.splits.items()
        if rows.quarantined
    }
    worst = max(shares, key=lambda name: shares[name], default="train")
    share = shares.get(worst, 0.0)
    bad = sum(len(rows.quarantined) for rows in dataset.splits.values())
    over = {name: value for name, value in shares.items() if value > limit}
    if over:
        listed = ", ".join(f"{value:.1%} of {name}" for name, value in over.items())
        reasons = _commonest_reasons(dataset)
        message = f"{listed} quarantined ({reasons}); the quarantine file lists each line"
        return failed("schema", Severity.ERROR, message, Measured(share, limit, bad))
    message = (
        f"{count(bad, 'row')} quarantined, at most {share:.1%} of a split"
        if bad
        else "no row was quarantined"
    )
    return passed("schema", message, Measured(share, limit, bad))


def splits_nonempty(dataset: Dataset) -> QualityCheck:
    """Every split has rows."""
    empty = [name for name, rows in dataset.splits.items() if rows.frame.is_empty()]
    fewest = min(rows.frame.height for rows in dataset.splits.values())
    measured = Measured(fewest, 1, bound=Bound.AT_LEAST)
    if empty:
        files = ", ".join(f"{name} ({dataset.splits[name].source})" for name in empty)
        message = f"no usable row in {files}"
        return failed("splits_nonempty", Severity.ERROR, message, measured)
    return passed("splits_nonempty", f"the smallest split has {count(fewest, 'row')}", measured)


def label_domain(dataset: Dataset) -> QualityCheck:
    """The number of labels is as configured, and no two labels differ only by case or spaces."""
    labels, expected = dataset.labels, dataset.num_labels
    listed = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
    alike = _alike(labels)
    measured = Measured(len(labels), FEWEST_LABELS, bound=Bound.AT_LEAST)
    if alike:
        measured = Measured(len(alike), 0)
        pairs = ", ".join(f"`{a}` and `{b}`" for a, b in alike)
        message = f"{pairs} differ only by case or spaces; make them one label"
    elif len(labels) < FEWEST_LABELS:
        message = f"the training split has {count(len(labels), 'label')} ({listed}); two are needed"
    elif expected is not None and expected != len(labels):
        measured = Measured(len(labels), expected, bound=Bound.EXACTLY)
        message = (
            f"the training split has {len(labels)} labels ({listed}), model.num_labels is "
            f"{expected}; correct the one that is wrong"
        )
    else:
        if expected is not None:
            measured = Measured(len(labels), expected, bound=Bound.EXACTLY)
        return passed("label_domain", f"{len(labels)} labels: {listed}", measured)
    return failed("label_domain", Severity.ERROR, message, measured)


def every_label_in_every_split(dataset: Dataset) -> QualityCheck:
    """Train has two rows of every label, val has one; a label that test lacks is a warning."""
    missing = {
        name: [label for label in dataset.labels if label not in set(rows.frame["label"])]
        for name, rows in dataset.splits.items()
    }
    counts = _label_rows(dataset, "train")
    few = [label for label, count in counts.items() if 0 < count < LEARNABLE_ROWS]
    count = len(few) + sum(len(labels) for labels in missing.values())
    if count == 0:
        return passed("every_label_in_every_split", "every label is in every split", Measured(0, 0))
    listed = [f"{name} lacks {', '.join(result)}" for name, result in missing.items() if result]
    if few:
        listed.append(
            f"train has a single row of {', '.join(few)}, too few to learn a label from: label "
            "more rows, or remove these labels"
        )
    severity = Severity.ERROR if few or missing["train"] or missing["val"] else Severity.WARN
    return failed("every_label_in_every_split", severity, "; ".join(listed), Measured(count, 0))


def exact_duplicates(dataset: Dataset) -> QualityCheck:
    """No text appears twice in one split."""
    repeated = {
        name: rows.frame.height - rows.frame["key"].n_unique()
        for name, rows in dataset.splits.items()
    }
    total = sum(repeated.values())
    if total == 0:
        return passed("exact_duplicates", "no text appears twice in a split", Measured(0, 0))
    listed = ", ".join(f"{count} in {name}" for name, count in repeated.items() if count)
    message = f"rows that repeat an earlier text of their split: {listed}; remove them"
    return failed("exact_duplicates", Severity.WARN, message, Measured(total, 0, total))


def conflicting_labels(dataset: Dataset) -> QualityCheck:
    """Equal texts have equal labels."""
    limit = dataset.config.quality.max_conflicting_fraction
    frames = [rows.frame for rows in dataset.splits.values()]
    keys = conflicting_keys(frames)
    rows = sum(frame.join(keys, on="key", how="semi").height for frame in frames)
    share = rows / max(1, sum(frame.height for frame in frames))
    if rows == 0:
        return passed("conflicting_labels", "equal texts have equal labels", Measured(0.0, limit))
    message = f"{count(rows, 'row')} ({share:.2%}) with the text of a row that has another label"
    if share > limit:
        return failed("conflicting_labels", Severity.ERROR, message, Measured(share, limit, rows))
    message += "; quarantined: decide which label is right"
    return failed("conflicting_labels", Severity.WARN, message, Measured(share, 0, rows))


def conflicting_keys(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The keys of texts that have more than one label, in the column ``key``."""
    every = pl.concat([frame.select("key", "label") for frame in frames])
    labels = every.group_by("key").agg(pl.col("label").n_unique())
    return labels.filter(pl.col("label") > 1).select("key")


def class_balance(dataset: Dataset) -> QualityCheck:
    """The training split has enough rows of each label, in similar numbers."""
    quality = dataset.config.quality
    counts = _label_rows(dataset, "train")
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    ratio = most / fewest if fewest else None
    rare = [label for label, count in counts.items() if count < quality.min_rows_per_label]
    measured = Measured(ratio, quality.imbalance_ratio, bound=Bound.BELOW)
    problems = []
    if rare:
        problems.append(f"fewer than {quality.min_rows_per_label} rows of {', '.join(rare)}")
    if ratio and ratio >= quality.imbalance_ratio:
        problems.append(f"the largest label has {ratio:.1f} times the rows of the smallest")
    elif rare:
        measured = Measured(fewest, quality.min_rows_per_label, bound=Bound.AT_LEAST)
    if problems:
        message = "; ".join(problems) + "; label more rows of the rare labels"
        return failed("class_balance", Severity.WARN, message, measured)
    message = "no label has a row"
    if ratio:
        message = f"the largest label has {ratio:.1f} times the rows of the smallest"
    return passed("class_balance", message, measured)


def truncation(dataset: Dataset) -> QualityCheck:
    """Few texts are longer than ``model.max_length``."""
    limit = dataset.config.quality.max_truncated_fraction
    tokens = pl.concat([rows.frame["tokens"] for rows in dataset.splits.values()])
    cut = int((tokens > dataset.max_length).sum())
    share = cut / max(1, len(tokens))
    if share > limit:
        message = (
            f"{share:.1%} of the texts are longer than model.max_length {dataset.max_length}; "
            "raise it, or put the most important column first (data.text_columns)"
        )
        return failed("truncation", Severity.WARN, message, Measured(share, limit, cut))
    message = f"{share:.1%} of the texts are longer than {dataset.max_length} tokens"
    return passed("truncation", message, Measured(share, limit, cut))


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


def _commonest_reasons(dataset: Dataset) -> str:
    """The number of rows per reason, and the first row of the most common one."""
    bad = [row for name in SPLITS for row in dataset.splits[name].quarantined]
    commonest = Counter(row.reason for row in bad).most_common(3)
    counts = ", ".join(f"{reason}: {count}" for reason, count in commonest)
    first = next(row for row in bad if row.reason == commonest[0][0])
    return f"{counts}; for example {first.split}, line {first.line}: {first.detail}"


def _label_rows(dataset: Dataset, split: str) -> dict[str, int]:
    frame = dataset.splits[split].frame
    return {label: int((frame["label"] == label).sum()) for label in dataset.labels}


def _alike(labels: tuple[str, ...]) -> list[tuple[str, str]]:
    first: dict[str, str] = {}
    pairs = []
    for label in labels:
        other = first.setdefault("".join(label.casefold().split()), label)
        if other != label:
            pairs.append((other, label))
    return pairs
