"""The asset `predictions`: rows without labels, labelled by the model in production."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlrun_assets.config import DataConfig, load_config
from mlrun_assets.errors import DataError
from mlrun_assets.markdown import visible
from mlrun_assets.orchestration.assets import predictions, production_model
from mlrun_assets.orchestration.resources import MlRun
from mlrun_assets.production.answers import WINDOW_CHARACTERS, windows
from mlrun_assets.production.prediction import label_sources, rows_of_file, write_answers
from mlrun_assets.records import PredictionsRecord
from mlrun_assets.reports.summaries import summarise_predictions
from mlrun_assets_tests.examples import POISON, serve_words, write_rows


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return serve_words(tmp_path_factory.mktemp("served"), tiny_encoder).parent


def config_file(home: Path, predict_path: object) -> Path:
    file = home / "ml_config.yaml"
    file.write_text(json.dumps({"data": {"predict_path": predict_path}}))
    return file


def materialize(config: Path, *others: dg.AssetsDefinition) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [predictions, *production_model.to_source_assets(), *others],
        resources={"ml_run": MlRun(config_file=str(config))},
        raise_on_error=False,
    )


def test_the_asset_labels_all_files_and_tells_how_many_of_each_label(home: Path) -> None:
    write_rows(home / "new/a.jsonl", [{"text": "waa gool", "id": "a1"}, {"text": "  "}])
    write_rows(home / "new/b.jsonl", [{"text": "gool gool"}, {"text": "beer waa"}])
    result = materialize(config_file(home, "new/*.jsonl"))
    assert result.success
    shown: dict[str, Any] = {
        key: value.value
        for key, value in result.asset_materializations_for_node("predictions")[0].metadata.items()
    }
    file = Path(shown["predictions"])
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    assert [answer.get("label") for answer in answers] == ["sports", None, "sports", "farming"]
    assert answers[0]["id"] == "a1" and answers[1]["error"].startswith("empty text")
    assert (shown["rows"], shown["rows_skipped"]) == (3, 1)
    assert (shown["sports_rows"], shown["farming_rows"]) == (2, 1)
    assert shown["summary"].startswith("**3 rows labelled by exp_1 in ")
    assert "; 1 had no text**" in shown["summary"]
    assert "| `sports` | 2 | 66.7 % |" in shown["details"]
    record = PredictionsRecord.load(file.with_suffix(".json"))
    assert file == home / "production" / record.file
    assert file.parent == home / "production/predictions/exp_1"
    assert not (home / "experiments").exists()

    # The same rows go to the same file, others to another.
    again = label_sources(load_config(config_file(home, ["new/a.jsonl", "new/b.jsonl"])), print)
    other = label_sources(load_config(config_file(home, "new/b.jsonl")), print)
    assert again.file == record.file != other.file
    assert other.label_rows == {"farming": 1, "sports": 1}


def test_with_a_threshold_the_accepted_rows_are_counted(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlrun_assets.models.predictor import Predictor

    write_rows(home / "sure/a.jsonl", [{"text": "gool"}, {"text": "beer gool"}, {"text": " "}])
    config = load_config(config_file(home, "sure/a.jsonl"))
    assert label_sources(config, print).rows_accepted is None
    monkeypatch.setattr(Predictor, "accept_confidence", 0.6)
    record = label_sources(config, print)
    answers = (home / "production" / record.file).read_text(encoding="utf-8").splitlines()
    accepted = [json.loads(line).get("accepted") for line in answers]
    assert accepted == [True, False, None] and record.rows_accepted == 1
    assert "; 1 had no text; 1 accepted**" in summarise_predictions(record)


def test_without_rows_to_label_the_asset_says_which_key_to_set(home: Path) -> None:
    result = materialize(config_file(home, None))
    failure = next(event for event in result.all_events if event.is_step_failure)
    error = failure.step_failure_data.error
    assert error is not None and "data.predict_path is not set" in error.message
    assert not error.stack


def test_without_rows_to_label_a_larger_selection_passes_it_over(home: Path) -> None:
    """Such as all assets, which is a button in the UI; what is made from the answers is too."""

    @dg.asset
    def beside() -> None: ...

    @dg.asset(deps=[predictions])
    def made_from_them() -> None: ...

    def materialized(predict_path: object) -> set[str]:
        result = materialize(config_file(home, predict_path), beside, made_from_them)
        assert result.success
        events = result.get_asset_materialization_events()
        return {event.asset_key.to_user_string() for event in events if event.asset_key}

    assert materialized(None) == {"beside"}
    write_rows(home / "new/d.jsonl", [{"text": "waa gool"}])
    assert materialized("new/d.jsonl") == {"beside", "predictions", "made_from_them"}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (None, r"data\.predict_path: .*new/c\.jsonl: no such file"),
        ([], r"no row has a text to label"),
        ([{"title": "waa gool"}], r"no row has a text .*missing column: no `text`.*text_columns"),
    ],
)
def test_rows_that_can_not_be_labelled_are_one_error(
    home: Path, rows: list[dict[str, str]] | None, said: str
) -> None:
    if rows is not None:
        write_rows(home / "new/c.jsonl", rows)
    with pytest.raises(DataError, match=said):
        label_sources(load_config(config_file(home, "new/c.jsonl")), print)
    (home / "new/c.jsonl").unlink(missing_ok=True)
    assert not list((home / "production/predictions").glob("**/.*"))


def test_answers_show_a_terminal_no_control_characters() -> None:
    answer = {"label": f"a{POISON}", "text": "\u202eb\x9b31m\u200b"}
    file = io.BytesIO()
    assert list(write_answers([[answer]], file)) == [[answer]]
    line = file.getvalue().decode()
    assert json.loads(line) == answer
    assert visible(line) == line


def test_a_window_of_parquet_rows_ends_early_where_they_hold_much(tmp_path: Path) -> None:
    """The columns that pass through count, not only the text."""
    picture = bytes(range(256)) * 400
    frame = pl.DataFrame({"text": ["waa gool"] * 500, "picture": [picture] * 500})
    frame.write_parquet(tmp_path / "a.parquet", use_pyarrow=True)
    rows = rows_of_file(tmp_path / "a.parquet", DataConfig())
    sizes = [len(window) for window in windows(rows, lambda row: row.size)]
    assert sum(sizes) == 500
    assert max(sizes) < WINDOW_CHARACTERS / len(picture) + 1
