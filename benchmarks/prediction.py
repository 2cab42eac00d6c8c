"""Compare prediction with `transformers.pipeline`: rows per second, and the labels.

    python benchmarks/prediction.py MODEL_DIRECTORY ROWS.jsonl [--max-length 128]

``MODEL_DIRECTORY`` is a plain checkpoint of a run. Both predict once before they are timed. They
alternate, and the fastest of three runs counts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--max-length", type=int, default=128)
    arguments = parser.parse_args()
    from transformers import pipeline

    from mlrun_assets.models.predictor import Predictor

    texts = pl.read_ndjson(arguments.rows)["text"].to_list()
    stock = pipeline("text-classification", model=str(arguments.model), device=-1)
    predictor = Predictor(arguments.model, arguments.max_length)

    def by_pipeline() -> list[str]:
        answers = stock(texts, truncation=True, max_length=arguments.max_length)
        return [answer["label"] for answer in answers]

    def by_predictor() -> list[str]:
        numbers = predictor.probabilities(texts).argmax(axis=1)
        return [predictor.labels[number] for number in numbers]

    ways: dict[str, Callable[[], list[str]]] = {"pipeline": by_pipeline, "Predictor": by_predictor}
    labels = {name: way() for name, way in ways.items()}
    fastest = dict.fromkeys(ways, float("inf"))
    for _ in range(3):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            fastest[name] = min(fastest[name], time.perf_counter() - started)
    for name, seconds in fastest.items():
        print(f"{name:12}{len(texts) / seconds:10,.1f} rows/s")
    agree = sum(a == b for a, b in zip(*labels.values(), strict=True)) / len(texts)
    ratio = fastest["pipeline"] / fastest["Predictor"]
    print(f"{ratio:.1f} times the rows/s, labels agree {agree:.1%}")


if __name__ == "__main__":
    main()
