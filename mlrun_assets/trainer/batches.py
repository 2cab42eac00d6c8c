"""Splits as the Trainer reads them: memory-mapped, tokenised, padded to the longest of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase


def tokenised(
    file: Path, tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...], max_length: int
) -> Dataset:
    """The split in ``file`` as token ids and label numbers, with ``length`` and ``row``.

    Rows stay on the disk: the Arrow files are memory-mapped from a cache beside ``file``.
    """
    disable_progress_bars()
    numbers = {label: number for number, label in enumerate(labels)}

    def encode(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
        encoded = tokenizer(batch["text"], truncation=True, max_length=max_length)
        return {
            "input_ids": encoded["input_ids"],
            "attention_mask": encoded["attention_mask"],
            "labels": [numbers[label] for label in batch["label"]],
            "length": [len(ids) for ids in encoded["input_ids"]],
            "row": rows,
        }

    split = Dataset.from_parquet(str(file), cache_dir=str(file.parent / "cache"))
    return split.map(
        encode,
        batched=True,
        with_indices=True,
        remove_columns=split.column_names,
        load_from_cache_file=False,
        keep_in_memory=False,
    )


class Collator:
    """Pads a batch to its longest row, to a multiple of eight tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._pad = DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The batch as tensors: ids (rows x tokens), labels and row numbers (rows)."""
        kept = ("input_ids", "attention_mask", "labels", "row")
        batch = self._pad([{name: row[name] for name in kept if name in row} for row in rows])
        return dict(batch)
