"""Where a model name leads: the embedded encoder, a directory, or a model of the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.encoders.embedded import EMBEDDED_PREFIX, OFFLINE_CHOICES, embedded_directory
from mlrun_assets.encoders.quiet import telemetry_off
from mlrun_assets.errors import EncoderError

PATH_STARTS = (f".{os.sep}", f"..{os.sep}", "~")


@dataclass(frozen=True)
class EncoderSource:
    """An encoder that a model name leads to.

    Attributes:
        name: the name as the config gives it.
        location: an absolute directory, or the hub id.
        revision: the commit or tag of a hub id; None: its default branch.
        kind: which of the three it is.
    """

    name: str
    location: str
    revision: str | None
    kind: Literal["embedded", "directory", "hub"]


def resolve_encoder(
    name: str, revision: str | None, base_dir: Path, cache_dir: Path | None = None
) -> EncoderSource:
    """Find what ``name`` means; a hub id is checked for its form only, nothing is downloaded.

    Args:
        name: ``embedded:...``, a directory (relative to ``base_dir``, or absolute) or a hub id.
            A directory that exists goes before a hub id of the same name.
        revision: the commit or tag that a hub id is pinned to.
        base_dir: what a relative directory is relative to.
        cache_dir: where an embedded encoder is unpacked, once; None: see ``default_cache_dir``.

    Raises:
        EncoderError: the name leads nowhere, or to something that can't be loaded.
    """
    if name.startswith(EMBEDDED_PREFIX):
        _reject_revision(name, revision)
        directory = embedded_directory(name.removeprefix(EMBEDDED_PREFIX), cache_dir)
        return EncoderSource(name, str(directory), None, "embedded")
    # os.path answers for every string; pathlib raises for some that are no path (`~nobody`, or a
    # name that is too long).
    path = Path(os.path.normpath(base_dir.absolute() / os.path.expanduser(name)))  # noqa: PTH111
    if os.path.isdir(path) or _is_path(name):  # noqa: PTH112
        _reject_revision(name, revision)
        check_directory(path)
        return EncoderSource(name, str(path), None, "directory")
    _check_hub_id(name, base_dir)
    return EncoderSource(name, name, revision, "hub")


def _is_path(name: str) -> bool:
    """Whether ``name`` can only be meant as a path, be it there or not."""
    return name.startswith(PATH_STARTS) or name in {".", ".."} or Path(name).is_absolute()


def _reject_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise EncoderError(
            f"model.revision {revision!r} can only pin a hub id, and model.name {name!r} is none: "
            "remove model.revision."
        )


def _check_hub_id(name: str, base_dir: Path) -> None:
    telemetry_off()
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise EncoderError(
            f"model.name {name!r} is neither a directory below {base_dir} nor a hub id "
            f"(`name` or `organisation/name`). Without a network, use {OFFLINE_CHOICES}."
        ) from error
