"""Which rows are worth a person's time, and in which order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlrun_assets.errors import RecordError
from mlrun_assets.evaluation.calibration import (
    MOST_CANDIDATES,
    MOST_ROWS,
    rank,
    read_unlabelled,
    with_predictions,
    write_label_next,
)
from mlrun_assets.experiment import ExperimentPaths

LABELS = ("a", "b", "c")


def said(probabilities: list[list[float]], **columns: Any) -> pl.DataFrame:
    """Rows with what the models say; a column of label numbers for each other model."""
    rows = len(probabilities)
    frame = pl.DataFrame(
        {
            "id": [str(number) for number in range(rows)],
            "split": ["val"] * rows,
            "text": [f"text {number}" for number in range(rows)],
            **({"label": columns.pop("label")} if "label" in columns else {}),
        }
    )
    others = {name: np.array(numbers) for name, numbers in columns.items()}
    return with_predictions(frame, np.array(probabilities), LABELS, others)


SURE, UNSURE, TIED = [0.9, 0.06, 0.04], [0.6, 0.3, 0.1], [0.45, 0.45, 0.1]


def test_disagreement_goes_before_doubt_and_what_is_agreed_and_sure_is_left_out() -> None:
    rows = said([SURE, UNSURE, SURE, TIED, SURE], baseline=[0, 0, 1, 1, 0])
    assert rank(rows, ["baseline"])["id"].to_list() == ["3", "2", "1"]


def test_a_label_that_no_model_gives_is_doubted_and_comes_first() -> None:
    rows = said([SURE, TIED, SURE], baseline=[0, 0, 0], label=["a", "a", "b"])
    ranked = rank(rows, ["baseline"])
    assert ranked["id"].to_list() == ["2", "1"]
    assert ranked["doubted"].to_list() == [True, False]


def test_the_predicted_labels_take_turns() -> None:
    third = [0.1, 0.3, 0.6]
    rows = said([UNSURE] * 8 + [third] * 2, baseline=[1] * 8 + [0] * 2)
    assert rank(rows, ["baseline"])["prediction"].to_list()[:5] == ["a", "c", "a", "c", "a"]


def test_a_line_says_where_the_row_is_and_why_it_was_chosen(tmp_path: Path) -> None:
    rows = said([TIED, SURE], baseline=[1, 0], production=[2, 0], label=["a", "c"])
    summary = write_label_next(tmp_path, rows, ["baseline", "production"], show_text=False)
    lines = ExperimentPaths(tmp_path).label_next.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "id": "0",
        "split": "val",
        "label": "a",
        "prediction": "a",
        "probability": 0.45,
        "second": "b",
        "margin": 0.0,
        "baseline": "b",
        "production": "c",
        "priority": 2.0,
        "why": "baseline says b; production says c; it may as well be b",
    }
    assert json.loads(lines[1])["why"] == "no model says c: the label may be wrong"
    assert (summary.candidates, summary.rows, summary.doubted) == (2, 2, 1)


def test_at_most_a_hundred_rows_are_listed_and_texts_only_where_that_is_allowed(
    tmp_path: Path,
) -> None:
    rows = said([TIED] * 150, baseline=[0] * 150)
    assert write_label_next(tmp_path, rows, ["baseline"], show_text=True).rows == MOST_ROWS
    lines = ExperimentPaths(tmp_path).label_next.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[7])["text"] == "text 7"


def test_of_very_many_texts_a_sample_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "unlabelled.parquet"
    with pytest.raises(RecordError, match=r"they are gone; materialize validated_dataset again"):
        read_unlabelled(file, 1)
    many = MOST_CANDIDATES + 500
    pl.DataFrame({"id": [str(each) for each in range(many)]}).write_parquet(file)
    first, second = (read_unlabelled(file, 1) for _ in range(2))
    assert first["id"].n_unique() == MOST_CANDIDATES
    assert first.equals(second)


def test_without_another_model_only_doubt_counts() -> None:
    assert rank(said([SURE, TIED]), [])["priority"].to_list() == pytest.approx([1.0])


def test_with_a_threshold_the_rows_that_are_not_accepted_are_listed(tmp_path: Path) -> None:
    rows = said([SURE, UNSURE, [0.8, 0.1, 0.1]], baseline=[1, 0, 0])
    rows = rows.with_columns(accepted=pl.col("probability") >= 0.85)
    assert write_label_next(tmp_path, rows, ["baseline"], show_text=False).rows == 2
    lines = ExperimentPaths(tmp_path).label_next.read_text(encoding="utf-8").splitlines()
    found = {json.loads(line)["id"]: json.loads(line)["why"] for line in lines}
    assert found == {
        "1": "it may as well be b; its label is not accepted",
        "2": "its label is not accepted",
    }
