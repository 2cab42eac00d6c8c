"""The checks: one function each, from the validated splits to what was found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from mlrun_assets.config import CheckName, DataConfig
from mlrun_assets.records import SPLITS, CheckOutcome, QualityCheck, Severity
from mlrun_assets.stages.quality.reading import SplitRows, extra_column


@dataclass(frozen=True)
class Dataset:
    """What the checks look at.

    ``splits`` by name; each frame has ``id``, ``text``, ``label``, ``key`` (what equal texts share)
    and ``tokens`` (the length in tokens, uncut).
    """

    splits: dict[str, SplitRows]
    labels: tuple[str, ...]
    num_labels: int | None
    max_length: int
    config: DataConfig


class Measured(NamedTuple):
    """What a check measured, the threshold it was held against, and the rows concerned."""

    value: float | None
    threshold: float | None
    rows: int = 0


Check = Callable[[Dataset], QualityCheck]


def run_checks(dataset: Dataset) -> tuple[QualityCheck, ...]:
    """All checks in the order of the table in the README; those that are off are listed as off."""
    return tuple(
        _off(name) if name in dataset.config.quality.skip else check(dataset)
        for name, check in CHECKS.items()
    )


def schema(dataset: Dataset) -> QualityCheck:
    """No split has too large a share of rows that can't be used."""
    limit = dataset.config.quality.max_invalid_fraction
    shares = {
        name: len(rows.bad) / rows.rows_read for name, rows in dataset.splits.items() if rows.bad
    }
    worst = max(shares, key=lambda name: shares[name], default="train")
    share = shares.get(worst, 0.0)
    bad = sum(len(rows.bad) for rows in dataset.splits.values())
    over = {name: value for name, value in shares.items() if value > limit}
    if over:
        listed = ", ".join(f"{value:.1%} of {name}" for name, value in over.items())
        reasons = _commonest_reasons(dataset)
        message = f"{listed} can't be used ({reasons}); see the quarantine file for each line"
        return _failed("schema", Severity.ERROR, message, Measured(share, limit, bad))
    message = (
        f"{bad} rows quarantined, at most {share:.1%} of a split" if bad else "all rows usable"
    )
    return _passed("schema", message, Measured(share, limit, bad))


def splits_nonempty(dataset: Dataset) -> QualityCheck:
    """Every split has rows."""
    empty = [name for name, rows in dataset.splits.items() if rows.frame.is_empty()]
    fewest = min(rows.frame.height for rows in dataset.splits.values())
    if empty:
        files = ", ".join(f"{name} ({dataset.splits[name].path})" for name in empty)
        message = f"no usable row in {files}"
        return _failed("splits_nonempty", Severity.ERROR, message, Measured(fewest, 1))
    return _passed("splits_nonempty", f"the smallest split has {fewest} rows", Measured(fewest, 1))


def label_domain(dataset: Dataset) -> QualityCheck:
    """The labels are as many as configured, and none is another one in disguise."""
    labels, expected = dataset.labels, dataset.num_labels
    listed = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
    alike = _alike(labels)
    if alike:
        pairs = ", ".join(f"`{a}` and `{b}`" for a, b in alike)
        message = f"{pairs} differ only by case or spaces; make them one label"
    elif len(labels) < 2:
        message = f"the training split has {len(labels)} labels ({listed}); two are needed"
    elif expected is not None and expected != len(labels):
        message = (
            f"the training split has {len(labels)} labels ({listed}), model.num_labels is "
            f"{expected}; correct the one that is wrong"
        )
    else:
        return _passed(
            "label_domain", f"{len(labels)} labels: {listed}", Measured(len(labels), expected)
        )
    return _failed("label_domain", Severity.ERROR, message, Measured(len(labels), expected))


def every_label_in_every_split(dataset: Dataset) -> QualityCheck:
    """Train and val hold every label; a test split that doesn't is worth a warning."""
    missing = {
        name: [label for label in dataset.labels if label not in set(rows.frame["label"])]
        for name, rows in dataset.splits.items()
    }
    count = sum(len(labels) for labels in missing.values())
    if count == 0:
        return _passed(
            "every_label_in_every_split", "every label is in every split", Measured(0, 0)
        )
    listed = "; ".join(
        f"{name} lacks {', '.join(found)}" for name, found in missing.items() if found
    )
    severity = Severity.ERROR if missing["train"] or missing["val"] else Severity.WARN
    return _failed("every_label_in_every_split", severity, listed, Measured(count, 0))


def exact_duplicates(dataset: Dataset) -> QualityCheck:
    """No text stands twice in one split."""
    repeated = {
        name: rows.frame.height - rows.frame["key"].n_unique()
        for name, rows in dataset.splits.items()
    }
    total = sum(repeated.values())
    if total == 0:
        return _passed("exact_duplicates", "no text stands twice in a split", Measured(0, 0))
    listed = ", ".join(f"{count} in {name}" for name, count in repeated.items() if count)
    message = f"rows whose text stands earlier in their split: {listed}; remove them"
    return _failed("exact_duplicates", Severity.WARN, message, Measured(total, 0, total))


