"""The directory of an experiment: its paths, its records, how it is found and locked."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from mlrun_assets.config import Config, LoadedConfig, read_config
from mlrun_assets.errors import ConfigError, ExperimentError, RecordError, hide_credentials
from mlrun_assets.files import acquire, locked, write_atomically
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
    Status,
    TechDebtRecord,
    TrainingPlan,
)

LONGEST_NAME, MOST_BYTES = 60, 160
_ID = re.compile(r"exp_\d{8}T\d{6}Z(-\d+)?")

AnyRecord = TypeVar("AnyRecord", bound=Record)


# Paths


class _Below:
    """A path below the directory of an experiment, as an attribute of `ExperimentPaths`."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __get__(self, paths: ExperimentPaths, owner: type) -> Path:
        return paths.directory / self.path


@dataclass(frozen=True)
class ExperimentPaths:
    """Every file and directory of an experiment; no other module names one."""

    directory: Path

    manifest = _Below("manifest.json")  # name, status, runs and stages
    config = _Below("config.yaml")  # with every default
    lock = _Below(".lock")  # held by the process that works on the experiment
    lock_attempt = _Below("lock-attempt")  # a second lock, to take or look at the first
    report = _Below("report.md")  # its links work in this directory
    plots = _Below("plots")  # the pictures of the report

    records = _Below("records")
    baseline_predictions = _Below("records/baseline_predictions.parquet")  # on the test split
    part_scores = _Below("records/part_scores.npz")  # of candidates' parts, on train and val
    out_of_fold = _Below("records/out_of_fold.parquet")  # of the chosen model, on train and val
    predictions = _Below("records/predictions.parquet")  # of all models, on the test split
    label_next = _Below("records/label_next.jsonl")  # rows that a person should label next
    model_card = _Below("records/model_card.md")

    data = _Below("data")  # the validated dataset
    quarantine = _Below("data/quarantine.jsonl")  # quarantined rows, with reasons
    review_labels = _Below("data/review_labels.jsonl")  # rows whose label may be wrong
    leaks = _Below("data/leaks.jsonl")  # rows that are known from another split, and from where
    auxiliary = _Below("data/auxiliary.parquet")  # helper rows
    unlabelled = _Below("data/unlabelled.parquet")  # texts that may be labelled next
    datasheet = _Below("data/datasheet.md")
    fetched = _Below("data/fetched")  # downloaded files

    # With several seeds: see `of_seed` and `model_of`.
    logs = _Below("logs")
    checkpoints = _Below("checkpoints")
    encoder = _Below("encoder")  # fine-tuned
    frozen = _Below("frozen")  # the encoder as it was, with a head
    helped = _Below("helped")  # the same, with a head that helper rows were used for
    model = _Below("model")  # of the chosen candidate

    baseline_model = _Below("baseline")
    export = _Below("export")

    def relative(self, path: Path) -> str:
        """``path`` as records name it: relative to the experiment, with slashes."""
        return path.relative_to(self.directory).as_posix()

    def record(self, asset: str) -> Path:
        """The record of an asset."""
        return self.records / f"{asset}.json"

    def split(self, split: str) -> Path:
        """The validated rows of a split."""
        return self.data / f"{split}.parquet"

    def listed_rows(self) -> dict[str, Path]:
        """The lists of rows to look at that are not empty, by what they list."""
        lists = {
            "quarantined rows": self.quarantine,
            "leaking rows": self.leaks,
            "labels to review": self.review_labels,
        }
        return {what: file for what, file in lists.items() if file.exists() and file.stat().st_size}

    def of_seed(self, parent: Path, seed: int | None) -> Path:
        """The directory in ``parent`` of one of several seeds; of the only one if None."""
        return parent if seed is None else parent / f"seed-{seed}"

    def model_of(self, seed: int | None) -> Path:
        """The fine-tuned encoder of one of several seeds; of the only one if None."""
        return self.encoder if seed is None else self.directory / "seeds" / str(seed) / "model"


# Store


