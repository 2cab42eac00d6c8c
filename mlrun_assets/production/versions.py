"""``versions/``: model directories that are written once and never changed."""

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

Probe = Callable[[Path], None]
"""Loads the model of a directory and predicts with it; raises ExportError if that fails."""


@dataclass(frozen=True)
class Candidate:
    """A model that could serve, and what is known of it; ``digest`` is of its directory.

    ``card`` is the text of its model card, which the version holds beside the exported files.
    """

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
    """Where the version ``name`` is, with ``model/`` and ``version.json``."""
    return production_dir / VERSIONS_DIR / name


def model_dir_of(production_dir: Path, name: str) -> Path:
    """Where the model of the version ``name`` is."""
    return version_dir(production_dir, name) / MODEL_DIR


def names(production_dir: Path) -> list[str]:
    """The versions there are; what is still being copied begins with a dot."""
    root = production_dir / VERSIONS_DIR
    if not root.is_dir():
        return []
    found = (path.name for path in root.iterdir() if (path / MODEL_DIR).is_dir())
    return sorted(name for name in found if not name.startswith("."))


def versions(production_dir: Path) -> tuple[ProductionVersion, ...]:
    """All versions, the one promoted first in front.

    Raises:
        ProductionError: the record of one can't be read.
    """
    stored = (load_version(production_dir, name) for name in names(production_dir))
    return tuple(sorted(stored, key=_age))


def _age(version: ProductionVersion) -> tuple[str, int, str]:
    # Of versions promoted in the same second, the tenth has a longer suffix than the second.
    return version.promoted_at, len(version.version), version.version


def load_version(production_dir: Path, name: str) -> ProductionVersion:
    """The record of the version ``name``.

    Raises:
        ProductionError: there is no such version, or its record can't be read.
    """
    there = names(production_dir)
    others = ", ".join(other for other in there if other != name)
    mend = f"choose another with rollback --to ({others})" if others else "promote an experiment"
    if name not in there:
        raise ProductionError(f"{production_dir}: there is no version {name!r}; {mend}")
    file = version_dir(production_dir, name) / _RECORD_FILE
    try:
        return ProductionVersion.load(file)
    except (RecordError, OSError) as error:
        raise ProductionError(f"{file}: can't be read; restore it, or {mend}") from error


def find_version(production_dir: Path, name: str) -> ProductionVersion | None:
    """The record of the version ``name``; None: there is no such version.

    Raises:
        ProductionError: its record can't be read.
    """
    return load_version(production_dir, name) if name in names(production_dir) else None


def verify(production_dir: Path, version: ProductionVersion) -> Path:
    """The model directory of a version, which holds the files that were promoted.

    Raises:
        ProductionError: it does not.
    """
    model_dir = model_dir_of(production_dir, version.version)
    verify_files(model_dir, version.digest)
    return model_dir


def verify_files(model_dir: Path, digest: str) -> None:
    """Read all files of a model directory.

    Raises:
        ProductionError: they are not those that were recorded, or can't be read.
    """
    try:
        found = digest_directory(model_dir)
    except OSError as error:
        raise ProductionError(
            f"{model_dir}: can't be read ({error.strerror or error}); every file of it must be "
            "one that you may read"
        ) from error
    if found != digest:
        raise ProductionError(
            f"{model_dir}: its files are not those that were recorded (digest {digest}, found "
            f"{found}); export the model again, or choose another version"
        )


def install(production_dir: Path, candidate: Candidate, probe: Probe) -> ProductionVersion:
    """Copy the candidate to a version of its own, verified and loaded before it has its name.

    Raises:
        ProductionError: the candidate is not there or not what was recorded, or its experiment's
            id can't be a directory's name.
        ExportError: it does not load.
        OSError: it can't be copied. Whatever is raised, nothing is left of the copy.
    """
    root = production_dir / VERSIONS_DIR
    root.mkdir(exist_ok=True)
    remove_unfinished(root)  # whoever promotes holds the lock of production
    name = _free_name(root, candidate.experiment)
    with new_directory(root / name) as incoming:
        model_dir = incoming / MODEL_DIR
        _copy(candidate.model_dir, model_dir)
        verify_files(model_dir, candidate.digest)
        _add_card(model_dir, candidate.card)
        version = _version(name, candidate, digest_directory(model_dir))
        probe(model_dir)
        version.save(incoming / _RECORD_FILE)
    return version


def discard(production_dir: Path, version: ProductionVersion) -> None:
    """Remove a version that never came to serve."""
    shutil.rmtree(version_dir(production_dir, version.version))


def _version(name: str, candidate: Candidate, digest: str) -> ProductionVersion:
    return ProductionVersion(
        version=name,
        experiment=candidate.experiment,
        report=candidate.report,
        digest=digest,
        labels=candidate.labels,
        max_length=candidate.max_length,
        promoted_at=timestamp(),
        accuracy=candidate.accuracy,
        f1=candidate.f1,
        export_digest=None if candidate.card is None else candidate.digest,
        text_columns=candidate.text_columns,
        language=candidate.language,
    )


def _free_name(root: Path, experiment: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", experiment):
        raise ProductionError(
            f"{experiment!r}: can't be a directory's name; promote an experiment by its id"
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
    """Put the model card beside the files; it takes the place of one that was exported."""
    if card is not None:
        write_atomically(model_dir / CARD_FILE, card)
        (model_dir / CARD_FILE).chmod(0o444)


FILE = "history.jsonl"

Action = Literal["promote", "rollback"]


class Move(Record):
    """One line of the history; ``digests`` are those of the versions that it names."""

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
    """All moves, oldest first; a line that a killed process left half-written is passed over.

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
            f"{path}: can't be read ({error.strerror}); it must be a file that you may read"
        ) from error
    return tuple(move for move in map(_parse, lines) if move)


def last_move_to(production_dir: Path, version: str) -> Move | None:
    """The move since which a version that serves does so; None: its line was lost.

    Raises:
        ProductionError: the history can't be read.
    """
    moves = history(production_dir)
    return next((move for move in reversed(moves) if move.after == version), None)


def append(production_dir: Path, move: Move) -> None:
    """Add a move, flushed to the disk; all of its line or nothing.

    Raises:
        OSError: the file can't be written or the disk is full.
    """
    append_line(production_dir / FILE, move.model_dump_json())


def in_force(after_each_move: Iterable[str]) -> list[str]:
    """The versions that lead to the one that serves, as a stack.

    A move to a version that is on the stack went back to it: what lies above it was left, and is
    never what a rollback returns to.
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
