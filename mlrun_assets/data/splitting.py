"""Rows divided: labelled rows into splits that pass the checks, train and val into folds."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import Config, DataConfig, extra_column
from mlrun_assets.data.checks.base import Dataset
from mlrun_assets.data.checks.leakage import contained_pairs, split_leakage
from mlrun_assets.data.checks.near_duplicates import near_pairs
from mlrun_assets.data.checks.suite import CONFLICT, LEARNABLE_ROWS, label_domain
from mlrun_assets.data.reading import (
    DataFile,
    SplitRows,
    Stray,
    enforce_schema,
    normalise_rows,
    read_split,
)
from mlrun_assets.data.rows import RAW_CHARACTERS, Quarantine, QuarantinedRow, name_labels
from mlrun_assets.data.text import duplicate_key, language_profile, shorten
from mlrun_assets.errors import DataError, count, listed, percent
from mlrun_assets.metrics import label_numbers
from mlrun_assets.progress import task
from mlrun_assets.records import SPLITS, DatasetRecord, SourceFile
from mlrun_assets.types import BoolArray, FloatArray, IntArray, LabelIds, RowNumbers

# Labelled rows into splits

MOST_MB = 200.0  # of the files together: all rows are in memory, with 30 times the bytes
FRACTIONS = (0.7, 0.15, 0.15)
UNLABELLED_ROW = "missing label"
ROWS_NEEDED = (LEARNABLE_ROWS, 1, 1)  # of each label, by split


class Options(NamedTuple):
    """How rows are split.

    ``fractions``: of train, val and test; None: `FRACTIONS`, or those of the splits that the rows
    are added to.
    """

    fractions: tuple[float, float, float] | None = None
    seed: int = 42


@dataclass(frozen=True)
class Splitting:
    """The new rows of each split, in the order in which they are written.

    ``rows`` has ``label``, ``split`` and ``row``, the whole row as JSON. ``totals``: the rows of
    each label and split, earlier ones included. ``left_out``: rows that are in no split.
    ``together``: the new rows that stay beside others. ``scarce``: labels that test lacks.
    ``sources``: the files of the new rows.
    """

    rows: pl.DataFrame
    totals: dict[str, tuple[int, ...]]
    left_out: Quarantine
    together: int
    scarce: list[str]
    sources: tuple[SourceFile, ...]

    def lines(self, split: str) -> bytes:
        """The new rows of ``split`` as JSON Lines."""
        rows = self.rows.filter(pl.col("split") == SPLITS.index(split))["row"]
        return b"".join(row + b"\n" for row in rows)


def split_rows(
    files: Sequence[DataFile],
    data: DataConfig,
    options: Options,
    earlier: Mapping[str, Sequence[DataFile]] | None = None,
) -> Splitting:
    """Divide labelled rows into train, val and test, so that the data-quality checks pass.

    Labels are spread evenly. Near-duplicates, texts that contain each other and the rows of a group
    are in one split. Rows that can't be used, repeated texts and texts with two labels are left
    out. The result does not depend on the order of the rows.

    ``earlier`` are the files of splits that the rows are added to. Their rows stay where they are,
    and a new row that belongs to one of them goes into its split.

    Raises:
        DataError: a file can't be read, too many rows can't be used, or a label has too few rows.
    """
    _check_size([*files, *(file for each in (earlier or {}).values() for file in each)])
    new = _read_whole(files, data, options.seed)
    parts = {"train": new}
    for split, each in (earlier or {}).items():
        parts[f"earlier {split}"] = _normal(read_split(split, each, data), data)
    labels, unknown = name_labels(parts, data)
    new = enforce_schema(parts["train"], labels, unknown)
    old = [
        rows.frame.with_columns(split=pl.lit(SPLITS.index(rows.split)), row=pl.lit(b""))
        for rows in list(parts.values())[1:]
    ]
    rows = pl.concat([*old, new.frame.with_columns(split=-1)], how="diagonal_relaxed")
    _check_labels(rows, data)
    fractions = options.fractions or _fractions_of_earlier(rows)
    rows, left_out = _without_repeats(rows, new.quarantined)
    _check_usable(left_out, rows, data)
    fixed = rows["split"].to_numpy()
    splits, clusters = _assign(rows, data, fractions)
    rows = rows.with_columns(split=pl.Series(splits))
    bridges = rows.filter(pl.col("split") < 0)
    left_out += _left_out(bridges, "in two splits", "belongs to rows of two splits")
    sizes = np.bincount(clusters)[clusters]
    totals = _totals(rows)
    _check_coverage(totals, rows, clusters)
    return Splitting(
        rows=rows.filter((pl.Series(fixed) < 0) & (pl.col("split") >= 0)),
        totals=totals,
        left_out=left_out,
        together=int(((fixed < 0) & (splits >= 0) & (sizes > 1)).sum()),
        scarce=[label for label, counts in totals.items() if not counts[2]],
        sources=new.files,
    )


def _check_size(files: Sequence[DataFile]) -> None:
    size = sum(file.path.stat().st_size for file in files) / 1e6
    if size > MOST_MB:
        raise DataError(
            f"{listed((file.name for file in files), most=3)}: {size:,.0f} MB; `split` keeps all "
            f"rows in memory, so it takes {MOST_MB:,g} MB at most: split a part of the rows, and "
            "add the others to train"
        )


def _read_whole(files: Sequence[DataFile], data: DataConfig, seed: int) -> SplitRows:
    """The rows of all files in normal form, in an order that depends on their content only."""
    limited = data.model_copy(update={"max_file_mb": min(data.max_file_mb, MOST_MB)})
    # One by one: the ids stay as they are.
    parts = [
        read_split(f"file-{number}", [file], limited, whole=True)
        for number, file in enumerate(files, 1)
    ]
    frame = pl.concat([part.frame for part in parts])
    key = str(seed).encode()
    digests = [_digest(row, key) for row in frame["row"]]
    ordered = frame.with_columns(pl.Series("digest", digests, dtype=pl.Binary)).sort(
        "digest", "file", "line"
    )
    same = ordered.filter(~pl.col("digest").is_first_distinct())
    quarantined = Quarantine()
    for part in parts:
        quarantined += part.quarantined
    quarantined += _left_out(same, "repeated row", "the same row occurs before")
    kept = ordered.unique("digest", keep="first", maintain_order=True).drop("digest")
    name = ", ".join(file.name for file in files)
    sources = tuple(file for part in parts for file in part.files)
    return _normal(SplitRows("train", name, kept, quarantined, files=sources), data)


def _digest(row: bytes, key: bytes) -> bytes:
    columns = orjson.dumps(orjson.loads(row), option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(columns, digest_size=16, key=key).digest()


def _normal(rows: SplitRows, data: DataConfig) -> SplitRows:
    return normalise_rows(rows, language_profile(data.language).steps)[0]


def _left_out(rows: pl.DataFrame, reason: str, detail: str) -> Quarantine:
    return Quarantine(
        QuarantinedRow("", file, line, reason, detail, shorten(text, RAW_CHARACTERS))
        for file, line, text in rows.select("file", "line", "text").iter_rows()
    )


_REPEATED = ("repeated row", "repeated text", CONFLICT, UNLABELLED_ROW)


def _without_repeats(rows: pl.DataFrame, left_out: Quarantine) -> tuple[pl.DataFrame, Quarantine]:
    """``rows`` without the new ones whose text or id occurs before, or has two labels."""
    is_new = pl.col("split") < 0
    for condition, reason, detail in (
        (
            pl.col("label").n_unique().over("key") > 1,
            CONFLICT,
            "other rows with this text have another label",
        ),
        (~pl.col("key").is_first_distinct(), "repeated text", "another row has this text"),
        (~pl.col("id").is_first_distinct(), "id seen before", "another row has this id"),
    ):
        found = rows.select(is_new & condition).to_series()
        left_out += _left_out(rows.filter(found), reason, detail)
        rows = rows.filter(~found)
    return rows, left_out


def _check_usable(left_out: Quarantine, rows: pl.DataFrame, data: DataConfig) -> None:
    """Fail if more rows can't be used than the check `schema` allows."""
    new = rows.filter(pl.col("split") < 0).height
    invalid = {reason for reason in left_out.reasons if reason not in _REPEATED}
    share = sum(left_out.reasons[reason] for reason in invalid) / max(1, new + len(left_out))
    limit = data.quality.max_invalid_fraction
    if new and share <= limit:
        return
    firsts: dict[str, QuarantinedRow] = {}
    for row in left_out:
        if not new or row.reason in invalid:
            firsts.setdefault(row.reason, row)
    why = listed(
        (
            f"{reason}: {count(left_out.reasons[reason], 'row')}, first {row.file}, line "
            f"{row.line}: {row.detail}"
            for reason, row in firsts.items()
        ),
        most=3,
    )
    if not new:
        raise DataError(f"no row is left to split ({why or 'the files have no rows'})")
    raise DataError(
        f"{percent(share)} of the rows can't be used ({why}): correct them, or raise "
        f"data.quality.max_invalid_fraction ({limit:g})"
    )