@dataclass(frozen=True)
class Experiment:
    """One experiment: its manifest, config and records."""

    directory: Path

    @property
    def paths(self) -> ExperimentPaths:
        """Every file and directory of the experiment."""
        return ExperimentPaths(self.directory)

    @property
    def id(self) -> str:
        return self.directory.name

    @property
    def manifest(self) -> Manifest:
        return _load_manifest(self.paths.manifest)

    def update(self, **changes: object) -> Manifest:
        """Change the manifest in one step."""
        manifest = self.manifest.model_copy(update=changes)
        manifest.save(self.paths.manifest)
        return manifest

    def config(self, current: LoadedConfig) -> LoadedConfig:
        """The config of the experiment; paths and credentials are those of ``current``.

        Raises:
            ConfigError: the stored config was edited and is wrong.
        """
        return current.model_copy(update={"settings": read_config(self.paths.config)})

    def freeze(self, config: Config) -> None:
        """Store the config in the experiment."""
        header = "# The config of this experiment, with every default; without credentials.\n"
        write_atomically(self.paths.config, header + config.to_yaml())

    def load(self, kind: type[AnyRecord]) -> AnyRecord:
        """The record of the asset that ``kind`` names.

        Raises:
            RecordError: the asset was not materialized in this experiment.
        """
        return kind.load(self.paths.record(kind.asset))

    def find(self, kind: type[AnyRecord]) -> AnyRecord | None:
        """The record of the asset that ``kind`` names; None if it is missing or damaged.

        For reports, which leave it out. A stage that needs a record uses `load`.
        """
        try:
            return self.load(kind)
        except RecordError:
            return None

    def forget(self, assets: Iterable[str]) -> None:
        """Remove the records of ``assets``, which a re-run of an earlier asset invalidates."""
        stages = self.manifest.stages.copy()
        for asset in assets:
            self.paths.record(asset).unlink(missing_ok=True)
            stages.pop(asset, None)
        self.update(stages=stages)

    def save(self, record: Record) -> None:
        """Store the record of an asset."""
        record.save(self.paths.record(record.asset))


def take_directory(parent: Path, now: datetime) -> Path:
    """Create a directory for a run: ``exp_20261123T031500Z``, with a suffix if that exists.

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
            return directory
        except OSError as error:
            exists = isinstance(error, FileExistsError)
            if not (exists and parent.is_dir()):
                why = "is not a directory" if exists else error.strerror or str(error)
                raise ExperimentError(
                    f"{parent}: experiments can't be stored here: {why}; choose another "
                    "experiments.dir in ml_config.yaml"
                ) from None
            number += 1


def create_experiment(directory: Path, manifest: Manifest, config: LoadedConfig) -> Experiment:
    """Store the config, write the manifest and create the directories.

    The manifest makes it an experiment, so the config, which closing it takes, comes first.
    """
    experiment = Experiment(directory)
    experiment.freeze(config.settings)
    manifest.save(experiment.paths.manifest)
    for each in (experiment.paths.records, experiment.paths.data, experiment.paths.logs):
        each.mkdir()
    return experiment


def _changed_settings(file: Path) -> str:
    """What the config sets in place of the defaults; all of it if this version can't read it."""
    try:
        text = read_config(file).to_yaml(defaults=False)
    except ConfigError:
        text = file.read_text(encoding="utf-8")
    return hide_credentials(text)  # an earlier version stored them, too


