"""Versions: model directories that are written once and never changed; the history of moves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from mlrun_assets.errors import ProductionError, RecordError
from mlrun_assets.files import (
    append_line,
    digest_directory,
    new_directory,
    remove_unfinished,
    write_atomically,
)
from mlrun_assets.records import ProductionVersion, Record, timestamp

CARD_FILE = "README.md"
VERSIONS_DIR = "versions"
MODEL_DIR = "model"
_RECORD_FILE = "version.json"

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


def version_dir(production_dir: Path, name: str) -> Path:
    """The directory of a version, with ``model/`` and ``version.json``."""
    return production_dir / VERSIONS_DIR / name


def model_dir_of(production_dir: Path, name: str) -> Path:
    """The model directory of a version."""
    return version_dir(production_dir, name) / MODEL_DIR


def names(production_dir: Path) -> list[str]:
    """The names of all versions; a version that is still being copied begins with a dot."""
    root = production_dir / VERSIONS_DIR
    if not root.is_dir():
        return []
    found = (path.name for path in root.iterdir() if (path / MODEL_DIR).is_dir())
    return sorted(name for name in found if not name.startswith("."))


def versions(production_dir: Path) -> tuple[ProductionVersion, ...]:
    """All versions, the oldest first.

    Raises:
        ProductionError: the record of one can't be read.
    """
    stored = (load_version(production_dir, name) for name in names(production_dir))
    return tuple(sorted(stored, key=_age))


def _age(version: ProductionVersion) -> tuple[str, int, str]:
    # Names of one second differ by their suffix: -10 must come after -2.
    return version.promoted_at, len(version.version), version.version


def load_version(production_dir: Path, name: str) -> ProductionVersion:
    """The record of the version ``name``.

    Raises:
        ProductionError: there is no such version, or its record can't be read.
    """
    there = names(production_dir)
    others = ", ".join(other for other in there if other != name)
    fix = f"choose another with rollback --to ({others})" if others else "promote an experiment"
    if name not in there:
        raise ProductionError(f"{production_dir}: there is no version {name!r}; {fix}")
    file = version_dir(production_dir, name) / _RECORD_FILE
    try:
        return ProductionVersion.load(file)
    except (RecordError, OSError) as error:
        raise ProductionError(f"{file}: can't be read; restore it, or {fix}") from error


def find_version(production_dir: Path, name: str) -> ProductionVersion | None:
    """The record of the version ``name``; None: there is no such version.

    Raises:
        ProductionError: its record can't be read.
    """
    return load_version(production_dir, name) if name in names(production_dir) else None


def verify(production_dir: Path, version: ProductionVersion) -> Path:
    """The model directory of a version, after a check that its files are those that were promoted.

    Raises:
        ProductionError: they are not.
    """
    model_dir = model_dir_of(production_dir, version.version)
    verify_files(model_dir, version.digest)
    return model_dir


def verify_files(model_dir: Path, digest: str) -> None:
    """Check the files of a model directory against the recorded digest.

    Raises:
        ProductionError: they differ, or can't be read.
    """
    try:
        found = digest_directory(model_dir)
    except OSError as error:
        raise ProductionError(
            f"{model_dir}: can't be read ({error.strerror or error}); make all of "
            "its files readable"
        ) from error
    if found != digest:
        raise ProductionError(
            f"{model_dir}: its files are not those that were recorded (digest {digest}, found "
            f"{found}); export the model again, or choose another version"
        )


def install(production_dir: Path, challenger: Challenger, probe: Probe) -> ProductionVersion:
    """Copy the challenger to a new version, which gets its name once it is verified and loads.

    Raises:
        ProductionError: the files are missing or differ from the recorded digest, or the id of the
            experiment can't be a directory name.
        ExportError: the model does not load.
        OSError: it can't be copied. After any error nothing is left of the copy.
    """
    root = production_dir / VERSIONS_DIR
    root.mkdir(exist_ok=True)
    remove_unfinished(root)  # safe: the caller holds the lock
    name = _free_name(root, challenger.experiment)
    with new_directory(root / name) as incoming:
        model_dir = incoming / MODEL_DIR
        _copy(challenger.model_dir, model_dir)
        verify_files(model_dir, challenger.digest)
        _add_card(model_dir, challenger.card)
        version = _version(name, challenger, digest_directory(model_dir))
        probe(model_dir)
        version.save(incoming / _RECORD_FILE)
    return version


def discard(production_dir: Path, version: ProductionVersion) -> None:
    """Remove a version that was never deployed."""
    shutil.rmtree(version_dir(production_dir, version.version))


def _version(name: str, challenger: Challenger, digest: str) -> ProductionVersion:
    return ProductionVersion(
        version=name,
        experiment=challenger.experiment,
        report=challenger.report,
        digest=digest,
        labels=challenger.labels,
        max_length=challenger.max_length,
        promoted_at=timestamp(),
        accuracy=challenger.accuracy,
        f1=challenger.f1,
        export_digest=None if challenger.card is None else challenger.digest,
        text_columns=challenger.text_columns,
        language=challenger.language,
    )


def _free_name(root: Path, experiment: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", experiment):
        raise ProductionError(
            f"{experiment!r}: can't be a directory name; promote an experiment by its id"
        )
    candidates = chain([experiment], (f"{experiment}-{number}" for number in count(2)))
    return next(name for name in candidates if not (root / name).exists())


def _copy(source: Path, target: Path) -> None:
    """Copy all files, read-only."""
    if not source.is_dir():
        raise ProductionError(f"{source}: no such model directory; materialize exported_model")
    target.mkdir(parents=True)
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        copy.chmod(0o444)


def _add_card(model_dir: Path, card: str | None) -> None:
    """Write the model card beside the files, over one that was exported."""
    if card is not None:
        write_atomically(model_dir / CARD_FILE, card)
        (model_dir / CARD_FILE).chmod(0o444)


FILE = "history.jsonl"

Action = Literal["promote", "rollback"]


class Move(Record):
    """One line of the history, with the digests of the versions that it names."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    when: str
    action: Action
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
    path = production_dir / FILE
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ProductionError(
            f"{path}: can't be read ({error.strerror}); make it a readable file"
        ) from error
    return tuple(move for move in map(_parse, lines) if move)


def last_move_to(production_dir: Path, version: str) -> Move | None:
    """The last move to a version; None: there was none, or its line was lost.

    Raises:
        ProductionError: the history can't be read.
    """
    moves = history(production_dir)
    return next((move for move in reversed(moves) if move.after == version), None)


def append(production_dir: Path, move: Move) -> None:
    """Append a move to the history: its whole line or nothing.

    Raises:
        OSError: the file can't be written or the disk is full.
    """
    append_line(production_dir / FILE, move.model_dump_json())


def in_force(after_each_move: Iterable[str]) -> list[str]:
    """The stack of versions that led to the current one.

    A move to a version on the stack goes back to it: those above it were left, and a rollback never
    returns to them.
    """
    stack: list[str] = []
    for version in after_each_move:
        if version in stack:
            del stack[stack.index(version) + 1 :]
        else:
            stack.append(version)
    return stack


def _parse(line: bytes) -> Move | None:
    try:
        return Move.model_validate_json(line)
    except ValidationError:
        return None
