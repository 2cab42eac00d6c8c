"""The stage ``evaluation_metrics``: the checkpoint beside the baseline and production."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlrun_assets.config import Config
from mlrun_assets.errors import ExperimentError
from mlrun_assets.evaluation import label_next
from mlrun_assets.evaluation.calibration import SplitProbabilities, calibrate, scale
from mlrun_assets.evaluation.comparison import (
    BASELINE,
    ChallengerPredictions,
    Deployed,
    Incomparable,
    ReferenceModel,
    open_baseline,
    open_production,
    read_baseline_predictions,
)
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import append_line, locked, open_atomically
from mlrun_assets.metrics import label_numbers, over_seeds, score, seed_scores
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    Comparison,
    DatasetRecord,
    EvaluationRecord,
    LabelNext,
    LookCount,
    Scores,
    timestamp,
)
from mlrun_assets.types import LabelIds, Probabilities

if TYPE_CHECKING:
    from mlrun_assets.models.predictor import Predictor


def write_predictions(
    directory: Path,
    judged: ChallengerPredictions,
    probabilities: Probabilities,
    others: Mapping[str, LabelIds],
) -> None:
    """Write ``records/predictions.parquet``: one row per test row, in the order of the split.

    Its columns are ``id``, ``label``, whether the row ``leaks`` (if that was checked), the
    challenger's ``prediction``, whether that is ``right``, its ``confidence``, a column with the
    prediction of each of ``others``, and the challenger's ``probability_LABEL`` of each label. The
    texts are in ``data/test.parquet``, by ``id``.
    """
    columns = {
        "prediction": judged.names(judged.predicted_ids),
        "right": pl.Series(judged.right),
        "confidence": pl.Series(probabilities.max(axis=1)),
        **{name: judged.names(predicted) for name, predicted in others.items()},
        **{
            f"probability_{label}": pl.Series(probabilities[:, number])
            for number, label in enumerate(judged.labels)
        },
    }
    known = [name for name in ("id", "label", "leaks") if name in judged.frame.columns]
    with open_atomically(ExperimentPaths(directory).predictions) as output:
        judged.frame.select(known).with_columns(**columns).write_parquet(output)


@dataclass(frozen=True)
class ComparedModels:
    """The models to compare."""

    checkpoint: CheckpointRecord
    baseline: BaselineRecord
    production: Deployed | None


def evaluate_checkpoint(
    directory: Path, dataset: DatasetRecord, candidates: ComparedModels, config: Config
) -> EvaluationRecord:
    """Score the checkpoint, and compare it with the baseline and the model in production.

    Writes the predictions of all models to ``records/predictions.parquet``, and the rows that are
    worth labelling to ``records/label_next.jsonl``.

    Raises:
        RecordError: the baseline's files or the unlabelled texts are missing or can't be read.
    """
    from mlrun_assets.models.predictor import Predictor

    predictor = Predictor(directory / candidates.checkpoint.model_dir, dataset.max_length)
    labels = predictor.labels
    # What can't be read is found before the splits are predicted, which takes minutes.
    references = _open_references(directory, candidates, labels, config)
    started = time.perf_counter()
    val, test = (
        _ask(predictor, directory / dataset.splits[split].file) for split in ("val", "test")
    )
    seconds = time.perf_counter() - started
    judged = ChallengerPredictions(test.frame, test.truth, test.predicted_ids, labels, config)
    predicted = references.predict_test(judged)
    by_seed = _seed_guesses(directory, candidates.checkpoint, judged, dataset.max_length)
    named = {f"seed_{seed}": predicted_ids for seed, predicted_ids in by_seed.items()}
    write_predictions(directory, judged, test.probabilities, {**predicted, **named})
    seeds = tuple(
        seed_scores(seed, judged.truth, predicted_ids) for seed, predicted_ids in by_seed.items()
    )
    calibration = calibrate(
        val.believed, test.believed, config.evaluation.confidence, config.training.seed
    )
    paths = ExperimentPaths(directory)
    frame, probabilities = _candidates(directory, dataset, predictor, val, config.training.seed)
    # How sure the challenger says to be is not how sure it may be.
    believable = scale(probabilities, calibration.temperature)
    return EvaluationRecord(
        test_digest=dataset.splits["test"].source_digest,
        labels=labels,
        f1_kind=config.evaluation.f1,
        confidence=config.evaluation.confidence,
        val=_score(val, labels, config),
        test=_score(test, labels, config),
        test_without_leaks=judged.score_without_leaks(),
        slices=judged.score_slices(),
        baseline=judged.compare(BASELINE, predicted["baseline"]),
        production=references.compare_production(judged, predicted),
        predictions_file=paths.relative(paths.predictions),
        rows_per_second=(val.frame.height + test.frame.height) / seconds,
        seeds=seeds,
        over_seeds=over_seeds(seeds),
        calibration=calibration,
        label_next_file=paths.relative(paths.label_next),
        label_next=_choose_rows(directory, (frame, believable), labels, references.asked, config),
    )


@dataclass(frozen=True)
class _ReferenceModels:
    """The baseline, with its predictions on the test rows, and the model in production."""

    baseline_said: pl.DataFrame
    baseline: ReferenceModel
    production: ReferenceModel | Incomparable | None

    @property
    def asked(self) -> dict[str, ReferenceModel]:
        """The models that can predict any text."""
        models = {"baseline": self.baseline, "production": self.production}
        return {name: model for name, model in models.items() if isinstance(model, ReferenceModel)}

    def predict_test(self, judged: ChallengerPredictions) -> dict[str, LabelIds]:
        """Their predictions on the test rows; those of the baseline were stored by its stage."""
        rows = judged.frame.select("id")
        known = rows.join(self.baseline_said, on="id", how="left", maintain_order="left")
        predicted = {"baseline": label_numbers(known["prediction"], judged.labels)}
        if isinstance(self.production, ReferenceModel):
            predicted["production"] = self.production.predict(judged.frame["text"].to_list())
        return predicted

    def compare_production(
        self, judged: ChallengerPredictions, predicted: Mapping[str, LabelIds]
    ) -> Comparison | None:
        """The challenger beside production; None: there is none."""
        production = self.production
        if isinstance(production, Incomparable):
            return Comparison(
                against=production.name, comparable=False, reason=production.reason, rows=0
            )
        return judged.compare(production.name, predicted["production"]) if production else None


def _open_references(
    directory: Path, candidates: ComparedModels, labels: tuple[str, ...], config: Config
) -> _ReferenceModels:
    baseline, deployed = candidates.baseline, candidates.production
    return _ReferenceModels(
        baseline_said=read_baseline_predictions(directory / baseline.predictions_file),
        baseline=open_baseline(directory / baseline.model_dir, labels),
        production=open_production(deployed, labels, config.data) if deployed else None,
    )


@dataclass(frozen=True)
class _SplitPredictions:
    """A split with the challenger's predictions."""

    frame: pl.DataFrame
    truth: LabelIds
    probabilities: Probabilities

    @property
    def predicted_ids(self) -> LabelIds:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def believed(self) -> SplitProbabilities:
        return SplitProbabilities(self.probabilities, self.truth)


