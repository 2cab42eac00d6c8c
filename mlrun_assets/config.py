"""``ml_config.yaml`` as strict, frozen models: every setting, its default and its meaning, once.

A key that is missing takes its default, a key that is not known is an error. ``auto`` leaves a
choice to the training plan, which records what it chose and why; a value always wins over a rule.
Relative paths are relative to the directory of the config file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from mlrun_assets.config_source import ConfigSource, Location, Mistake, read_source
from mlrun_assets.errors import ConfigError

DEFAULT_CONFIG_FILE = "ml_config.yaml"
CONFIG_VARIABLE = "MLRUN_CONFIG"
# What a slice of every evaluation is called; `data.slice_columns` have other names.
BUILT_IN_SLICES = ("length", "truncated", "code-switched")
# Set by the command line where a person looks on: Dagster hides the terminal behind a pipe.
COLUMNS_VARIABLE = "MLRUN_TERMINAL_COLUMNS"


def _number_from_yaml(value: object) -> object:
    # PyYAML follows YAML 1.1, where a float needs a dot: it reads 2e-5 as a string.
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _name_from_integer(value: object) -> object:
    # Labels may be integers in the data, and so in the config.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _off_from_yaml(value: object) -> object:
    # YAML 1.1 again: an unquoted off is false.
    return "off" if value is False else value


Auto = Literal["auto"]
Text = Annotated[str, Strict(), Field(min_length=1)]
LabelName = Annotated[Text, BeforeValidator(_name_from_integer)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), BeforeValidator(_number_from_yaml)]
Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Paths = Text | Annotated[tuple[Text, ...], Field(min_length=1)]


CheckName = Literal[
    "schema",
    "splits_nonempty",
    "label_domain",
    "every_label_in_every_split",
    "exact_duplicates",
    "conflicting_labels",
    "near_duplicates",
    "split_leakage",
    "class_balance",
    "test_power",
    "label_noise",
    "split_drift",
    "drift_from_previous",
    "truncation",
    "tokenizer_fit",
    "language",
    "code_switching",
    "empty_or_short",
    "too_long",
    "encoding",
    "pii",
]


class Section(BaseModel):
    """What all sections share: frozen, and no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class QualityConfig(Section):
    """Thresholds of the data-quality checks."""

    skip: tuple[CheckName, ...] = Field(
        (), description="Names of checks that are not run; the report lists them as off."
    )
    exempt: dict[CheckName, dict[Text, tuple[Text | Annotated[int, Strict()], ...]]] = Field(
        {},
        description="Rows that a check leaves out: `{check: {column: [values]}}`, by the value of "
        "any column of the data.",
    )
    max_invalid_fraction: Fraction = Field(
        0.01, description="Share of a split's rows that may be quarantined before the run blocks."
    )
    max_conflicting_fraction: Fraction = Field(
        0.005, description="Share of rows with equal text and unequal labels that blocks."
    )
    near_duplicate_similarity: Annotated[Number, Field(ge=0.6, le=1.0)] = Field(
        0.8, description="Jaccard similarity of word 5-grams from which texts nearly match."
    )
    containment_warns: Fraction = Field(
        0.1, description="Share of a text's 13-grams in one training row that warns."
    )
    containment_blocks: Fraction = Field(
        0.5, description="Share of a text's 13-grams in one training row that blocks."
    )
    test_discordance: Annotated[Number, Field(gt=0.0, lt=1.0)] = Field(
        0.10, description="Share of test rows that just one of two models is expected to get right."
    )
    max_detectable_difference: Fraction = Field(
        0.05, description="Smallest difference that the test split can show above which it warns."
    )
    wanted_detectable_difference: Annotated[Number, Field(gt=0.0, lt=1.0)] = Field(
        0.03, description="Difference for which test_power says how many rows to label."
    )
    max_suspected_fraction: Fraction = Field(
        0.10, description="Share of rows with a suspected label error that warns."
    )
    drift_warns: Annotated[Number, Field(ge=0.0)] = Field(
        0.1, description="Population stability index of the labels that warns."
    )
    drift_blocks: Annotated[Number, Field(ge=0.0)] = Field(
        0.25, description="Population stability index of the labels that blocks."
    )
    separability_warns: Annotated[Number, Field(ge=0.5, le=1.0)] = Field(
        0.65, description="AUC of a classifier that tells two sets of texts apart that warns."
    )
    separability_blocks: Annotated[Number, Field(ge=0.5, le=1.0)] = Field(
        0.8, description="AUC of a classifier that tells two sets of texts apart that blocks."
    )
    max_length_distance: Fraction = Field(
        0.2, description="Kolmogorov-Smirnov distance of the lengths in words that warns."
    )
    max_unseen_words: Fraction = Field(
        0.5, description="Share of the words of a set of texts that the other lacks that warns."
    )
    imbalance_ratio: Annotated[Number, Field(ge=1.0)] = Field(
        3.0, description="Rows of the largest label per row of the smallest that warns."
    )
    min_rows_per_label: Count = Field(
        10, description="Training rows of a label below which the run warns."
    )
    max_truncated_fraction: Fraction = Field(
        0.10, description="Share of rows longer than model.max_length that warns."
    )
    max_tokens_per_word: Annotated[Number, Field(ge=1.0)] = Field(
        2.5, description="Tokens of a word, in all texts or those of one label, that warns."
    )
    max_unknown_token_fraction: Fraction = Field(
        0.01, description="Share of tokens that the encoder does not know that warns."
    )
    language_detector: Literal["pycld2", "py3langid"] = Field(
        "pycld2", description="What tells the language of a text; pycld2 is the faster one."
    )
    min_language_words: Count = Field(
        6, description="Words of a text from which its language is judged."
    )
    other_language_warns: Fraction = Field(
        0.02, description="Share of a split's judged rows in another language that warns."
    )
    other_language_blocks: Fraction = Field(
        0.10, description="Share of a split's judged rows in another language that blocks."
    )
    min_words: Count = Field(2, description="Words of a text below which the run warns.")
    max_characters: Count = Field(
        100_000, description="Characters of a text above which the run warns."
    )