def _check_labels(rows: pl.DataFrame, data: DataConfig) -> None:
    """Fail if the check `label_domain` would block the labels of the rows, if there are any."""
    firsts = rows.unique("label", keep="first").sort("label").select("label", "file", "line")
    strays = {label: Stray(1, file, line) for label, file, line in firsts.iter_rows()}
    every = SplitRows("train", "", rows, strays=strays)
    check = label_domain(Dataset({"train": every}, tuple(strays), None, 0, data))
    if check.blocks and strays:
        raise DataError(check.message)


def _fractions_of_earlier(rows: pl.DataFrame) -> tuple[float, ...]:
    """The fractions of the splits that the rows are added to; `FRACTIONS` if there are none.

    Earlier rows that are also among the new ones do not count if none of them is in train: they
    were added by the same command, which was killed before it wrote train, the last of its files.
    """
    earlier, new = rows.filter(pl.col("split") >= 0), rows.filter(pl.col("split") < 0)
    repeated = earlier.filter(pl.col("key").is_in(new["key"].implode()))
    counts, added = (
        np.bincount(each["split"], minlength=len(SPLITS)) for each in (earlier, repeated)
    )
    if not added[0] and (added < counts).all():
        counts -= added
    return tuple(counts / counts.sum()) if counts.any() else FRACTIONS


