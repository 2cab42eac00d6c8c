"""Labelled rows divided into splits; the folds in which candidates are cross-validated."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrun_assets.config import Config, DataConfig, LoadedConfig, extra_column
from mlrun_assets.data import splitting
from mlrun_assets.data.reading import DataFile
from mlrun_assets.data.splitting import (
    FOLDS,
    Options,
    Splitting,
    assign_folds,
    read_rows,
    split_rows,
)
from mlrun_assets.data.validation import validate_dataset
from mlrun_assets.errors import DataError
from mlrun_assets.records import SPLITS
from mlrun_assets_tests.examples import LABELS, sample_rows, write_rows, write_splits

Row = dict[str, Any]
DEFAULTS = Options()
NUMBERED = "ku{n} la{n} ma{n} ra{n} so{n} wa{n}"


def rows_of(label: str, number: int, **columns: Any) -> list[Row]:
    """Texts that have no word in common."""
    return [
        {"text": NUMBERED.format(n=f"{label}{place}"), "label": label, **columns}
        for place in range(number)
    ]


def divided(
    directory: Path, rows: list[Row], options: Options = DEFAULTS, **settings: Any
) -> Splitting:
    file = write_rows(directory / "rows.jsonl", rows)
    return split_rows([DataFile("rows.jsonl", file)], DataConfig(**settings), options)


def texts_by_split(done: Splitting, column: str = "text") -> dict[str, list[Any]]:
    return {
        split: [json.loads(line)[column] for line in done.lines(split).splitlines()]
        for split in SPLITS
    }


def added(directory: Path, done: Splitting, rows: list[Row], **settings: Any) -> Splitting:
    """``rows`` added to the splits that ``done`` has made."""
    earlier = {}
    for split in SPLITS:
        file = directory / f"{split}.jsonl"
        file.write_bytes(done.lines(split))
        earlier[split] = [DataFile(file.name, file)]
    file = write_rows(directory / "new.jsonl", rows)
    return split_rows([DataFile("new.jsonl", file)], DataConfig(**settings), Options(), earlier)


def test_the_sample_split_anew_passes_the_checks_in_any_order(tmp_path: Path) -> None:
    rows = [row for split in SPLITS for row in sample_rows(split)]
    results = []
    for order in range(2):
        random.Random(order).shuffle(rows)
        results.append(divided(tmp_path, rows))
    assert results[0].totals == results[1].totals
    assert all(results[0].lines(split) == results[1].lines(split) for split in SPLITS)
    assert divided(tmp_path, rows, Options(seed=1)).lines("val") != results[0].lines("val")
    paths = {}
    for split in SPLITS:
        paths[f"{split}_path"] = f"{split}.jsonl"
        (tmp_path / f"{split}.jsonl").write_bytes(results[0].lines(split))
    assert sorted(row["id"] for row in rows) == sorted(
        name for names in texts_by_split(results[0], "id").values() for name in names
    )
    config = LoadedConfig(settings=Config(data=DataConfig(**paths)), directory=tmp_path)
    record = validate_dataset(config, tmp_path / "checked", None)
    assert record.ready
    for split, share in zip(SPLITS, splitting.FRACTIONS, strict=True):
        for rows_kept in record.splits[split].label_rows.values():
            assert abs(rows_kept - share * 625 / 3) < 5


PIECES = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 8), st.integers(0, 3), st.booleans()),
    min_size=10,
    max_size=30,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=PIECES, order=st.randoms(use_true_random=False))
def test_clusters_are_whole_and_the_order_of_rows_does_not_matter(
    tmp_path: Path, pieces: list[tuple[str, int, int, bool]], order: random.Random
) -> None:
    """Texts with a word changed, texts inside others, and groups."""
    rows = rows_of("a", 4) + rows_of("b", 4)
    for label, number, change, inside in pieces:
        words = [f"{word}{number}{label}" for word in "abcdefghijklmnopqrstuvwxyz"]
        words = words[:16] if inside else words
        words[-1] += f"x{change}"
        group = f"g{number}" if change == 0 else None
        rows.append({"text": " ".join(words), "label": label, "group": group})
    for row in rows[:8]:
        row["group"] = None
    first = divided(tmp_path, rows, group_column="group")
    order.shuffle(rows)
    again = divided(tmp_path, rows, group_column="group")
    assert [first.lines(split) for split in SPLITS] == [again.lines(split) for split in SPLITS]
    places: dict[str, set[str]] = {}
    for split, texts in texts_by_split(first).items():
        for text in texts:
            if text.startswith("a"):
                places.setdefault(text.split()[0], set()).add(split)
    assert all(len(splits) == 1 for splits in places.values())
    assert first.rows.height + len(first.left_out) == len(rows)


def test_every_split_has_the_labels_that_it_needs(tmp_path: Path) -> None:
    done = divided(tmp_path, rows_of("a", 100) + rows_of("b", 4) + rows_of("c", 3))
    assert done.totals["a"] == (70, 15, 15)
    assert done.totals["b"][0] >= 2 and min(done.totals["b"]) == 1
    assert done.totals["c"] == (2, 1, 0)
    assert done.scarce == ["c"]
    other = divided(tmp_path, rows_of("a", 100) + rows_of("b", 10), Options((0.5, 0.3, 0.2)))
    assert other.totals == {"a": (50, 30, 20), "b": (5, 3, 2)}


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    rows = rows_of("a", 20) + rows_of("b", 20, page=7)
    extra = [
        rows[0],
        {**rows[1], "text": rows[1]["text"].upper()},
        {**rows[2], "label": "b"},
        {"text": "not labelled yet", "label": ""},
    ]
    done = divided(tmp_path, rows + extra)
    assert done.left_out.reasons == Counter(
        {"repeated row": 1, "repeated text": 1, "conflicting labels": 2, "missing label": 1}
    )
    assert sum(map(sum, done.totals.values())) == 39
    numbers = [json.loads(line).get("page") for line in done.lines("train").splitlines()]
    assert set(numbers) == {None, 7}


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "no rows"),
        (rows_of("a", 9), {}, "two are needed"),
        (
            [row for label in "abcdef" for row in rows_of(label, 1)],
            {},
            "too few rows of `a` (1 row",
        ),
        (rows_of("a", 9) + rows_of("b", 2), {}, "too few rows of `b` (2 rows"),
        (
            rows_of("a", 9, by="x") + rows_of("b", 9, by="x"),
            {"group_column": "by"},
            "all 18 rows belong together",
        ),
        (
            [{**row, "by": row["label"]} for row in rows_of("a", 9) + rows_of("b", 9)],
            {"group_column": "by"},
            "too few rows of `a` (9 rows in 1 group",
        ),
        (rows_of("a", 9) + rows_of("A", 9), {}, "write `a` as `A`"),
        (rows_of("a", 9) + rows_of("b", 9, id=1), {}, "id seen before: 8 rows"),
        (rows_of("a", 9), {"label_column": "topic"}, "no `topic`"),
    ],
)
def test_rows_that_can_not_be_split_are_one_message(
    tmp_path: Path, rows: list[Row], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as error:
        divided(tmp_path, rows, **settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_files_that_are_too_large_for_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splitting, "MOST_MB", 0.001)
    with pytest.raises(DataError, match=r"0\.001 MB at most"):
        divided(tmp_path, rows_of("a", 200))


def test_rows_are_added_without_moving_an_earlier_one(tmp_path: Path) -> None:
    first = divided(tmp_path, rows_of("a", 40) + rows_of("b", 40))
    known = texts_by_split(first)
    long = [f"word{n}" for n in range(40)]
    new = [{"text": " ".join(long[n:]), "label": "a"} for n in range(2)]
    done = added(tmp_path, first, [*new, {"text": known["val"][0], "label": known["val"][0][2]}])
    assert done.left_out.reasons == Counter({"repeated text": 1})
    (split,) = [split for split, texts in texts_by_split(done).items() if texts]
    assert len(texts_by_split(done)[split]) == 2
    assert sum(map(sum, done.totals.values())) == 82
    again = added(tmp_path, first, rows_of("a", 40) + rows_of("c", 20))
    assert again.totals["a"] == first.totals["a"]
    assert again.totals["c"] == (14, 3, 3)


def test_an_added_row_goes_to_its_near_duplicate_or_its_group(tmp_path: Path) -> None:
    rows = [{**row, "by": f"{row['label']}{n}"} for label in "ab"
            for n, row in enumerate(rows_of(label, 20))]  # fmt: skip
    first = divided(tmp_path, rows, group_column="by")
    groups = texts_by_split(first, "by")
    one = {"text": "a text of val", "label": "a", "by": groups["val"][0]}
    two = {"text": "a text of test", "label": "a", "by": groups["test"][0]}
    done = added(tmp_path, first, [one, two], group_column="by")
    assert texts_by_split(done) == {"train": [], "val": [one["text"]], "test": [two["text"]]}
    # These two are near-duplicates, and would be in val and test.
    same = " ".join(f"word{n}" for n in range(30))
    one["text"], two["text"] = same, f"{same} more"
    free = rows_of("c", 10, by=None)
    done = added(tmp_path, first, [one, two, *free], group_column="by")
    assert done.left_out.reasons == Counter({"in two splits": 2})
    assert sum(done.totals["c"]) == 10


def test_near_duplicates_and_groups_are_in_one_fold(tmp_path: Path) -> None:
    splits = {name: sample_rows(name)[:40] for name in ("train", "val")}
    first = splits["train"][0]["text"]
    for row, text in zip(splits["val"], (first, first.upper(), f"{first} oo"), strict=False):
        row["text"] = text
    for rows in splits.values():
        for number, row in enumerate(rows):
            row[extra_column("source")] = f"paper {number % 4}" if number % 8 > 3 else None
    dataset = write_splits(tmp_path, splits, LABELS)
    config = Config(data={"group_column": "source"})  # type: ignore[arg-type]
    rows = read_rows(tmp_path, dataset, config)
    assert rows.in_val.tolist() == [False] * 40 + [True] * 40
    assert len(set(rows.folds[[0, 40, 41, 42]])) == 1
    names = [row[extra_column("source")] for split in splits.values() for row in split]
    for paper in {name for name in names if name}:
        assert len({rows.folds[at] for at, name in enumerate(names) if name == paper}) == 1
    assert set(rows.folds) == set(range(FOLDS))
    again = read_rows(tmp_path, dataset, config)
    assert again.folds.tolist() == rows.folds.tolist()


def test_each_fold_has_its_share_of_each_label() -> None:
    truth = np.repeat([0, 1, 2], [50, 20, 5])
    folds = assign_folds(truth, np.arange(75), seed=1)
    for label, rows in enumerate((10, 4, 1)):
        assert np.bincount(folds[truth == label]).tolist() == [rows] * FOLDS


@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=2, max_size=30),
    seed=st.integers(0, 9),
)
def test_every_fold_leaves_rows_to_fit_and_clusters_are_whole(
    rows: list[tuple[int, int]], seed: int
) -> None:
    """Labels with one row, fewer rows than folds, and few clusters included."""
    truth, clusters = np.array(rows).T
    folds = assign_folds(truth, clusters, seed)
    assert 2 <= len(np.unique(folds)) <= FOLDS
    if len(np.unique(clusters)) > 1:
        for cluster in np.unique(clusters):
            assert len(np.unique(folds[clusters == cluster])) == 1


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [0, 1, 2]])
def test_as_many_rows_as_there_are_folds_are_not_needed(labels: list[int]) -> None:
    folds = assign_folds(np.array(labels), np.arange(len(labels)), seed=1)
    assert len(np.unique(folds)) >= 2
