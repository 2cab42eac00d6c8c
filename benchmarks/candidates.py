"""Compare the candidates on several data sets, each judged on rows that had no part in the choice.

    python benchmarks/candidates.py DIRECTORY... [--budget fast] [--folds 5] [--trainer] [--setfit]
                                    [--processes 2]
    python benchmarks/candidates.py DIRECTORY... --test --seeds 13 42 87
    python benchmarks/candidates.py --simulate

A DIRECTORY has train.jsonl, val.jsonl and test.jsonl with the columns text and label, and maybe
headline. Without ``--test`` the test file is not read: train and val are cut into folds, each fold
is the test split once, and the rest is cut into train and val as the files were. The whole product
runs on each cut: checks, plan, candidates, choice. The table has the macro-F1 over all folds, with
a bootstrap interval, and the seconds of a fold; the last lines have means over the sets, with
t-intervals over the sets.

``--trainer`` adds transformers' Trainer with its defaults and 5 epochs of the whole encoder,
``--setfit`` SetFit with its defaults and 500 steps (install setfit first). ``--processes``
is how many cuts are worked on at a time; set OMP_NUM_THREADS to the cores of each.

``--simulate`` shows that the score of the chosen candidate on a test split is not biased by the
choice on other rows, and how much it would be if the choice were made on the test split.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ENCODER = "embedded:multilingual-e5-small"
LONG_TEXT, SHORT_TEXT = 256, 128
SETFIT_STEPS = 500
Split = list[dict[str, str]]
Predictions = dict[str, tuple[list[str], float]]


def read_set(directory: Path) -> dict[str, Split]:
    """The rows of each split: id, text (headline and text on two lines) and label."""
    return {
        split: [
            {
                "id": f"{split}-{number}",
                "text": "\n".join(filter(None, (row.get("headline"), row["text"]))),
                "label": row["label"],
            }
            for number, row in enumerate(
                map(json.loads, (directory / f"{split}.jsonl").read_text("utf-8").splitlines())
            )
        ]
        for split in ("train", "val", "test")
    }


def cuts(rows: dict[str, Split], folds: int, seed: int) -> Iterator[dict[str, Split]]:
    """Train and val in ``folds`` cuts: a fold to test, and of the rest the same share for val."""
    from sklearn.model_selection import StratifiedKFold, train_test_split

    every = np.array(rows["train"] + rows["val"], dtype=object)
    labels = np.array([row["label"] for row in every])
    share = len(rows["val"]) / len(every)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for rest, test in splitter.split(every, labels):
        train, val = train_test_split(
            rest, test_size=share, random_state=seed, stratify=labels[rest]
        )
        parts = {"train": train, "val": val, "test": test}
        yield {split: every[chosen].tolist() for split, chosen in parts.items()}


def run_product(cut: dict[str, Split], budget: str, seed: int) -> Predictions:
    """Labels that the chosen model and the n-gram baseline give to the test rows, and seconds."""
    from mlrun_assets.config import Config, LoadedConfig
    from mlrun_assets.data.validation import token_counter, validate_dataset
    from mlrun_assets.encoders.source import resolve_encoder
    from mlrun_assets.models.predictor import Predictor
    from mlrun_assets.plan.choice import PlanningInputs, observe
    from mlrun_assets.plan.plan import plan_training
    from mlrun_assets.training import train

    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        for split, rows in cut.items():
            pl.DataFrame(rows).write_ndjson(directory / f"{split}.jsonl")
        words = np.median([len(row["text"].split()) for row in cut["train"]])
        length = LONG_TEXT if words > SHORT_TEXT else SHORT_TEXT
        paths = {f"{split}_path": f"{split}.jsonl" for split in cut}
        # Folds of published data have near-duplicates across splits, in the files as published too.
        skip = ["split_leakage", "near_duplicates", "label_noise", "language", "code_switching"]
        config = Config.model_validate(
            {
                "data": {**paths, "quality": {"skip": skip}},
                "model": {"name": ENCODER, "max_length": length},
                "training": {"budget": budget, "seed": seed, "report_to": []},
            }
        )
        source = resolve_encoder(ENCODER, None, directory)
        dataset = validate_dataset(
            LoadedConfig(settings=config, directory=directory), directory, token_counter(source)
        )
        started = time.perf_counter()
        plan = plan_training(PlanningInputs(config, dataset, observe(source, length)))
        request = train.TrainingRequest(plan.recipes, source, config)
        baseline = train.train_cheap(directory, dataset, request)
        record = train.train_checkpoint(directory, dataset, baseline, request, lambda _: None)
        seconds = time.perf_counter() - started
        test = pl.read_parquet(directory / dataset.splits["test"].file)
        predictor = Predictor(directory / record.model_dir, length)
        numbers = predictor.probabilities(test["text"].to_list()).argmax(axis=1)
        ngrams = pl.read_parquet(directory / baseline.predictions_file)["prediction"].to_list()
        print(f"    chosen: {record.chosen}, {seconds:.0f} s", flush=True)
        cut["test"][:] = test.select("id", "text", "label").to_dicts()  # without quarantined rows
        return {
            "n-grams": (ngrams, baseline.seconds),
            f"chosen ({budget})": ([predictor.labels[number] for number in numbers], seconds),
        }


def run_trainer(cut: dict[str, Split], seed: int) -> Predictions:
    """The Trainer of transformers, its defaults: 5 epochs, batches of 16, the whole vocabulary."""
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from mlrun_assets.encoders.loading import source_directory
    from mlrun_assets.encoders.source import resolve_encoder

    started = time.perf_counter()
    encoder = source_directory(resolve_encoder(ENCODER, None, Path.cwd()))
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    labels = sorted({row["label"] for row in cut["train"]})
    data = {
        split: Dataset.from_dict(
            {
                **tokenizer([row["text"] for row in rows], truncation=True, max_length=LONG_TEXT),
                "label": [labels.index(row["label"]) for row in rows],
            }
        )
        for split, rows in cut.items()
    }
    with tempfile.TemporaryDirectory() as place:
        trainer = Trainer(
            AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(labels)),
            TrainingArguments(
                place,
                num_train_epochs=5,
                per_device_train_batch_size=16,
                save_strategy="no",
                report_to=[],
                seed=seed,
                disable_tqdm=True,
            ),
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=data["train"],
        )
        trainer.train()
        numbers = trainer.predict(data["test"]).predictions.argmax(axis=1)
    return {"Trainer": ([labels[number] for number in numbers], time.perf_counter() - started)}


def run_setfit(cut: dict[str, Split], seed: int) -> Predictions:
    """SetFit with its defaults, but `SETFIT_STEPS` steps instead of an hour and more."""
    from datasets import Dataset

    setfit = importlib.import_module("setfit")  # not declared: only this comparison needs it
    from mlrun_assets.encoders.loading import source_directory
    from mlrun_assets.encoders.source import resolve_encoder

    started = time.perf_counter()
    encoder = source_directory(resolve_encoder(ENCODER, None, Path.cwd()))
    rows = {"text": [row["text"] for row in cut["train"]]}
    rows["label"] = [row["label"] for row in cut["train"]]
    model = setfit.SetFitModel.from_pretrained(encoder, labels=sorted(set(rows["label"])))
    arguments = setfit.TrainingArguments(max_steps=SETFIT_STEPS, seed=seed, report_to="none")
    setfit.Trainer(model, arguments, train_dataset=Dataset.from_dict(rows)).train()
    found = [str(label) for label in model.predict([row["text"] for row in cut["test"]])]
    return {"SetFit": (found, time.perf_counter() - started)}


def macro_f1(truth: list[str], predicted: list[str], seed: int = 0) -> tuple[float, float, float]:
    """The macro-F1 of pooled predictions, in points, with its bootstrap interval."""
    from mlrun_assets.metrics import val_metrics
    from mlrun_assets.statistics import bootstrap_f1, confusion_matrix

    names = sorted({*truth, *predicted})
    right, said = (np.array([names.index(each) for each in some]) for some in (truth, predicted))
    matrix = confusion_matrix(right, said, len(names))
    low, high = bootstrap_f1(matrix, "macro", 2000, 0.95, seed)
    return 100 * val_metrics(right, said)["f1_macro"], 100 * low, 100 * high


def judge_cut(
    arguments: argparse.Namespace, directory: Path, cut: dict[str, Split], seed: int
) -> tuple[list[str], Predictions]:
    """The labels of the test rows of a cut, and what each model says of them."""
    answers = run_product(cut, arguments.budget, seed)
    if arguments.trainer:
        answers |= run_trainer(cut, seed)
    if arguments.setfit:
        answers |= run_setfit(cut, seed)
    truth = [row["label"] for row in cut["test"]]
    done = ", ".join(
        f"{name} {macro_f1(truth, labels)[0]:.1f} in {seconds:.0f} s"
        for name, (labels, seconds) in answers.items()
    )
    print(f"    {directory.name}: {done}", flush=True)
    return truth, answers


def compare(arguments: argparse.Namespace) -> None:
    """Print a line per set and model, and the means over the sets."""
    from scipy.stats import t as student

    gains: dict[str, list[float]] = defaultdict(list)
    scores: dict[str, list[float]] = defaultdict(list)
    jobs = []
    for directory in arguments.directories:
        rows = read_set(directory)
        for seed in arguments.seeds if arguments.test else arguments.seeds[:1]:
            every = [rows] if arguments.test else cuts(rows, arguments.folds, seed)
            jobs.extend((directory, cut, seed) for cut in every)
    found: dict[Path, Any] = defaultdict(lambda: defaultdict(lambda: ([], [], [])))
    # A fresh interpreter for each process: torch and its threads do not survive a fork.
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        judged = pool.map(partial(judge_cut, arguments), *zip(*jobs, strict=True))
        for (directory, _, _), (truth, answers) in zip(jobs, judged, strict=True):
            for name, (labels, seconds) in answers.items():
                found[directory][name][0].extend(truth)
                found[directory][name][1].extend(labels)
                found[directory][name][2].append(seconds)
    for directory, models in found.items():
        for name, (truth, labels, seconds) in models.items():
            f1, low, high = macro_f1(truth, labels)
            scores[name].append(f1)
            gains[name].append(f1 - scores["n-grams"][-1])
            print(
                f"{directory.name:18} {name:18} {f1:5.1f} [{low:.1f}, {high:.1f}]  "
                f"{np.mean(seconds):6.1f} s  {len(truth)} rows",
                flush=True,
            )
    for name, values in scores.items():
        gain = np.array(gains[name])
        half = student.ppf(0.975, max(1, len(gain) - 1)) * gain.std(ddof=min(1, len(gain) - 1))
        print(
            f"mean of {len(values)} sets: {name:18} {np.mean(values):.2f}, above the n-grams by "
            f"{gain.mean():+.2f} ± {half / np.sqrt(len(gain)):.2f}, at least {gain.min():+.1f}"
        )


def simulate(draws: int = 4000, rows: int = 100, candidates: int = 3) -> None:
    """The bias of the chosen candidate's test accuracy, in points, when all are equally good."""
    from mlrun_assets.training.candidates import choose

    generator = np.random.default_rng(0)
    bias: dict[str, list[float]] = {"chosen on other rows": [], "chosen on the test rows": []}
    for _ in range(draws):
        # Scores of two labels, correlated between candidates; the true label is 0.
        shared = generator.normal(0.55, 1.0, (1, 2 * rows))
        margin = (shared + generator.normal(0, 0.5, (candidates, 2 * rows))) / 2
        right = margin > 0
        logs = {
            str(number): -np.logaddexp(0, np.stack([-2 * each, 2 * each], axis=1))[:rows]
            for number, each in enumerate(margin)
        }
        chosen = int(choose(logs, np.zeros(rows, dtype=np.int64)))
        bias["chosen on other rows"].append(right[chosen, rows:].mean())
        bias["chosen on the test rows"].append(right[:, rows:].mean(axis=1).max())
    from scipy.stats import norm

    truth = norm.cdf(0.55 / np.sqrt(1 + 0.25))
    for name, found in bias.items():
        error = np.std(found) / np.sqrt(draws)
        print(f"{name}: {100 * (np.mean(found) - truth):+.2f} ± {196 * error:.2f} points")


def main() -> None:
    """Read the arguments and run what they ask for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="*", type=Path)
    parser.add_argument("--budget", default="balanced", choices=["fast", "balanced", "best"])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--trainer", action="store_true")
    parser.add_argument("--setfit", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--simulate", action="store_true")
    arguments = parser.parse_args()
    if arguments.simulate:
        simulate()
    else:
        compare(arguments)


if __name__ == "__main__":
    main()
