"""Push a model, with its model card, to a directory or to the Hub.

The Hub client decides which Hub it is (``HF_ENDPOINT``). The token comes from ``HF_TOKEN`` only,
never from a login that this machine remembers.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile, copytree
from typing import TYPE_CHECKING

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import MlrunError, PublishError
from mlrun_assets.experiment import find_experiment
from mlrun_assets.files import new_directory, write_atomically
from mlrun_assets.production.pointer import read_production
from mlrun_assets.production.versions import CARD_FILE, find_version, verify, verify_files
from mlrun_assets.records import ExportRecord
from mlrun_assets.reports.model_card import write_model_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 - its name, not the token
HUB_SECONDS = 10.0
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_ADVICE = {
    401: f"the Hub does not know the token in {TOKEN_VARIABLE}; export a valid one",
    403: "the token may not write there; export a token with write permission",
}


@dataclass(frozen=True)
class PushedModel:
    """A model that is ready to be pushed: its files, and its card if they contain none."""

    name: str
    model_dir: Path
    card: str | None


def push(config: LoadedConfig, target: str, name: str | None, *, public: bool) -> str:
    """Verify and push a version or an experiment's model, with its card; see `publish`.

    ``name`` is of a version or an experiment; None: the version in production.

    Raises:
        ExperimentError: there is neither a version nor an experiment of that name.
        ProductionError: nothing is in production, or the files differ from the recorded digest.
        PublishError: the target can't be pushed to.
        RecordError: the experiment has no exported and evaluated model.
    """
    production = config.production_dir
    version = read_production(production) if name is None else find_version(production, name)
    if version:
        model_dir, card = verify(production, version), None
        if version.export_digest is None:  # it contains no card
            with suppress(MlrunError):  # the experiment was deleted, or its records can't be read
                experiment = find_experiment(config.experiments_dir, version.experiment)
                card = write_model_card(experiment, config)
        return publish(PushedModel(version.version, model_dir, card), target, public=public)
    if name is None:
        raise PublishError(
            f"{production}: nothing is in production; name an experiment with --version"
        )
    experiment = find_experiment(config.experiments_dir, name)
    export = experiment.load(ExportRecord)
    model_dir = experiment.directory / export.model_dir
    verify_files(model_dir, export.digest)
    card = write_model_card(experiment, config)
    return publish(PushedModel(experiment.id, model_dir, card), target, public=public)


def publish(model: PushedModel, target: str, *, public: bool) -> str:
    """Push the model to a directory or a repository; returns where it is now.

    Args:
        model: the files and the card to push; nothing of the data is pushed.
        target: an existing directory, or a path that begins with ``.``, ``/`` or ``~``; else
            ``user/name``, a repository of the Hub.
        public: whether the repository is public.

    Raises:
        PublishError: the target is not valid or not empty, there is no token, or the Hub refuses or
            can't be reached.
    """
    path = Path(target).expanduser()
    if target.startswith((".", os.sep, "~")) or (target and path.is_dir()):
        return _to_directory(model, path.absolute())
    return _to_hub(model, target, public=public)


def _to_directory(model: PushedModel, target: Path) -> str:
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise PublishError(f"{target}: is not an empty directory; name an empty or a new one")
    try:
        with new_directory(target) as directory:
            copytree(model.model_dir, directory, copy_function=copyfile, dirs_exist_ok=True)
            if model.card is not None:
                write_atomically(directory / CARD_FILE, model.card)
    except OSError as error:
        raise PublishError(
            f"{target}: the model can't be written there ({error.strerror or error}); make room, "
            "or choose another directory"
        ) from error
    return str(target)


def _to_hub(model: PushedModel, repository: str, *, public: bool) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    valid = False
    with suppress(ValueError):
        validate_repo_id(repository)
        valid = bool(_REPOSITORY.fullmatch(repository))
    if not valid:
        raise PublishError(
            f"{repository!r}: neither a repository of the Hub (`user/name`) nor a directory; a new "
            "directory is named by a path that begins with `./` or `/`"
        )
    token = os.environ.get(TOKEN_VARIABLE)
    if not token:
        raise PublishError(
            f"{repository}: the Hub needs a token; export {TOKEN_VARIABLE} with one that may "
            "write, or name a directory, as in ./model"
        )
    api = HfApi(token=token)
    try:
        _make_repository(api, repository, public=public)
        return _commit(api, repository, model)
    except (OSError, ValueError, HTTPError, RuntimeError) as error:
        # The library raises RuntimeError for a file that it can't upload.
        cause = error.__cause__ if isinstance(error, RuntimeError) else None
        raise PublishError(f"{repository}: not pushed: {_reason(cause or error)}") from error


def _make_repository(api: HfApi, repository: str, *, public: bool) -> None:
    """Create the repository; refuse an existing public one unless ``public`` is set.

    The first request has a timeout of ten seconds; the library sets none on the others.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        private = api.model_info(repository, timeout=HUB_SECONDS).private
    except RepositoryNotFoundError:
        api.create_repo(repository, private=not public)
        return
    if not private and not public:
        raise PublishError(
            f"{repository}: exists and is public; add --public if everybody may download the "
            "model, or name another"
        )


def _commit(api: HfApi, repository: str, model: PushedModel) -> str:
    """Make one commit after which the repository contains this model only."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    sources: dict[str, Path | bytes] = {
        file.relative_to(model.model_dir).as_posix(): file
        for file in sorted(model.model_dir.rglob("*"))
        if file.is_file()
    }
    if model.card is not None:
        sources[CARD_FILE] = model.card.encode("utf-8")
    stale = set(api.list_repo_files(repository)) - {*sources, ".gitattributes"}
    commit = api.create_commit(
        repository,
        operations=[
            *(CommitOperationDelete(path) for path in sorted(stale)),
            *(CommitOperationAdd(path, source) for path, source in sources.items()),
        ],
        commit_message=model.name,
    )
    return str(commit.commit_url)


def _reason(error: BaseException) -> str:
    from huggingface_hub import is_offline_mode
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in _ADVICE:
        return f"{_ADVICE[status]} ({status})"
    if is_offline_mode():
        return "`offline` or HF_HUB_OFFLINE is set; unset it, or name a directory"
    details = (str(error).strip().splitlines() or ["no details"])[0]
    if status is None and isinstance(error, OSError | HTTPError):
        return (
            f"the Hub can't be reached ({details}); check the network and HF_ENDPOINT, or "
            "name a directory"
        )
    return f"{type(error).__name__}: {details}"
