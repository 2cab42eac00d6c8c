"""The data-quality checks: one function per check, and how they run.

To add a check: a function `Dataset -> QualityCheck` in the module of its kind, its name in
`config.data.CheckName`, its line in `CHECKS` below, its thresholds in `config.data.QualityConfig`,
its row in `docs/data.md`, and a test in `mlrun_assets_tests/data/checks/`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import polars as pl

from mlrun_assets.config import CheckName, extra_column
from mlrun_assets.data.checks.base import Check, CheckResult, Dataset, Measured, judged, off
from mlrun_assets.data.checks.content import empty_or_short, encoding, pii, tokenizer_fit, too_long
from mlrun_assets.data.checks.drift import drift_from_previous, split_drift
from mlrun_assets.data.checks.labels import label_noise, test_power
from mlrun_assets.data.checks.language import code_switching, language
from mlrun_assets.data.checks.leakage import near_duplicates, split_leakage
from mlrun_assets.errors import count
from mlrun_assets.records import SPLITS, Bound, QualityCheck, Severity


def run_check(name: CheckName, check: Check, dataset: Dataset) -> CheckResult:
    """Run ``check`` on the rows that ``data.quality.exempt`` does not exempt.

    A column that the check adds is extended to the whole split: exempt rows get false.
    """
    exempt = dataset.config.quality.exempt.get(name)
    if not exempt:
        return _result(check, dataset)
    is_exempt = pl.any_horizontal(
        pl.col(extra_column(column)).is_in([str(value) for value in values]).fill_null(value=False)
        for column, values in exempt.items()
    )
    splits, looked_at = {}, {}
    for split, rows in dataset.splits.items():
        looked_at[split] = rows.frame.select(looked_at=~is_exempt).to_series()
        splits[split] = replace(rows, frame=rows.frame.filter(looked_at[split]))
    result = _result(check, replace(dataset, splits=splits))
    left_out = sum(int((~kept).sum()) for kept in looked_at.values())
    message = f"{result.check.message} ({count(left_out, 'row')} exempt)"
    columns = {}
    for split, column in result.columns.items():
        whole = pl.Series(column.name, [False]).new_from_index(0, len(looked_at[split]))
        columns[split] = whole.scatter(looked_at[split].arg_true(), column)
    told = result.check.model_copy(update={"message": message})
    return replace(result, check=told, columns=columns)


def _result(check: Check, dataset: Dataset) -> CheckResult:
    result = check(dataset)
    return result if isinstance(result, CheckResult) else CheckResult(result)


# One row of a label shows nothing of what its rows have in common.
LEARNABLE_ROWS = 2
FEWEST_LABELS = 2


def run_checks(dataset: Dataset) -> tuple[CheckResult, ...]:
    """Run all checks, in the order of `CHECKS`; a check that is turned off is listed as off."""
    results = []
    for name, check in CHECKS.items():
        if name in dataset.config.quality.skip:
            results.append(CheckResult(off(name)))
        elif dataset.token_problem and name in ON_TOKENS:
            results.append(CheckResult(off(name, f"no token counts: {dataset.token_problem}")))
        else:
            results.append(run_check(name, check, dataset))
    return tuple(results)


def schema(dataset: Dataset) -> QualityCheck:
    """The share of quarantined rows of each split is within max_invalid_fraction."""
    limit = dataset.config.quality.max_invalid_fraction
    bad = [row for name in SPLITS for row in dataset.splits[name].quarantined]
    shares = {
        name: len(rows.quarantined) / rows.rows_read
        for name, rows in dataset.splits.items()
        if rows.quarantined
    }
    share = max(shares.values(), default=0.0)
    measured = Measured(share, limit, len(bad))
    if not bad:
        return judged("schema", measured, "no row was quarantined")
    commonest = Counter(row.reason for row in bad).most_common(3)
    reasons = ", ".join(f"{reason}: {count}" for reason, count in commonest)
    first = next(row for row in bad if row.reason == commonest[0][0])
    over = ", ".join(f"{value:.1%} of {name}" for name, value in shares.items() if value > limit)
    return judged(
        "schema",
        measured,
        f"{count(len(bad), 'row')} quarantined, at most {share:.1%} of a split",
        f"{over} quarantined ({reasons}; for example {first.split}, line {first.line}: "
        f"{first.detail}); the quarantine file lists each line",
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
    """The number of labels is as configured, and no two labels differ only by case or spaces."""
    labels, expected = dataset.labels, dataset.num_labels
    listed = ", ".join(labels[:12]) + (", …" if len(labels) > 12 else "")
    alike: list[str] = []
    first: dict[str, str] = {}
    for label in labels:
        other = first.setdefault("".join(label.casefold().split()), label)
        if other != label:
            alike.append(f"`{other}` and `{label}`")
    message = f"{len(labels)} labels: {listed}"
    measured = Measured(len(labels), FEWEST_LABELS, bound=Bound.AT_LEAST)
    if alike:
        measured = Measured(len(alike), 0)
        message = f"{', '.join(alike)} differ only by case or spaces; make them one label"
    elif len(labels) < FEWEST_LABELS:
        message = f"the training split has {count(len(labels), 'label')} ({listed}); two are needed"
    elif expected is not None:
        measured = Measured(len(labels), expected, bound=Bound.EXACTLY)
        if expected != len(labels):
            message = (
                f"the training split has {len(labels)} labels ({listed}), model.num_labels is "
                f"{expected}; correct the one that is wrong"
            )
    return judged("label_domain", measured, message, severity=Severity.ERROR)


def every_label_in_every_split(dataset: Dataset) -> QualityCheck:
    """Train has two rows of every label, val has one; a label that test lacks is a warning."""
    missing = {
        name: [label for label in dataset.labels if label not in set(rows.frame["label"])]
        for name, rows in dataset.splits.items()
    }
    few = [label for label, rows in _label_rows(dataset).items() if 0 < rows < LEARNABLE_ROWS]
    listed = [f"{name} lacks {', '.join(labels)}" for name, labels in missing.items() if labels]
    if few:
        listed.append(
            f"train has a single row of {', '.join(few)}, too few to learn a label from: label "
            "more rows, or remove these labels"
        )
    return judged(
        "every_label_in_every_split",
        Measured(len(few) + sum(map(len, missing.values())), 0),
        "every label is in every split",
        "; ".join(listed),
        Severity.ERROR if few or missing["train"] or missing["val"] else Severity.WARN,
    )


def exact_duplicates(dataset: Dataset) -> QualityCheck:
    """No text appears twice in one split."""
    repeated = {
        name: rows.frame.height - rows.frame["key"].n_unique()
        for name, rows in dataset.splits.items()
    }
    total = sum(repeated.values())
    listed = ", ".join(f"{count} in {name}" for name, count in repeated.items() if count)
    return judged(
        "exact_duplicates",
        Measured(total, 0, total),
        "no text appears twice in a split",
        f"rows that repeat an earlier text of their split: {listed}; remove them",
    )


def conflicting_labels(dataset: Dataset) -> QualityCheck:
    """Equal texts have equal labels."""
    limit = dataset.config.quality.max_conflicting_fraction
    every = dataset.every("key")
    rows = every.join(conflicting_keys(dataset), on="key", how="semi").height
    share = rows / max(1, every.height)
    blocks = share > limit
    wrong = f"{count(rows, 'row')} ({share:.2%}) with the text of a row that has another label"
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


def class_balance(dataset: Dataset) -> QualityCheck:
    """The training split has enough rows of each label, in similar numbers."""
    quality = dataset.config.quality
    counts = _label_rows(dataset)
    fewest, most = min(counts.values(), default=0), max(counts.values(), default=0)
    ratio = most / fewest if fewest else None
    rare = [label for label, count in counts.items() if count < quality.min_rows_per_label]
    balance = "no label has a row"
    if ratio:
        balance = f"the largest label has {ratio:.1f} times the rows of the smallest"
    measured = Measured(ratio, quality.imbalance_ratio, bound=Bound.BELOW)
    problems = []
    if rare:
        problems.append(f"fewer than {quality.min_rows_per_label} rows of {', '.join(rare)}")
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
    said = f"{share:.1%} of the texts are longer than"
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


def _label_rows(dataset: Dataset) -> dict[str, int]:
    labels = dataset.splits["train"].frame["label"]
    return {label: int((labels == label).sum()) for label in dataset.labels}