def conflicting_labels(dataset: Dataset) -> QualityCheck:
    """Equal texts carry equal labels."""
    limit = dataset.config.quality.max_conflicting_fraction
    every = pl.concat([rows.frame.select("key", "label") for rows in dataset.splits.values()])
    keys = every.group_by("key").agg(pl.col("label").n_unique().alias("labels"))
    rows = every.join(keys.filter(pl.col("labels") > 1), on="key", how="semi").height
    share = rows / max(1, every.height)
    if rows == 0:
        return _passed("conflicting_labels", "equal texts carry equal labels", Measured(0.0, limit))
    message = f"{rows} rows ({share:.2%}) share their text with a row of another label"
    severity = Severity.ERROR if share > limit else Severity.WARN
    return _failed("conflicting_labels", severity, message, Measured(share, limit, rows))


def split_leakage(dataset: Dataset) -> QualityCheck:
    """No text, and no group, stands in two splits."""
    columns = {"text": "key"}
    if dataset.config.group_column:
        columns["group"] = extra_column(dataset.config.group_column)
    leaks: list[str] = []
    rows = 0
    for kind, column in columns.items():
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            known = dataset.splits[first].frame.select(pl.col(column).drop_nulls().unique())
            leaked = dataset.splits[second].frame.join(known, on=column, how="semi").height
            if leaked:
                rows += leaked
                leaks.append(f"{leaked} rows of {second} share their {kind} with {first}")
    if leaks:
        message = "; ".join(leaks) + "; keep each in one split only"
        return _failed("split_leakage", Severity.ERROR, message, Measured(rows, 0, rows))
    return _passed("split_leakage", "no text stands in two splits", Measured(0, 0))


def class_balance(dataset: Dataset) -> QualityCheck:
    """The training split has enough rows of each label, in like number."""
    quality = dataset.config.quality
    counts = _label_rows(dataset, "train")
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    ratio = most / fewest if fewest else None
    if most == 0:
        return _passed("class_balance", "no training row", Measured(None, quality.imbalance_ratio))
    rare = [label for label, count in counts.items() if count < quality.min_rows_per_label]
    problems = []
    if rare:
        problems.append(f"fewer than {quality.min_rows_per_label} rows of {', '.join(rare)}")
    if ratio and ratio >= quality.imbalance_ratio:
        problems.append(f"the largest label has {ratio:.1f} times the rows of the smallest")
    if problems:
        message = "; ".join(problems) + "; label more rows of the small ones"
        measured = Measured(ratio, quality.imbalance_ratio)
        return _failed("class_balance", Severity.WARN, message, measured)
    message = f"the largest label has {ratio:.1f} times the rows of the smallest"
    return _passed("class_balance", message, Measured(ratio, quality.imbalance_ratio))


def truncation(dataset: Dataset) -> QualityCheck:
    """Few texts are longer than what the model reads."""
    limit = dataset.config.quality.max_truncated_fraction
    tokens = pl.concat([rows.frame["tokens"] for rows in dataset.splits.values()])
    cut = int((tokens > dataset.max_length).sum())
    share = cut / max(1, len(tokens))
    if share > limit:
        message = (
            f"{share:.1%} of the texts are longer than model.max_length {dataset.max_length}; "
            "raise it, or put what matters first (data.text_columns)"
        )
        return _failed("truncation", Severity.WARN, message, Measured(share, limit, cut))
    message = f"{share:.1%} of the texts are longer than {dataset.max_length} tokens"
    return _passed("truncation", message, Measured(share, limit, cut))


CHECKS: dict[CheckName, Check] = {
    "schema": schema,
    "splits_nonempty": splits_nonempty,
    "label_domain": label_domain,
    "every_label_in_every_split": every_label_in_every_split,
    "exact_duplicates": exact_duplicates,
    "conflicting_labels": conflicting_labels,
    "split_leakage": split_leakage,
    "class_balance": class_balance,
    "truncation": truncation,
}


def _commonest_reasons(dataset: Dataset) -> str:
    counts: dict[str, int] = {}
    for name in SPLITS:
        for bad in dataset.splits[name].bad:
            counts[bad.reason] = counts.get(bad.reason, 0) + 1
    commonest = sorted(counts.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{reason}: {count}" for reason, count in commonest)


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


def _off(name: CheckName) -> QualityCheck:
    return QualityCheck(
        name=name,
        outcome=CheckOutcome.OFF,
        severity=Severity.WARN,
        value=None,
        threshold=None,
        rows=0,
        message="turned off in data.quality.skip",
    )


def _passed(name: CheckName, message: str, measured: Measured) -> QualityCheck:
    return QualityCheck(
        name=name,
        outcome=CheckOutcome.PASSED,
        severity=Severity.WARN,
        message=message,
        **measured._asdict(),
    )


def _failed(name: CheckName, severity: Severity, message: str, measured: Measured) -> QualityCheck:
    return QualityCheck(
        name=name,
        outcome=CheckOutcome.FAILED,
        severity=severity,
        message=message,
        **measured._asdict(),
    )
