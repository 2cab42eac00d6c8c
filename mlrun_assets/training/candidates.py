"""Candidate models: judged without the test split; the best one becomes the model of the run.

A candidate is a weighted sum of the scores of one to two parts: the n-gram model, the frozen
encoder, the frozen encoder with a head that is also fitted to helper rows, the fine-tuned encoder.
The weights minimise the log-loss on rows that the parts were not trained on, so the probabilities
of the sum are calibrated too.

`CANDIDATES` is the ladder, cheapest first. To add a part, write its scores of all train and val
rows in `train_cheap` or `choose_model`, and say in `write_model` how a directory with it is made.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl

from mlrun_assets.config import CandidateName, Config, DeploymentConfig
from mlrun_assets.data.other_rows import stored_helper_rows
from mlrun_assets.data.splitting import FOLDS, LabelledRows, read_rows
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.files import link_or_copy, new_directory, write_atomically
from mlrun_assets.machine import quiet_transformers
from mlrun_assets.metrics import val_metrics
from mlrun_assets.models import ngrams
from mlrun_assets.records import (
    MIN_AGREEMENT,
    Acceptance,
    BaselineRecord,
    CandidateRecord,
    DatasetRecord,
    FrozenRecord,
    Recipe,
    Score,
)
from mlrun_assets.statistics import (
    accept_threshold,
    bootstrap_f1,
    confusion_matrix,
    rows_to_accept,
)
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.types import BoolArray, FloatArray, LabelIds, RowNumbers

CANDIDATES: tuple[str, ...] = get_args(CandidateName)
"""All candidates, from the cheapest to the dearest."""
PRECISIONS = (0.9, 0.95)
"""Precisions that the report shows if ``deployment.min_precision`` is not set."""


# The cheap parts


def train_cheap(
    directory: Path, dataset: DatasetRecord, job: FineTuningJob, config: Config
) -> BaselineRecord:
    """Fit the n-gram model, and the heads of the frozen encoder that the candidates need.

    All are fitted on train and val; their scores of these rows come from models that were fitted
    on the other folds, and are stored for `choose_model`.

    Raises:
        EncoderError: the encoder can't be loaded or pooled.
    """
    rows, paths = read_rows(directory, dataset, config), ExperimentPaths(directory)
    record, scores = ngrams.measure_baseline(directory, dataset, rows, config)
    parts = {"ngrams": scores}
    model_dirs = {"frozen": paths.frozen, "helped": paths.helped}
    if needed := {part: each for part, each in model_dirs.items() if job.recipe.needs(part)}:
        helpers = stored_helper_rows(directory, dataset)
        for part, scores, head in _fit_heads(rows, helpers, job, needed):
            parts[part], record = scores, record.model_copy(update={part: head})
    content = BytesIO()
    np.savez(content, **parts)  # type: ignore[arg-type]
    write_atomically(paths.part_scores, content.getvalue())
    return record


USUAL_LOGITS = 2.0  # standard deviation


def _fit_heads(
    rows: LabelledRows,
    helpers: tuple[list[str], LabelIds],
    job: FineTuningJob,
    model_dirs: Mapping[str, Path],
) -> Iterator[tuple[str, FloatArray, FrozenRecord]]:
    """Write the frozen encoder with the head of each part; yield its scores out of fold."""
    from mlrun_assets.training.frozen import FrozenEncoder, label_sentences

    started = time.perf_counter()
    texts, truth = helpers
    sentences = label_sentences(rows.labels)
    encoder = FrozenEncoder(job, [*texts, *sentences])
    states, about = encoder.states(rows.texts), encoder.states(sentences)
    shared = time.perf_counter() - started
    for part, model_dir in model_dirs.items():
        started = time.perf_counter()
        added = (encoder.states(texts), truth) if part == "helped" else (states[:0], truth[:0])
        head, scores, share = fit_head(rows, states, about, *added)
        encoder.save(head, model_dir)
        metrics = val_metrics(rows.truth, scores.argmax(axis=1))
        seconds = shared + time.perf_counter() - started
        yield (
            part,
            scores,
            FrozenRecord(**metrics, label_names=share, seconds=seconds, trim=encoder.trim),
        )


def fit_head(
    rows: LabelledRows,
    states: FloatArray,
    sentences: FloatArray,
    added: FloatArray,
    added_truth: LabelIds,
) -> tuple[tuple[FloatArray, FloatArray], FloatArray, float | None]:
    """The head of the frozen encoder: the discriminant plus the similarity to ``sentences``.

    It is fitted to ``states`` of all rows and to ``added``, which are in the training part of every
    fold. ``sentences`` are the states of the labels' sentences; there may be none.

    Returns:
        Weights and biases; the scores out of fold; the share of the similarity in the head.
    """
    from mlrun_assets.training.frozen import fit_discriminant, similarity_to

    def fit(used: BoolArray) -> tuple[FloatArray, FloatArray]:
        truth = np.concatenate([rows.truth[used], added_truth])
        return fit_discriminant(np.concatenate([states[used], added]), truth, len(rows.labels))

    def score(held_out: BoolArray) -> FloatArray:
        weights, biases = fit(~held_out)
        return np.asarray(states[held_out] @ weights.T + biases)

    scores, share = rows.score_out_of_fold(score), None
    weights, biases = fit(np.ones(len(states), dtype=bool))
    if len(sentences):
        similarity = similarity_to(sentences, states)
        parts = {"learned": scores, "named": states @ similarity[0].T + similarity[1]}
        summed = judge("+".join(parts), parts, rows)
        sizes = summed.weights * [_centred(each).std() for each in parts.values()]
        share = float(sizes[1] / max(1e-9, sizes.sum()))
        weights, biases = (
            summed.weights[0] * learned + summed.weights[1] * named
            for learned, named in zip((weights, biases), similarity, strict=True)
        )
        scores = _centred(summed.log_probabilities)
    # Logits as large as those of fine-tuning: a `Predictor` has one idea of close ones.
    scale = USUAL_LOGITS / max(1e-9, float(scores.std()))
    return (scale * weights, scale * biases), scale * scores, share


# The choice


@dataclass(frozen=True)
class Judged:
    """A candidate with its weights, one per part, and its log-probabilities (rows, labels).

    Labels with ``accept_confidence`` or more are accepted; None: there is no such threshold.
    """

    name: str
    weights: FloatArray
    log_probabilities: FloatArray
    accept_confidence: float | None = None

    @property
    def used(self) -> str:
        """The candidate of the parts whose weight is not 0; empty if there is none."""
        parts = zip(self.name.split("+"), self.weights, strict=True)
        return "+".join(part for part, weight in parts if weight)

    @property
    def known(self) -> RowNumbers:
        """The rows that every part has a score of."""
        return np.flatnonzero(~np.isnan(self.log_probabilities).any(axis=1))


def choose_model(
    directory: Path,
    dataset: DatasetRecord,
    recipe: Recipe,
    encoder_dir: Path | None,
    config: Config,
) -> tuple[str, tuple[CandidateRecord, ...], tuple[Acceptance, ...]]:
    """Judge the candidates of ``recipe``, choose one and write it to ``model/``.

    The fine-tuned encoder in ``encoder_dir`` can only be judged on val, so all candidates are
    compared there; without it they are compared on train and val. Probabilities of the chosen model
    are written to ``records/out_of_fold.parquet``.
    """
    rows, paths = read_rows(directory, dataset, config), ExperimentPaths(directory)
    with np.load(paths.part_scores) as stored:
        parts = dict(stored)
    if encoder_dir:
        from mlrun_assets.models.predictor import Predictor

        predictor = Predictor(encoder_dir, recipe.max_length, exact=True)
        texts = [text for text, in_val in zip(rows.texts, rows.in_val, strict=True) if in_val]
        parts["encoder"] = np.full((len(rows.texts), len(rows.labels)), np.nan)
        parts["encoder"][rows.in_val] = predictor.logits(texts)
    judged = [judge(name, parts, rows) for name in CANDIDATES if name in recipe.candidates]
    compared = rows.in_val if encoder_dir else np.ones(len(rows.truth), dtype=bool)
    places = np.flatnonzero(compared)
    truth = rows.truth[places]
    able = {each.name: each.log_probabilities[places] for each in without_idle_parts(judged)}
    chosen = choose(able, truth)
    losses = {each.name: -each.log_probabilities[places, truth] for each in judged}
    winner = next(each for each in judged if each.name == chosen)
    acceptance = accept(winner.log_probabilities, rows.truth, config.deployment)
    threshold = next((each.confidence for each in acceptance if each.configured), None)
    winner = replace(winner, accept_confidence=threshold)
    write_model(directory, winner, encoder_dir, rows.labels, recipe.max_length)
    known = winner.known
    columns = {
        f"probability_{label}": np.exp(winner.log_probabilities[known, number])
        for number, label in enumerate(rows.labels)
    }
    ids = [rows.ids[row] for row in known]
    content = BytesIO()
    pl.DataFrame({"id": ids, "val": rows.in_val[known], **columns}).write_parquet(content)
    write_atomically(paths.out_of_fold, content.getvalue())
    records = [_record(each, rows, losses, chosen, config) for each in judged]
    return chosen, tuple(records), acceptance


def judge(name: str, parts: Mapping[str, FloatArray], rows: LabelledRows) -> Judged:
    """The weights of a candidate, and its log-probabilities for rows that did not fit them.

    A row of which a part has no score gets NaN.
    """
    from scipy.special import log_softmax

    scores = np.stack([parts[part] for part in name.split("+")])
    known = ~np.isnan(scores).any(axis=(0, 2))
    result = np.full(scores.shape[1:], np.nan)
    folds = rows.folds
    if len(np.unique(folds[known])) < 2:  # few rows of val, or one group
        folds = np.cumsum(known) % FOLDS
    for fold in np.unique(folds[known]):
        others, held_out = known & (folds != fold), known & (folds == fold)
        weights = fit_weights(scores[:, others], rows.truth[others])
        result[held_out] = log_softmax(np.tensordot(weights, scores[:, held_out], axes=1), axis=1)
    return Judged(name, fit_weights(scores[:, known], rows.truth[known]), result)


def without_idle_parts(judged: Sequence[Judged]) -> list[Judged]:
    """Without the sums that are another candidate plus parts of the weight 0."""
    names = {each.name for each in judged}
    return [each for each in judged if each.used == each.name or each.used not in names]


def choose(log_probabilities: Mapping[str, FloatArray], truth: LabelIds) -> str:
    """The last candidate that no cheaper one beats.

    One beats another if its log-loss is lower by more than a standard error, or if both give the
    same label to `MIN_AGREEMENT` of the rows. docs/decisions/020 compares this rule with others.

    Args:
        log_probabilities: of each candidate, cheapest first, shape (rows, labels).
        truth: label numbers, shape (rows,).
    """
    names, rows = list(log_probabilities), np.arange(len(truth))

    def beats(cheaper: str, other: str) -> bool:
        one, two = log_probabilities[cheaper], log_probabilities[other]
        if (one.argmax(axis=1) == two.argmax(axis=1)).mean() >= MIN_AGREEMENT:
            return True
        worse = one[rows, truth] - two[rows, truth]
        return bool(worse.mean() > standard_error(worse))

    return next(
        name
        for number, name in reversed(list(enumerate(names)))
        if not any(beats(cheaper, name) for cheaper in names[:number])
    )


def precisions(config: DeploymentConfig) -> tuple[float, ...]:
    """The precisions that a threshold is chosen for: `PRECISIONS` if none is configured."""
    return PRECISIONS if config.min_precision is None else (config.min_precision,)


def accept(
    log_probabilities: FloatArray, truth: LabelIds, config: DeploymentConfig
) -> tuple[Acceptance, ...]:
    """The confidence threshold for each of the `precisions`; rows with NaN are left out."""
    known = ~np.isnan(log_probabilities).any(axis=1)
    confidences = np.exp(log_probabilities[known].max(axis=1))
    right = log_probabilities[known].argmax(axis=1) == truth[known]
    found = []
    for precision in precisions(config):
        threshold = accept_threshold(confidences, right, precision)
        found.append(
            Acceptance(
                min_precision=precision,
                confidence=threshold,
                configured=config.min_precision is not None,
                rows=len(right),
                rows_needed=None if threshold else rows_to_accept(confidences, right, precision),
            )
        )
    return tuple(found)


def standard_error(values: FloatArray) -> float:
    """The standard error of the mean of ``values``, shape (rows,)."""
    return float(values.std(ddof=min(1, len(values) - 1)) / np.sqrt(len(values)))


def _record(
    judged: Judged,
    rows: LabelledRows,
    losses: Mapping[str, FloatArray],
    chosen: str,
    config: Config,
) -> CandidateRecord:
    known = judged.known
    truth, predicted = rows.truth[known], judged.log_probabilities[known].argmax(axis=1)
    evaluation = config.evaluation
    low, high = bootstrap_f1(
        confusion_matrix(truth, predicted, len(rows.labels)),
        "macro",
        evaluation.resamples,
        evaluation.confidence,
        config.training.seed,
    )
    metrics = val_metrics(truth, predicted)
    worse = losses[judged.name] - losses[chosen]
    return CandidateRecord(
        name=judged.name,
        rows=len(truth),
        f1_macro=Score(value=metrics["f1_macro"], low=low, high=high),
        accuracy=metrics["accuracy"],
        log_loss=float(losses[judged.name].mean()),
        loss_above_chosen=float(worse.mean()),
        loss_error=standard_error(worse),
        rows_compared=len(worse),
        weights=dict(zip(judged.name.split("+"), judged.weights.tolist(), strict=True)),
    )


# Standard deviation of a normal prior on the weights, for scores of deviation 1. Without it, the
# loss has its minimum at infinity if all rows are right.
PRIOR = 10.0


def fit_weights(scores: FloatArray, truth: LabelIds) -> FloatArray:
    """The non-negative weights, shape (parts,), of the sum with the smallest log-loss.

    ``scores`` has the shape (parts, rows, labels); without rows all weights are 1. The weights also
    act as a temperature (Guo et al., 2017). The problem is convex, and a hundred rows are enough
    for two numbers.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    if not len(truth):
        return np.ones(len(scores))
    # Naive Bayes gives sums over n-grams, an SVM gives distances: bring all to one scale.
    centred = _centred(scores)
    scales = 1.0 / np.maximum(1e-9, centred.std(axis=(1, 2)))
    scaled = centred * scales[:, None, None]
    of_truth = scaled[:, np.arange(len(truth)), truth].mean(axis=1)

    def penalised(weights: FloatArray) -> tuple[float, FloatArray]:
        logs = log_softmax(np.tensordot(weights, scaled, axes=1), axis=1)
        gradient = (scaled * np.exp(logs)).sum(axis=2).mean(axis=1) - of_truth
        penalty = weights / (PRIOR**2 * len(truth))
        loss = -float(logs[np.arange(len(truth)), truth].mean())
        return loss + float(weights @ penalty) / 2, gradient + penalty

    start, bounds = np.ones(len(scores)), [(0.0, None)] * len(scores)
    options = {"ftol": 1e-14, "gtol": 1e-9}
    found = minimize(penalised, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options)
    return np.asarray(found.x * scales)


