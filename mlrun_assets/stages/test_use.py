"""How many models have been judged on a test split, and what that costs.

Whoever keeps the best of many models on one test split keeps luck as well. So every look is
written down: one line of JSON a look, appended, never changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mlrun_assets.config import Config
from mlrun_assets.errors import ExperimentError
from mlrun_assets.files import append_line, locked
from mlrun_assets.records import TestUse, timestamp

LOOKS_FILE = "test_looks.jsonl"
MOST_RESAMPLES = 100_000

_KEYS = ("test", "model")


def note_look(
    experiments_dir: Path, experiment: str, digests: tuple[str, str], config: Config
) -> TestUse:
    """Write down that a model is judged on a test split, and count the models judged on it.

    Args:
        experiments_dir: where the ledger lies.
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
    return TestUse(looks=looks, max_looks=most, confidence=confidence)


def corrected(config: Config, use: TestUse) -> Config:
    """``config`` with the confidence that ``use`` leaves, and resamples enough to tell it.

    A worn split divides what an interval may miss by all models that were judged on it, this one
    included (Bonferroni): the intervals of so many models, all made like this one, hold the truth
    together as often as one of a single model does; so does the one of the best of them.
    """
    if not use.worn:
        return config
    evaluation = config.evaluation
    resamples = max(evaluation.resamples, min(evaluation.resamples * use.looks, MOST_RESAMPLES))
    changed = {"confidence": use.confidence, "resamples": resamples}
    return config.model_copy(update={"evaluation": evaluation.model_copy(update=changed)})


def _looks(file: Path) -> Iterator[dict[str, str]]:
    """The looks that can be read: a line that a crash cut off is passed over."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            look = json.loads(line)
        except ValueError:
            continue
        if isinstance(look, dict) and all(isinstance(look.get(key), str) for key in _KEYS):
            yield look
