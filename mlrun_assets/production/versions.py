"""Versions: model directories that are written once and never changed; the history of moves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import ExperimentError, ProductionError, RecordError
from mlrun_assets.experiment import Experiment, find_experiment, slug_of
from mlrun_assets.files import (
    digest_directory,
    name_beside,
    new_directory,
    read_if_exists,
    write_atomically,
)
from mlrun_assets.records import ProductionVersion, Record, timestamp

CARD_FILE = "README.md"
VERSIONS_DIR = "versions"
MODEL_DIR = "model"
_RECORD_FILE = "version.json"
HISTORY_FILE = "history.jsonl"

# Loads the model of a directory and predicts with it; raises ExportError if that fails.
Probe = Callable[[Path], None]


@dataclass(frozen=True)
class Challenger:
    """A model to deploy. ``digest`` is of its directory, ``card`` the text of its model card."""

    model_dir: Path
    experiment: str
    report: str
    digest: str
    labels: tuple[str, ...]
    max_length: int
    accuracy: float | None
    f1: float | None
    card: str | None = None
    text_columns: tuple[str, ...] | None = None
    language: str | None = None


def model_dir_of(production_dir: Path, name: str) -> Path:
    """The model directory of a version."""
    return production_dir / VERSIONS_DIR / name / MODEL_DIR


def names(production_dir: Path) -> list[str]:
    """The names of all versions; a version that is still being copied begins with a dot."""
    root = production_dir / VERSIONS_DIR
    if not root.is_dir():
        return []
    found = (path.name for path in root.iterdir() if (path / MODEL_DIR).is_dir())
    return sorted(name for name in found if not name.startswith("."))


def versions(production_dir: Path) -> tuple[ProductionVersion, ...]:
    """All versions, the oldest first; `ProductionError` if the record of one can't be read."""
    found = (load_version(production_dir, name) for name in names(production_dir))
    # Names of one second differ by their suffix: -10 must come after -2.
    return tuple(
        sorted(found, key=lambda each: (each.promoted_at, len(each.version), each.version))
    )


def load_version(production_dir: Path, name: str) -> ProductionVersion:
    """The record of a version; `ProductionError` if it is missing or can't be read."""
    there = names(production_dir)
    others = ", ".join(other for other in there if other != name)
    fix = f"choose another with rollback --to ({others})" if others else "promote an experiment"
    if name not in there:
        raise ProductionError(f"{production_dir}: there is no version {name!r}; {fix}")
    file = model_dir_of(production_dir, name).with_name(_RECORD_FILE)
    try:
        return ProductionVersion.load(file)
    except (RecordError, OSError) as error:
        raise ProductionError(f"{file}: can't be read; restore it, or {fix}") from error


def find_version(production_dir: Path, name: str) -> ProductionVersion | None:
    """The record of a version, as `load_version`; None: there is no such version."""
    return load_version(production_dir, name) if name in names(production_dir) else None


def version_called(production_dir: Path, wanted: str) -> ProductionVersion:
    """The version ``wanted``, else the latest one of an experiment of that name.

    Raises:
        ProductionError: there is none, or its record can't be read.
    """
    if found := find_version(production_dir, wanted):
        return found
    every = versions(production_dir)
    name = slug_of(wanted)
    if of_name := [each for each in every if name and each.name == name]:
        return of_name[-1]
    known = "".join(f"\n  {each.title}, {each.promoted_at}" for each in reversed(every))
    fix = f"there are:{known}" if known else "promote an experiment first"
    raise ProductionError(f"{production_dir}: no version `{wanted}`; {fix}")


def find_model(config: LoadedConfig, wanted: str) -> ProductionVersion | Experiment:
    """The version ``wanted``, else the experiment, else the latest version of that name.

    Of an experiment, its version is returned if its model was deployed.

    Raises:
        ExperimentError: there is neither.
        ProductionError, RecordError: its record can't be read.
    """
    production = config.production_dir
    if version := find_version(production, wanted):
        return version
    try:
        experiment = find_experiment(config.experiments_dir, wanted)
    except ExperimentError as error:
        try:
            return version_called(production, wanted)
        except ProductionError as missing:
            raise ExperimentError(f"{error}\n{missing}") from None
    own = [each for each in versions(production) if each.experiment == experiment.id]
    return own[-1] if own else experiment


def verify(production_dir: Path, version: ProductionVersion) -> Path:
    """The model directory of a version; `ProductionError` if its files have changed."""
    model_dir = model_dir_of(production_dir, version.version)
    verify_files(model_dir, version.digest)
    return model_dir