def _centred(scores: FloatArray) -> FloatArray:
    """The scores without what all labels of a row share, which changes no probability.

    It must not count for the scale of scores: naive Bayes gives lower ones to longer texts.
    """
    return np.asarray(scores - scores.mean(axis=-1, keepdims=True))


# The model of the run

SERVED_FILES = ("ngram_scorer.py", "ensemble_pipeline.py")
PIPELINE = {
    "text-classification": {
        "impl": "ensemble_pipeline.EnsemblePipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "text",
    }
}


def write_model(
    directory: Path,
    winner: Judged,
    encoder_dir: Path | None,
    labels: tuple[str, ...],
    max_length: int,
) -> None:
    """Write the model of ``winner`` to ``model/``: a transformers classifier, maybe with n-grams.

    An encoder alone has its weight in the layer of the logits. A model of n-grams alone has an
    encoder too, one of a few hundred bytes with the weight 0, so that whatever loads one model
    loads them all.
    """
    from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR

    paths = ExperimentPaths(directory)
    weights = dict(zip(winner.name.split("+"), winner.weights.tolist(), strict=True))
    places = {"frozen": paths.frozen, "helped": paths.helped, "encoder": encoder_dir}
    source = next((place for part, place in places.items() if part in weights and place), None)
    added: dict[str, object] = {"accept_confidence": winner.accept_confidence}
    with new_directory(paths.model, replace=True) as model_dir:
        if source is None:
            write_empty_encoder(model_dir, labels, max_length)
        else:
            shutil.copytree(source, model_dir, dirs_exist_ok=True, copy_function=link_or_copy)
        if "ngrams" in weights:
            shutil.copytree(paths.baseline_model / NGRAMS_DIR, model_dir / NGRAMS_DIR)
            of_encoder = next((weights[part] for part in places if part in weights), 0.0)
            ngrams.set_weights(model_dir, of_encoder, weights["ngrams"])
            for name in SERVED_FILES:
                shutil.copyfile(Path(ngrams.__file__).parent / "served" / name, model_dir / name)
            added["custom_pipelines"] = PIPELINE
        else:
            scale_logits(model_dir, len(labels), winner.weights[0])
        file = model_dir / "config.json"
        settings = json.loads(file.read_text(encoding="utf-8")) | added
        write_atomically(file, json.dumps(settings, indent=2) + "\n")


