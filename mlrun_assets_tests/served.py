"""A project with a model in production whose answers follow from the words of a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mlrun_assets.files import digest_directory
from mlrun_assets.stages.production import Candidate, Reason, promote

LABELS = ("farming", "sports")
WORDS = {"farming": "beer", "sports": "gool"}


def word_model(directory: Path, encoder: Path) -> Path:
    """An untrained encoder that does not count, and an n-gram model that knows two words."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from mlrun_assets.ngrams.candidates import fit_best
    from mlrun_assets.ngrams.linear import save_fitted, set_weights

    names = dict(enumerate(LABELS))
    AutoModelForSequenceClassification.from_pretrained(
        str(encoder), id2label=names, label2id={label: at for at, label in names.items()}
    ).save_pretrained(str(directory))
    AutoTokenizer.from_pretrained(str(encoder)).save_pretrained(str(directory))
    texts = [f"waa {WORDS[label]} iyo" for label in LABELS for _ in range(4)]
    rows = texts, np.repeat(np.arange(len(LABELS)), 4)
    save_fitted(fit_best(rows, rows, seed=1), LABELS, directory)
    set_weights(directory, 0.0, 1.0)
    return directory


def serve_words(
    home: Path, encoder: Path, text_columns: tuple[str, ...] | None = None, **sections: Any
) -> Path:
    """Put that model into production below ``home``; returns the config file."""
    model_dir = word_model(home / "exported", encoder)
    candidate = Candidate(
        model_dir=model_dir,
        experiment="exp_1",
        report="impl-ml-run-words-20261123",
        digest=digest_directory(model_dir),
        labels=LABELS,
        max_length=32,
        accuracy=0.9,
        f1=0.9,
        text_columns=text_columns,
    )
    promote(home / "production", candidate, lambda *_: Reason("a test", "nobody"), lambda _: None)
    config = home / "ml_config.yaml"
    config.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return config