def _ask(predictor: Predictor, file: Path) -> _SplitPredictions:
    frame = pl.read_parquet(file)
    truth = label_numbers(frame["label"], predictor.labels)
    return _SplitPredictions(frame, truth, predictor.probabilities(frame["text"].to_list()))


def _score(answered: _SplitPredictions, labels: tuple[str, ...], config: Config) -> Scores:
    return score(
        answered.truth, answered.predicted_ids, labels, config.evaluation, config.training.seed
    )


def _seed_guesses(
    directory: Path, checkpoint: CheckpointRecord, judged: ChallengerPredictions, max_length: int
) -> dict[int, LabelIds]:
    """The predictions of each seed on the test rows; empty if only one seed was trained."""
    from mlrun_assets.models.predictor import Predictor

    if len(checkpoint.seeds) < 2:
        return {}
    texts, predicted = judged.frame["text"].to_list(), {}
    for seed in checkpoint.seeds:
        predicted[seed.seed] = judged.predicted_ids
        if seed.seed != checkpoint.seed:
            predictor = Predictor(directory / seed.model_dir, max_length)
            predicted[seed.seed] = predictor.probabilities(texts).argmax(axis=1)
    return predicted


def _candidates(
    directory: Path, dataset: DatasetRecord, predictor: Predictor, val: _SplitPredictions, seed: int
) -> tuple[pl.DataFrame, Probabilities]:
    """Texts that could be labelled next, with the challenger's probabilities.

    If there are no unlabelled texts, val rows are used: texts like them are worth labelling, and
    some of their labels are wrong. Test rows are never used: a test split that is corrected where
    the models fail is no fair test of the next model.
    """
    if dataset.unlabelled is None:
        return val.frame.with_columns(split=pl.lit("val")), val.probabilities
    frame = label_next.read_unlabelled(directory / dataset.unlabelled.file, seed)
    return frame, predictor.probabilities(frame["text"].to_list())