def verify_files(model_dir: Path, digest: str) -> None:
    """Raise `ProductionError` if the files do not have the recorded digest, or can't be read."""
    try:
        found = digest_directory(model_dir)
    except OSError as error:
        why = error.strerror or error
        raise ProductionError(
            f"{model_dir}: can't be read ({why}); make all of its files readable"
        ) from error
    if found != digest:
        raise ProductionError(
            f"{model_dir}: its files are not those that were recorded (digest {digest}, found "
            f"{found}); export the model again, or choose another version"
        )


@contextmanager
def install(
    production_dir: Path, challenger: Challenger, probe: Probe
) -> Iterator[ProductionVersion]:
    """Copy the challenger to a new version, which is verified and loads.

    It gets its name when the block ends. A version that was in production with the same export and
    card, and is undamaged, is used again.

    Raises:
        ProductionError: the files are missing or differ from the recorded digest, or the id of the
            experiment can't be a directory name.
        ExportError: the model does not load.
        OSError: it can't be copied. After any error nothing is left of the copy.
    """
    root = production_dir / VERSIONS_DIR
    root.mkdir(exist_ok=True)
    experiment, source, card = challenger.experiment, challenger.model_dir, challenger.card
    if not re.fullmatch(r"\w[\w.-]*", experiment):
        raise ProductionError(
            f"{experiment!r}: can't be a directory name; promote an experiment by its id"
        )
    if earlier := _deployed_before(production_dir, challenger):
        probe(model_dir_of(production_dir, earlier.version))
        yield earlier
        return
    numbered = (f"{experiment}-{number}" for number in count(2))
    name = next(each for each in chain([experiment], numbered) if not (root / each).exists())
    if not source.is_dir():
        raise ProductionError(f"{source}: no such model directory; materialize exported_model")
    with new_directory(root / name) as incoming:
        model_dir = incoming / MODEL_DIR
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            copy = model_dir / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            copy.chmod(0o444)
        verify_files(model_dir, challenger.digest)
        if card is not None:  # over one that was exported
            write_atomically(model_dir / CARD_FILE, card)
            (model_dir / CARD_FILE).chmod(0o444)
        same = ProductionVersion.model_fields.keys() & vars(challenger).keys() - {"digest"}
        version = ProductionVersion(
            version=name,
            digest=digest_directory(model_dir),
            promoted_at=timestamp(),
            export_digest=None if card is None else challenger.digest,
            **{field: getattr(challenger, field) for field in same},
        )
        probe(model_dir)
        version.save(incoming / _RECORD_FILE)
        yield version


def _deployed_before(production_dir: Path, challenger: Challenger) -> ProductionVersion | None:
    """An undamaged version of the challenger's export, and with its card, that was in production.

    The card has the verdict, which may have changed.
    """
    card = None if challenger.card is None else challenger.card.encode()
    for name in dict.fromkeys(move.after for move in reversed(history(production_dir))):
        with suppress(ProductionError):
            version = load_version(production_dir, name)
            if version.is_export(challenger.experiment, challenger.digest):
                model_dir = verify(production_dir, version)
                if card in (None, read_if_exists(model_dir / CARD_FILE)):
                    return version
    return None


def remove(production_dir: Path, name: str) -> None:
    """Remove a version, if there is one with this name: all of it, or nothing."""
    if name in names(production_dir):
        version = production_dir / VERSIONS_DIR / name
        # If this process is killed below, the next promotion removes the rest.
        unnamed = version.rename(name_beside(version, "unfinished"))
        shutil.rmtree(unnamed)


class Move(Record):
    """One line of the history, with the digests of the versions that it names."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    when: str
    action: Literal["promote", "rollback"]
    before: str | None = Field(alias="from")
    after: str = Field(alias="to")
    why: str
    by: str
    forced: bool
    digests: dict[str, str]


def history(production_dir: Path) -> tuple[Move, ...]:
    """All moves, the oldest first; a half-written line of a killed process is skipped.

    Raises:
        ProductionError: the file can't be read.
    """
    path = production_dir / HISTORY_FILE
    try:
        lines = read_if_exists(path).splitlines()
    except OSError as error:
        raise ProductionError(
            f"{path}: can't be read ({error.strerror}); make it a readable file"
        ) from error
    moves = []
    for line in lines:
        with suppress(ValidationError):
            moves.append(Move.model_validate_json(line))
    return tuple(moves)


def last_move_to(production_dir: Path, version: str) -> Move | None:
    """The last move to a version, of `history`; None: there was none, or its line was lost."""
    moves = reversed(history(production_dir))
    return next((move for move in moves if move.after == version), None)
