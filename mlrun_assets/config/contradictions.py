"""Values that are allowed one by one and not together."""

from __future__ import annotations

import os

from mlrun_assets.config.data import DataConfig
from mlrun_assets.config.evaluation import BUILT_IN_SLICES
from mlrun_assets.config.training import TrainingConfig
from mlrun_assets.config.whole import Config
from mlrun_assets.config_source import Mistake


def contradictions_of(config: Config) -> list[Mistake]:
    """Keys that contradict each other, or themselves."""
    mistakes = []
    labels, count = config.data.labels, config.model.num_labels
    if labels and count and len(labels) != count:
        mistakes.append(
            Mistake(
                ("model", "num_labels"),
                f"is {count}, but data.labels lists {len(labels)}: make them agree",
            )
        )
    if labels and len(set(labels)) != len(labels):
        mistakes.append(Mistake(("data", "labels"), "lists a label twice"))
    for column in config.data.slice_columns:
        if column in (*BUILT_IN_SLICES, "code_switched"):
            said = f"names `{column}`, which every run has as a slice of its own: rename the column"
            mistakes.append(Mistake(("data", "slice_columns"), said))
    seeds = config.training.seeds
    if seeds and len(set(seeds)) != len(seeds):
        mistakes.append(Mistake(("training", "seeds"), "lists a seed twice"))
    if "schema" in config.data.quality.exempt:
        mistakes.append(
            Mistake(
                ("data", "quality", "exempt", "schema"),
                "rows that can't be read have no columns to exempt them by; raise "
                "data.quality.max_invalid_fraction instead",
            )
        )
    if config.training.pretraining_epochs and config.training.batch_size == 1:
        said = (
            "is 1, and training.pretraining_epochs compares the texts of a batch: choose 2 or more"
        )
        mistakes.append(Mistake(("training", "batch_size"), said))
    return mistakes + _backend_mistakes(config.training) + _same_files(config.data)


def _backend_mistakes(training: TrainingConfig) -> list[Mistake]:
    mistakes = []
    workers, batch = training.num_workers, training.batch_size
    if training.backend == "inline" and workers > 1:
        said = (
            f"is {workers}, but training.backend is inline, which has one: choose torchrun or ray"
        )
        mistakes.append(Mistake(("training", "num_workers"), said))
    if training.ray_address and training.backend != "ray":
        said = f"is set, but training.backend is {training.backend}: choose ray, or remove it"
        mistakes.append(Mistake(("training", "ray_address"), said))
    if batch != "auto" and batch % workers:
        said = f"is {batch}, of which training.num_workers {workers} can't have equal parts"
        mistakes.append(Mistake(("training", "batch_size"), said))
    return mistakes


def _same_files(data: DataConfig) -> list[Mistake]:
    """Files that are named twice; those that patterns lead to are compared when they are read."""
    mistakes = []
    owner: dict[str, str] = {}
    for split in ("train", "val", "test"):
        key = f"{split}_path"
        for path in data.paths(split):
            first = owner.setdefault(path if "://" in path else os.path.normpath(path), key)
            if first != key:
                said = f"is the same file as data.{first}: split the rows"
                mistakes.append(Mistake(("data", key), said))
        if len(set(data.paths(split))) < len(data.paths(split)):
            mistakes.append(Mistake(("data", key), "lists a file twice"))
    return mistakes
