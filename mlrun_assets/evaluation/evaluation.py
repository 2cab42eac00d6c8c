"""The stage ``evaluation_metrics``: the checkpoint beside the baseline and production."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlrun_assets.config import Config
from mlrun_assets.errors import ExperimentError, RecordError
from mlrun_assets.evaluation.calibration import (
    accepted_rows,
    calibrate,
    coverage_curve,
    read_unlabelled,
    with_predictions,
    write_label_next,
)
from mlrun_assets.evaluation.comparison import (
    ChallengerPredictions,
    Deployed,
    ReferenceModel,
    open_baseline,
    open_production,
    read_baseline_predictions,
)
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import append_line, locked, open_atomically
from mlrun_assets.metrics import label_numbers, over_seeds, seed_scores
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    Comparison,
    DatasetRecord,
    EvaluationRecord,
    JudgedAcceptance,
    LabelNext,
    LookCount,
    timestamp,
)
from mlrun_assets.types import LabelIds

if TYPE_CHECKING:
    from mlrun_assets.models.predictor import Predictor


def evaluate_checkpoint(
    directory: Path,
    dataset: DatasetRecord,
    checkpoint: CheckpointRecord,
    baseline: BaselineRecord,
    deployed: Deployed | None,
    config: Config,
) -> EvaluationRecord:
    """Score the checkpoint, and compare it with the baseline and the model in production.

    Writes the predictions of all models to ``records/predictions.parquet``, and the rows that are
    worth labelling to ``records/label_next.jsonl``. The look at the test split is counted before.

    Raises:
        RecordError: the baseline's files or the unlabelled texts are missing or can't be read.
        ExperimentError: the look can't be written down.
        FileBusyError: another process holds the lock of the ledger of looks.
    """
    from mlrun_assets.models.predictor import Predictor

    looks = note_look(directory, (dataset.splits["test"].source_digest, checkpoint.digest), config)
    config = corrected(config, looks)
    predictor = Predictor(directory / checkpoint.model_dir, dataset.max_length)
    labels = predictor.labels
    # What can't be read is found before the splits are predicted, which takes minutes.
    baseline_said = read_baseline_predictions(directory / baseline.predictions_file)
    models = {"baseline": open_baseline(directory / baseline.model_dir, labels)}
    production = open_production(deployed, labels, config.data) if deployed else None
    if isinstance(production, ReferenceModel):
        models["production"] = production
    val = _read_val(directory, dataset, labels, config)
    started = time.perf_counter()
    test = _ask(predictor, directory / dataset.splits["test"].file, config)
    seconds = time.perf_counter() - started
    # What the baseline says to the test rows was stored by its stage.
    known = test.frame.select("id").join(baseline_said, on="id", how="left", maintain_order="left")
    predicted = {"baseline": label_numbers(known["prediction"], labels)}
    if "production" in models:
        predicted["production"] = models["production"].predict(test.frame["text"].to_list())
    compared = {name: test.compare(model.name, predicted[name]) for name, model in models.items()}
    if isinstance(production, Comparison):
        compared["production"] = production
    by_seed = _seed_guesses(directory, checkpoint, test, dataset.max_length)
    predicted |= {f"seed_{seed}": predicted_ids for seed, predicted_ids in by_seed.items()}
    write_predictions(directory, test, predicted)
    seeds = tuple(seed_scores(seed, test.truth, said) for seed, said in by_seed.items())
    paths = ExperimentPaths(directory)
    return EvaluationRecord(
        chosen=checkpoint.chosen,
        test_digest=dataset.splits["test"].source_digest,
        labels=labels,
        f1_kind=config.evaluation.f1,
        confidence=config.evaluation.confidence,
        val=val.score(),
        test=test.score(),
        test_without_leaks=test.score_without_leaks(),
        slices=test.score_slices(),
        baseline=compared["baseline"],
        production=compared.get("production"),
        predictions_file=paths.relative(paths.predictions),
        rows_per_second=test.frame.height / seconds,
        seeds=seeds,
        over_seeds=over_seeds(seeds),
        calibration=calibrate(test),
        acceptance=tuple(
            JudgedAcceptance(
                shown=shown,
                test=accepted_rows(test, shown.confidence) if shown.confidence else None,
            )
            for shown in checkpoint.acceptance
        ),
        coverage_curve=coverage_curve(test),
        test_looks=looks,
        label_next_file=paths.relative(paths.label_next),
        label_next=_choose_rows(directory, dataset, predictor, val, models),
    )


def _ask(predictor: Predictor, file: Path, config: Config) -> ChallengerPredictions:
    frame = pl.read_parquet(file, glob=False)
    truth = label_numbers(frame["label"], predictor.labels)
    probabilities = predictor.probabilities(frame["text"].to_list())
    return ChallengerPredictions(frame, truth, probabilities, predictor.labels, config)


def _read_val(
    directory: Path, dataset: DatasetRecord, labels: tuple[str, ...], config: Config
) -> ChallengerPredictions:
    """The val rows with the probabilities that the choice of the model left.

    They come from parts that were not trained on these rows. The model itself may have been: its
    linear parts are fitted on train and val in the end.
    """
    frame = pl.read_parquet(directory / dataset.splits["val"].file, glob=False)
    file = ExperimentPaths(directory).out_of_fold
    try:
        stored = pl.read_parquet(file, glob=False).filter("val")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordError(
            f"{file}: the probabilities of the val rows can't be read: {str(error).splitlines()[0]}"
            "; materialize trained_checkpoint again, in the same experiment"
        ) from error
    joined = frame.select("id").join(stored, on="id", how="left", maintain_order="left")
    probabilities = joined.select(f"probability_{label}" for label in labels).to_numpy()
    truth = label_numbers(frame["label"], labels)
    return ChallengerPredictions(frame, truth, probabilities, labels, config)


def _seed_guesses(
    directory: Path, checkpoint: CheckpointRecord, test: ChallengerPredictions, max_length: int
) -> dict[int, LabelIds]:
    """The predictions of each seed on the test rows, with the same n-grams where there are some.

    Empty if only one seed was trained, or another model was chosen.
    """
    from mlrun_assets.models.predictor import Predictor

    trained = checkpoint.fine_tuning
    if trained is None or len(trained.seeds) < 2 or "encoder" not in checkpoint.chosen.split("+"):
        return {}
    texts, predicted = test.frame["text"].to_list(), {}
    for seed in trained.seeds:
        predicted[seed.seed] = test.predicted_ids
        if seed.seed != trained.seed:
            ngrams = directory / checkpoint.model_dir
            predictor = Predictor(directory / seed.model_dir, max_length, ngrams_of=ngrams)
            predicted[seed.seed] = predictor.probabilities(texts).argmax(axis=1)
    return predicted


def write_predictions(
    directory: Path, test: ChallengerPredictions, others: Mapping[str, LabelIds]
) -> None:
    """Write ``records/predictions.parquet``: one row per test row, in the order of the split.

    Its columns are ``id``, ``label``, whether the row ``leaks`` (if that was checked), the
    challenger's ``prediction``, whether that is ``right``, its ``confidence``, a column with the
    prediction of each of ``others``, and the challenger's ``probability_LABEL`` of each label. The
    texts are in ``data/test.parquet``, by ``id``.
    """

    def names(numbers: LabelIds) -> pl.Series:
        return pl.Series([test.labels[number] for number in numbers], dtype=pl.String)

    columns = {
        "prediction": names(test.predicted_ids),
        "right": pl.Series(test.right),
        "confidence": pl.Series(test.probabilities.max(axis=1)),
        **{name: names(predicted) for name, predicted in others.items()},
        **{
            f"probability_{label}": pl.Series(test.probabilities[:, number])
            for number, label in enumerate(test.labels)
        },
    }
    known = [name for name in ("id", "label", "leaks") if name in test.frame.columns]
    with open_atomically(ExperimentPaths(directory).predictions) as output:
        test.frame.select(known).with_columns(**columns).write_parquet(output)


def _choose_rows(
    directory: Path,
    dataset: DatasetRecord,
    predictor: Predictor,
    val: ChallengerPredictions,
    models: Mapping[str, ReferenceModel],
) -> LabelNext:
    """Write the rows to label next.

    If there are no unlabelled texts, val rows are used: texts like them are worth labelling, and
    some of their labels are wrong. Test rows are never used: a test split that is corrected where
    the models fail is no fair test of the next model.
    """
    frame, probabilities = val.frame.with_columns(split=pl.lit("val")), val.probabilities
    if dataset.unlabelled:
        file, seed = directory / dataset.unlabelled.file, val.config.training.seed
        frame = read_unlabelled(file, seed)
        probabilities = predictor.probabilities(frame["text"].to_list())
    others = {name: model.predict(frame["text"].to_list()) for name, model in models.items()}
    if not dataset.unlabelled:  # the baseline was fitted on the val rows in the end
        with np.load(ExperimentPaths(directory).part_scores) as parts:
            others["baseline"] = parts["ngrams"][-frame.height :].argmax(axis=1)
    rows = with_predictions(frame, probabilities, val.labels, others)
    if dataset.unlabelled and predictor.accept_confidence is not None:
        rows = rows.with_columns(accepted=pl.col("probability") >= predictor.accept_confidence)
    show_text = val.config.reports.show_text
    return write_label_next(directory, rows, list(others), show_text=show_text)


LOOKS_FILE = "test_looks.jsonl"
MOST_RESAMPLES = 100_000


def note_look(directory: Path, digests: tuple[str, str], config: Config) -> LookCount:
    """Record a look at a test split in the ledger, and count the models judged on it.

    Args:
        directory: of the experiment that looks; the ledger stands beside it.
        digests: of the test split and of the model. The same model again is the same look.
        config: with ``evaluation.max_looks`` and ``evaluation.confidence``.

    Raises:
        ExperimentError: the ledger can't be written.
        FileBusyError: another process holds its lock.
    """
    test, model = digests
    file = directory.parent / LOOKS_FILE
    try:
        with locked(file):
            models = {look["model"] for look in _looks(file) if look["test"] == test}
            if model not in models:
                look = {"test": test, "model": model, "experiment": directory.name}
                append_line(file, json.dumps({**look, "at": timestamp()}))
    except OSError as error:
        raise ExperimentError(
            f"{file}: that a model is judged on the test split can't be written down: {error}"
        ) from None
    looks, evaluation = len(models | {model}), config.evaluation
    confidence = evaluation.confidence
    if looks > evaluation.max_looks:
        confidence = 1 - (1 - confidence) / looks
    return LookCount(looks=looks, max_looks=evaluation.max_looks, confidence=confidence)


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
        if isinstance(look, dict) and all(
            isinstance(look.get(key), str) for key in ("test", "model")
        ):
            yield look
