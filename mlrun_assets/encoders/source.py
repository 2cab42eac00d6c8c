"""Resolve a model name: the embedded encoder, a directory, or a model of the hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from mlrun_assets.encoders.directory import (
    ADAPTER_FILE,
    CONFIG_FILE,
    INDEX_FILE,
    TOKENIZER_FILES,
    WEIGHTS_FILE,
    check_directory,
)
from mlrun_assets.encoders.embedded import EMBEDDED_PREFIX, OFFLINE_CHOICES, embedded_directory
from mlrun_assets.errors import EncoderError

PATH_STARTS = (f".{os.sep}", f"..{os.sep}", "~")


@dataclass(frozen=True)
class EncoderSource:
    """The encoder that a model name refers to.

    Attributes:
        name: the name as the config gives it.
        location: an absolute directory, or the hub id.
        revision: the commit or tag of a hub id; None: its default branch.
        kind: one of the three.
    """

    name: str
    location: str
    revision: str | None
    kind: Literal["embedded", "directory", "hub"]


def resolve_encoder(
    name: str, revision: str | None, base_dir: Path, cache_dir: Path | None = None
) -> EncoderSource:
    """Resolve ``name``; only the form of a hub id is checked, nothing is downloaded.

    Args:
        name: ``embedded:...``, a directory (relative to ``base_dir``, or absolute) or a hub id.
            An existing directory takes precedence over a hub id of the same name.
        revision: the commit or tag that a hub id is pinned to.
        base_dir: the base of relative directories.
        cache_dir: the cache of embedded encoders; None: see ``default_cache_dir``.

    Raises:
        EncoderError: the name refers to nothing, or to something that can't be loaded.
    """
    is_embedded = name.startswith(EMBEDDED_PREFIX)
    # pathlib raises for some strings that are no path (`~nobody`, or a name that is too long).
    path = Path(os.path.normpath(base_dir.absolute() / os.path.expanduser(name)))  # noqa: PTH111
    is_path = name.startswith(PATH_STARTS) or name in {".", ".."} or Path(name).is_absolute()
    is_path = is_path or os.path.isdir(path)  # noqa: PTH112
    if revision is not None and (is_embedded or is_path):
        raise EncoderError(
            f"model.revision {revision!r} can only pin a hub id, and model.name {name!r} is none: "
            "remove model.revision."
        )
    if is_embedded:
        directory = embedded_directory(name.removeprefix(EMBEDDED_PREFIX), cache_dir)
        return EncoderSource(name, str(directory), None, "embedded")
    if is_path:
        check_directory(path)
        return EncoderSource(name, str(path), None, "directory")
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise EncoderError(
            f"model.name {name!r} is neither a directory below {base_dir} nor a hub id "
            f"(`name` or `organisation/name`). Without a network, use {OFFLINE_CHOICES}."
        ) from error
    return EncoderSource(name, name, revision, "hub")


# The Hub and its cache

HUB_SECONDS = 10.0
# No pickles, and no ONNX, TensorFlow or Flax copies.
WANTED_FILES = [
    ADAPTER_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    INDEX_FILE,
    "model-*.safetensors",
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
]


def hub_directory(repo_id: str, revision: str | None) -> Path:
    """The directory in the local hub cache that holds ``repo_id`` at ``revision``.

    A cached copy is used as it is, without a request to the hub: the same config gives the same
    encoder, with and without a network. A request has a timeout of 10 seconds and is not repeated.

    Raises:
        EncoderError: the model is not in the cache and can't be fetched, or has no safetensors.
    """
    from huggingface_hub import HfApi, snapshot_download

    # The base of all errors of the HTTP client that the hub library uses.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    download = partial(snapshot_download, repo_id, revision=revision, allow_patterns=WANTED_FILES)
    try:
        path = Path(download(local_files_only=True))
        check_directory(path)
        return path
    except OSError:
        lack = "is not in the local hub cache"
    except EncoderError as error:
        lack = f"is not whole in the local hub cache ({error})"
    try:
        # A download has no timeout if the network drops packets; this request has one.
        HfApi().model_info(repo_id, revision=revision, timeout=HUB_SECONDS)
        path = Path(download())
    except (OSError, ValueError, HTTPError) as error:
        raise EncoderError(
            f"model.name {repo_id!r} {lack} and could not be fetched: "
            f"{_reason(error, revision)} Without a network, use {OFFLINE_CHOICES}."
        ) from error
    try:
        check_directory(path)
    except EncoderError as error:
        raise EncoderError(
            f"model.name {repo_id!r} can't be used as it is on the hub. {error} A repository with "
            "pickled weights often has a safetensors copy as a pull request: set model.revision "
            "to `refs/pr/<number>`."
        ) from error
    return path


def _reason(error: Exception, revision: str | None) -> str:
    from huggingface_hub import errors, is_offline_mode

    if isinstance(error, errors.GatedRepoError):
        return "it is gated; accept its terms on its page and log in with `hf auth login`."
    if isinstance(error, errors.RepositoryNotFoundError):
        return "the hub has no such public model; check the spelling, or log in if it is private."
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}."
    if is_offline_mode():
        return "`offline` or HF_HUB_OFFLINE is set."
    details = str(error).strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {details[0]}."
