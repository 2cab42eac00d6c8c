"""Measure time and memory of the data checks, and their recall on planted defects.

    python benchmarks/quality.py [--rows 10000 100000 1000000] [--profile]

Rows of about 200 characters are generated with known defects. Every check that needs no tokenizer
runs on them. For comparison, the same run measures the same schema rules in pandera on pandas, and
the parsing of the same lines with orjson alone. Each part runs in its own process, so that its peak
memory can be measured.
"""

from __future__ import annotations

import argparse
import cProfile
import multiprocessing
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

LABELS = ("a", "b", "c", "d")
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}
PLANTED = 0.02
WORDS = 33


def generate(directory: Path, rows: int) -> None:
    """Write three JSON Lines files; every 50th train row is a near-duplicate of the one before."""
    generator = np.random.default_rng(0)
    vocabulary = np.array(words_of_the_sample(), dtype=object)
    for split, share in SHARES.items():
        count = int(rows * share)
        drawn = vocabulary[generator.zipf(1.2, size=(count, WORDS)) % len(vocabulary)]
        labels = generator.choice(LABELS, count)
        step = int(1 / PLANTED)
        words: list[str] = []
        with (directory / f"{split}.jsonl").open("wb") as file:
            for number in range(count):
                if split == "train" and number % step == 1:
                    words = [*words[:-1], f"beddel{number}"]
                else:
                    words = drawn[number].tolist()
                    words[number % WORDS] = f"{split}{number}"
                    words[number % 7] = str(labels[number]) * 4
                row = {"id": f"{split}-{number}", "text": " ".join(words), "label": labels[number]}
                file.write(defect(number, orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)))


def defect(number: int, line: bytes) -> bytes:
    """Write lines of which every 500th has one of four defects."""
    if number % 500 != 250:
        return line
    kinds = (b"{\n", b"[1]\n", line.replace(b'"text":"', b'"text":null,"x":"'))
    kinds = (*kinds, line.replace(b'"label":"', b'"label":"unknown'))
    return kinds[number // 500 % len(kinds)]


def words_of_the_sample() -> list[str]:
    sample = Path(__file__).parent.parent / "data" / "sample" / "train.jsonl"
    lines = sample.read_bytes().splitlines()
    return sorted({word for line in lines for word in orjson.loads(line)["text"].split()})


def check(directory: Path) -> None:
    """Run reading, schema and all checks, without token counts."""
    from mlrun_assets.config import Config, LoadedConfig
    from mlrun_assets.data.validation import TokenCounts, validate_dataset

    def no_tokens(texts: list[str]) -> TokenCounts:
        nothing = np.zeros(len(texts), dtype=np.int64)
        return TokenCounts(nothing, nothing)

    paths = {f"{split}_path": f"{split}.jsonl" for split in SHARES}
    config = Config.model_validate({"data": {**paths, "labels": list(LABELS)}})
    loaded = LoadedConfig(settings=config, directory=directory)
    record = validate_dataset(loaded, directory / "run", no_tokens)
    for each in record.checks:
        print(f"    {each.name}: {each.outcome} ({each.rows} rows) {each.message[:110]}")


def check_with_profile(directory: Path) -> None:
    profile = cProfile.Profile()
    profile.runcall(check, directory)
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def near_duplicates(directory: Path) -> None:
    """Recall and precision of the planted near-duplicates."""
    import polars as pl

    from mlrun_assets.data.checks.near_duplicates import near_pairs
    from mlrun_assets.data.text import duplicate_key

    texts = []
    for line in (directory / "train.jsonl").read_bytes().splitlines():
        row = orjson.loads(line) if line.startswith(b'{"') else {}
        texts.append(duplicate_key(row.get("text") or f"line {len(texts)}"))
    step = int(1 / PLANTED)
    planted = {
        (number - 1, number)
        for number in range(1, len(texts), step)
        if similarity(texts[number - 1], texts[number]) >= 0.8
    }
    pairs = near_pairs(pl.Series(texts), 0.8)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    recall, precision = len(found & planted) / len(planted), len(found & planted) / len(found)
    print(f"    {len(planted)} planted: recall {recall:.4f}, precision {precision:.4f}")


def similarity(one: str, two: str) -> float:
    """Jaccard similarity of word 5-grams, in plain Python."""
    first, second = (
        {tuple(words[place : place + 5]) for place in range(len(words) - 4)}
        for words in (one.split(), two.split())
    )
    return len(first & second) / max(1, len(first | second))


def pandera_on_pandas(directory: Path) -> None:
    """The rules of `schema.enforce_schema`, on pandas."""
    import pandas as pd
    import pandera.pandas as pa
    from pandera.errors import SchemaErrors

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(str, unique=True, nullable=True),
            "text": pa.Column(str, pa.Check.str_matches(r".*\S"), nullable=True),
            "label": pa.Column(str, pa.Check.isin(LABELS), nullable=True),
        }
    )
    for split in SHARES:
        lines = (directory / f"{split}.jsonl").read_bytes().splitlines()
        rows = [orjson.loads(line) for line in lines if line.startswith(b'{"')]
        try:
            schema.validate(pd.DataFrame(rows), lazy=True)
        except SchemaErrors as error:
            print(f"    {split}: {len(error.failure_cases)} failures")


def parse(directory: Path) -> None:
    """The least work of any reader: parse the lines."""
    for split in SHARES:
        with (directory / f"{split}.jsonl").open("rb") as file:
            for line in file:
                if line.startswith(b'{"'):
                    orjson.loads(line)


def measured(part: Callable[[Path], None], directory: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of ``part`` in a fresh process; imports count."""
    context = multiprocessing.get_context("spawn")
    parent, child = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(part, directory, child))
    process.start()
    child.close()
    try:
        seconds, memory = parent.recv()
    except EOFError:
        sys.exit(f"{part.__name__} failed")
    process.join()
    return seconds, memory


def _run(part: Callable[[Path], None], directory: Path, pipe: Any) -> None:
    started = time.perf_counter()
    part(directory)
    sys.stdout.flush()
    seconds = time.perf_counter() - started
    pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--profile", action="store_true", help="show where the time goes")
    options = parser.parse_args()
    parts = (parse, pandera_on_pandas, check, near_duplicates)
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as name:
            generate(Path(name), rows)
            print(f"{rows:,} rows", flush=True)
            seconds: dict[str, float] = {}
            for part in (check_with_profile,) if options.profile else parts:
                seconds[part.__name__], memory = measured(part, Path(name))
                ratio = seconds[part.__name__] / seconds.get("parse", seconds[part.__name__])
                print(
                    f"  {part.__name__}: {seconds[part.__name__]:.2f} s, {memory:.0f} MB, "
                    f"{ratio:.1f} times the parse",
                    flush=True,
                )


if __name__ == "__main__":
    main()
