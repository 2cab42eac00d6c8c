"""``current``: a link to the model that serves, replaced in one step."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlrun_assets.errors import ProductionError
from mlrun_assets.files import sync_directory
from mlrun_assets.records import ProductionVersion, timestamp
from mlrun_assets.stages.production.moves import Action, Move, append, history, in_force
from mlrun_assets.stages.production.store import (
    MODEL_DIR,
    VERSIONS_DIR,
    model_dir_of,
    names,
    verify_files,
)

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
