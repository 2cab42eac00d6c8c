"""The checkpoint of an earlier experiment, taken instead of being trained again."""

from __future__ import annotations

from pathlib import Path

from mlrun_assets.errors import RecordError
from mlrun_assets.experiment_store import Experiment
from mlrun_assets.files import digest_directory, link_directory
from mlrun_assets.records import CheckpointRecord


def take_checkpoint(earlier: Path, directory: Path) -> CheckpointRecord:
    """Link the models of the experiment at ``earlier`` into the one at ``directory``.

    Returns:
        The earlier record, which says where it is from.

    Raises:
        RecordError: the earlier checkpoint is gone, or is not what it was.
    """
    record = Experiment(earlier).load(CheckpointRecord)
    models = {record.model_dir: record.digest}
    models |= {seed.model_dir: seed.digest for seed in record.seeds}
    for model_dir, digest in models.items():
        if digest_directory(earlier / model_dir) != digest:
            raise RecordError(
                f"{earlier / model_dir}: is gone, or not the files that training wrote; leave "
                "training.reuse off, or restore them"
            )
    for model_dir in models:
        link_directory(earlier / model_dir, directory / model_dir)
    return record.model_copy(update={"reused_from": earlier.name, "not_reused": None})
