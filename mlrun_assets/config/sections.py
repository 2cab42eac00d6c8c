"""Sections ``model``, ``training``, ``evaluation``, ``deployment`` and the output directories."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

CONFIG_VARIABLE = "MLRUN_CONFIG"
# Values that replace those of the file, one `key=value` a line: Dagster loads the config again.
SET_VARIABLE = "MLRUN_SET"

Auto = Literal["auto"]
Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Natural = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]
Positive = Annotated[Number, Field(gt=0.0)]
Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]
FractionBelowOne = Annotated[Number, Field(ge=0.0, lt=1.0)]
OpenFraction = Annotated[Number, Field(gt=0.0, lt=1.0)]


def _unwrap(schema: dict[str, Any]) -> None:
    for key in schema["properties"].values():
        if "description" in key:
            key["description"] = key["description"].replace("\n", " ")


class Section(BaseModel):
    """Base of all sections: frozen, and an undeclared key is an error.

    The docstring of a key is its description in the documentation.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True,
        use_attribute_docstrings=True, json_schema_extra=_unwrap,
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # `training:` with nothing below it is null in YAML and means the defaults.
        return {} if value is None else value


def setting(default: Any, *, example: Any, unit: str | None = None) -> Any:
    """A key of a section; the unit and an example other than the default are for its documentation.

    The default None means that the key is unset.
    """
    return Field(default, examples=[example], json_schema_extra={"unit": unit} if unit else None)


# Names of the slices that every evaluation has; `data.slice_columns` must differ from them.
BUILT_IN_SLICES = ("length", "truncated", "code-switched")

Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]


CandidateName = Literal[
    "ngrams",
    "frozen",
    "frozen+ngrams",
    "helped",
    "helped+ngrams",
    "encoder",
    "encoder+ngrams",
]
"""The candidate models, from the cheapest to the dearest."""


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name: Text = setting("embedded:multilingual-e5-small", example="xlm-roberta-base")
    """Encoder: a model id of the Hugging Face Hub, a directory, or
    `embedded:multilingual-e5-small`, which needs no network."""
    revision: Text | None = setting(None, example="main")
    """Commit or tag of the model on the Hub. Unset: the latest commit."""
    num_labels: Annotated[int, Strict(), Field(ge=2)] | None = setting(
        None, unit="labels", example=3
    )
    """Number of labels that the data must have. Unset: any number."""
    max_length: Annotated[int, Strict(), Field(ge=8)] = setting(128, unit="tokens", example=256)
    """Maximum length of a text for the model. Longer texts are truncated."""
    pooling: Literal["auto", "first", "mean"] = setting("auto", example="mean")
    """Input of the classifier: the state of the first token (`first`) or the mean over all tokens
    (`mean`). `auto`: the pooling of the encoder's pretraining."""
    trim_vocabulary: Flag | Auto = setting("auto", example=False)
    """Remove the tokens that the data does not use from the vocabulary. `auto`: on a CPU only."""
    candidates: Annotated[tuple[CandidateName, ...], Field(min_length=1)] | Auto = setting(
        "auto", example=["encoder"]
    )
    """Candidate models. One of them is chosen on rows of train and val, and judged on test.
    `ngrams`: a linear model on words and parts of words; `frozen`: the encoder without
    fine-tuning, with a linear head that also uses the names of the labels; `helped`: the same,
    with a head that is also fitted to the rows of `data.auxiliary_path`; `encoder`: the fine-tuned
    encoder; with `+ngrams`: the weighted sum of that model and the n-grams. A model with n-grams
    contains code, so loading it in transformers needs `trust_remote_code=True`. `auto`: what
    `training.budget` allows."""