def _choose_rows(
    directory: Path,
    candidates: tuple[pl.DataFrame, Probabilities],
    labels: tuple[str, ...],
    references: Mapping[str, ReferenceModel],
    config: Config,
) -> LabelNext:
    """Write the rows to label next; the probabilities are calibrated."""
    frame, probabilities = candidates
    texts = frame["text"].to_list()
    others = {name: reference.predict(texts) for name, reference in references.items()}
    predicted = label_next.with_predictions(frame, probabilities, labels, others)
    ranked = label_next.rank(predicted, list(others))
    written = label_next.write_label_next(
        directory, ranked, list(others), show_text=config.reports.show_text
    )
    return label_next.summarise(frame, ranked, written)


LOOKS_FILE = "test_looks.jsonl"
MOST_RESAMPLES = 100_000

_KEYS = ("test", "model")


def note_look(
    experiments_dir: Path, experiment: str, digests: tuple[str, str], config: Config
) -> LookCount:
    """Record a look at a test split in the ledger, and count the models judged on it.

    Args:
        experiments_dir: the directory of the ledger.
        experiment: who looks.
        digests: of the test split and of the model. The same model again is the same look.
        config: with ``evaluation.max_looks`` and ``evaluation.confidence``.

    Raises:
        ExperimentError: the ledger can't be written.
        FileBusyError: another process holds its lock.
    """
    test, model = digests
    file = experiments_dir / LOOKS_FILE
    try:
        with locked(file):
            models = {look["model"] for look in _looks(file) if look["test"] == test}
            if model not in models:
                look = {"test": test, "model": model, "experiment": experiment}
                append_line(file, json.dumps({**look, "at": timestamp()}))
    except OSError as error:
        raise ExperimentError(
            f"{file}: that a model is judged on the test split can't be written down: {error}"
        ) from None
    looks = len(models | {model})
    most = config.evaluation.max_looks
    confidence = config.evaluation.confidence
    if looks > most:
        confidence = 1 - (1 - confidence) / looks
    return LookCount(looks=looks, max_looks=most, confidence=confidence)


def corrected(config: Config, use: LookCount) -> Config:
    """``config`` with the corrected confidence, and enough bootstrap resamples for it.

    If the test split is used up, the error of an interval is divided by the number of models that
    were judged on it, this one included (Bonferroni). The intervals of so many models then hold
    together as often as one interval of a single model; so does that of the best model.
    """
    if not use.used_up:
        return config
    evaluation = config.evaluation
    resamples = max(evaluation.resamples, min(evaluation.resamples * use.looks, MOST_RESAMPLES))
    changed = {"confidence": use.confidence, "resamples": resamples}
    return config.model_copy(update={"evaluation": evaluation.model_copy(update=changed)})


def _looks(file: Path) -> Iterator[dict[str, str]]:
    """The readable looks; a line that was cut off by a crash is skipped."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            look = json.loads(line)
        except ValueError:
            continue
        if isinstance(look, dict) and all(isinstance(look.get(key), str) for key in _KEYS):
            yield look