def _assign(
    rows: pl.DataFrame, data: DataConfig, fractions: tuple[float, ...]
) -> tuple[IntArray, IntArray]:
    """The split and the cluster of each row; -1 for a new row that belongs to two splits.

    The result is checked by `split_leakage`: what that still finds is kept together, too.
    """
    quality, column = data.quality, data.group_column
    groups = rows[extra_column(column)] if column else None
    links = Links(rows["key"], groups, quality.near_duplicate_similarity)
    links.add(*contained_pairs(rows["key"], quality.containment_blocks))
    labels = sorted(rows["label"].unique())
    truth, fixed = label_numbers(rows["label"], tuple(labels)), rows["split"].to_numpy()
    while True:
        clusters = links.clusters()
        splits = _Filling(clusters, truth, fixed, fractions).splits_of_rows()
        splits = np.where(fixed < 0, splits, fixed)
        first, second = _leaks(rows, splits, data)
        new = (fixed[first] < 0) | (fixed[second] < 0)
        if not new.any():
            return splits, clusters
        links.add(first[new], second[new])


def _leaks(rows: pl.DataFrame, splits: IntArray, data: DataConfig) -> tuple[RowNumbers, RowNumbers]:
    """Rows that the check `split_leakage` would block, and the rows that they are known from."""
    limits = {"containment_warns": data.quality.containment_blocks}
    strict = data.model_copy(update={"quality": data.quality.model_copy(update=limits)})
    numbered = rows.drop("id", "row").with_row_index("id").cast({"id": pl.String})
    parts = {
        split: SplitRows(split, split, numbered.filter(pl.Series(splits == number)))
        for number, split in enumerate(SPLITS)
    }
    found = split_leakage(Dataset(parts, (), None, 0, strict)).leaks
    sides = [[int(str(leak[side])) for leak in found] for side in ("id", "other_id")]
    return np.array(sides[0], dtype=np.int64), np.array(sides[1], dtype=np.int64)


_FREE, _BRIDGE = -1, -2


