from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.config import EvaluationConfig
from mlrun_assets.models.ngrams import (
    PIPELINE,
    PRIOR,
    SERVED_FILES,
    Fitted,
    _models,
    add_ngrams,
    first_words_of,
    fit_best,
    fit_weights,
    measure_baseline,
    save_fitted,
    set_weights,
)
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.models.probe import probe_transformers
from mlrun_assets.models.served.ngram_scorer import NgramScorer
from mlrun_assets.records import SPLITS
from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.types import FloatArray, LabelIds
from mlrun_assets_tests.examples import (
    LABELS,
    changed,
    dataset_record,
    sample_rows,
    split_profile,
    tiny_job,
)

MODELS = ["linear SVM", "logistic regression", "complement naive Bayes"]


# The baseline


def test_the_model_is_chosen_on_val_and_beats_the_commonest_label(tmp_path: Path) -> None:
    profiles = {}
    for name in SPLITS:
        pl.DataFrame(sample_rows(name)).write_parquet(tmp_path / f"{name}.parquet")
        profiles[name] = split_profile({}, file=f"{name}.parquet")
    record = dataset_record(dict.fromkeys(LABELS, 1)).model_copy(update={"splits": profiles})
    baseline = measure_baseline(tmp_path, record, EvaluationConfig(), seed=1)
    best = max(baseline.candidates, key=lambda candidate: candidate.val_f1_macro)
    assert baseline.chosen == best.name
    assert [each.name for each in baseline.candidates] == MODELS
    assert min(each.val_f1_macro for each in baseline.candidates) > 0.7
    assert baseline.majority_label == "farming"
    assert baseline.majority.accuracy.value == pytest.approx(1 / 3)
    assert baseline.majority.f1_macro.value == pytest.approx(1 / 6)
    assert baseline.linear.f1_macro.low > baseline.majority.f1_macro.high
    predictions = pl.read_parquet(tmp_path / baseline.predictions_file)
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(baseline.linear.accuracy.value)
    assert predictions["id"].to_list() == [row["id"] for row in sample_rows("test")]


# The n-gram model


def split(name: str, labels: tuple[str, ...]) -> tuple[list[str], LabelIds]:
    rows = [row for row in sample_rows(name) if row["label"] in labels]
    numbers = np.array([labels.index(row["label"]) for row in rows], dtype=np.int64)
    return [row["text"] for row in rows], numbers


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        ("health", "sports"),
        ("farming", "absent", "sports"),
        ("farming", "absent", "health", "sports"),
    ],
)
def test_a_saved_model_scores_as_the_fitted_one(
    name: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    """Labels without a training row are never the answer."""
    texts, truth = split("train", labels)
    model = _models(seed=1)[name].fit(first_words_of(texts), truth)
    save_fitted(Fitted(model, name, ()), labels, tmp_path)
    others = first_words_of(split("test", labels)[0])
    scores = NgramScorer(tmp_path).scores(others)
    assert scores.shape == (len(others), len(labels))
    np.testing.assert_array_equal(scores.argmax(axis=1), model.predict(others))
    fitted = scores[:, np.unique(truth)]
    if name == "complement naive Bayes":
        expected = model[-1]._joint_log_likelihood(model[0].transform(others))
        np.testing.assert_allclose(fitted, expected, rtol=1e-5)
    else:
        margin = fitted[:, 1] - fitted[:, 0] if fitted.shape[1] == 2 else fitted
        np.testing.assert_allclose(margin, model.decision_function(others), atol=1e-4)


def test_the_first_words_and_the_weights_are_kept(tmp_path: Path) -> None:
    save_fitted(fit_best(split("train", LABELS), split("val", LABELS), seed=1), LABELS, tmp_path)
    set_weights(tmp_path, 0.25, 3.0)
    scorer = NgramScorer(tmp_path)
    assert (scorer.encoder_weight, scorer.ngram_weight) == (0.25, 3.0)
    assert scorer.labels == LABELS
    assert scorer.combine(4.0, 2.0) == pytest.approx(7.0)
    text = " ".join(["beeraha"] * 128)
    np.testing.assert_array_equal(scorer.scores([text]), scorer.scores([text + " kubadda cagta"]))
    np.testing.assert_array_equal(scorer.scores([" \n " + text]), scorer.scores([text]))
    empty, unknown = scorer.scores(["", "日本語"])  # only the bias
    np.testing.assert_array_equal(empty, unknown)


# The weights of an ensemble


def noisy(truth: LabelIds, strength: float, seed: int) -> FloatArray:
    logits = np.random.default_rng(seed).normal(size=(len(truth), 3))
    logits[np.arange(len(truth)), truth] += strength
    return logits


def log_loss(combined: FloatArray, truth: LabelIds) -> float:
    shifted = combined - combined.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-log_shares[np.arange(len(truth)), truth].mean())


