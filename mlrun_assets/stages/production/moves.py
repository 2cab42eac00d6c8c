"""``history.jsonl``: every move of the pointer, one line each, only ever appended to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, ValidationError

from mlrun_assets.errors import ProductionError
from mlrun_assets.files import append_line
from mlrun_assets.records import Record

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
