"""A laptop, a small data set and earlier runs, as the plan's tests need them."""

from __future__ import annotations

from typing import Any

from mlrun_assets.config import Config
from mlrun_assets.records import Choice, PriorRun, TrainingPlan
from mlrun_assets.stages.plan import Situation, plan_training
from mlrun_assets.trainer.circumstances import Circumstances
from mlrun_assets_tests.records_factory import dataset_record

LAPTOP = Circumstances(
    encoder_digest="sha256:encoder",
    accelerator=None,
    available_memory_gb=8.0,
    bf16_speedup=2.0,
    hidden_size=384,
    layers=12,
    positions=512,
    vocabulary=250_002,
    untrimmable=None,
    trained_by_mean=True,
)
EQUAL = {"a": 200, "b": 200}


def situation(
    train: dict[str, int] | None = None,
    circumstances: Circumstances = LAPTOP,
    prior: tuple[PriorRun, ...] = (),
    profile: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> Situation:
    """One in which every rule has something to look at; ``profile`` changes the splits'."""
    dataset = dataset_record(train or EQUAL, **(profile or {})).model_copy(update={"name": "som"})
    return Situation(Config(**sections), dataset, circumstances, prior)  # type: ignore[arg-type]


def plan(*arguments: Any, **keywords: Any) -> TrainingPlan:
    """The plan for a `situation`."""
    return plan_training(situation(*arguments, **keywords))


def choice(of: TrainingPlan, key: str) -> Choice:
    """The choice at a key of the config, named by its last part."""
    return next(each for each in of.choices if each.key.rpartition(".")[2] == key)


def prior_run(report: str = "impl-ml-run-x-20261123", **changes: Any) -> PriorRun:
    """A run on the same data, by the recipe of the defaults."""
    facts: dict[str, Any] = {
        "report": report,
        "status": "Complete",
        "experiment": f"exp_{report}",
        "summary": "macro-F1 0.812",
        "labels": ("a", "b"),
        "data_name": "som",
        "data_digest": "sha256:data",
        "comparable_digest": plan().recipe.comparable_digest,
        "learning_rate": 1e-4,
        "val_digest": "sha256:1",
        "val_f1_macro": 0.8,
    }
    return PriorRun(**{**facts, **changes})