class _Filling:
    """The split of each cluster: that of its earlier rows, or where its labels lack rows.

    ``fixed`` is the split of each earlier row, and -1 for the new ones. A cluster with earlier rows
    of two splits is a bridge.
    """

    def __init__(
        self,
        clusters: IntArray,
        truth: LabelIds,
        fixed: IntArray,
        fractions: tuple[float, ...],
    ) -> None:
        from scipy.sparse import coo_matrix

        shape = int(clusters.max()) + 1, int(truth.max()) + 1
        ones = np.ones(len(truth), dtype=np.int64)
        self._clusters = clusters
        self._counts = coo_matrix((ones, (clusters, truth)), shape=shape).tocsr()
        self._order = np.unique(clusters, return_index=True)[1]  # of the first rows
        self._splits = _splits_of_earlier(clusters, fixed, shape[0])
        places = np.where(fixed >= 0, fixed, self._splits[clusters])
        self._have = np.zeros((shape[1], len(SPLITS)), dtype=np.int64)
        np.add.at(self._have, (truth[places >= 0], places[places >= 0]), 1)
        self._rows = np.bincount(truth)
        self._wanted = np.outer(self._rows, fractions)

    def splits_of_rows(self) -> IntArray:
        """Fill the splits: what each needs of every label, then the rest, the largest first."""
        self._fill_needs()
        sizes = np.asarray(self._counts.sum(axis=1)).ravel()
        free = np.flatnonzero(self._splits == _FREE)
        for cluster in free[np.lexsort((self._order[free], -sizes[free]))]:
            labels, counts = self._labels(cluster)
            lacking = (self._wanted - self._have)[labels]
            gains = (counts / self._rows[labels]) @ lacking
            self._put(cluster, int(gains.argmax()))
        return np.asarray(np.maximum(self._splits, -1)[self._clusters])

    def _fill_needs(self) -> None:
        """Give each split the rows that it needs of each label; the rarest labels come first."""
        by_label = self._counts.tocsc()
        for label in np.argsort(np.diff(by_label.indptr), kind="stable"):
            own = slice(by_label.indptr[label], by_label.indptr[label + 1])
            clusters, counts = by_label.indices[own], by_label.data[own]
            # The largest to train, the smallest to val and test.
            ranked = clusters[np.lexsort((self._order[clusters], counts))]
            for split, needed in enumerate(ROWS_NEEDED):
                for cluster in ranked[::-1] if split == 0 else ranked:
                    if self._have[label, split] >= needed:
                        break
                    if self._splits[cluster] == _FREE:
                        self._put(cluster, split)

    def _labels(self, cluster: int) -> tuple[IntArray, IntArray]:
        own = slice(self._counts.indptr[cluster], self._counts.indptr[cluster + 1])
        return self._counts.indices[own], self._counts.data[own]

    def _put(self, cluster: int, split: int) -> None:
        labels, counts = self._labels(cluster)
        self._splits[cluster] = split
        self._have[labels, split] += counts


def _splits_of_earlier(clusters: IntArray, fixed: IntArray, number: int) -> IntArray:
    """The split of the earlier rows of each cluster; `_FREE` without any, `_BRIDGE` with two."""
    held = np.zeros((number, len(SPLITS)), dtype=bool)
    held[clusters[fixed >= 0], fixed[fixed >= 0]] = True
    splits = np.where(held.any(axis=1), held.argmax(axis=1), _FREE)
    return np.where(held.sum(axis=1) > 1, _BRIDGE, splits)


def _totals(rows: pl.DataFrame) -> dict[str, tuple[int, ...]]:
    """The rows of each label in train, val and test."""
    counted = {
        tuple(key): number for *key, number in rows.group_by("label", "split").len().iter_rows()
    }
    return {
        label: tuple(counted.get((label, split), 0) for split in range(len(SPLITS)))
        for label in sorted(rows["label"].unique())
    }


def _check_coverage(
    totals: dict[str, tuple[int, ...]], rows: pl.DataFrame, clusters: IntArray
) -> None:
    """Fail if train lacks two rows of a label, or val one; a label that test lacks is a warning."""
    if rows.height > 1 and not clusters.any():
        raise DataError(
            f"all {count(rows.height, 'row')} belong together, by their group or as near-duplicates"
            ", and three splits can't be made of them: name another group column, or none"
        )
    numbered = rows.with_columns(cluster=pl.Series(clusters))
    lacking = []
    for label, counts in totals.items():
        if any(have < need for have, need in zip(counts[:2], ROWS_NEEDED, strict=False)):
            own = numbered.filter(pl.col("label") == label)
            file, line, apart = own["file"][0], own["line"][0], own["cluster"].n_unique()
            together = f" in {count(apart, 'group')}" if apart < own.height else ""
            lacking.append(f"`{label}` ({count(own.height, 'row')}{together}; {file}, line {line})")
    if lacking:
        raise DataError(
            f"too few rows of {listed(lacking, most=5)}: train needs two rows of a label and val "
            "one that are no near-duplicates and of different groups; correct the label, label "
            "more rows, or remove these"
        )


