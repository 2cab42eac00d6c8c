"""Experiments on the disk: a directory of its own for every run, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from mlrun_assets.config import Config, LoadedConfig, read_config
from mlrun_assets.errors import ExperimentError, RecordError
from mlrun_assets.files import locked, write_atomically
from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    Manifest,
    ProductionRecord,
    Record,
    RegistryRecord,
    RunRecords,
    TechDebtRecord,
    TrainingPlan,
)

AnyRecord = TypeVar("AnyRecord", bound=Record)


@dataclass(frozen=True)
class ExperimentPaths:
    """Every file and directory of an experiment; records name them relative to `directory`."""

    directory: Path

    def relative(self, path: Path) -> str:
        """``path`` as records name it: relative to the experiment, with slashes."""
        return path.relative_to(self.directory).as_posix()

    @property
    def manifest(self) -> Path:
        """The manifest: name, status, runs and stages."""
        return self.directory / "manifest.json"

    @property
    def config(self) -> Path:
        """The config, with every default spelled out."""
        return self.directory / "config.yaml"

    @property
    def lock(self) -> Path:
        """Locked by the process that works on the experiment."""
        return self.directory / ".lock"

    @property
    def lock_attempt(self) -> Path:
        """Locked, beside this name, by whoever takes the lock or looks at it."""
        return self.directory / "lock-attempt"

    @property
    def report(self) -> Path:
        """The report, with links that work in the experiment's directory."""
        return self.directory / "report.md"

    @property
    def plots(self) -> Path:
        """The directory of the report's pictures."""
        return self.directory / "plots"

    @property
    def records(self) -> Path:
        """The directory of the records."""
        return self.directory / "records"

    def record(self, asset: str) -> Path:
        """The record of an asset."""
        return self.records / f"{asset}.json"

    @property
    def baseline_predictions(self) -> Path:
        """The predictions of the baseline on the test split."""
        return self.records / "baseline_predictions.parquet"

    @property
    def predictions(self) -> Path:
        """The predictions of every model on the test split."""
        return self.records / "predictions.parquet"

    @property
    def label_next(self) -> Path:
        """The rows that a person should label next."""
        return self.records / "label_next.jsonl"

    @property
    def model_card(self) -> Path:
        """The model card."""
        return self.records / "model_card.md"

    @property
    def data(self) -> Path:
        """The directory of the validated data."""
        return self.directory / "data"

    def split(self, split: str) -> Path:
        """The validated rows of a split."""
        return self.data / f"{split}.parquet"

    @property
    def quarantine(self) -> Path:
        """The quarantined rows, with reasons."""
        return self.data / "quarantine.jsonl"

    @property
    def review_labels(self) -> Path:
        """The rows whose label a person should review."""
        return self.data / "review_labels.jsonl"

    @property
    def unlabelled(self) -> Path:
        """The unlabelled texts for pretraining."""
        return self.data / "unlabelled.parquet"

    @property
    def datasheet(self) -> Path:
        """The datasheet of the validated data."""
        return self.data / "datasheet.md"

    @property
    def fetched(self) -> Path:
        """The directory of the files that were downloaded."""
        return self.data / "fetched"

    @property
    def logs(self) -> Path:
        """The directory of the training logs."""
        return self.directory / "logs"

    def logs_of(self, seed: int | None) -> Path:
        """The training logs of one of several seeds; None: of the only one."""
        return self.logs / _seed_directory(seed)

    @property
    def checkpoints(self) -> Path:
        """The directory of the training checkpoints."""
        return self.directory / "checkpoints"

    def checkpoints_of(self, seed: int | None) -> Path:
        """The checkpoints of one of several seeds; None: of the only one."""
        return self.checkpoints / _seed_directory(seed)

    @property
    def pretraining(self) -> Path:
        """The directory of pretraining: checkpoints and the changed encoder."""
        return self.directory / "pretraining"

    def pretraining_of(self, seed: int | None) -> Path:
        """The pretraining of one of several seeds; None: of the only one."""
        return self.pretraining / _seed_directory(seed)

    @property
    def model(self) -> Path:
        """The directory of the trained model."""
        return self.directory / "model"

    def model_of(self, seed: int | None) -> Path:
        """The model of one of several seeds; None: of the only one."""
        return self.model if seed is None else self.directory / "seeds" / str(seed) / "model"

    @property
    def baseline_model(self) -> Path:
        """The directory of the fitted baseline."""
        return self.directory / "baseline"

    @property
    def export(self) -> Path:
        """The directory of the exported model."""
        return self.directory / "export"


def _seed_directory(seed: int | None) -> str:
    return "" if seed is None else f"seed-{seed}"


