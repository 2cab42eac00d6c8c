"""The value, the threshold and the outcome of every check explain each other."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrun_assets.config import DataConfig, QualityConfig
from mlrun_assets.data.checks.base import Dataset, Previous
from mlrun_assets.data.checks.suite import CHECKS, run_checks
from mlrun_assets.records import Bound, CheckOutcome, QualityCheck
from mlrun_assets_tests.data.checks.test_checks import CLEAN, Rows, split_rows

WITHIN = {
    Bound.AT_MOST: operator.le,
    Bound.BELOW: operator.lt,
    Bound.AT_LEAST: operator.ge,
    Bound.EXACTLY: operator.eq,
}
# Thresholds around what such small splits have, so that either outcome occurs.
QUALITY = st.builds(
    QualityConfig,
    max_invalid_fraction=st.sampled_from([0.05, 0.5]),
    max_conflicting_fraction=st.sampled_from([0.0, 0.9]),
    max_detectable_difference=st.sampled_from([0.3, 0.6, 1.0]),
    drift_warns=st.sampled_from([0.0, 5.0]),
    max_length_distance=st.sampled_from([0.0, 1.0]),
    max_unseen_words=st.sampled_from([0.0, 1.0]),
    imbalance_ratio=st.sampled_from([1.0, 2.0, 9.0]),
    min_rows_per_label=st.sampled_from([1, 4, 12]),
    max_truncated_fraction=st.sampled_from([0.0, 0.5]),
    max_tokens_per_word=st.sampled_from([1.5, 2.0, 9.0]),
    max_unknown_token_fraction=st.sampled_from([0.0, 1.0]),
    min_words=st.sampled_from([1, 3]),
    max_characters=st.sampled_from([10, 1_000]),
)
TEXTS = st.sampled_from(
    [
        "",
        "waa",
        "magaalada Muqdisho waa caasimadda Soomaaliya",
        "qor a@b.so",
        "Ã©tat",
        "waa a\u00a0b",
    ]
)
ROWS = st.lists(st.tuples(TEXTS, st.sampled_from("ab")), max_size=8)


def datasets() -> st.SearchStrategy[Dataset]:
    return st.builds(
        _dataset,
        st.fixed_dictionaries(dict.fromkeys(CLEAN, ROWS)),
        st.booleans(),
        QUALITY,
        st.sampled_from([(), ("a",), ("a", "b"), ("a", "A")]),
        st.sampled_from([None, 1, 2]),
        st.integers(0, 3),
    )


def _dataset(
    drawn: dict[str, Rows],
    with_clean: bool,
    quality: QualityConfig,
    labels: tuple[str, ...],
    num_labels: int | None,
    bad: int,
) -> Dataset:
    splits = {}
    for name, rows in drawn.items():
        split = split_rows(name, [*(CLEAN[name] if with_clean else []), *rows], bad)
        reasons = [
            replace(row, reason="empty text") for row in split.quarantined[:1]
        ] + split.quarantined[1:]
        unknown = split.frame["tokens"] // 2
        splits[name] = replace(
            split, quarantined=reasons, frame=split.frame.with_columns(unknown=unknown)
        )
    columns = ["id", "text", "label"]
    frames = {name: split_rows(name, CLEAN[name]).frame.select(columns) for name in splits}
    config = DataConfig(quality=quality)
    return Dataset(splits, labels, num_labels, 4, config, Previous("earlier", frames))


def explains(check: QualityCheck) -> bool:
    """Whether the check fails exactly where its value is beyond its threshold."""
    if check.value is None or check.threshold is None:
        return check.outcome is not CheckOutcome.FAILED
    within = WITHIN[check.bound](check.value, check.threshold)
    return within == (check.outcome is CheckOutcome.PASSED)


# scipy warns that the distances of such small samples have no exact p-value; none is read.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(datasets())
def test_a_check_fails_exactly_where_its_value_is_beyond_its_threshold(dataset: Dataset) -> None:
    wrong = [found.check for found in run_checks(dataset) if not explains(found.check)]
    assert not wrong


@pytest.mark.parametrize(
    "name", ["test_power", "class_balance", "split_drift", "schema", "encoding"]
)
def test_either_outcome_occurs_among_the_examples(name: str) -> None:
    outcomes: Counter[CheckOutcome] = Counter()

    @settings(max_examples=20, derandomize=True, deadline=None)
    @given(datasets())
    def collect(dataset: Dataset) -> None:
        found = CHECKS[name](dataset)  # type: ignore[index]
        assert isinstance(found, QualityCheck)
        outcomes[found.outcome] += 1

    collect()
    assert outcomes[CheckOutcome.FAILED] and outcomes[CheckOutcome.PASSED]