class TrainingConfig(Section):
    """The training recipe. The training plan chooses the values that are ``auto``."""

    budget: Literal["fast", "balanced", "best"] = setting("balanced", example="fast")
    """How long a run may search for a better model. `fast`: only models that need no fine-tuning;
    `balanced`: fine-tunes the encoder once, except where it gains nothing: the bundled one on fewer
    than 2,000 short texts; `best`: fine-tunes it with several seeds and more epochs."""
    batch_size: Count | Auto = setting("auto", unit="rows", example=16)
    """Rows per optimizer step, over all workers."""
    learning_rate: OpenFraction | Auto = setting("auto", example=2e-5)
    """Peak learning rate of AdamW."""
    epochs: Count | Auto = setting("auto", unit="epochs", example=5)
    """Number of passes over the train split."""
    short_epochs: Natural | Auto = setting("auto", unit="epochs", example=0)
    """Number of epochs, from the first on, that read only the first 128 tokens of a text, which is
    faster. 0: none."""
    seed: Seed = setting(42, example=7)
    """Seed of the initialisation, the order of the rows and the resampling."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] | None = setting(
        None, example=[13, 42, 7]
    )
    """Train one model per seed. The scores are reported as mean ± standard deviation, and the model
    with the best val score is kept. `seed` then applies to the resampling and the baseline only.
    Unset: one model with `seed`."""
    warmup_fraction: FractionBelowOne | Auto = setting("auto", unit="share of steps", example=0.1)
    """Share of the steps in which the learning rate rises from zero."""
    weight_decay: Fraction = setting(0.01, example=0.05)
    """Decoupled weight decay of AdamW."""
    layerwise_decay: Annotated[Number, Field(gt=0.0, le=1.0)] | Auto = setting(
        "auto", unit="ratio", example=0.9
    )
    """Learning rate of a layer divided by that of the layer above it. 1: the same for all
    layers."""
    label_smoothing: FractionBelowOne | Auto = setting("auto", unit="probability", example=0.1)
    """Share of the target probability that is spread evenly over all labels."""
    class_weights: Literal["auto", "none", "balanced", "sqrt"] = setting("auto", example="balanced")
    """Weights of the labels in the loss. `none`: equal; `balanced`: inverse to the frequency;
    `sqrt`: the square roots of the balanced weights."""
    bf16: Flag | Auto = setting("auto", example=True)
    """Train with bfloat16 autocast. `auto`: if it is faster on this machine."""
    freeze: Literal["auto", "none", "embeddings", "encoder"] | Natural = setting(
        "auto", unit="layers, if a number", example="embeddings"
    )
    """Part of the model that is not trained: `none`, the `embeddings`, or the whole `encoder`. A
    number: the embeddings and that many of the lowest layers."""
    reuse: Flag = setting(False, example=True)
    """Take the checkpoint of an earlier run with the same recipe and data, if it still exists,
    instead of training again."""
    report_to: tuple[Text, ...] = setting(("tensorboard",), example=["tensorboard", "wandb"])
    """Experiment trackers, by their names in transformers."""
    backend: Literal["inline", "torchrun", "ray"] = setting("inline", example="torchrun")
    """Where training runs. `inline`: in the process of the run; `torchrun`: in several processes on
    this machine; `ray`: in Ray Train (`pip install 'mlrun-assets[ray]'`)."""
    num_workers: Count = setting(1, unit="processes", example=2)
    """Training processes that share each batch, one GPU each if there are GPUs. `batch_size` must
    be a multiple of it."""
    ray_address: Annotated[Text, Field(pattern=r"^[^\s/]+:\d+$")] | None = setting(
        None, unit="host:port", example="ray-head:6379"
    )
    """Address of a Ray cluster whose machines see the experiments under the same paths. Unset: a
    temporary cluster on this machine."""


class EvaluationConfig(Section):
    """How the test scores are computed."""

    f1: Literal["macro", "weighted"] = setting("macro", example="weighted")
    """F1 of the thresholds and comparisons: the mean over labels (`macro`) or weighted by the rows
    of each label (`weighted`)."""
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = setting(
        0.95, unit="probability", example=0.9
    )
    """Confidence level of all intervals."""
    resamples: Annotated[int, Strict(), Field(ge=2000)] = setting(
        2000, unit="resamples", example=10_000
    )
    """Bootstrap resamples per interval."""
    max_looks: Count = setting(10, unit="models", example=20)
    """Maximum number of models that are evaluated on one test split with intervals of normal
    width. After that the intervals widen (Bonferroni correction)."""


class DeploymentConfig(Section):
    """Requirements for a deployment, and the place of deployed models."""

    auto_deploy: Flag = setting(False, example=True)
    """Move production to the new model if the verdict is APPROVED."""
    min_accuracy: Fraction = setting(0.85, unit="share of rows", example=0.9)
    """Minimum test accuracy."""
    min_f1: Fraction = setting(0.82, unit="F1, 0 to 1", example=0.85)
    """Minimum test F1 (see `evaluation.f1`)."""
    min_precision: Annotated[Number, Field(gt=0.0, le=1.0)] | None = setting(
        None, unit="share of rows", example=0.95
    )
    """Minimum share of right labels among the accepted rows. The run chooses the lowest confidence
    that is shown to give it; the deployed model accepts a row from this confidence on, and marks
    each row as accepted or not. Unset: no row is marked."""
    min_coverage: Fraction | None = setting(None, unit="share of rows", example=0.5)
    """Minimum share of the test rows that the model accepts (see `min_precision`). Unset: no
    limit."""
    gate_on: Literal["value", "ci_lower"] = setting("value", example="ci_lower")
    """Compare `min_accuracy`, `min_f1` and `min_coverage` with the score (`value`) or with the
    lower bound of its confidence interval (`ci_lower`)."""
    beats_baseline: Literal["advice", "strict", "off"] = setting("advice", example="strict")
    """What to do when the model is not shown to beat the n-gram baseline: `advice` warns, `strict`
    makes the verdict INCONCLUSIVE, `off` skips the rule."""
    policy: Literal["non_inferior", "superior", "no_worse", "off"] = setting(
        "non_inferior", example="superior"
    )
    """Requirement against the model in production. `non_inferior`: F1 is shown to be at most
    `margin` lower; `superior`: F1 is shown to be higher; `no_worse`: the measured F1 is not lower;
    `off`: none."""
    margin: Annotated[Number, Field(gt=0.0, lt=0.5)] = setting(
        0.02, unit="F1, 0 to 1", example=0.01
    )
    """Loss of F1 against production that `policy: non_inferior` tolerates."""
    max_recall_loss: Annotated[Number, Field(gt=0.0, le=1.0)] = setting(
        0.10, unit="recall, 0 to 1", example=0.05
    )
    """Maximum loss of recall against production, for any label or slice. 1: no limit."""
    max_latency_ms: Positive | None = setting(None, unit="ms", example=50)
    """Maximum p95 latency of the exported model for one text. Unset: no limit."""
    max_size_mb: Positive | None = setting(None, unit="MB (10**6 bytes)", example=200)
    """Maximum size of the smallest exported form. Unset: no limit."""
    onnx: Flag = setting(True, example=False)
    """Also export to ONNX, in float32."""
    production_dir: Text = setting("production", example="/srv/models/news")
    """Directory of the deployed versions."""


class ExperimentsConfig(Section):
    """The place of the experiments."""

    dir: Text = setting("experiments", example="/data/runs")
    """Directory with one subdirectory per experiment."""


class TrackingConfig(Section):
    """MLflow (``pip install 'mlrun-assets[mlflow]'``)."""

    mlflow: Flag = setting(False, example=True)
    """Copy parameters, metrics, artefacts and the registered model to MLflow."""
    mlflow_uri: Text | None = setting(None, example="http://localhost:5000")
    """MLflow tracking server or store. Unset: `mlflow.db` (SQLite) in `experiments.dir`."""
    registered_model: Text | None = setting(None, example="somali-news")
    """Name of the registered model in MLflow. Unset: the name of the data."""


class ReportsConfig(Section):
    """The place and the content of the reports."""

    dir: Text = setting(".claude/reports", example="reports")
    """Directory of the registries and the reports. The default is hidden, so that a project shows
    only what people work on. Set another one before the first run."""
    show_text: Flag = setting(False, example=True)
    """Quote texts of the data in the reports. Check that the licence of the data allows it."""
