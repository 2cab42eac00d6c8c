"""The model card of an experiment."""

from __future__ import annotations

from mlrun_assets.config import LoadedConfig
from mlrun_assets.encoders import resolve_encoder
from mlrun_assets.errors import EncoderError
from mlrun_assets.experiment_store import Experiment, run_records
from mlrun_assets.files import write_atomically
from mlrun_assets.records import DatasetRecord, EvaluationRecord, ExportRecord
from mlrun_assets.reporting.model_card import Origin, render_model_card

# What the embedded encoders are called on the Hub.
HUB_IDS = {"embedded:multilingual-e5-small": "intfloat/multilingual-e5-small"}


def write_model_card(experiment: Experiment, config: LoadedConfig) -> str:
    """Write the card of the exported model beside the experiment's records; returns its text.

    Raises:
        RecordError: the experiment has no exported and evaluated model.
    """
    for needed in (DatasetRecord, EvaluationRecord, ExportRecord):
        experiment.load(needed)
    own = experiment.config(config)
    origin = Origin(own.settings.data.language, own.settings.data.licence, _base_model(own))
    card = render_model_card(run_records(experiment.manifest, experiment), origin)
    write_atomically(experiment.paths.model_card, card)
    return card


def _base_model(config: LoadedConfig) -> str | None:
    """The Hub id of the encoder; None: it is a directory, or was one that is gone."""
    model = config.settings.model
    if model.name in HUB_IDS:
        return HUB_IDS[model.name]
    try:
        source = resolve_encoder(model.name, model.revision, config.directory)
    except EncoderError:
        return None
    return source.location if source.kind == "hub" else None
