"""What every model said to every test row: the first thing to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from mlrun_assets.arrays import LabelIds, Probabilities
from mlrun_assets.experiment_store import ExperimentPaths
from mlrun_assets.files import open_atomically
from mlrun_assets.stages.evaluation.judging import Judged


def write_predictions(
    directory: Path, judged: Judged, probabilities: Probabilities, others: Mapping[str, LabelIds]
) -> None:
    """Write ``records/predictions.parquet``: a row for each of the test split, in its order.

    Its columns are ``id``, ``label``, whether the row ``leaks`` (where that was looked for), the
    challenger's ``prediction``, whether that is ``right``, its ``confidence``, a column with the
    prediction of each of ``others``, and the challenger's ``probability_LABEL`` of each label. The
    texts stand in ``data/test.parquet``, by ``id``.
    """
    columns = {
        "prediction": judged.names(judged.guess),
        "right": pl.Series(judged.right),
        "confidence": pl.Series(probabilities.max(axis=1)),
        **{name: judged.names(said) for name, said in others.items()},
        **{
            f"probability_{label}": pl.Series(probabilities[:, number])
            for number, label in enumerate(judged.labels)
        },
    }
    known = [name for name in ("id", "label", "leaks") if name in judged.frame.columns]
    with open_atomically(ExperimentPaths(directory).predictions) as output:
        judged.frame.select(known).with_columns(**columns).write_parquet(output)
