"""The model in production: immutable versions and one pointer that moves in one step.

    production/
      current -> versions/exp_20261123T031500Z/model   what transformers' pipeline is given
      versions/exp_20261123T031500Z/model/             the model's files and its card, read-only
      versions/exp_20261123T031500Z/version.json       what is known of it, with their digest
      history.jsonl                                    every move, appended
      .lock                                            held while a move is made

A reader that opens several files resolves the pointer once (:func:`read_production`): versions
are never changed or removed, so it sees one model, even while the pointer moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlrun_assets.errors import ExportError, ProductionError
from mlrun_assets.files import locked
from mlrun_assets.records import ProductionRecord, ProductionVersion
from mlrun_assets.stages.production import pointer
from mlrun_assets.stages.production.moves import Move, history, last_move_to
from mlrun_assets.stages.production.pointer import Approve, Reason, served_before
from mlrun_assets.stages.production.store import (
    Candidate,
    Probe,
    discard,
    find_version,
    install,
    load_version,
    model_dir_of,
    verify,
    verify_files,
    versions,
)

__all__ = [
    "Approve",
    "Candidate",
    "Move",
    "Probe",
    "Reason",
    "find_version",
    "history",
    "last_move_to",
    "model_dir_of",
    "promote",
    "read_production",
    "rollback",
    "served_before",
    "verify",
    "verify_files",
    "versions",
]


def read_production(production_dir: Path) -> ProductionVersion | None:
    """The version that serves; None: nothing is deployed.

    Raises:
        ProductionError: the pointer leads to no version, or its record can't be read.
    """
    name = pointer.read(production_dir)
    return None if name is None else load_version(production_dir, name)


def promote(
    production_dir: Path, candidate: Candidate, approve: Approve, probe: Probe
) -> ProductionRecord:
    """Copy a model to a new version, prove that it loads, and let the pointer go to it.

    The files have the digest before they are copied to their place, and after the pointer moved.

    A candidate that serves already, unharmed, is not copied again, and asks for no approval. Any
    other is approved of with the lock held: what it is to replace stays until it does.

    Raises:
        ProductionError: it is not approved of, the files do not have the digest, the model does not
            load, the disk is full, or another process holds the lock; the pointer is where it was,
            and nothing of the new version is left.
    """
    with _moving(production_dir, f"{candidate.experiment} was not promoted"):
        left, before = _serving(production_dir)
        if before and _is_same(production_dir, before, candidate):
            return _unmoved(before)
        reason = approve(left, before)
        after = install(production_dir, candidate, probe)
        try:
            pointer.move(production_dir, "promote", (before, after), reason)
        except BaseException:
            if pointer.read(production_dir) != after.version:
                discard(production_dir, after)
            raise
    return _moved(left, before, after, reason)


def rollback(
    production_dir: Path, to: str | None, reason: Reason, probe: Probe
) -> ProductionRecord:
    """Let the pointer go back to the version ``to``; None: the one that the current one replaced.

    Rolling back twice goes back two versions, not to the one that was left.

    Raises:
        ProductionError: there is no such version, its files were changed, it does not load, or
            another process holds the lock; the pointer is where it was.
    """
    with _moving(production_dir, "no rollback was made"):
        left, before = _serving(production_dir)
        after = load_version(production_dir, to or pointer.replaced(production_dir))
        probe(verify(production_dir, after))
        if before == after:
            return _unmoved(after)
        pointer.move(production_dir, "rollback", (before, after), reason)
    return _moved(left, before, after, reason)


def _serving(production_dir: Path) -> tuple[str | None, ProductionVersion | None]:
    """The name that the pointer has, and its version; None if it can't be read: a move mends it."""
    name = pointer.read(production_dir)
    try:
        return name, None if name is None else load_version(production_dir, name)
    except ProductionError:
        return name, None


def _is_same(production_dir: Path, serving: ProductionVersion, candidate: Candidate) -> bool:
    if not serving.is_export(candidate.experiment, candidate.digest):
        return False
    try:
        verify(production_dir, serving)
    except ProductionError:
        return False
    return True


def _moved(
    left: str | None, before: ProductionVersion | None, after: ProductionVersion, reason: Reason
) -> ProductionRecord:
    lost = "" if before else ", which can't be read"
    instead = f"instead of {left}{lost}" if left else "and nothing did before"
    sentence = f"{after.version} serves, {instead}: {reason.why}"
    return ProductionRecord(moved=True, sentence=sentence, before=before, after=after)


def _unmoved(serving: ProductionVersion) -> ProductionRecord:
    sentence = f"{serving.version} serves already; nothing was moved."
    return ProductionRecord(moved=False, sentence=sentence, before=serving, after=serving)


@contextmanager
def _moving(production_dir: Path, failed: str) -> Iterator[None]:
    """Hold the lock, and turn what goes wrong into one sentence about what still holds."""
    try:
        production_dir.mkdir(parents=True, exist_ok=True)
        with locked(production_dir / pointer.LINK):
            yield
    except ExportError as error:
        raise ProductionError(
            f"{production_dir}: {failed}, since the model does not load ({error}); the pointer is "
            "where it was: export the model again, or choose another version"
        ) from error
    except OSError as error:
        raise ProductionError(
            f"{production_dir}: {failed} ({error.strerror or error}); the pointer is where it was: "
            "make the directory writable or free some space, then try again"
        ) from error