@settings(deadline=None, max_examples=30)
@given(
    strengths=st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 4.0)),
    scale=st.floats(1e-3, 1e3),
    seed=st.integers(0, 1000),
)
def test_no_other_weights_have_a_smaller_loss(
    strengths: tuple[float, float], scale: float, seed: int
) -> None:
    truth = np.random.default_rng(seed).integers(0, 3, size=90)
    logits = noisy(truth, strengths[0], seed + 1)
    scores = scale * noisy(truth, strengths[1], seed + 2)
    weights = fit_weights(logits, scores, truth)
    assert min(weights) >= 0

    def penalised(encoder: float, ngrams: float) -> float:
        squares = (encoder * logits.std()) ** 2 + (ngrams * scores.std()) ** 2
        loss = log_loss(encoder * logits + ngrams * scores, truth)
        return loss + float(squares) / (2 * PRIOR**2 * len(truth))

    least = penalised(*weights)
    for encoder in (0.8, 1.0, 1.25):
        for ngrams in (0.8, 1.0, 1.25):
            assert least <= penalised(weights.encoder * encoder, weights.ngrams * ngrams) + 1e-7


def test_a_model_that_knows_nothing_hardly_counts() -> None:
    truth = np.random.default_rng(0).integers(0, 3, size=3000)
    weights = fit_weights(noisy(truth, 3.0, 1), noisy(truth, 0.0, 2), truth)
    assert weights.ngrams < 0.1 * weights.encoder


def test_two_that_err_differently_are_better_together() -> None:
    fit, judge = np.random.default_rng(3).integers(0, 3, size=(2, 2000))
    weights = fit_weights(noisy(fit, 1.0, 4), noisy(fit, 1.0, 5), fit)
    logits, scores = noisy(judge, 1.0, 6), noisy(judge, 1.0, 7)
    combined = weights.encoder * logits + weights.ngrams * scores

    def accuracy(values: FloatArray) -> float:
        return float((values.argmax(axis=1) == judge).mean())

    assert accuracy(combined) > max(accuracy(logits), accuracy(scores)) + 0.05
    assert weights.encoder == pytest.approx(weights.ngrams, rel=0.15)


# The ensemble

SERVE = """
import json, sys
from transformers import pipeline
texts = json.load(sys.stdin)
try:
    pipeline("text-classification", model=sys.argv[1])
    refused = False
except ValueError as error:
    refused = "trust_remote_code" in str(error)
serve = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True)
answers = {
    "refused": refused,
    "package": "mlrun_assets" in sys.modules,
    "one": serve(texts[0]),
    "all": serve(texts, top_k=None, truncation=True, max_length=32),
    "batched": serve(texts, batch_size=8, truncation=True, max_length=32),
    "dict": serve({"text": texts[0]}),
}
json.dump(answers, sys.stdout)
"""