def run_records(manifest: Manifest, experiment: Experiment) -> RunRecords:
    """All records of a run; None for those that are missing or damaged."""
    return RunRecords(
        manifest=manifest,
        config_yaml=_changed_settings(experiment.paths.config),
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


# Search


def all_experiments(parent: Path) -> list[Experiment]:
    """All experiments, newest first, without those whose manifest can't be read."""
    return list(_manifests(parent))


def _manifests(parent: Path) -> dict[Experiment, Manifest]:
    """All experiments with their manifests, newest first."""
    found = {}
    for file in parent.glob(str(ExperimentPaths(Path("*")).manifest)):
        with suppress(RecordError):
            found[Experiment(file.parent)] = _load_manifest(file)
    # Within one second, the tenth experiment has a longer suffix than the second.
    age = {each: (manifest.created_at, len(each.id), each.id) for each, manifest in found.items()}
    return {each: found[each] for each in sorted(found, key=age.__getitem__, reverse=True)}


_manifest_files: dict[Path, tuple[tuple[int, ...], Manifest]] = {}


def _load_manifest(file: Path) -> Manifest:
    """The manifest, which is read again only if its file is another one or has changed.

    A run looks at all experiments in every stage.
    """
    with suppress(OSError):  # `Manifest.load` reports it
        found = file.stat()
        version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if _manifest_files.get(file, ((), None))[0] != version:
            _manifest_files[file] = version, Manifest.load(file)
        return _manifest_files[file][1]
    return Manifest.load(file)


def remove_unopened(parent: Path) -> bool:
    """Remove what killed processes left before it was an experiment; whether one is being opened.

    A directory is locked first, then gets the config, then the manifest.
    """
    for lock in parent.glob(str(ExperimentPaths(Path("exp_*")).lock)):
        paths = ExperimentPaths(lock.parent)
        opening = {paths.config.name, lock.name, f".{paths.lock_attempt.name}.lock"}
        if not paths.manifest.exists():
            if is_locked(lock.parent):
                return True
            if opening.issuperset(path.name for path in lock.parent.iterdir()):
                shutil.rmtree(lock.parent, ignore_errors=True)
    return False


def experiment_of_run(parent: Path, run_id: str) -> Experiment | None:
    """The experiment that a run opened or worked on, if any."""
    found = (each for each, manifest in _manifests(parent).items() if run_id in manifest.run_ids)
    return next(found, None)


def find_experiment(parent: Path, wanted: str) -> Experiment:
    """Find an experiment by its id, else the latest of that name, as it was given or as a slug.

    Raises:
        ExperimentError: there is no such experiment.
        RecordError: its manifest can't be read.
    """
    manifests = _manifests(parent)
    # Comparing with existing names keeps paths such as `../x` out.
    matching = [each for each in manifests if each.id == wanted]
    names = {wanted, slug_of(wanted)} - {""}
    matching += [
        each
        for each, manifest in manifests.items()
        if names & {manifest.name, manifest.original_name}
    ]
    if matching:
        return matching[0]
    for file in parent.glob(str(ExperimentPaths(Path("*")).manifest)):
        if wanted == file.parent.name:
            Manifest.load(file)  # raises the reason
    known = "".join(f"\n  {_described(each)}" for each in list(manifests)[:5])
    latest = f"the latest are:{known}" if known else "run `mlrun-assets run` first"
    problem = f"no experiment `{wanted}`" if wanted else "name an experiment"
    raise ExperimentError(f"{parent}: {problem}; {latest}")


def _described(experiment: Experiment) -> str:
    """Name, id, date and verdict in one line."""
    manifest = experiment.manifest
    return f"{manifest.title}, {manifest.created_at}, {verdict_or_status(experiment)}"


def verdict_or_status(experiment: Experiment) -> str:
    """The verdict of a complete or blocked run, else the status."""
    manifest = experiment.manifest
    ended = manifest.status in (Status.COMPLETE, Status.BLOCKED)
    decision = experiment.find(DecisionRecord) if ended else None
    return str(decision.verdict if decision else manifest.status)


def slug(name: str) -> str:
    """``name`` in a form for file names and registry lines.

    Letters of any script with their marks, digits, ``-``, ``_`` and ``.`` are kept; other
    characters become hyphens.

    Raises:
        ExperimentError: nothing is left, or it has the form of an id.
    """
    kept = slug_of(name)
    if not kept:
        raise ExperimentError(
            f"experiment name {name!r}: has no letter or digit; choose a name like "
            "`xlm-r-fine-tune-v2`"
        )
    if _ID.fullmatch(kept):
        raise ExperimentError(
            f"experiment name {name!r}: has the form of an experiment's id; choose another name, "
            "or continue that experiment with --resume"
        )
    return kept


def slug_of(name: str) -> str:
    """As `slug`, for the name of an earlier experiment: empty if nothing is left."""
    normal = unicodedata.normalize("NFC", name.strip())
    # Marks, such as the vowel signs of Devanagari, are parts of a word. Joiners, and selectors of a
    # form, are left out, so that they part no word.
    marks = "".join(sorted(each for each in set(normal) if unicodedata.category(each)[0] == "M"))
    kept = re.sub(rf"[^\w.{marks}-]+", "-", re.sub("[\u200c\u200d\ufe00-\ufe0f]", "", normal))
    # The name of a report has 200 bytes, and a letter up to four.
    short = kept.lstrip("-._" + marks)[:LONGEST_NAME].encode()[:MOST_BYTES]
    return short.decode(errors="ignore").rstrip("-._")


# Lock

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
    lock = FileLock(ExperimentPaths(directory).lock, thread_local=False)
    if directory not in _locks and _acquire(lock):
        _locks[directory] = lock
    return directory in _locks


def unlock_experiment(directory: Path) -> None:
    """Unlock the experiment; nothing happens when this process has no lock on it."""
    if lock := _locks.pop(directory, None):
        lock.release()


@contextmanager
def locked_if_free(directory: Path) -> Iterator[bool]:
    """Hold the lock unless a process, this one included, has it; whether the block has the lock."""
    free = not is_locked(directory) and try_lock(directory)
    try:
        yield free
    finally:
        if free:
            unlock_experiment(directory)


def is_locked(directory: Path) -> bool:
    """Whether a process, this one or another, works on the experiment: never takes its lock."""
    file = ExperimentPaths(directory).lock
    return directory in _locks or (file.exists() and not _acquire(FileLock(file), release=True))


def _acquire(lock: FileLock, *, release: bool = False) -> bool:
    """Acquire the lock if it is free, and keep it unless ``release``; whether it was free."""
    # flock can only look at a lock by taking it. A second lock guards taking and looking, so that
    # a lock that is not free is held by a process that works, never by one that looks.
    # It is held for moments only.
    with locked(ExperimentPaths(Path(lock.lock_file).parent).lock_attempt, seconds=10.0):
        free = acquire(lock)
        if free and release:
            lock.release()
        return free
