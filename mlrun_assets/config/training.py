"""Section ``training``: the recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mlrun_assets.config.values import Auto, Count, Flag, Fraction, Number, Section, Text

Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


class TrainingConfig(Section):
    """The recipe. ``auto`` is decided by the training plan."""

    batch_size: Count | Auto = Field("auto", description="Rows a step.")
    learning_rate: Annotated[Number, Field(gt=0.0, lt=1.0)] | Auto = Field(
        "auto", description="Peak learning rate of AdamW."
    )
    epochs: Count | Auto = Field("auto", description="Passes over the training split, at most.")
    seed: Seed = Field(42, description="Seed of initialisation, order and resampling.")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = Field(
        None,
        description="Seeds that are trained, one model each: scores are told as mean ± standard "
        "deviation, and the model that is best on val is kept. Unset: `training.seed` alone; set: "
        "`training.seed` is that of the resampling and the baseline only.",
    )
    warmup_fraction: Annotated[Number, Field(ge=0.0, lt=1.0)] | Auto = Field(
        "auto", description="Share of the steps over which the learning rate rises."
    )
    weight_decay: Fraction = Field(0.01, description="AdamW's decoupled weight decay.")
    layerwise_decay: Annotated[Number, Field(gt=0.0, le=1.0)] | Auto = Field(
        "auto", description="Factor on the learning rate for each layer further from the output."
    )
    label_smoothing: Annotated[Number, Field(ge=0.0, lt=1.0)] | Auto = Field(
        "auto", description="Probability mass spread evenly over all labels."
    )
    class_weights: Literal["auto", "none", "balanced", "sqrt"] = Field(
        "auto", description="Weights of the labels in the loss, by their frequency."
    )
    early_stopping_patience: Annotated[int, Strict(), Field(ge=0)] | Auto = Field(
        "auto", description="Epochs without a better val macro-F1 before training stops; 0: never."
    )
    pretraining_epochs: Annotated[int, Strict(), Field(ge=0)] = Field(
        0,
        description="Epochs of contrastive pretraining of the encoder on the training texts and "
        "data.unlabelled_path, before the labels are looked at; 0: none.",
    )
    bf16: Flag | Auto = Field("auto", description="bfloat16 autocast (auto: where it is faster).")
    freeze: (
        Literal["auto", "none", "embeddings", "encoder"] | Annotated[int, Strict(), Field(ge=0)]
    ) = Field(
        "auto",
        description="Parts of the model that are not trained; a number: the embeddings and that "
        "many of the lowest layers.",
    )
    reuse: Flag = Field(
        False,
        description="Take the checkpoint of an earlier run of the same recipe on the same data, "
        "where it is still there, instead of training it again.",
    )
    report_to: tuple[Text, ...] = Field(
        ("tensorboard",), description="Trackers, by the names that transformers gives them."
    )
    backend: Literal["inline", "torchrun", "ray"] = Field(
        "inline",
        description="What trains: the run's own process; `torchrun`: several processes of this "
        "machine; `ray`: Ray Train (`pip install 'mlrun-assets[ray]'`).",
    )
    num_workers: Count = Field(
        1,
        description="Processes that share each batch, with a GPU each where there are GPUs; "
        "batch_size must be a multiple.",
    )
    ray_address: Annotated[Text, Field(pattern=r"^[^\s/]+:\d+$")] | None = Field(
        None,
        description="`host:port` of a Ray cluster whose machines see the experiments under the "
        "same paths; unset: one on this machine, for the run.",
    )