class Links:
    """The rows that belong together: equal or nearly equal texts, and rows of a group."""

    def __init__(self, keys: pl.Series, groups: pl.Series | None, similarity: float) -> None:
        distinct, self._key = np.unique(keys.to_numpy(), return_inverse=True)
        pairs = near_pairs(pl.Series(distinct.tolist(), dtype=pl.String), similarity)
        # The nodes of the graph are the distinct keys, and behind them the groups.
        self._nodes, self._first, self._second = len(distinct), [pairs.first], [pairs.second]
        if groups is not None:
            known = groups.is_not_null().to_numpy()
            names, number = np.unique(groups.drop_nulls().to_numpy(), return_inverse=True)
            self._first.append(self._key[known])
            self._second.append(self._nodes + number)
            self._nodes += len(names)

    def add(self, first: RowNumbers, second: RowNumbers) -> None:
        """Let pairs of rows belong together."""
        self._first.append(self._key[first])
        self._second.append(self._key[second])

    def clusters(self) -> IntArray:
        """The number of the cluster of each row."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        edges = np.concatenate(self._first), np.concatenate(self._second)
        graph = coo_matrix((np.ones(len(edges[0])), edges), shape=(self._nodes, self._nodes))
        found = connected_components(graph, directed=False)[1][self._key]
        return np.asarray(found, dtype=np.int64)


# The train and val rows, and the folds of them in which models are cross-validated

FOLDS = 5


@dataclass(frozen=True)
class LabelledRows:
    """The train rows, and after them the val rows; all arrays have the shape (rows,).

    ``folds`` has the number of the fold of a row. A group of rows is in one fold, and so are texts
    that are near-duplicates.
    """

    ids: list[str]
    texts: list[str]
    truth: LabelIds
    in_val: BoolArray
    folds: IntArray
    labels: tuple[str, ...]

    def score_out_of_fold(self, score: Callable[[BoolArray], FloatArray]) -> FloatArray:
        """Scores of shape (rows, labels) from models that were fitted on the other folds.

        ``score`` gets a condition per row, fits a model on the rows that don't hold it, and returns
        the scores of those that do.
        """
        scores = np.zeros((len(self.texts), len(self.labels)))
        folds = np.unique(self.folds)
        with task("cross-validating", len(folds), "folds") as advance:
            for fold in folds:
                held_out = self.folds == fold
                scores[held_out] = score(held_out)
                advance()
        return scores


def read_rows(directory: Path, dataset: DatasetRecord, config: Config) -> LabelledRows:
    """Read the validated train and val rows, and assign their folds."""
    frames = [
        pl.read_parquet(directory / dataset.splits[split].file, glob=False)
        for split in ("train", "val")
    ]
    frame = pl.concat(frames, how="diagonal")
    truth = label_numbers(frame["label"], dataset.labels)
    column = config.data.group_column
    return LabelledRows(
        ids=frame["id"].to_list(),
        texts=frame["text"].to_list(),
        truth=truth,
        in_val=np.arange(frame.height) >= frames[0].height,
        folds=assign_folds(
            truth,
            Links(
                pl.Series([duplicate_key(text) for text in frame["text"]], dtype=pl.String),
                frame[extra_column(column)] if column else None,
                config.data.quality.near_duplicate_similarity,
            ).clusters(),
            config.training.seed,
        ),
        labels=dataset.labels,
    )


def assign_folds(truth: LabelIds, clusters: IntArray, seed: int) -> IntArray:
    """The number of the fold of each row: labels spread evenly, clusters whole.

    There are `FOLDS` folds, fewer where no label has so many rows. A single cluster is divided.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(np.unique(clusters)) < 2:
        clusters = np.arange(len(truth))
    most = int(np.bincount(truth).max())
    if most < 2:
        return np.unique(clusters, return_inverse=True)[1] % FOLDS
    count = max(2, min(FOLDS, most, len(np.unique(clusters))))
    folds = np.zeros(len(truth), dtype=np.int64)
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label has fewer rows than there are folds
        for number, (_, held_out) in enumerate(splitter.split(truth, truth, clusters)):
            folds[held_out] = number
    return folds
