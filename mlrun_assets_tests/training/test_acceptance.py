"""The confidence threshold of the deployed model: chosen, written and taken over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.errors import RecordError
from mlrun_assets.experiment import ExperimentPaths
from mlrun_assets.records import Acceptance, CheckpointRecord
from mlrun_assets.training.candidates import (
    PRECISIONS,
    Judged,
    accept,
    write_empty_encoder,
    write_model,
)
from mlrun_assets.training.train import take_checkpoint
from mlrun_assets_tests.examples import LABELS, record_of


def test_a_threshold_is_deployed_only_if_it_is_asked_for_and_shown() -> None:
    generator = np.random.default_rng(3)
    scores = log_softmax(generator.normal(0, 4, (600, 3)), axis=1)
    truth = np.array([generator.choice(3, p=np.exp(row)) for row in scores])
    scores[::6] = np.nan  # rows of which a part has no score
    (asked,) = accept(scores, truth, DeploymentConfig(min_precision=0.9))
    assert asked.configured and asked.confidence and asked.rows == 500
    examples = accept(scores, truth, DeploymentConfig())
    assert tuple(each.min_precision for each in examples) == PRECISIONS
    assert examples[0] == asked.model_copy(update={"configured": False})
    (missed,) = accept(scores[:20], truth[:20], DeploymentConfig(min_precision=0.9))
    assert missed.confidence is None and missed.configured
    assert missed.rows_needed is None or missed.rows_needed > missed.rows


def test_the_threshold_is_written_with_the_model_and_replaces_an_older_one(
    tmp_path: Path,
) -> None:
    write_empty_encoder(tmp_path / "encoder", LABELS, 32)
    winner = Judged("encoder", np.array([1.5]), np.zeros((0, 3)), accept_confidence=0.83)
    write_model(tmp_path, winner, tmp_path / "encoder", LABELS, 32)
    model = ExperimentPaths(tmp_path).model
    assert json.loads((model / "config.json").read_text())["accept_confidence"] == 0.83
    again = replace(winner, accept_confidence=None)
    write_model(tmp_path / "next", again, model, LABELS, 32)
    settings = ExperimentPaths(tmp_path / "next").model / "config.json"
    assert json.loads(settings.read_text())["accept_confidence"] is None


def test_a_model_with_the_threshold_of_another_precision_is_not_taken(tmp_path: Path) -> None:
    shown = Acceptance(min_precision=0.8, confidence=0.7, configured=True, rows=500)
    record: CheckpointRecord = record_of("checkpoint", acceptance=(shown,))
    record.save(ExperimentPaths(tmp_path / "exp_1").record(CheckpointRecord.asset))
    with pytest.raises(RecordError, match=r"deployment\.min_precision has changed"):
        take_checkpoint(tmp_path / "exp_1", tmp_path / "exp_2", DeploymentConfig(min_precision=0.9))
    assert not (tmp_path / "exp_2").exists()