def scale_logits(model_dir: Path, labels: int, weight: float) -> None:
    """Multiply the logits of the classifier in ``model_dir`` by ``weight``."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save

    from mlrun_assets.encoders.loading import HEADS

    file = model_dir / "model.safetensors"
    with safe_open(str(file), "np") as opened:
        about = opened.metadata()
    tensors = load_file(file)
    for name, values in tensors.items():
        if name.startswith(HEADS) and ".dense." not in name and len(values) == labels:
            tensors[name] = values * np.float32(weight)
    write_atomically(file, save(tensors, about))


def write_empty_encoder(model_dir: Path, labels: tuple[str, ...], max_length: int) -> None:
    """Write a transformers classifier of one layer and one unit, whose logits are all 0."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    config = BertConfig(
        vocab_size=2,
        hidden_size=1,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=max_length,
        type_vocab_size=1,
        id2label=dict(enumerate(labels)),
        label2id={label: number for number, label in enumerate(labels)},
    )
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        parameter.data.zero_()
    with quiet_transformers():
        model.save_pretrained(str(model_dir))
    padding, unknown = "[PAD]", "[UNK]"
    backend = Tokenizer(models.WordLevel({padding: 0, unknown: 1}, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # An empty text has a token too.
    backend.post_processor = processors.TemplateProcessing(f"{unknown} $A", None, [(unknown, 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=padding,
        unk_token=unknown,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(str(model_dir))
