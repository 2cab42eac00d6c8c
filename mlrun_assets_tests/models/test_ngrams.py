from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlrun_assets.config import Config
from mlrun_assets.data.splitting import read_rows
from mlrun_assets.models.ngrams import (
    MODELS,
    SMOOTHING,
    SVM,
    Fitted,
    count_ngrams,
    first_words_of,
    fit,
    measure_baseline,
    save_model,
    set_weights,
)
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.models.probe import probe_transformers
from mlrun_assets.models.served import ngram_scorer
from mlrun_assets.models.served.ngram_scorer import NgramScorer
from mlrun_assets.records import SPLITS
from mlrun_assets.training.candidates import PIPELINE, SERVED_FILES
from mlrun_assets.training.fine_tuning import fine_tune
from mlrun_assets.types import LabelIds
from mlrun_assets_tests.examples import LABELS, changed, sample_rows, tiny_job, write_splits
from mlrun_assets_tests.models.conftest import add_ngrams

# The baseline


def test_the_model_is_chosen_in_cross_validation_and_beats_the_commonest_label(
    tmp_path: Path,
) -> None:
    record = write_splits(tmp_path, {name: sample_rows(name) for name in SPLITS}, LABELS)
    rows = read_rows(tmp_path, record, Config())
    baseline, scores = measure_baseline(tmp_path, record, rows, Config())
    best = max(baseline.candidates, key=lambda candidate: candidate.f1_macro)
    assert baseline.chosen == best.name
    assert tuple(each.name for each in baseline.candidates) == MODELS
    assert min(each.f1_macro for each in baseline.candidates) > 0.7
    assert (scores.argmax(axis=1) == rows.truth).mean() == pytest.approx(best.accuracy)
    assert baseline.majority_label == "farming"
    assert baseline.majority.accuracy.value == pytest.approx(1 / 3)
    assert baseline.majority.f1_macro.value == pytest.approx(1 / 6)
    assert baseline.linear.f1_macro.low > baseline.majority.f1_macro.high
    predictions = pl.read_parquet(tmp_path / baseline.predictions_file)
    right = (predictions["label"] == predictions["prediction"]).mean()
    assert right == pytest.approx(baseline.linear.accuracy.value)
    assert predictions["id"].to_list() == [row["id"] for row in sample_rows("test")]


# The n-gram model


