"""The functions of `import mlrun_assets`, for notebooks and other programs.

They do what the commands of the same names do, raise `MlrunError` with the same messages, and
import libraries only when they are called. ``config`` is the path of a config file (None: as for
the command line), and ``overrides`` replaces values of it, as ``--set`` does::

    import mlrun_assets

    run = mlrun_assets.run(name="first", overrides={"training.budget": "fast"})
    print(run.verdict, run.f1)
    model = mlrun_assets.load_model("first")
    for answer in model.predict(["Kooxda kubadda cagta ayaa guulaysatay"]):
        print(answer.label, answer.probability)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlrun_assets.config import SET_VARIABLE, LoadedConfig, load_config
from mlrun_assets.experiment import Experiment, find_experiment
from mlrun_assets.records import DatasetRecord, DecisionRecord, EvaluationRecord, Score, Verdict

if TYPE_CHECKING:
    from mlrun_assets.production.answers import Classifier
    from mlrun_assets.production.compare import ModelComparison
    from mlrun_assets.types import Probabilities

ConfigFile = Path | str | None
Overrides = Mapping[str, object]


@dataclass(frozen=True)
class Run:
    """An experiment, and what was found in it; what is not known is None."""

    experiment: Experiment

    @property
    def id(self) -> str:
        return self.experiment.id

    @property
    def directory(self) -> Path:
        return self.experiment.directory

    @property
    def status(self) -> str:
        """`Complete`, `Blocked`, `Failed`, `Cancelled` or `Running`."""
        return str(self.experiment.manifest.status)

    @property
    def dataset(self) -> DatasetRecord | None:
        """The splits and their checks."""
        return self.experiment.find(DatasetRecord)

    @property
    def evaluation(self) -> EvaluationRecord | None:
        """All scores on the test split, with their intervals."""
        return self.experiment.find(EvaluationRecord)

    @property
    def decision(self) -> DecisionRecord | None:
        """The verdict, its rules and the next steps."""
        return self.experiment.find(DecisionRecord)

    @property
    def verdict(self) -> Verdict | None:
        return self.decision.verdict if self.decision else None

    @property
    def f1(self) -> Score | None:
        """The F1 of the test split that the rules look at: value, low and high."""
        return self.evaluation.f1 if self.evaluation else None

    @property
    def report(self) -> str:
        """The report, as Markdown; it exists when the run has ended."""
        return self.experiment.paths.report.read_text(encoding="utf-8")

    def _repr_markdown_(self) -> str:
        return self.report  # Jupyter shows it


@dataclass(frozen=True)
class Answer:
    """The label of a text, and its probability.

    ``accepted`` is whether it reaches the confidence threshold; None if the model has none.
    """

    label: str
    probability: float
    accepted: bool | None


@dataclass(frozen=True)
class Model:
    """A model that was loaded by `load_model`."""

    classifier: Classifier
    language: str

    @property
    def labels(self) -> tuple[str, ...]:
        return self.classifier.labels

    def probabilities(self, texts: Sequence[str]) -> Probabilities:
        """Probabilities of shape (texts, labels), in the order of ``labels``."""
        from mlrun_assets.data.text import language_profile, normalise

        steps = language_profile(self.language).steps
        return self.classifier.probabilities([normalise(text, steps).text for text in texts])

    def predict(self, texts: Sequence[str]) -> list[Answer]:
        """The label of each text.

        Raises:
            TypeError: ``texts`` is one text.
        """
        if isinstance(texts, str):
            raise TypeError("predict takes a list of texts: predict([text])")
        if not texts:
            return []
        probabilities, threshold = self.probabilities(texts), self.classifier.accept_confidence
        return [
            Answer(
                self.labels[row.argmax()],
                float(row.max()),
                None if threshold is None else bool(row.max() >= threshold),
            )
            for row in probabilities
        ]


def load_experiment(
    name: str, config: ConfigFile = None, *, overrides: Overrides | None = None
) -> Run:
    """An experiment, by its name or id.

    Raises:
        ExperimentError: there is none.
    """
    return Run(find_experiment(_load(config, overrides).experiments_dir, name))


def load_model(
    name: str | None = None, config: ConfigFile = None, *, overrides: Overrides | None = None
) -> Model:
    """The model of a version or an experiment, by its name or id; by default that in production.

    Its probabilities are computed in float32.

    Raises:
        ProductionError: there is no such model, or its files have changed.
    """
    from mlrun_assets.production.prediction import data_of, load_classifier, version_to_ask

    loaded = _load(config, overrides)
    version = version_to_ask(loaded, name)
    language = data_of(version, loaded.settings.data).language
    return Model(load_classifier(loaded, version, exact=True), language)


def compare(
    *names: str, config: ConfigFile = None, overrides: Overrides | None = None
) -> ModelComparison:
    """Models side by side, with paired tests; with one name, production and that model.

    Raises:
        ExperimentError: a model can't be found.
        ProductionError: production is to be compared, and nothing is in production.
    """
    from mlrun_assets.production.compare import side_by_side

    return side_by_side(_load(config, overrides), names)


@contextmanager
def _overridden(overrides: Overrides | None) -> Iterator[None]:
    """Set ``MLRUN_SET`` for the block: Dagster's resource loads the config too."""
    before = os.environ.get(SET_VARIABLE)
    lines = [f"{key}={json.dumps(value)}" for key, value in (overrides or {}).items()]
    try:
        if lines:
            os.environ[SET_VARIABLE] = "\n".join([before or "", *lines])
        yield
    finally:
        if lines:
            os.environ.pop(SET_VARIABLE)
            if before is not None:
                os.environ[SET_VARIABLE] = before


def _load(config: ConfigFile, overrides: Overrides | None) -> LoadedConfig:
    with _overridden(overrides):
        return load_config(config)