@dataclass(frozen=True)
class Experiment:
    """One experiment's directory, and what stands in it."""

    directory: Path

    @property
    def paths(self) -> ExperimentPaths:
        """Every file and directory of it."""
        return ExperimentPaths(self.directory)

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def manifest(self) -> Manifest:
        return Manifest.load(self.paths.manifest)

    def update(self, **changes: object) -> Manifest:
        """Change the manifest in one step."""
        manifest = self.manifest.model_copy(update=changes)
        manifest.save(self.paths.manifest)
        return manifest

    def config(self, current: LoadedConfig) -> LoadedConfig:
        """The config that the experiment was opened with; its paths start where ``current``'s do.

        Raises:
            ConfigError: the frozen config was edited into one that is wrong.
        """
        frozen = read_config(self.paths.config)
        return current.model_copy(update={"settings": frozen})

    def freeze(self, config: Config) -> None:
        """Write the config that the experiment has from here on."""
        header = "# The config of this experiment, with every default spelled out.\n"
        write_atomically(self.paths.config, header + config.to_yaml())

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
            self.paths.record(asset).unlink(missing_ok=True)
        stages = {name: run for name, run in self.manifest.stages.items() if name not in assets}
        self.update(stages=stages)

    def save(self, record: Record) -> None:
        """Keep the record of an asset."""
        record.save(self._file(type(record)))

    def _file(self, kind: type[Record]) -> Path:
        return self.paths.record(kind.asset)


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
    experiment = Experiment(directory)
    manifest.save(experiment.paths.manifest)
    for each in (experiment.paths.records, experiment.paths.data, experiment.paths.logs):
        each.mkdir()
    experiment.freeze(config.settings)
    return experiment


def all_experiments(parent: Path) -> list[Experiment]:
    """All experiments, the newest first; one whose manifest can't be read is passed over."""
    return list(_manifests(parent))


def _manifests(parent: Path) -> dict[Experiment, Manifest]:
    """All experiments with their manifests, each read once, the newest first."""
    found = {}
    for file in parent.glob(str(ExperimentPaths(Path("*")).manifest)):
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
    for file in parent.glob(str(ExperimentPaths(Path("*")).manifest)):
        if explicit == file.parent.name:
            Manifest.load(file)  # says why it can't be read
    known = ", ".join(each.id for each in list(manifests)[:5]) or "none"
    raise ExperimentError(f"{parent}: no experiment `{explicit}`; the latest are: {known}")


def _not_writable(path: Path, why: str) -> ExperimentError:
    return ExperimentError(
        f"{path}: experiments can't be kept here: {why}; choose another experiments.dir in "
        "ml_config.yaml"
    )


def run_records(manifest: Manifest, experiment: Experiment) -> RunRecords:
    """All that is recorded of a run; what it did not come to, or can't be read, is left out."""
    return RunRecords(
        manifest=manifest,
        config_yaml=experiment.paths.config.read_text(encoding="utf-8"),
        experiment=experiment.find(ExperimentRecord),
        dataset=experiment.find(DatasetRecord),
        plan=experiment.find(TrainingPlan),
        baseline=experiment.find(BaselineRecord),
        checkpoint=experiment.find(CheckpointRecord),
        evaluation=experiment.find(EvaluationRecord),
        export=experiment.find(ExportRecord),
        decision=experiment.find(DecisionRecord),
        production=experiment.find(ProductionRecord),
        registry=experiment.find(RegistryRecord),
        tech_debt=experiment.find(TechDebtRecord),
    )


_locks: dict[Path, FileLock] = {}


def lock_experiment(directory: Path) -> None:
    """Lock the experiment at ``directory`` until `unlock_experiment`, or until this process ends.

    Raises:
        ExperimentError: another process works on it.
    """
    if not try_lock(directory):
        raise ExperimentError(
            f"{directory}: another process works on this experiment; wait until it ends, or name "
            "another one"
        )


def try_lock(directory: Path) -> bool:
    """Lock the experiment if no other process has; whether this one has the lock now."""
    if directory in _locks:
        return True
    lock = FileLock(ExperimentPaths(directory).lock, thread_local=False)
    if not _acquire(lock):
        return False
    _locks[directory] = lock
    return True


def unlock_experiment(directory: Path) -> None:
    """Unlock the experiment; nothing happens when this process has no lock on it."""
    lock = _locks.pop(directory, None)
    if lock is not None:
        lock.release()


def is_locked(directory: Path) -> bool:
    """Whether a process, this one or another, works on the experiment: never takes its lock."""
    if directory in _locks:
        return True
    file = ExperimentPaths(directory).lock
    return file.exists() and not _acquire(FileLock(file), release=True)


def _acquire(lock: FileLock, *, release: bool = False) -> bool:
    """Acquire the lock if it is free, and keep it unless ``release``; whether it was free."""
    # flock has no way to look at a lock without taking it. So whoever looks or takes does it under
    # a second lock: a lock that is not free is then held by a process that works, never by one
    # that looks.
    directory = Path(lock.lock_file).parent
    with locked(ExperimentPaths(directory).lock_attempt):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        if release:
            lock.release()
        return True