class DataConfig(Section):
    """Where the labelled rows are and which columns hold what."""

    name: Text | None = Field(
        None,
        description="What the data is called from run to run, so that a run is compared with the "
        "one before it; unset: the name of the directory that holds train_path.",
    )
    train_path: Paths = Field(
        "data/sample/train.jsonl",
        description="Rows to train on: a file, a pattern such as `train-*.jsonl.gz`, a URL, or a "
        "list of them. JSON Lines, CSV, TSV or Parquet.",
    )
    val_path: Paths = Field("data/sample/val.jsonl", description="Rows to choose by.")
    test_path: Paths = Field("data/sample/test.jsonl", description="Rows to judge by.")
    unlabelled_path: Paths | None = Field(
        None,
        description="Texts without labels: the evaluation lists those that are worth labelling "
        "next, and training.pretraining_epochs learns from them, besides those of the training "
        "split. Files, patterns and formats as for train_path.",
    )
    predict_path: Paths | None = Field(
        None, description="Rows that the asset `predictions` labels with the model in production."
    )
    licence: Text | None = Field(
        None, description="Licence that the model card names, as the Hub spells it (cc-by-4.0)."
    )
    text_columns: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("text",), description="Columns joined, in this order, into the text: headline first."
    )
    label_column: Text = Field("label", description="Column with the label, a name or an integer.")
    id_column: Text | None = Field(
        None, description="Column with a unique id; unset: `id` where there is one, else the line."
    )
    group_column: Text | None = Field(
        None, description="Column with a group (author, document) that must stay in one split."
    )
    slice_columns: tuple[Text, ...] = Field(
        (), description="Columns whose values become slices of the evaluation."
    )
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2)] | None = Field(
        None, description="The label set in its order; unset: the labels of the training split."
    )
    language: Annotated[Text, Field(pattern=r"^[a-z]{2,3}$")] = Field(
        "som",
        description="Language of the texts, ISO 639-3 (som, swa) or 639-1: it sets the orthography "
        "and what the language checks look for.",
    )
    quality: QualityConfig = QualityConfig()

    def paths(self, split: str) -> tuple[str, ...]:
        """What ``train_path``, ``val_path`` or another path lists; it is set."""
        named: str | tuple[str, ...] = getattr(self, f"{split}_path")
        return (named,) if isinstance(named, str) else named

    def texts_only(self) -> DataConfig:
        """The same for rows of which only the texts are read: no label, no other column."""
        unread = {"label_column": "", "id_column": None, "group_column": None, "slice_columns": ()}
        return self.model_copy(update={**unread, "quality": QualityConfig()})

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns that are read besides text, label and id, each once."""
        exempt = (column for columns in self.quality.exempt.values() for column in columns)
        group = (self.group_column,) if self.group_column else ()
        return tuple(dict.fromkeys((*group, *self.slice_columns, *exempt)))


class ModelConfig(Section):
    """The encoder to fine-tune."""

    name: Text = Field(
        "embedded:multilingual-e5-small",
        description="A hub id, a directory, or `embedded:multilingual-e5-small` (offline).",
    )
    revision: Text | None = Field(None, description="Commit or tag that a hub id is pinned to.")
    num_labels: Annotated[int, Strict(), Field(ge=2)] | None = Field(
        None, description="How many labels the data must have; unset: as many as it has."
    )
    max_length: Annotated[int, Strict(), Field(ge=8)] = Field(
        128, description="Tokens of a text that the model reads; the rest is cut off."
    )
    pooling: Literal["auto", "first", "mean"] = Field(
        "auto", description="What the classifier reads: the first token's state, or the mean."
    )
    trim_vocabulary: Flag | Auto = Field(
        "auto", description="Keep only the word pieces that the data needs (auto: on a CPU)."
    )
    ensemble: Flag = Field(
        False,
        description="Mix the encoder with the best n-gram model, by weights fitted on val. It is "
        "served with the n-gram model's code in its directory: `trust_remote_code=True`.",
    )


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


class EvaluationConfig(Section):
    """How the test scores are computed."""

    f1: Literal["macro", "weighted"] = Field("macro", description="The F1 that min_f1 means.")
    confidence: Annotated[Number, Field(gt=0.5, lt=1.0)] = Field(
        0.95, description="Confidence level of all intervals."
    )
    resamples: Annotated[int, Strict(), Field(ge=2000)] = Field(
        2000, description="Resamples of the bootstraps."
    )
    max_looks: Count = Field(
        10,
        description="Models that may be judged on one test split before its estimate is worn: "
        "each further one widens the intervals (Bonferroni).",
    )


class DeploymentConfig(Section):
    """What a model must reach, and what happens when it does."""

    auto_deploy: Flag = Field(False, description="Move production when the verdict is APPROVED.")
    min_accuracy: Fraction = Field(0.85, description="Test accuracy that the model must reach.")
    min_f1: Fraction = Field(0.82, description="Test F1 that the model must reach.")
    gate_on: Literal["value", "ci_lower"] = Field(
        "value", description="Compare the thresholds with the score or with its lower bound."
    )
    beats_baseline: Annotated[
        Literal["advice", "strict", "off"], BeforeValidator(_off_from_yaml)
    ] = Field(
        "advice", description="What it means when the n-gram baseline is not shown to be worse."
    )
    policy: Annotated[
        Literal["non_inferior", "superior", "no_worse", "off"], BeforeValidator(_off_from_yaml)
    ] = Field("non_inferior", description="What must hold against the model in production.")
    margin: Annotated[Number, Field(gt=0.0, lt=0.5)] = Field(
        0.02, description="Loss of F1 against production that non_inferior tolerates."
    )
    max_recall_loss: Annotated[Number, Field(gt=0.0, le=1.0)] = Field(
        0.10,
        description="Loss of recall against production, of a label or a slice, that the guards "
        "tolerate; 1: any.",
    )
    max_latency_ms: Annotated[Number, Field(gt=0.0)] | None = Field(
        None, description="95th percentile of the time for one text that the export may take."
    )
    max_size_mb: Annotated[Number, Field(gt=0.0)] | None = Field(
        None, description="Size of the smallest exported form that may be reached, in 10**6 bytes."
    )
    onnx: Flag = Field(
        True, description="Export to ONNX too: float32, and int8 where it costs no quality."
    )
    max_int8_loss: Fraction = Field(
        0.005, description="Loss of val macro-F1 for which int8 weights are kept."
    )
    production_dir: Text = Field("production", description="Directory of deployed versions.")


class ReportsConfig(Section):
    """Where the registries and reports go."""

    dir: Text = Field(".claude/reports", description="Directory of the registries and reports.")
    show_text: Flag = Field(
        False, description="Quote texts of the data in reports (mind their licence)."
    )


class TrackingConfig(Section):
    """MLflow, for teams that have it: ``pip install 'mlrun-assets[mlflow]'``."""

    mlflow: Flag = Field(
        False,
        description="Mirror parameters, metrics, artefacts and the registered model to MLflow.",
    )
    mlflow_uri: Text | None = Field(
        None,
        description="A tracking server or store; unset: `mlflow.db` (SQLite) in experiments.dir.",
    )
    registered_model: Text | None = Field(
        None, description="Name of the registered model; unset: that of the data."
    )


class ExperimentsConfig(Section):
    """Where experiments are kept."""

    dir: Text = Field("experiments", description="Directory with one directory an experiment.")


class Config(Section):
    """The whole of ``ml_config.yaml``."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    deployment: DeploymentConfig = DeploymentConfig()
    experiments: ExperimentsConfig = ExperimentsConfig()
    tracking: TrackingConfig = TrackingConfig()
    reports: ReportsConfig = ReportsConfig()

    def to_yaml(self) -> str:
        """The config with every default spelled out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class LoadedConfig(Section):
    """A config together with the place it came from."""

    config: Config
    directory: Path = Field(description="What relative paths are relative to; absolute.")
    file: Path | None = Field(None, description="The file, absolute; None: all defaults.")

    def path(self, relative: str) -> Path:
        """``relative`` as an absolute path; an absolute path stays as it is."""
        return Path(os.path.normpath(self.directory / Path(relative).expanduser()))

    @property
    def experiments_dir(self) -> Path:
        return self.path(self.config.experiments.dir)

    @property
    def production_dir(self) -> Path:
        return self.path(self.config.deployment.production_dir)

    @property
    def reports_dir(self) -> Path:
        return self.path(self.config.reports.dir)


def extra_column(name: str) -> str:
    """The name under which a group or slice column is kept, apart from those of our own."""
    return f"extra_{name}"


def load_config(file: Path | str | None = None) -> LoadedConfig:
    """Read the config file.

    Args:
        file: the file; None: the one that ``MLRUN_CONFIG`` names, else ``ml_config.yaml`` in the
            working directory, else all defaults.

    Raises:
        ConfigError: the file is missing though it was named, is not YAML, or has mistakes; the
            message lists all of them, each with its line.
    """
    named = file or os.environ.get(CONFIG_VARIABLE)
    path = Path(named or DEFAULT_CONFIG_FILE).expanduser().absolute()
    if not named and not path.exists():
        return LoadedConfig(config=Config(), directory=path.parent)
    source = read_source(path)
    return LoadedConfig(config=parse_config(source), directory=path.parent, file=path)


def parse_config(source: ConfigSource) -> Config:
    """The config in ``source``.

    Raises:
        ConfigError: as in `load_config`.
    """
    mistakes = list(source.mistakes)
    try:
        config = Config.model_validate(source.values)
    except ValidationError as error:
        wrong = _mistakes(error, source)
        mistakes += wrong
        # What is right may contradict itself too, and is to be told in the same breath.
        config = Config.model_validate(_without(source.values, wrong))
    mistakes += _contradictions(config)
    if mistakes:
        raise ConfigError(source.describe(mistakes))
    return config


def _without(values: dict[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """``values`` without the sections' keys in which there is a mistake: they take defaults."""
    wrong = {mistake.location[:2] for mistake in mistakes}
    return {
        section: {key: value for key, value in keys.items() if (section, key) not in wrong}
        for section, keys in values.items()
        if (section,) not in wrong and isinstance(keys, dict)
    }


