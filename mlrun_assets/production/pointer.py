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

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.errors import ExportError, ProductionError
from mlrun_assets.files import locked, sync_directory
from mlrun_assets.production.versions import (
    MODEL_DIR,
    VERSIONS_DIR,
    Action,
    Candidate,
    Move,
    Probe,
    append,
    discard,
    history,
    in_force,
    install,
    load_version,
    model_dir_of,
    names,
    verify,
    verify_files,
)
from mlrun_assets.records import ProductionRecord, ProductionVersion, timestamp

LINK = "current"


@dataclass(frozen=True)
class Reason:
    """Why the pointer moves and who says so.

    ``forced`` is a move against the verdict, or to a model that was never compared with what it
    replaces.
    """

    why: str
    by: str
    forced: bool = False


Approve = Callable[[str | None, ProductionVersion | None], Reason]
"""Gives the reason to replace what serves, or raises ProductionError where there is none.

It is told the name of what serves and its version (None: it can't be read), while the lock is held.
"""


def read(production_dir: Path) -> str | None:
    """The version that the pointer names, whether or not there is such a version.

    Raises:
        ProductionError: there is something else where the pointer should be.
    """
    link = production_dir / LINK
    if link.is_symlink():
        return str(link.readlink()).removeprefix(f"{VERSIONS_DIR}/").removesuffix(f"/{MODEL_DIR}")
    if link.exists():
        raise ProductionError(
            f"{link}: is not the link that a promotion makes; move it away, then promote"
        )
    return None


def replaced(production_dir: Path) -> str:
    """The version that the current one replaced, by the moves that no rollback took back.

    Raises:
        ProductionError: nothing serves, or the current version is the first.
    """
    current = read(production_dir)
    if current is None:
        raise ProductionError(
            f"{production_dir}: nothing is in production, so there is nothing to go back from; "
            "name a version with --to, or promote an experiment"
        )
    before = served_before(production_dir, current)
    if before is None:
        others = [name for name in names(production_dir) if name != current]
        mend = f"name one with --to ({', '.join(others)})" if others else "promote an experiment"
        raise ProductionError(f"{production_dir}: nothing served before {current}; {mend}")
    return before


def served_before(production_dir: Path, current: str) -> str | None:
    """The version that ``current`` replaced when it came to serve; None: it was the first."""
    # The pointer knows better than a history whose last line was lost.
    stack = in_force([*(move.after for move in history(production_dir)), current])
    return stack[-2] if len(stack) > 1 else None


def move(
    production_dir: Path,
    action: Action,
    versions: tuple[ProductionVersion | None, ProductionVersion],
    reason: Reason,
) -> None:
    """Point to the second of ``versions`` and append that to the history: both or neither.

    The pointer is read back in between, and all files through it, as a reader would find them.

    Raises:
        OSError: the directory can't be written.
        ProductionError: the disk is full, something else stands where the pointer should be, or
            the files behind it are not those of the version.
    """
    before, after = versions
    entry = Move(
        when=timestamp(),
        action=action,
        before=read(production_dir),
        after=after.version,
        why=reason.why,
        by=reason.by,
        forced=reason.forced,
        digests={version.version: version.digest for version in (before, after) if version},
    )
    link = production_dir / LINK
    old = link.readlink() if link.is_symlink() else None
    try:
        _point(link, model_dir_of(Path(), after.version))
        verify_files(link, after.digest)
        append(production_dir, entry)
    except BaseException:
        _point(link, old)
        raise


def _point(link: Path, target: Path | None) -> None:
    if target is None:
        link.unlink(missing_ok=True)
    else:
        temporary = link.with_name(f".current-{secrets.token_hex(4)}")
        try:
            temporary.symlink_to(target, target_is_directory=True)
            temporary.replace(link)
        finally:
            temporary.unlink(missing_ok=True)
    sync_directory(link.parent)


def read_production(production_dir: Path) -> ProductionVersion | None:
    """The version that serves; None: nothing is deployed.

    Raises:
        ProductionError: the pointer leads to no version, or its record can't be read.
    """
    name = read(production_dir)
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
            move(production_dir, "promote", (before, after), reason)
        except BaseException:
            if read(production_dir) != after.version:
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
        after = load_version(production_dir, to or replaced(production_dir))
        probe(verify(production_dir, after))
        if before == after:
            return _unmoved(after)
        move(production_dir, "rollback", (before, after), reason)
    return _moved(left, before, after, reason)


def _serving(production_dir: Path) -> tuple[str | None, ProductionVersion | None]:
    """The name that the pointer has, and its version; None if it can't be read: a move mends it."""
    name = read(production_dir)
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
        with locked(production_dir / LINK):
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
