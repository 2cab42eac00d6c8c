"""Experiments that are finished without having run: records, and a few bytes as their model."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlrun_assets.config import Config, DataConfig, LoadedConfig, ModelConfig
from mlrun_assets.experiment_store import Experiment, create_experiment, take_directory
from mlrun_assets.files import digest_directory
from mlrun_assets.lifecycle import closing, promoting
from mlrun_assets.records import Record, Verdict
from mlrun_assets.stages.decision import conclude
from mlrun_assets.stages.production import read_production
from mlrun_assets_tests.reporting.conftest import comparison, full_run


def project(directory: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    """A project whose models are not loaded, and whose reports are without pictures."""
    monkeypatch.setattr(promoting, "probe", lambda model_dir: None)
    monkeypatch.setattr(closing, "draw_pictures", lambda records, directory: {})
    config = Config(
        data=DataConfig(licence="cc-by-4.0"), model=ModelConfig(name="FacebookAI/xlm-roberta-base")
    )
    file = directory / "ml_config.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    return LoadedConfig(settings=config, directory=directory, file=file)


def finished(
    config: LoadedConfig, name: str, verdict: Verdict = Verdict.APPROVED, *changed: Record
) -> Experiment:
    """An experiment with all records, those of ``changed`` in the place of the usual ones.

    It was compared with what serves now.
    """
    run = full_run()
    assert run.evaluation and run.export and run.decision
    serving = read_production(config.production_dir)
    against = comparison(serving.version, 0.004, 0.081) if serving else None
    directory = take_directory(config.experiments_dir, datetime(2026, 11, 23, tzinfo=UTC))
    manifest = run.manifest.model_copy(
        update={"id": directory.name, "name": name, "report": f"impl-ml-run-{name}-20261123"}
    )
    experiment = create_experiment(directory, manifest, config)
    (directory / "export").mkdir()
    (directory / "export" / "weights").write_text(name)
    (directory / "export" / "config.json").write_text("{}")
    digest = digest_directory(directory / "export")
    advice = conclude((), config.settings.deployment, directory.name).next_steps
    for record in (
        run.experiment,
        run.dataset,
        run.plan,
        run.baseline,
        run.checkpoint,
        run.evaluation.model_copy(update={"production": against}),
        run.export.model_copy(update={"digest": digest}),
        run.decision.model_copy(update={"verdict": verdict, "next_steps": advice}),
        *changed,
    ):
        assert record is not None
        experiment.save(record)
    return experiment
