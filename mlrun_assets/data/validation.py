"""Stage ``validated_dataset``: reads, checks and profiles the splits; stores the clean rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from math import nan
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import LoadedConfig
from mlrun_assets.data.checks.base import CheckResult, Dataset, Previous
from mlrun_assets.data.checks.content import tokens_per_word
from mlrun_assets.data.checks.language import add_language
from mlrun_assets.data.checks.suite import run_checks, set_conflicts_aside
from mlrun_assets.data.other_rows import (
    keep_helper_rows,
    keep_unlabelled,
    read_helper_rows,
    read_unlabelled,
)
from mlrun_assets.data.reading import (
    SplitRows,
    enforce_schema,
    normalise_rows,
    read_split,
)
from mlrun_assets.data.rows import QuarantinedRow, name_labels
from mlrun_assets.data.sources import (
    AUXILIARY,
    UNLABELLED,
    Source,
    fetch_sources,
    inputs_of_run,
    join_digests,
    source_paths,
)
from mlrun_assets.data.text import language_profile
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.errors import DataError, EncoderError, count, public_name
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import write_atomically
from mlrun_assets.records import SPLITS, DatasetRecord, HelperRows, PriorRun, SplitProfile, Status
from mlrun_assets.types import IntArray, ProgressCallback


class TokenCounts(NamedTuple):
    """Tokens (with special ones, not truncated) and unknown tokens of each text."""

    tokens: IntArray
    unknown: IntArray


CountTokens = Callable[[list[str]], TokenCounts]


def validate_dataset(
    config: LoadedConfig,
    directory: Path,
    count_tokens: CountTokens | None,
    previous: Previous | None = None,
) -> DatasetRecord:
    """Read, validate and profile the three splits.

    Writes these files below ``directory``:
        ``data/{train,val,test}.parquet``: ``id``, ``text`` in normal form, ``label``, ``file``,
            ``line``, ``language``, ``code_switched``, ``tokens``, `DataConfig.extra_columns` and
            the columns that checks add.
        ``data/quarantine.jsonl``: the quarantined rows, also helper rows and unlabelled texts.
        ``data/review_labels.jsonl``: the labels to review.
        ``data/leaks.jsonl``: rows that are known from another split, and from where.
        ``data/auxiliary.parquet``: only if ``data.auxiliary_path`` is set.
        ``data/unlabelled.parquet``: only if ``data.unlabelled_path`` is set.

    Returns:
        The record; ``ready`` is False if a check blocks the data.

    Raises:
        DataError: a file is missing or can't be read, or a URL can't be fetched.
    """
    data, model = config.settings.data, config.settings.model
    paths = ExperimentPaths(directory)
    files = fetch_sources(find_files(config), paths.fetched)
    others = {name: files.pop(name, None) for name in (AUXILIARY, UNLABELLED)}
    without_labels, of_others = others[UNLABELLED], others[AUXILIARY]
    unlabelled = read_unlabelled(without_labels, data) if without_labels else None
    normalised: Counter[str] = Counter()
    read, steps = {}, language_profile(data.language).steps
    for split, each in files.items():
        read[split], changes = normalise_rows(read_split(split, each, data), steps)
        normalised += changes
    labels, unknown = name_labels(read, data)
    helpers = read_helper_rows(of_others, data, labels) if of_others else None
    splits = {}
    for split, rows in read.items():
        known = enforce_schema(rows, labels, unknown)
        frame = add_counts(add_language(known.frame, data), count_tokens)
        splits[split] = replace(known, frame=frame)
    read_rows = Dataset(
        splits=splits,
        labels=labels,
        num_labels=model.num_labels,
        max_length=model.max_length,
        config=data,
        previous=previous,
        show_text=config.settings.reports.show_text,
        token_problem=None if count_tokens else "the encoder can't be reached",
        special_tokens=int(count_tokens([""]).tokens[0]) if count_tokens else 0,
    )
    texts = keep_unlabelled(unlabelled, read_rows, directory) if unlabelled else None
    auxiliary = keep_helper_rows(helpers, read_rows, directory) if helpers else None
    dataset = set_conflicts_aside(read_rows)
    results = run_checks(dataset)
    checks = tuple(found.check for found in results)
    for split, rows in dataset.splits.items():
        added = [result.columns[split] for result in results if split in result.columns]
        splits[split] = replace(rows, frame=rows.frame.with_columns(added))
    _write(splits, results, paths)
    aside = [*splits.values(), *filter(None, (helpers, unlabelled))]
    write_atomically(paths.quarantine, _json_lines(_in_order_of_files(aside)))
    reasons = sum((rows.quarantined.reasons for rows in splits.values()), Counter[str]())
    return DatasetRecord(
        name=data_name(config),
        ready=not any(check.blocks for check in checks),
        digest=_digest(splits, auxiliary),
        labels=labels,
        splits={
            split: profile_split(rows, dataset, paths.relative(paths.split(split)))
            for split, rows in splits.items()
        },
        checks=checks,
        quarantine_reasons=dict(reasons.most_common()),
        quarantine_file=paths.relative(paths.quarantine),
        max_length=model.max_length,
        normalised=dict(normalised.most_common()),
        unlabelled=texts,
        auxiliary=auxiliary,
    )


def check_files(config: LoadedConfig, output: Path, note: ProgressCallback) -> DatasetRecord:
    """Validate the data into the directory ``output``, without an experiment.

    If the encoder can't be loaded, ``note`` gets a line, and the checks of text lengths are off.

    Raises:
        DataError: a file is missing or can't be read, or would be overwritten in ``output``.
    """
    # Before the encoder, which takes seconds to import.
    sources = chain.from_iterable(find_files(config).values())
    written = (output / "data").resolve()
    for file in (Path(source.location) for source in sources if not source.is_url):
        if file.suffix == ".parquet" and file.resolve().parent == written:
            raise DataError(f"{file}: would be overwritten; choose another --output")
    model = config.settings.model
    try:
        counter = token_counter(resolve_encoder(model.name, model.revision, config.directory))
    except EncoderError as error:
        note(f"no token counts, so the checks of text lengths are off: {error}")
        counter = None
    return validate_dataset(config, output, counter)


def find_files(config: LoadedConfig) -> dict[str, tuple[Source, ...]]:
    """The files of the splits, and of the helper rows and unlabelled texts if there are any.

    Raises:
        DataError: a file is missing or can't be read.
    """
    unlabelled = [UNLABELLED] if config.settings.data.unlabelled_path else []
    return source_paths(config, [*inputs_of_run(config), *unlabelled])


def _digest(splits: dict[str, SplitRows], auxiliary: HelperRows | None) -> str:
    """A digest of ids, texts and labels, which does not depend on the format of the files."""
    digest = hashlib.sha256()
    for split, rows in splits.items():
        digest.update(f"{split}\n".encode())
        for row in rows.frame.select("id", "text", "label").iter_rows():
            digest.update(orjson.dumps(row))
    if auxiliary:
        digest.update(auxiliary.digest.encode())
    return f"sha256:{digest.hexdigest()}"


def _write(
    splits: dict[str, SplitRows], results: tuple[CheckResult, ...], paths: ExperimentPaths
) -> None:
    paths.data.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        rows.frame.drop("key", "raw", "unknown").write_parquet(paths.split(split))
    review = [row for result in results for row in result.review]
    write_atomically(paths.review_labels, _json_lines(review))
    leaks = [row for result in results for row in result.leaks]
    write_atomically(paths.leaks, _json_lines(leaks))


def _in_order_of_files(parts: Iterable[SplitRows]) -> Iterator[QuarantinedRow]:
    """The quarantined rows, and a last one of each reason for those that are only counted."""
    for rows in parts:
        yield from sorted(rows.quarantined, key=attrgetter("file", "line"))
        for reason, number in rows.quarantined.unlisted.items():
            detail = f"{count(number, 'more row')} with this reason, not listed"
            yield QuarantinedRow(rows.split, rows.source, 0, reason, detail, "")


def _json_lines(rows: Iterable[object]) -> bytes:
    # Not joined: each result of orjson keeps a buffer of kilobytes until it is freed.
    lines = bytearray()
    for row in rows:
        lines += orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    return bytes(lines)


# Profile, tokens and the previous data


def profile_split(rows: SplitRows, dataset: Dataset, file: str) -> SplitProfile:
    """Describe a split; ``rows.frame`` has the columns ``tokens`` and ``unknown``.

    If these are null (no tokenizer), the figures about tokens are NaN.
    """
    frame = rows.frame
    words = frame["text"].str.extract_all(r"\S+").list.len().to_numpy()
    tokens = frame["tokens"].drop_nulls().to_numpy()
    counted, special = dataset.token_problem is None, dataset.special_tokens
    rows_kept = max(1, frame.height)
    rows_of = dict(frame["label"].value_counts().iter_rows())
    return SplitProfile(
        source_digest=join_digests([file.digest for file in rows.files]),
        source_bytes=sum(file.size_bytes for file in rows.files),
        files=rows.files,
        file=file,
        rows_read=rows.rows_read,
        rows_kept=frame.height,
        rows_quarantined=len(rows.quarantined),
        label_rows={label: rows_of.get(label, 0) for label in dataset.labels},
        words_median=_quantile(words, 0.5),
        words_p95=_quantile(words, 0.95),
        tokens_median=_quantile(tokens, 0.5) if counted else nan,
        tokens_p95=_quantile(tokens, 0.95) if counted else nan,
        tokens_max=int(tokens.max(initial=0)),
        tokens_per_word=tokens.sum() / max(1, words.sum()) if counted else nan,
        truncated_fraction=(tokens > dataset.max_length).sum() / rows_kept if counted else nan,
        unknown_token_fraction=frame["unknown"].sum() / max(1, tokens.sum()) if counted else nan,
        tokens_per_word_by_label=tokens_per_word(frame, special) if counted else {},
    )


def add_counts(frame: pl.DataFrame, count_tokens: CountTokens | None) -> pl.DataFrame:
    """Add the columns ``tokens`` and ``unknown``; null if ``count_tokens`` is None."""
    if count_tokens is None:
        nothing = pl.lit(None, dtype=pl.Int64)
        return frame.with_columns(nothing.alias("tokens"), nothing.alias("unknown"))
    counts = count_tokens(frame["text"].to_list())
    return frame.with_columns(
        pl.Series("tokens", counts.tokens, dtype=pl.Int64),
        pl.Series("unknown", counts.unknown, dtype=pl.Int64),
    )


def _quantile(values: IntArray, quantile: float) -> float:
    return float(np.quantile(values, quantile)) if len(values) else 0.0


def token_counter(encoder: EncoderSource) -> CountTokens:
    """A function that counts tokens with the tokenizer of ``encoder``.

    Raises:
        EncoderError: the tokenizer can't be loaded.
    """
    tokenizer = load_tokenizer(encoder)
    unknown = tokenizer.unk_token_id

    def count(texts: list[str]) -> TokenCounts:
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        encoded = [item.ids for item in tokenizer.backend_tokenizer.encode_batch_fast(texts)]
        return TokenCounts(
            np.array([len(ids) for ids in encoded], dtype=np.int64),
            np.array([ids.count(unknown) for ids in encoded], dtype=np.int64),
        )

    return count


def data_name(config: LoadedConfig) -> str:
    """The name of the data: ``data.name``, else the name of the directory of the train split."""
    data = config.settings.data
    return data.name or config.path(public_name(data.paths("train")[0])).parent.name


def find_previous(config: LoadedConfig, prior_runs: Iterable[PriorRun]) -> Previous | None:
    """The validated splits of the newest earlier run on data of the same name.

    Blocked runs are skipped, and so are runs whose splits were deleted.
    """
    name = data_name(config)
    for run in prior_runs:
        if run.data_name != name or not run.experiment or run.status == Status.BLOCKED:
            continue
        paths = ExperimentPaths(config.experiments_dir / run.experiment)
        files = {split: paths.split(split) for split in SPLITS}
        if all(file.is_file() for file in files.values()):
            columns = ["id", "text", "label"]
            frames = {
                name: pl.read_parquet(file, glob=False, columns=columns)
                for name, file in files.items()
            }
            return Previous(run.experiment, frames)
    return None
