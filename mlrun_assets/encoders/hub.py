"""A model of the hub as a directory: from the local hub cache, else downloaded into it."""

from __future__ import annotations

from pathlib import Path

from mlrun_assets.encoders.directory import (
    ADAPTER_FILE,
    CONFIG_FILE,
    INDEX_FILE,
    TOKENIZER_FILES,
    WEIGHTS_FILE,
    check_directory,
)
from mlrun_assets.encoders.embedded import OFFLINE_CHOICES
from mlrun_assets.encoders.quiet import telemetry_off
from mlrun_assets.errors import EncoderError

HUB_SECONDS = 10.0
# Only what is loaded: no pickles, and none of the ONNX, TensorFlow or Flax copies beside them.
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

    A copy that the cache holds is used as it is, without asking the hub for a newer one: the same
    config gives the same encoder, with and without a network. The hub has 10 seconds
    to answer and is not asked twice.

    Raises:
        EncoderError: the model is not in the cache and can't be fetched, or has no safetensors.
    """
    telemetry_off()
    from huggingface_hub import snapshot_download

    try:
        path = Path(
            snapshot_download(
                repo_id, revision=revision, allow_patterns=WANTED_FILES, local_files_only=True
            )
        )
    except OSError:
        return _downloaded_directory(repo_id, revision, "is not in the local hub cache")
    try:
        check_directory(path)
    except EncoderError as error:
        lack = f"is not whole in the local hub cache ({error})"
        return _downloaded_directory(repo_id, revision, lack)
    return path


def _downloaded_directory(repo_id: str, revision: str | None, lack: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    # Every failure of the HTTP client, whichever client the hub library is built on.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        # A download waits for ever on a network that swallows packets; this question does not.
        HfApi().model_info(repo_id, revision=revision, timeout=HUB_SECONDS)
        path = Path(snapshot_download(repo_id, revision=revision, allow_patterns=WANTED_FILES))
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
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return "it is gated; accept its terms on its page and log in with `hf auth login`."
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has no such public model; check the spelling, or log in if it is private."
    if isinstance(error, RevisionNotFoundError):
        return f"it has no revision {revision!r}."
    if is_offline_mode():
        return "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) is set."
    details = str(error).strip().splitlines() or ["no details"]
    return f"{type(error).__name__}: {details[0]}."