def json_schema() -> dict[str, Any]:
    """The JSON Schema of ``ml_config.yaml``, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }


def known_keys(location: tuple[str, ...]) -> list[str]:
    """The keys that the section at ``location`` may have."""
    model: type[BaseModel] = Config
    for key in location:
        annotation = model.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def _mistakes(error: ValidationError, source: ConfigSource) -> list[Mistake]:
    """One mistake a place: what a value of several allowed kinds should be is joined with "or"."""
    expected: dict[Location, list[str]] = {}
    unknown = []
    for detail in error.errors(include_url=False):
        # pydantic adds the kinds it tried to the location; only the file's own keys are kept.
        location = source.locate(detail["loc"])
        if detail["type"] == "extra_forbidden":
            *section, key = (str(part) for part in location)
            unknown.append(Mistake.unknown_key(location, key, known_keys(tuple(section))))
        else:
            expected.setdefault(location, []).append(_expectation(dict(detail)))
    return unknown + [
        Mistake(location, " or ".join(dict.fromkeys(messages)))
        for location, messages in expected.items()
        if not any(other != location and other[: len(location)] == location for other in expected)
    ]


def _expectation(detail: dict[str, Any]) -> str:
    said = str(detail["msg"]).removeprefix("Input ")
    if detail["type"] == "string_type" and isinstance(detail["input"], bool):
        return f"{said}: YAML reads a bare yes, no, on or off as a truth value; put it in quotes"
    if detail["type"] == "tuple_type":
        return "should be a list"  # of YAML; a tuple is ours
    if detail["type"] == "too_short":
        fewest = detail["ctx"]["min_length"]
        return f"should have at least {fewest} item{'s' if fewest > 1 else ''}"
    return said


def _contradictions(config: Config) -> list[Mistake]:
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
