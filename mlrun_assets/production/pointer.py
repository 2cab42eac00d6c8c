"""Where production is moved: one pointer, changed in one step, under a lock.

    production/
      current -> versions/exp_20261123T031500Z/model   pass this path to transformers' pipeline
      versions/exp_20261123T031500Z/model/             the model's files and its card, read-only
      versions/exp_20261123T031500Z/version.json       the record of the version, with its digest
      history.jsonl                                    every move, appended
      .next-move.json                                  the move that is being made
      .current.lock                                    held during a move

Versions that were in production are never changed or removed. A reader that opens several files
resolves the pointer once (`read_production`) and reads one model, even while the pointer moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlrun_assets.errors import ExportError, ProductionError, RecordError
from mlrun_assets.files import append_line, locked, name_beside, sync_directory
from mlrun_assets.production import versions
from mlrun_assets.production.versions import MODEL_DIR, VERSIONS_DIR, Challenger, Move, Probe
from mlrun_assets.records import ProductionRecord, ProductionVersion, timestamp

LINK = "current"
NEXT_MOVE = ".next-move.json"


@dataclass(frozen=True)
class Reason:
    """Why the pointer moves, and by whom.

    ``forced``: the move is against the verdict, or the model was not compared with the champion.
    """

    why: str
    by: str
    forced: bool = False


# Called while the lock is held, with the name of the current version and its record (None: it
# can't be read). Returns the reason to replace it, or raises ProductionError.
Approve = Callable[[str | None, ProductionVersion | None], Reason]


def read_production(production_dir: Path) -> ProductionVersion | None:
    """The version in production, as `load_version`; None: nothing is deployed."""
    name = read(production_dir)
    return None if name is None else versions.load_version(production_dir, name)


def promote(
    production_dir: Path, challenger: Challenger, approve: Approve, probe: Probe
) -> ProductionRecord:
    """Copy a model to a new version, check that it loads, and move the pointer to it.

    The digest of the files is checked before they are copied and after the pointer has moved. A
    challenger that is already in production, undamaged, needs no approval. Its version, or one that
    was in production before with the same card, is not copied again.

    Raises:
        ProductionError: there is no approval, the files do not have the digest, the model does not
            load, the disk is full, or another process holds the lock. The pointer has not moved,
            and nothing of the new version is left.
    """
    with _moving(production_dir, f"{challenger.experiment} was not promoted"):
        name, before = _current(production_dir)
        if before and before.is_export(challenger.experiment, challenger.digest):
            with suppress(ProductionError):  # a damaged version is replaced
                versions.verify(production_dir, before)
                return _unmoved(before)
        reason = approve(name, before)
        with versions.install(production_dir, challenger, probe) as after:
            # Before the version gets its name, so that `_settle` can remove it.
            move = _announce(production_dir, "promote", before, after, reason)
        return _move(production_dir, move, before, after)


def rollback(
    production_dir: Path, to: str | None, reason: Reason, probe: Probe
) -> ProductionRecord:
    """Move the pointer back to the version ``to``; None: the one that the current one replaced.

    Two rollbacks go back two versions; the second does not undo the first.

    Raises:
        ProductionError: there is no such version, its files have changed, it does not load, or
            another process holds the lock. The pointer has not moved.
    """
    with _moving(production_dir, "no rollback was made"):
        _, before = _current(production_dir)
        after = versions.version_called(production_dir, to or _predecessor(production_dir))
        probe(versions.verify(production_dir, after))
        if before == after:
            return _unmoved(after)
        move = _announce(production_dir, "rollback", before, after, reason)
        return _move(production_dir, move, before, after)


def _announce(
    production_dir: Path,
    action: Literal["promote", "rollback"],
    before: ProductionVersion | None,
    after: ProductionVersion,
    reason: Reason,
) -> Move:
    """Write the move down, so that `_settle` can finish or undo it if this process is killed."""
    move = Move(
        when=timestamp(),
        action=action,
        before=read(production_dir),
        after=after.version,
        digests={version.version: version.digest for version in (before, after) if version},
        **vars(reason),
    )
    move.save(production_dir / NEXT_MOVE)
    return move


def _move(
    production_dir: Path, move: Move, before: ProductionVersion | None, after: ProductionVersion
) -> ProductionRecord:
    """Point to ``after`` and append the move to the history: both or neither.

    In between, all files are read back through the pointer, as a reader would find them.

    Raises:
        OSError: the directory can't be written, or the disk is full.
        ProductionError: the path of the pointer is something else, or the files behind it are not
            those of the version.
    """
    link = production_dir / LINK
    old = link.readlink() if link.is_symlink() else None
    try:
        _point(link, versions.model_dir_of(Path(), after.version))
        versions.verify_files(link, after.digest)
        _settle(production_dir)
    except BaseException:
        _point(link, old)
        raise
    return _moved(move, before, after)


def _moved(
    move: Move, before: ProductionVersion | None, after: ProductionVersion
) -> ProductionRecord:
    unreadable = "" if before else ", which can't be read"
    replaced = f"in place of {move.before}{unreadable}" if move.before else "as the first version"
    sentence = f"{after.version} is in production, {replaced}: {move.why.rstrip('.')}."
    return ProductionRecord(moved=True, sentence=sentence, before=before, after=after)


def _settle(production_dir: Path) -> None:
    """Append the move that was being made to the history if the pointer has moved, else undo it.

    The version of a promotion that is undone never was in production, and is removed. The caller
    holds the lock.
    """
    file = production_dir / NEXT_MOVE
    with suppress(RecordError):  # there is none, which is usual, or a person has edited it
        move = Move.load(file)
        moves = versions.history(production_dir)
        if move.after == read(production_dir):
            if move not in moves[-1:]:
                append_line(production_dir / versions.HISTORY_FILE, move.model_dump_json())
        elif move.action == "promote" and all(each.after != move.after for each in moves):
            versions.remove(production_dir, move.after)
    with suppress(OSError):  # the move is made all the same, and not appended twice
        file.unlink(missing_ok=True)


def last_move(production_dir: Path) -> ProductionRecord:
    """The record of the move to the champion; ``after`` is None if nothing is deployed.

    A move is finished first whose process was killed.

    Raises:
        ProductionError: the champion or the history can't be read.
        FileBusyError: another process holds the lock.
        OSError: the history can't be written.
    """
    if (production_dir / NEXT_MOVE).exists():
        with locked(production_dir / LINK):
            _settle(production_dir)
    champion = read_production(production_dir)
    if champion is None:
        sentence = "Nothing is in production."
        return ProductionRecord(moved=False, sentence=sentence, before=None, after=None)
    move = versions.last_move_to(production_dir, champion.version)
    if move is None:  # a person has removed the history
        sentence = f"{champion.version} is in production."
        return ProductionRecord(moved=True, sentence=sentence, before=None, after=champion)
    before = None
    if move.before:
        with suppress(ProductionError):  # a damaged version is a reason to move away from it
            before = versions.load_version(production_dir, move.before)
    return _moved(move, before, champion)


def _point(link: Path, target: Path | None) -> None:
    if target is None:
        link.unlink(missing_ok=True)
    else:
        temporary = name_beside(link)
        try:
            temporary.symlink_to(target, target_is_directory=True)
            temporary.replace(link)
        finally:
            temporary.unlink(missing_ok=True)
    sync_directory(link.parent)


def read(production_dir: Path) -> str | None:
    """The name in the pointer, even of a missing version; `ProductionError` if it is no link."""
    link = production_dir / LINK
    if link.is_symlink():
        return str(link.readlink()).removeprefix(f"{VERSIONS_DIR}/").removesuffix(f"/{MODEL_DIR}")
    if link.exists():
        raise ProductionError(
            f"{link}: is not the link that a promotion makes; move it away, then promote"
        )
    return None


def served_before(production_dir: Path, current: str) -> str | None:
    """The version that ``current`` replaced when it was deployed; None: it was the first.

    A rollback to a version on the stack goes back to it: those above it were left, and a further
    rollback never returns to them. A promotion puts its version on top, also one that was left.
    """
    stack: list[str] = []
    moves = [(move.action, move.after) for move in versions.history(production_dir)]
    # The last line of the history may be lost; the pointer is always right.
    for action, version in [*moves, ("rollback", current)]:
        if action == "promote" or version not in stack:
            stack.append(version)
        while stack[-1] != version:
            stack.pop()
    return stack[-2] if len(stack) > 1 else None


def _predecessor(production_dir: Path) -> str:
    """The version that a rollback goes back to."""
    current = read(production_dir)
    if current is None:
        raise ProductionError(
            f"{production_dir}: nothing is in production, so there is nothing to go back from; "
            "name a version with --to, or promote an experiment"
        )
    before = served_before(production_dir, current)
    if before is None:
        others = [name for name in versions.names(production_dir) if name != current]
        fix = f"name one with --to ({', '.join(others)})" if others else "promote an experiment"
        raise ProductionError(f"{production_dir}: nothing was deployed before {current}; {fix}")
    return before


def _current(production_dir: Path) -> tuple[str | None, ProductionVersion | None]:
    """The name in the pointer, and its version; None if unreadable, which a move repairs."""
    name = read(production_dir)
    try:
        return name, None if name is None else versions.load_version(production_dir, name)
    except ProductionError:
        return name, None


def _unmoved(champion: ProductionVersion) -> ProductionRecord:
    sentence = f"{champion.version} is already in production; nothing was moved."
    return ProductionRecord(moved=False, sentence=sentence, before=champion, after=champion)


@contextmanager
def _moving(production_dir: Path, failed: str) -> Iterator[None]:
    """Hold the lock, and report a failure in one sentence that says what still holds."""
    try:
        production_dir.mkdir(parents=True, exist_ok=True)
        with locked(production_dir / LINK):
            _settle(production_dir)
            try:
                yield
            finally:
                _settle(production_dir)
    except ExportError as error:
        raise ProductionError(
            f"{production_dir}: {failed}, because the model does not load ({error}); the pointer "
            "has not moved: export the model again, or choose another version"
        ) from error
    except OSError as error:
        raise ProductionError(
            f"{production_dir}: {failed} ({error.strerror or error}); the pointer has not moved: "
            "make the directory writable or free some space, then try again"
        ) from error