def fitted_model(
    name: str, texts: list[str], truth: LabelIds, labels: tuple[str, ...], model_dir: Path
) -> Fitted:
    """Fit the model and save it."""
    vectorizers, blocks = count_ngrams(texts)
    fitted = fit(name, blocks, truth, len(labels), seed=1)
    save_model(fitted, vectorizers, labels, model_dir)
    return fitted


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
        ("absent", "sports"),
    ],
)
def test_a_saved_model_scores_as_scikit_learn_does(
    name: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    """Labels without a training row are never the answer."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
    from sklearn.naive_bayes import ComplementNB
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.svm import LinearSVC

    texts, truth = split("train", labels)
    fitted_model(name, texts, truth, labels, tmp_path)
    others = first_words_of(split("test", LABELS)[0])
    scores = NgramScorer(tmp_path).scores(others)
    assert scores.shape == (len(others), len(labels))
    if "absent" in labels:
        assert not (scores.argmax(axis=1) == labels.index("absent")).any()
    if len(np.unique(truth)) == 1:
        return
    words, letters = {}, {"analyzer": "char_wb", "ngram_range": (2, 5)}
    if name == SVM:
        kind, more, last = (
            TfidfVectorizer,
            {"sublinear_tf": True},
            LinearSVC(C=0.1, class_weight="balanced", random_state=1),
        )
    else:
        kind, more, last = CountVectorizer, {}, ComplementNB(alpha=SMOOTHING)
    model = make_pipeline(make_union(kind(**words, **more), kind(**letters, **more)), last)
    model.fit(first_words_of(texts), truth)
    fitted = scores[:, np.unique(truth)]
    if name == SVM:
        margin = fitted[:, 1] - fitted[:, 0] if fitted.shape[1] == 2 else fitted
        np.testing.assert_allclose(margin, model.decision_function(others), atol=1e-3)
    else:
        expected = last._joint_log_likelihood(model[0].transform(others))
        np.testing.assert_allclose(fitted, expected, rtol=1e-5)


def test_a_model_of_a_part_of_the_rows_knows_their_n_grams_only(tmp_path: Path) -> None:
    texts, truth = split("train", LABELS)
    vectorizers, blocks = count_ngrams(texts)
    part = np.arange(len(texts)) % 2 == 0
    for name in MODELS:
        fitted = fit(name, [block[part] for block in blocks], truth[part], 3, seed=1)
        save_model(fitted, vectorizers, LABELS, tmp_path / name)
        alone = [text for text, kept in zip(texts, part, strict=True) if kept]
        fitted_model(name, alone, truth[part], LABELS, tmp_path / f"{name} alone")
        one, other = (
            NgramScorer(tmp_path / each).scores(texts) for each in (name, f"{name} alone")
        )
        np.testing.assert_allclose(one, other, atol=1e-4)
        np.testing.assert_allclose(one, fitted.scores(blocks), atol=1e-4)


def test_the_first_words_and_the_weights_are_kept(tmp_path: Path) -> None:
    fitted_model(SVM, *split("train", LABELS), LABELS, tmp_path)
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


TEXTS = st.lists(st.text(max_size=40) | st.text("aAbİß é\u0301ሰላ።عَ👩\u200d🌾\n\u2028", max_size=40))


@given(known=TEXTS, asked=TEXTS)
@example(
    known=["a ab abc abcd ABCDE a", "የኢትዮጵያ ሰላም።", "العَرَبِيّة"],
    asked=["", " \n ", "abcdef a\u2028ab"],
)
@example(
    known=["İstanbul Straße e\u0301té", "👩🏽\u200d🌾 👍 x\x1cy\x85z"],
    asked=["istanbul ÉTÉ été 👍👍", "日本語"],
)
def test_the_features_of_any_text_are_those_of_scikit_learn(
    known: list[str], asked: list[str]
) -> None:
    """With the unit matrix as weights, scores are features."""
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    known = [*known, "ab"]  # without a word scikit-learn refuses to fit
    vectorizers, blocks = count_ngrams(known)
    sizes = [block.shape[1] for block in blocks]
    kept, count = [np.arange(size) for size in sizes], sum(sizes)
    rare = [np.linspace(1, 3, size, dtype=np.float32) for size in sizes]
    unit, bias = np.eye(count, dtype=np.float32), np.zeros(count, dtype=np.float32)
    for idf in (None, rare):
        expected = []
        for number, vectorizer in enumerate(vectorizers):
            reads = {
                "vocabulary": vectorizer.vocabulary_,
                "analyzer": vectorizer.analyzer,
                "ngram_range": vectorizer.ngram_range,
            }
            stock = CountVectorizer(**reads)
            if idf:
                stock = TfidfVectorizer(**reads, sublinear_tf=True)
                stock.idf_ = idf[number].astype(np.float64)
            expected.append(stock.transform([*known, *asked]).toarray())
        with tempfile.TemporaryDirectory() as directory:
            fitted = Fitted("any", kept, idf, unit, bias)
            save_model(fitted, vectorizers, tuple(map(str, range(count))), Path(directory))
            scores = NgramScorer(Path(directory)).scores([*known, *asked])
        np.testing.assert_allclose(scores, np.hstack(expected), rtol=0, atol=1e-9)


def test_words_after_the_first_128_are_not_split(tmp_path: Path) -> None:
    fitted_model(SVM, *split("train", LABELS), LABELS, tmp_path)
    scorer, text = NgramScorer(tmp_path), "beeraha ku " * 200_000
    scorer.scores([text[:99]])
    tracemalloc.start()
    scorer.scores([text])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(text)


def test_n_grams_are_scored_without_scikit_learn(tmp_path: Path) -> None:
    fitted_model(SVM, *split("train", LABELS), LABELS, tmp_path)
    code = (
        "import sys; sys.modules |= dict.fromkeys(['sklearn', 'scipy', 'mlrun_assets'])\n"
        "from pathlib import Path; from ngram_scorer import NgramScorer\n"
        "print(NgramScorer(Path(sys.argv[1])).scores(['beeraha']).shape)"
    )
    served = Path(ngram_scorer.__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=served,
    )
    assert run.stdout.strip() == "(1, 3)"


# With an encoder

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


@pytest.mark.usefixtures("probed_in_forks")
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
    add_ngrams(tmp_path / "ensemble", job.model_dir, pl.read_parquet(job.train_file), labels)
    model_dir = tmp_path / "ensemble" / "model"
    config = json.loads((model_dir / "config.json").read_text())
    assert config["custom_pipelines"] == PIPELINE
    assert config["label2id"] == {label: number for number, label in enumerate(labels)}
    for file in model_dir.rglob("*.json"):
        assert "evil--" not in file.read_text()
    for name in ("config.json", "tokenizer_config.json"):
        assert "auto_map" not in set(json.loads((model_dir / name).read_text()))
    assert {path.name for path in model_dir.glob("*.py")} == set(SERVED_FILES)
    texts = pl.read_parquet(job.val_file)["text"].to_list()[:4]
    answers = probe_transformers(model_dir, texts).labels
    predicted = Predictor(model_dir, 32, exact=True).probabilities(texts).argmax(axis=1)
    assert answers == [labels[number] for number in predicted]
    assert not marker.exists()
