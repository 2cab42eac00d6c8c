"""Experiments on the disk: a directory of its own for every run, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from mlrun_assets.config import Config, LoadedConfig, read_config
from mlrun_assets.errors import ExperimentError, RecordError
from mlrun_assets.files import write_atomically
from mlrun_assets.records import Manifest, Record

MANIFEST = "manifest.json"
FROZEN_CONFIG = "config.yaml"
RECORDS_DIR = "records"

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class Experiment:
    """One experiment's directory, and what stands in it."""

    directory: Path

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.directory / MANIFEST)

    def update(self, **changes: object) -> Manifest:
        """Change the manifest in one step."""
        manifest = self.manifest.model_copy(update=changes)
        manifest.save(self.directory / MANIFEST)
        return manifest

    def config(self, current: LoadedConfig) -> LoadedConfig:
        """The config that the experiment was opened with; its paths start where ``current``'s do.

        Raises:
            ConfigError: the frozen config was edited into one that is wrong.
        """
        frozen = read_config(self.directory / FROZEN_CONFIG)
        return current.model_copy(update={"settings": frozen})

    def freeze(self, config: Config) -> None:
        """Write the config that the experiment has from here on."""
        header = "# The config of this experiment, with every default spelled out.\n"
        write_atomically(self.directory / FROZEN_CONFIG, header + config.to_yaml())

    def load(self, kind: type[AnyRecord]) -> AnyRecord:
        """The record of the asset that ``kind`` names.

        Raises:
            RecordError: the asset was not materialized in this experiment.
        """
        return kind.load(self._file(kind))

    def find(self, kind: type[AnyRecord]) -> AnyRecord | None:
        """The record of the asset that ``kind`` names; None: there is none that can be read.

        For those who tell what is there: a report on an experiment of another version leaves out
        what it can't read. A stage that needs a record uses `load`.
        """
        try:
            return self.load(kind)
        except RecordError:
            return None

    def forget(self, assets: Iterable[str]) -> None:
        """Remove what the ``assets`` recorded: it follows from something that is made anew."""
        assets = set(assets)
        for asset in assets:
            self._file_of(asset).unlink(missing_ok=True)
        stages = {name: run for name, run in self.manifest.stages.items() if name not in assets}
        self.update(stages=stages)

    def save(self, record: Record) -> None:
        """Keep the record of an asset."""
        record.save(self._file(type(record)))

    def _file(self, kind: type[Record]) -> Path:
        return self._file_of(kind.asset)

    def _file_of(self, asset: str) -> Path:
        return self.directory / RECORDS_DIR / f"{asset}.json"


def take_directory(parent: Path, now: datetime) -> Path:
    """A new directory that no other run has: ``exp_20261123T031500Z``, with a suffix if taken.

    Raises:
        ExperimentError: ``parent`` can't be written.
    """
    stem = f"exp_{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        directory = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
        except FileExistsError:
            if not parent.is_dir():
                raise _not_writable(parent, "is not a directory") from None
            number += 1
        except OSError as error:
            raise _not_writable(parent, error.strerror or str(error)) from None
        else:
            return directory


def create_experiment(directory: Path, manifest: Manifest, config: LoadedConfig) -> Experiment:
    """Write the manifest first, then the config with every default spelled out."""
    manifest.save(directory / MANIFEST)
    for name in (RECORDS_DIR, "data", "logs"):
        (directory / name).mkdir()
    experiment = Experiment(directory)
    experiment.freeze(config.settings)
    return experiment


def all_experiments(parent: Path) -> list[Experiment]:
    """All experiments, the newest first; one whose manifest can't be read is passed over."""
    return list(_manifests(parent))


def _manifests(parent: Path) -> dict[Experiment, Manifest]:
    """All experiments with their manifests, each read once, the newest first."""
    found = {}
    for file in parent.glob(f"*/{MANIFEST}"):
        try:
            found[Experiment(file.parent)] = Manifest.load(file)
        except RecordError:
            continue

    def age(each: Experiment) -> tuple[str, int, str]:
        # Of those that began in the same second, the tenth has a longer suffix than the second.
        return found[each].created_at, len(each.id), each.id

    return {each: found[each] for each in sorted(found, key=age, reverse=True)}


def find_experiment(parent: Path, explicit: str | None, run_ids: tuple[str, ...]) -> Experiment:
    """The experiment that is meant.

    Args:
        parent: the directory of the experiments.
        explicit: an id that was asked for.
        run_ids: the run, and the runs that it re-executes, the nearest first.

    Returns:
        The explicit one, else the one that one of the runs opened, else the latest.

    Raises:
        ExperimentError: there is no such experiment, or none at all.
        RecordError: the manifest of the explicit one can't be read.
    """
    manifests = _manifests(parent)
    if explicit is not None:
        return _named(parent, manifests, explicit)
    for run_id in run_ids:
        experiment = _of_run(manifests, run_id)
        if experiment:
            return experiment
    if not manifests:
        raise ExperimentError(
            f"{parent}: no experiment yet; materialize the asset `experiment` first, or everything "
            "with `mlrun-assets run`"
        )
    return next(iter(manifests))


def experiment_of_run(parent: Path, run_id: str) -> Experiment | None:
    """The experiment that a run opened or worked on; None: it has none."""
    return _of_run(_manifests(parent), run_id)


def _of_run(manifests: dict[Experiment, Manifest], run_id: str) -> Experiment | None:
    found = (each for each, manifest in manifests.items() if run_id in manifest.run_ids)
    return next(found, None)


def _named(parent: Path, manifests: dict[Experiment, Manifest], explicit: str) -> Experiment:
    # Only names of directories that are there are accepted, so none can lead elsewhere.
    for experiment in manifests:
        if explicit == experiment.id:
            return experiment
    for experiment, manifest in manifests.items():
        if explicit == manifest.name:
            return experiment
    for file in parent.glob(f"*/{MANIFEST}"):
        if explicit == file.parent.name:
            Manifest.load(file)  # says why it can't be read
    known = ", ".join(each.id for each in list(manifests)[:5]) or "none"
    raise ExperimentError(f"{parent}: no experiment `{explicit}`; the latest are: {known}")


def _not_writable(path: Path, why: str) -> ExperimentError:
    return ExperimentError(
        f"{path}: experiments can't be kept here: {why}; choose another experiments.dir in "
        "ml_config.yaml"
    )
