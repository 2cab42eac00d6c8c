"""Stage ``validated_dataset``: files in, clean splits and a list of everything put aside out."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import polars as pl

from mlrun_assets.config import LoadedConfig
from mlrun_assets.encoders import EncoderSource, load_tokenizer
from mlrun_assets.files import write_atomically
from mlrun_assets.records import SPLITS, DatasetRecord
from mlrun_assets.stages.quality.checks import Dataset, run_checks
from mlrun_assets.stages.quality.profile import (
    CountTokens,
    TokenCounts,
    add_counts,
    profile_split,
)
from mlrun_assets.stages.quality.reading import SplitRows, check_readable, read_split
from mlrun_assets.stages.quality.schema import enforce_schema, label_set
from mlrun_assets.text import duplicate_key

QUARANTINE_FILE = "data/quarantine.jsonl"


def source_paths(config: LoadedConfig) -> dict[str, Path]:
    """The data file of each split, by the name of the split."""
    data = config.config.data
    named = {"train": data.train_path, "val": data.val_path, "test": data.test_path}
    return {split: config.path(named[split]) for split in SPLITS}


def split_file(split: str) -> str:
    """Where a validated split stands in the experiment."""
    return f"data/{split}.parquet"


def token_counter(encoder: EncoderSource) -> CountTokens:
    """What counts the tokens of texts as ``encoder`` sees them.

    Raises:
        EncoderError: its tokenizer can't be loaded.
    """
    tokenizer = load_tokenizer(encoder)
    unknown = tokenizer.unk_token_id

    def count(texts: list[str]) -> TokenCounts:
        encoded = [item.ids for item in tokenizer.backend_tokenizer.encode_batch_fast(texts)]
        return TokenCounts(
            np.array([len(ids) for ids in encoded], dtype=np.int64),
            np.array([ids.count(unknown) for ids in encoded], dtype=np.int64),
        )

    return count


def validate_dataset(
    config: LoadedConfig, directory: Path, count_tokens: CountTokens
) -> DatasetRecord:
    """Read, validate and profile the three splits.

    Writes ``data/{train,val,test}.parquet`` (``id``, ``text``, ``label``, ``line``, ``tokens`` and
    the configured group and slice columns) and ``data/quarantine.jsonl`` below ``directory``.

    Raises:
        DataError: a file is missing or can't be read. Data that can be read and is not good
            enough raises nothing: the record says that it is not ready, and why.
    """
    data, model = config.config.data, config.config.model
    paths = source_paths(config)
    check_readable({f"data.{split}_path": path for split, path in paths.items()})
    read = {split: read_split(split, path, data) for split, path in paths.items()}
    labels = label_set(read["train"].frame, data.labels)
    splits = {
        split: _with_columns(enforce_schema(rows, labels), count_tokens)
        for split, rows in read.items()
    }
    checks = run_checks(Dataset(splits, labels, model.num_labels, model.max_length, data))
    _write(splits, directory)
    return DatasetRecord(
        ready=not any(check.blocks for check in checks),
        digest=_digest(splits),
        labels=labels,
        splits={
            split: profile_split(rows, labels, model.max_length, split_file(split))
            for split, rows in splits.items()
        },
        checks=checks,
        quarantine_reasons=dict(
            Counter(bad.reason for rows in splits.values() for bad in rows.bad).most_common()
        ),
        quarantine_file=QUARANTINE_FILE,
        max_length=model.max_length,
    )


def _with_columns(rows: SplitRows, count_tokens: CountTokens) -> SplitRows:
    keys = pl.Series("key", [duplicate_key(text) for text in rows.frame["text"]], dtype=pl.String)
    return replace(rows, frame=add_counts(rows.frame.with_columns(keys), count_tokens))


def _digest(splits: dict[str, SplitRows]) -> str:
    """A digest of what the splits say, whatever the format of their files."""
    digest = hashlib.sha256()
    for split, rows in splits.items():
        digest.update(f"{split}\n".encode())
        for row in rows.frame.select("id", "text", "label").iter_rows():
            digest.update(orjson.dumps(row))
    return f"sha256:{digest.hexdigest()}"


def _write(splits: dict[str, SplitRows], directory: Path) -> None:
    (directory / "data").mkdir(parents=True, exist_ok=True)
    quarantine = []
    for split, rows in splits.items():
        rows.frame.drop("key", "unknown").write_parquet(directory / split_file(split))
        quarantine += [
            orjson.dumps(
                {
                    "split": split,
                    "file": str(rows.path),
                    "line": bad.line,
                    "reason": bad.reason,
                    "detail": bad.detail,
                    "raw": bad.raw,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
            for bad in sorted(rows.bad, key=lambda bad: bad.line)
        ]
    write_atomically(directory / QUARANTINE_FILE, b"".join(quarantine))
