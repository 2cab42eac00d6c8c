"""Sections ``model``, ``training``, ``evaluation``, ``deployment`` and the output directories."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

CONFIG_VARIABLE = "MLRUN_CONFIG"
# Dagster puts a pipe between a run and the terminal, so the command line passes the width on.
COLUMNS_VARIABLE = "MLRUN_TERMINAL_COLUMNS"

Auto = Literal["auto"]
Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Natural = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]
Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: frozen, and an undeclared key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # `training:` with nothing below it is null in YAML and means the defaults.
        return {} if value is None else value


def setting(default: Any, description: str, *, unit: str | None = None, example: Any = None) -> Any:
    """A field of a section.

    Args:
        default: the value of a missing key; None means that the key is unset.
        description: the meaning and, where it is not obvious, the effect of each value.
        unit: the unit of the value, for the documentation.
        example: a valid value that differs from the default, for the documentation.
    """
    return Field(
        default,
        description=description,
        examples=None if example is None else [example],
        json_schema_extra=None if unit is None else {"unit": unit},
    )


# Names of the slices that every evaluation has; `data.slice_columns` must differ from them.
BUILT_IN_SLICES = ("length", "truncated", "code-switched")

Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name: Text = setting(
        "embedded:multilingual-e5-small",
        "Encoder: a model id of the Hugging Face Hub, a directory, or "
        "`embedded:multilingual-e5-small`, which needs no network.",
        example="xlm-roberta-base",
    )
    revision: Text | None = setting(
        None, "Commit or tag of the model on the Hub. Unset: the latest commit.", example="main"
    )
    num_labels: Annotated[int, Strict(), Field(ge=2)] | None = setting(
        None,
        "Number of labels that the data must have. Unset: any number.",
        unit="labels",
        example=3,
    )
    max_length: Annotated[int, Strict(), Field(ge=8)] = setting(
        128,
        "Maximum length of a text for the model. Longer texts are truncated.",
        unit="tokens",
        example=256,
    )
    pooling: Literal["auto", "first", "mean"] = setting(
        "auto",
        "Input of the classifier: the state of the first token (`first`) or the mean over all "
        "tokens (`mean`). `auto`: the pooling of the encoder's pretraining.",
        example="mean",
    )
    trim_vocabulary: Flag | Auto = setting(
        "auto",
        "Remove the tokens that the data does not use from the vocabulary. `auto`: on a CPU only.",
        example=False,
    )
    ensemble: Flag = setting(
        False,
        "Combine the encoder with the best n-gram model; the weights are fitted on val. The "
        "deployed model then contains code, so loading it needs `trust_remote_code=True`.",
        example=True,
    )


class TrainingConfig(Section):
    """The training recipe. The training plan chooses the values that are ``auto``."""

    batch_size: Count | Auto = setting(
        "auto",
        "Rows per optimizer step, over all workers.",
        unit="rows",
        example=16,
    )
    learning_rate: Annotated[Number, Field(gt=0.0, lt=1.0)] | Auto = setting(
        "auto", "Peak learning rate of AdamW.", example=2e-5
    )
    epochs: Count | Auto = setting(
        "auto", "Maximum number of passes over the train split.", unit="epochs", example=5
    )
    seed: Seed = setting(
        42, "Seed of the initialisation, the order of the rows and the resampling.", example=7
    )
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = setting(
        None,
        "Train one model per seed. The scores are reported as mean ± standard deviation, and the "
        "model with the best val score is kept. `seed` then applies to the resampling and the "
        "baseline only. Unset: one model with `seed`.",
        example=[13, 42, 7],
    )
    warmup_fraction: Annotated[Number, Field(ge=0.0, lt=1.0)] | Auto = setting(
        "auto",
        "Share of the steps in which the learning rate rises from zero.",
        unit="share of steps",
        example=0.1,
    )
    weight_decay: Fraction = setting(0.01, "Decoupled weight decay of AdamW.", example=0.05)
    layerwise_decay: Annotated[Number, Field(gt=0.0, le=1.0)] | Auto = setting(
        "auto",
        "Learning rate of a layer divided by that of the layer above it. 1: the same for all "
        "layers.",
        unit="ratio",
        example=0.9,
    )
    label_smoothing: Annotated[Number, Field(ge=0.0, lt=1.0)] | Auto = setting(
        "auto",
        "Share of the target probability that is spread evenly over all labels.",
        unit="probability",
        example=0.1,
    )
    class_weights: Literal["auto", "none", "balanced", "sqrt"] = setting(
        "auto",
        "Weights of the labels in the loss. `none`: equal; `balanced`: inverse to the frequency; "
        "`sqrt`: the square roots of the balanced weights.",
        example="balanced",
    )
    early_stopping_patience: Natural | Auto = setting(
        "auto",
        "Stop after this many epochs without a better val macro-F1. 0: never stop early.",
        unit="epochs",
        example=2,
    )
    pretraining_epochs: Natural = setting(
        0,
        "Epochs of contrastive pretraining of the encoder, before fine-tuning. It uses the texts "
        "of the train split and of `data.unlabelled_path`. 0: no pretraining.",
        unit="epochs",
        example=1,
    )
    bf16: Flag | Auto = setting(
        "auto",
        "Train with bfloat16 autocast. `auto`: if it is faster on this machine.",
        example=True,
    )
    freeze: Literal["auto", "none", "embeddings", "encoder"] | Natural = setting(
        "auto",
        "Part of the model that is not trained: `none`, the `embeddings`, or the whole `encoder`. "
        "A number: the embeddings and that many of the lowest layers.",
        unit="layers, if a number",
        example="embeddings",
    )
    reuse: Flag = setting(
        False,
        "Take the checkpoint of an earlier run with the same recipe and data, if it still exists, "
        "instead of training again.",
        example=True,
    )
    report_to: tuple[Text, ...] = setting(
        ("tensorboard",),
        "Experiment trackers, by their names in transformers.",
        example=["tensorboard", "wandb"],
    )
    backend: Literal["inline", "torchrun", "ray"] = setting(
        "inline",
        "Where training runs. `inline`: in the process of the run; `torchrun`: in several "
        "processes on this machine; `ray`: in Ray Train (`pip install 'mlrun-assets[ray]'`).",
        example="torchrun",
    )
    num_workers: Count = setting(
        1,
        "Training processes that share each batch, one GPU each if there are GPUs. `batch_size` "
        "must be a multiple of it.",
        unit="processes",
        example=2,
    )
    ray_address: Annotated[Text, Field(pattern=r"^[^\s/]+:\d+$")] | None = setting(
        None,
        "Address of a Ray cluster whose machines see the experiments under the same paths. Unset: "
        "a temporary cluster on this machine.",
        unit="host:port",
        example="ray-head:6379",
    )


class EvaluationConfig(Section):
    """How the test scores are computed."""

    f1: Literal["macro", "weighted"] = setting(
        "macro",
        "F1 of the thresholds and comparisons: the mean over labels (`macro`) or weighted by the "
        "rows of each label (`weighted`).",
        example="weighted",
    )
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = setting(
        0.95, "Confidence level of all intervals.", unit="probability", example=0.9
    )
    resamples: Annotated[int, Strict(), Field(ge=2000)] = setting(
        2000, "Bootstrap resamples per interval.", unit="resamples", example=10_000
    )
    max_looks: Count = setting(
        10,
        "Models that may be evaluated on one test split. The intervals widen after that many "
        "(Bonferroni correction).",
        unit="models",
        example=20,
    )


class DeploymentConfig(Section):
    """Requirements for a deployment, and the place of deployed models."""

    auto_deploy: Flag = setting(
        False, "Move production to the new model if the verdict is APPROVED.", example=True
    )
    min_accuracy: Fraction = setting(
        0.85, "Minimum test accuracy.", unit="share of rows", example=0.9
    )
    min_f1: Fraction = setting(
        0.82, "Minimum test F1 (see `evaluation.f1`).", unit="F1, 0 to 1", example=0.85
    )
    gate_on: Literal["value", "ci_lower"] = setting(
        "value",
        "Compare `min_accuracy` and `min_f1` with the score (`value`) or with the lower bound of "
        "its confidence interval (`ci_lower`).",
        example="ci_lower",
    )
    beats_baseline: Literal["advice", "strict", "off"] = setting(
        "advice",
        "What to do when the model is not shown to beat the n-gram baseline: `advice` warns, "
        "`strict` makes the verdict INCONCLUSIVE, `off` skips the rule.",
        example="strict",
    )
    policy: Literal["non_inferior", "superior", "no_worse", "off"] = setting(
        "non_inferior",
        "Requirement against the model in production. `non_inferior`: F1 is shown to be at most "
        "`margin` lower; `superior`: F1 is shown to be higher; `no_worse`: the measured F1 is not "
        "lower; `off`: none.",
        example="superior",
    )
    margin: Annotated[Number, Field(gt=0.0, lt=0.5)] = setting(
        0.02,
        "Loss of F1 against production that `policy: non_inferior` tolerates.",
        unit="F1, 0 to 1",
        example=0.01,
    )
    max_recall_loss: Annotated[Number, Field(gt=0.0, le=1.0)] = setting(
        0.10,
        "Maximum loss of recall against production, for any label or slice. 1: no limit.",
        unit="recall, 0 to 1",
        example=0.05,
    )
    max_latency_ms: Annotated[Number, Field(gt=0.0)] | None = setting(
        None,
        "Maximum p95 latency of the exported model for one text. Unset: no limit.",
        unit="ms",
        example=50,
    )
    max_size_mb: Annotated[Number, Field(gt=0.0)] | None = setting(
        None,
        "Maximum size of the smallest exported form. Unset: no limit.",
        unit="MB (10**6 bytes)",
        example=200,
    )
    onnx: Flag = setting(
        True,
        "Also export to ONNX: float32, and int8 if the loss of quality is at most `max_int8_loss`.",
        example=False,
    )
    max_int8_loss: Fraction = setting(
        0.005,
        "Maximum loss of val macro-F1 of the int8 form.",
        unit="F1, 0 to 1",
        example=0.01,
    )
    production_dir: Text = setting(
        "production", "Directory of the deployed versions.", example="/srv/models/news"
    )


class ExperimentsConfig(Section):
    """The place of the experiments."""

    dir: Text = setting(
        "experiments", "Directory with one subdirectory per experiment.", example="/data/runs"
    )


class TrackingConfig(Section):
    """MLflow (``pip install 'mlrun-assets[mlflow]'``)."""

    mlflow: Flag = setting(
        False,
        "Copy parameters, metrics, artefacts and the registered model to MLflow.",
        example=True,
    )
    mlflow_uri: Text | None = setting(
        None,
        "MLflow tracking server or store. Unset: `mlflow.db` (SQLite) in `experiments.dir`.",
        example="http://localhost:5000",
    )
    registered_model: Text | None = setting(
        None,
        "Name of the registered model in MLflow. Unset: the name of the data.",
        example="somali-news",
    )


class ReportsConfig(Section):
    """The place and the content of the reports."""

    dir: Text = setting(
        ".claude/reports", "Directory of the registries and the reports.", example="reports"
    )
    show_text: Flag = setting(
        False,
        "Quote texts of the data in the reports. Check that the licence of the data allows it.",
        example=True,
    )