def test_the_stock_pipeline_serves_both_models_without_this_package(
    tiny_ensemble: Path, tmp_path: Path
) -> None:
    texts = [row["text"] for row in sample_rows("test")][:20]
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(
        [sys.executable, "-c", SERVE, str(tiny_ensemble)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    answers = json.loads(run.stdout.strip().splitlines()[-1])
    assert answers["refused"]
    assert not answers["package"]
    probabilities = Predictor(tiny_ensemble, 32, exact=True).probabilities(texts)
    names = [LABELS[number] for number in probabilities.argmax(axis=1)]
    assert [answer["label"] for answer in answers["batched"]] == names
    assert answers["one"][0]["label"] == answers["dict"]["label"] == names[0]
    for row, answer in zip(probabilities, answers["all"], strict=True):
        scores = {entry["label"]: entry["score"] for entry in answer}
        np.testing.assert_allclose([scores[label] for label in LABELS], row, atol=1e-4)


def test_the_predictor_combines_what_the_record_says(tiny_ensemble: Path) -> None:
    texts = [row["text"] for row in sample_rows("test")][:5]
    predictor, scorer = Predictor(tiny_ensemble, 32, exact=True), NgramScorer(tiny_ensemble)
    combined = scorer.encoder_weight * predictor.logits(texts)
    combined += scorer.ngram_weight * scorer.scores(texts)
    shares = np.exp(combined) / np.exp(combined).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(predictor.probabilities(texts), shares, rtol=1e-9)


def test_fitting_twice_gives_the_same(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    splits = (tiny_model.parent / "train.parquet", tiny_model.parent / "val.parquet")
    first, second = (add_ngrams(tmp_path / "model", splits, 32, seed=1) for _ in range(2))
    assert first == second


# Code that an encoder names

EVIL = "evil--code.Evil"
CODE = {f"Auto{kind}": EVIL for kind in ("Config", "Model", "ModelForSequenceClassification")}
CODE["AutoTokenizer"] = EVIL
TASK = {"text-classification": {"impl": EVIL, "pt": ["AutoModel"]}}
PLANTED: dict[str, dict[str, Any]] = {
    "config.json": {
        "auto_map": {name: code for name, code in CODE.items() if name != "AutoConfig"},
        "custom_pipelines": TASK,
        "_auto_class": "AutoModel",
        "text": {"auto_map": CODE, "deep": [{"custom_pipelines": TASK}]},
        "code": EVIL,
    },
    "tokenizer_config.json": {
        "auto_map": CODE,
        "_auto_class": "AutoTokenizer",
        "extra": {"auto_map": [EVIL, None]},
    },
    "generation_config.json": {"auto_map": CODE, "custom_generate": EVIL},
    "preprocessor_config.json": {"auto_map": CODE, "feature_extractor_type": "Evil"},
    "processor_config.json": {"auto_map": CODE, "processor_class": "Evil"},
}


def test_code_that_an_encoder_names_is_neither_run_nor_kept(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    marker = tmp_path / "ran"
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, encoder)
    for directory in (encoder, tmp_path / "evil"):
        directory.mkdir(exist_ok=True)
        (directory / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    evil = json.dumps(PLANTED).replace(EVIL, f"{tmp_path}/{EVIL}")
    for name, planted in json.loads(evil).items():
        file = encoder / name
        kept = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(kept | planted))
    # A label that is named like a key of transformers is a label.
    labels = ("auto_map", "custom_pipelines", *LABELS[2:])
    job = replace(changed(tiny_job(tmp_path / "job", encoder), epochs=1), labels=labels)
    for file in (job.train_file, job.val_file):
        frame = pl.read_parquet(file)
        frame.with_columns(pl.col("label").replace(LABELS, labels)).write_parquet(file)
    fine_tune(job)
    assert sorted(path.name for path in job.model_dir.iterdir()) == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    add_ngrams(job.model_dir, (job.train_file, job.val_file), 32, seed=1)
    config = json.loads((job.model_dir / "config.json").read_text())
    assert config["custom_pipelines"] == PIPELINE
    assert config["label2id"] == {label: number for number, label in enumerate(labels)}
    for file in job.model_dir.rglob("*.json"):
        assert "evil--" not in file.read_text()
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in set(json.loads((job.model_dir / name).read_text()))
    assert {path.name for path in job.model_dir.glob("*.py")} == set(SERVED_FILES)
    texts = pl.read_parquet(job.val_file)["text"].to_list()[:4]
    answers = probe_transformers(job.model_dir, texts).labels
    predicted = Predictor(job.model_dir, 32, exact=True).probabilities(texts).argmax(axis=1)
    assert answers == [labels[number] for number in predicted]
    assert not marker.exists()
