"""Candidates: their weights, the choice among them, and how each is served."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from transformers import RobertaForSequenceClassification, pipeline

from mlrun_assets.config import Config
from mlrun_assets.data.splitting import LabelledRows
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.models.export import add_reader
from mlrun_assets.models.onnx_export import write_graph
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.models.served.onnx_classifier import OnnxClassifier
from mlrun_assets.records import DatasetRecord, HelperRows
from mlrun_assets.training.candidates import (
    CANDIDATES,
    PRIOR,
    Judged,
    choose,
    fit_weights,
    judge,
    scale_logits,
    without_idle_parts,
    write_model,
)
from mlrun_assets.training.train import TrainingRequest, train_cheap, train_checkpoint
from mlrun_assets.types import FloatArray, LabelIds
from mlrun_assets_tests.encoders.tiny_encoders import tiny_config
from mlrun_assets_tests.examples import LABELS, RECIPE, sample_rows, weights, write_splits

# The weights


def noisy(truth: LabelIds, strength: float, seed: int) -> FloatArray:
    """Scores of three labels that are right more often the greater ``strength`` is."""
    scores = np.random.default_rng(seed).normal(size=(len(truth), 3))
    scores[np.arange(len(truth)), truth] += strength
    return scores


def some_truth(rows: int, seed: int = 0) -> LabelIds:
    return np.random.default_rng(seed).integers(0, 3, size=rows)


@settings(deadline=None, max_examples=30)
@given(
    strengths=st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 4.0)),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_no_other_weights_have_a_smaller_loss(
    strengths: tuple[float, float], scale: float, seed: int
) -> None:
    truth = some_truth(90, seed)
    first, second = noisy(truth, strengths[0], seed + 1), noisy(truth, strengths[1], seed + 2)
    scores = np.stack([first, scale * second])
    fitted = fit_weights(scores, truth)
    assert fitted.min() >= 0

    def penalised(tried: FloatArray) -> float:
        logs = log_softmax(np.tensordot(tried, scores, axes=1), axis=1)
        centred = scores - scores.mean(axis=2, keepdims=True)
        squares = ((tried * centred.std(axis=(1, 2))) ** 2).sum()
        loss = -float(logs[np.arange(len(truth)), truth].mean())
        return loss + float(squares) / (2 * PRIOR**2 * len(truth))

    least = penalised(fitted)
    for one in (0.8, 1.0, 1.25):
        for other in (0.8, 1.0, 1.25):
            assert least <= penalised(fitted * [one, other]) + 1e-7


def test_what_is_added_to_all_scores_of_a_row_changes_no_weight() -> None:
    """Naive Bayes gives log-likelihoods, which are lower the longer a text is."""
    truth = some_truth(60)
    scores = np.stack([noisy(truth, 1.0, 1), noisy(truth, 1.0, 2)])
    lengths = np.random.default_rng(0).normal(0.0, 1000.0, size=(len(truth), 1))
    lowered = np.stack([scores[0], scores[1] + lengths])
    assert fit_weights(lowered, truth) == pytest.approx(fit_weights(scores, truth), rel=1e-3)


def test_a_part_that_knows_nothing_hardly_counts() -> None:
    truth = some_truth(3000)
    good, bad = fit_weights(np.stack([noisy(truth, 3.0, 1), noisy(truth, 0.0, 2)]), truth)
    assert bad < 0.1 * good


def test_two_that_err_differently_are_better_together() -> None:
    fit, other = some_truth(2000, 3), some_truth(2000, 4)
    found = fit_weights(np.stack([noisy(fit, 1.0, 5), noisy(fit, 1.0, 6)]), fit)
    parts = noisy(other, 1.0, 7), noisy(other, 1.0, 8)

    def accuracy(values: FloatArray) -> float:
        return float((values.argmax(axis=1) == other).mean())

    together = accuracy(found[0] * parts[0] + found[1] * parts[1])
    assert together > max(map(accuracy, parts)) + 0.05
    assert found[0] == pytest.approx(found[1], rel=0.15)


def test_the_weight_of_one_part_is_its_temperature() -> None:
    """Of scores whose softmax draws the labels, ten times too large, it is a tenth."""
    random = np.random.default_rng(0)
    scores = 2.0 * random.normal(size=(4000, 3))
    truth = (scores + random.gumbel(size=scores.shape)).argmax(axis=1)
    assert fit_weights(10.0 * scores[None], truth)[0] == pytest.approx(0.1, rel=0.1)


def rows_of(truth: LabelIds, folds: LabelIds, val: int = 0) -> LabelledRows:
    names = [str(number) for number in range(len(truth))]
    in_val = np.arange(len(truth)) >= len(truth) - val
    return LabelledRows(names, names, truth, in_val, folds, LABELS)


def test_a_row_has_no_part_in_the_weights_by_which_it_is_judged() -> None:
    truth = some_truth(60)
    rows = rows_of(truth, np.arange(60) % 5)
    parts = {"frozen": noisy(truth, 2.0, 1), "ngrams": noisy(truth, 1.0, 2)}
    judged = judge("frozen+ngrams", parts, rows)
    own = rows.folds == 3
    swapped = replace(rows, truth=np.where(own, (truth + 1) % 3, truth))
    again = judge("frozen+ngrams", parts, swapped)
    np.testing.assert_array_equal(again.log_probabilities[own], judged.log_probabilities[own])
    assert (again.log_probabilities[~own] != judged.log_probabilities[~own]).any(axis=1).all()
    assert (again.weights != judged.weights).all()
    np.testing.assert_allclose(np.exp(judged.log_probabilities).sum(axis=1), 1.0)


@pytest.mark.parametrize("val", [1, 2, 12])
def test_val_rows_of_one_fold_are_judged_too(val: int) -> None:
    truth = some_truth(40)
    folds = np.where(np.arange(40) < 40 - val, np.arange(40) % 4, 4)
    scores = noisy(truth, 2.0, 1)
    scores[:-val] = np.nan
    judged = judge("encoder", {"encoder": scores}, rows_of(truth, folds, val))
    assert np.isnan(judged.log_probabilities[:-val]).all()
    assert np.isfinite(judged.log_probabilities[-val:]).all()


# The choice


def sure(truth: LabelIds, share: float, wrong: slice = slice(0)) -> FloatArray:
    """Log-probabilities that give the true label, in ``wrong`` another one, this share."""
    shares = np.full((len(truth), 3), (1 - share) / 2)
    shares[np.arange(len(truth)), truth] = share
    shares[wrong] = np.roll(shares[wrong], 1, axis=1)
    return np.log(shares)


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [
        ((0.9, 0.6), "a"),
        ((0.6, 0.9), "b"),
        ((0.6, 0.9, 0.5), "b"),
        ((0.9, 0.6, 0.5), "a"),
        ((0.6, 0.5, 0.9), "c"),
        ((0.7,), "a"),
    ],
)
def test_a_clearly_lower_loss_wins(shares: tuple[float, ...], chosen: str) -> None:
    truth = some_truth(200)
    given = {
        name: sure(truth, share, slice(5 * number, 5 * number + 5))
        for number, (name, share) in enumerate(zip("abc", shares, strict=False))
    }
    assert choose(given, truth) == chosen


def test_of_two_that_are_about_as_good_the_last_is_chosen() -> None:
    truth = some_truth(200)
    one, two = sure(truth, 0.9, slice(20)), sure(truth, 0.9, slice(20, 42))
    assert choose({"a": one, "b": two}, truth) == "b"
    assert choose({"a": two, "b": one}, truth) == "b"


def test_of_two_that_give_the_same_labels_the_cheaper_is_chosen() -> None:
    truth = some_truth(200)
    assert choose({"a": sure(truth, 0.6), "b": sure(truth, 0.9)}, truth) == "a"


def test_a_sum_with_an_idle_part_is_no_candidate_beside_what_is_left_of_it() -> None:
    def judged(*found: tuple[str, list[float]]) -> list[Judged]:
        return [Judged(name, np.array(weights), np.zeros((0, 3))) for name, weights in found]

    idle, alone = ("frozen+ngrams", [0.0, 2.0]), ("ngrams", [2.0])
    useful, useless = ("encoder+ngrams", [1.0, 2.0]), ("frozen", [0.0])
    kept = without_idle_parts(judged(alone, useless, idle, useful))
    assert [each.name for each in kept] == ["ngrams", "frozen", "encoder+ngrams"]
    assert [each.name for each in without_idle_parts(judged(idle))] == ["frozen+ngrams"]


def test_one_row_is_enough_to_choose() -> None:
    truth = np.array([1])
    wrong = sure(truth, 0.9, slice(1))
    assert choose({"a": sure(truth, 0.9), "b": wrong}, truth) == "a"
    assert choose({"a": wrong, "b": sure(truth, 0.9)}, truth) == "b"


# Whole trainings

FAST = RECIPE.model_copy(update={"epochs": 1, "class_weights": None, "pooling": "mean"})


@dataclass(frozen=True)
class Trained:
    directory: Path
    dataset: DatasetRecord
    texts: list[str]
    truth: LabelIds


def word_rows(labels: tuple[str, ...], count: int, start: int) -> list[dict[str, str]]:
    """Rows whose label is told by a word."""
    words = sorted({word for row in sample_rows("train") for word in row["text"].split()}, key=len)
    told = words[-len(labels) :]
    return [
        {
            "id": f"{start + number}",
            "text": f"{told[number % len(labels)]} {row['text']}",
            "label": labels[number % len(labels)],
        }
        for number, row in enumerate(sample_rows("train")[start : start + count])
    ]


TWELVE = ("7", "11", "0", "3", "10", "1", "-1", "5", "9", "2", "8", "4")


@pytest.fixture(scope="module", params=[TWELVE, ("1", "0")], ids=["twelve", "two"])
def trained(
    request: pytest.FixtureRequest, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """An experiment with all parts."""
    labels, directory = request.param, tmp_path_factory.mktemp("trained") / "exp_1"
    starts = {"train": 0, "val": 96, "test": 144}
    splits = {name: word_rows(labels, 96 if not at else 48, at) for name, at in starts.items()}
    dataset = write_splits(directory, splits, labels)
    recipe = FAST.model_copy(update={"candidates": CANDIDATES})
    encoder = resolve_encoder(str(tiny_encoder), None, directory)
    asked = TrainingRequest((recipe,), encoder, Config(training={"report_to": []}))  # type: ignore[arg-type]
    record = train_checkpoint(
        directory, dataset, train_cheap(directory, dataset, asked), asked, lambda _: None
    )
    assert [each.name for each in record.candidates] == list(CANDIDATES)
    texts = ["", "gool", *(row["text"] for row in splits["train"][:48])]
    return Trained(directory, dataset, texts, np.arange(48) % len(labels))


@pytest.mark.slow
@pytest.mark.parametrize("name", CANDIDATES)
def test_each_candidate_is_served_the_same_by_all(
    name: str, trained: Trained, tmp_path: Path
) -> None:
    labels, parts = trained.dataset.labels, name.split("+")
    of_part = {"ngrams": 3.0, "frozen": 0.7, "helped": 0.6, "encoder": 1.3}
    factors = np.array([of_part[part] for part in parts])
    winner = Judged(name, factors, np.zeros((0, len(labels))))
    paths = ExperimentPaths(trained.directory)
    write_model(trained.directory, winner, paths.encoder, labels, 32)
    model_dir = Path(shutil.copytree(paths.model, tmp_path / "served"))
    predictor = Predictor(model_dir, 32, exact=True)
    assert predictor.labels == labels
    expected = predictor.probabilities(trained.texts)
    if "encoder" not in parts:  # a tiny encoder learns nothing in an epoch
        assert (expected[2:].argmax(axis=1) == trained.truth).mean() > 0.4

    add_reader(model_dir, tmp_path / "onnx", 32)
    write_graph(model_dir, tmp_path / "onnx" / "model.onnx")
    reader = OnnxClassifier(tmp_path / "onnx")
    assert reader.labels == labels
    np.testing.assert_allclose(reader.probabilities(trained.texts), expected, atol=1e-4)

    serve = pipeline(
        "text-classification", model=str(model_dir), trust_remote_code="ngrams" in parts, top_k=None
    )
    for row, answer in zip(
        expected, serve(trained.texts, truncation=True, max_length=32), strict=True
    ):
        scores = {entry["label"]: entry["score"] for entry in answer}
        np.testing.assert_allclose([scores[label] for label in labels], row, atol=1e-4)


@pytest.mark.slow
def test_what_is_stored_out_of_fold_has_a_row_for_each_that_was_judged(trained: Trained) -> None:
    stored = pl.read_parquet(ExperimentPaths(trained.directory).out_of_fold)
    assert stored["val"].sum() == 48
    columns = [f"probability_{label}" for label in trained.dataset.labels]
    assert stored.columns == ["id", "val", *columns]
    np.testing.assert_allclose(stored.select(columns).to_numpy().sum(axis=1), 1.0)


def test_the_test_split_has_no_part_in_the_choice(tiny_encoder: Path, tmp_path: Path) -> None:
    made = []
    for name in ("exp_1", "exp_2"):
        directory = tmp_path / name
        splits = {split: sample_rows(split)[:36] for split in ("train", "val", "test")}
        if made:
            for row in splits["test"]:
                row["label"] = LABELS[(LABELS.index(row["label"]) + 1) % 3]
        dataset = write_splits(directory, splits, LABELS)
        recipe = FAST.model_copy(update={"candidates": CANDIDATES[:3]})
        encoder = resolve_encoder(str(tiny_encoder), None, directory)
        asked = TrainingRequest((recipe,), encoder, Config())
        baseline = train_cheap(directory, dataset, asked)
        record = train_checkpoint(directory, dataset, baseline, asked, lambda _: None)
        made.append((baseline, record))
    assert made[0][0].linear.accuracy != made[1][0].linear.accuracy
    assert made[0][1] == made[1][1]


def test_helper_rows_are_trained_on_in_every_fold_and_are_not_chosen_if_they_hurt(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    """Helper rows with the labels turned round make the head that uses them worse than the other.

    The helper rows are the rows themselves, many times, so that they decide. The names of the
    labels are no words, so that they have no say.
    """
    splits = {split: word_rows(("1", "2"), 40, at) for split, at in {"train": 0, "val": 60}.items()}
    dataset = write_splits(tmp_path, splits | {"test": splits["val"]}, ("1", "2"))
    turned = [
        {"text": row["text"], "label": "2" if row["label"] == "1" else "1"}
        for row in 5 * [*splits["train"], *splits["val"]]
    ]
    pl.DataFrame(turned).write_parquet(ExperimentPaths(tmp_path).auxiliary)
    helpers = HelperRows(
        files=(), file="data/auxiliary.parquet", digest="", rows_read=400, rows_kept=400,
        left_out={}, label_rows={"1": 200, "2": 200},
    )  # fmt: skip
    recipe = FAST.model_copy(update={"candidates": ("frozen", "helped")})
    asked = TrainingRequest((recipe,), resolve_encoder(str(tiny_encoder), None, tmp_path), Config())
    helped = dataset.model_copy(update={"auxiliary": helpers})
    record = train_cheap(tmp_path, helped, asked)
    assert train_checkpoint(tmp_path, helped, record, asked, lambda _: None).chosen == "frozen"
    alone = train_cheap(tmp_path, dataset, asked)
    assert record.frozen and record.helped and alone.frozen and alone.helped
    assert record.frozen.accuracy == alone.frozen.accuracy == alone.helped.accuracy
    assert record.helped.accuracy < 0.3
    assert record.frozen.accuracy > 0.6
    assert record.frozen.label_names is None
    assert record.linear == alone.linear


def test_two_labels_of_which_one_has_a_single_row_are_trained(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    rare, labels = "sports", ("farming", "sports")
    farming = [row for row in sample_rows("train") if row["label"] != rare][:30]
    farming = [{**row, "label": "farming"} for row in farming]
    single = next(row for row in sample_rows("train") if row["label"] == rare)
    splits = {
        "train": [*farming[:18], single],
        "val": farming[18:24],
        "test": [*farming[24:], single],
    }
    dataset = write_splits(tmp_path, splits, labels)
    recipe = FAST.model_copy(update={"candidates": CANDIDATES[:3]})
    asked = TrainingRequest((recipe,), resolve_encoder(str(tiny_encoder), None, tmp_path), Config())
    baseline = train_cheap(tmp_path, dataset, asked)
    record = train_checkpoint(tmp_path, dataset, baseline, asked, lambda _: None)
    assert [each.rows for each in record.candidates] == [25, 25, 25]
    # No worse than a coin that knows nothing, but for the row that nobody can foresee.
    assert all(each.log_loss < 1.0 for each in record.candidates)
    predictor = Predictor(tmp_path / record.model_dir, 32)
    assert np.isfinite(predictor.probabilities(["", single["text"]])).all()


def test_the_weight_of_an_encoder_alone_is_in_its_last_layer_only(tmp_path: Path) -> None:
    config = tiny_config("roberta", 50)
    config.num_labels = config.hidden_size  # as many labels as the states are wide
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    before = weights(tmp_path)
    scale_logits(tmp_path, config.num_labels, 0.5)
    after = weights(tmp_path)
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed == {"classifier.out_proj.weight"}  # its bias is 0
    np.testing.assert_allclose(
        after["classifier.out_proj.weight"], before["classifier.out_proj.weight"] / 2
    )
