"""A model of the hub, from the local cache or not at all: these tests have no network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import EncoderSource, hub_directory
from mlrun_assets.errors import EncoderError

REPO = "Davlan/afro-xlmr-base"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cache


@pytest.fixture
def snapshot(hub_cache: Path, tiny_xlmr: Path) -> Path:
    """The tiny XLM-R in the layout of the hub cache."""
    repository = hub_cache / "models--Davlan--afro-xlmr-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(tiny_xlmr, repository / "snapshots" / COMMIT))


@pytest.fixture
def answer(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Lets the hub answer every question with an error."""
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def answer_with(error: Exception) -> None:
        def model_info(*args: object, timeout: float, **options: object) -> None:
            assert timeout == pytest.approx(10.0)
            raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)

    return answer_with


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_cached_model_needs_no_network(snapshot: Path, revision: str | None) -> None:
    assert hub_directory(REPO, revision) == snapshot
    tokenizer = load_tokenizer(EncoderSource(REPO, REPO, revision, "hub"))
    assert tokenizer("waxay")["input_ids"][0] == tokenizer.bos_token_id


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json", None])
def test_offline_the_message_names_the_model_and_the_choices(
    snapshot: Path, lost: str | None
) -> None:
    if lost:
        (snapshot / lost).unlink()
    else:
        shutil.rmtree(snapshot)
    with pytest.raises(EncoderError) as raised:
        hub_directory(REPO, None)
    message = str(raised.value)
    assert REPO in message
    assert "HF_HUB_OFFLINE" in message
    assert ("is not whole in the local hub cache" in message) == bool(lost)
    assert "a directory with config.json" in message
    assert "embedded:multilingual-e5-small" in message


def http_error(kind: str) -> Exception:
    from huggingface_hub import errors

    response: Any = SimpleNamespace(headers={}, request=None)
    error: Exception = getattr(errors, kind)("the hub's own words", response=response)
    return error


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("GatedRepoError", "it is gated"),
        ("RepositoryNotFoundError", "no such public model"),
        ("RevisionNotFoundError", "no revision 'v9'"),
        ("HfHubHTTPError", "HfHubHTTPError: the hub's own words"),
    ],
)
def test_each_refusal_of_the_hub_has_its_reason(
    answer: Callable[[Exception], None], kind: str, reason: str
) -> None:
    answer(http_error(kind))
    with pytest.raises(EncoderError, match=reason) as raised:
        hub_directory(REPO, "v9")
    assert REPO in str(raised.value)
    assert "embedded:multilingual-e5-small" in str(raised.value)


@pytest.mark.parametrize("error", [OSError(), TimeoutError("timed out"), ValueError("odd\nlong")])
def test_a_failing_network_is_one_error(
    answer: Callable[[Exception], None], error: Exception
) -> None:
    answer(error)
    with pytest.raises(EncoderError, match=type(error).__name__) as raised:
        hub_directory(REPO, None)
    assert "\n" not in str(raised.value)


def test_a_download_of_pickles_is_refused(
    hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(*args: object, local_files_only: bool = False, **options: object) -> str:
        if local_files_only:
            raise FileNotFoundError
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        return str(tmp_path)

    def model_info(*args: object, **options: object) -> None:
        """The hub knows the model."""

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(EncoderError, match=r"never loaded.*refs/pr/<number>"):
        hub_directory(REPO, None)


def test_only_what_is_loaded_is_downloaded() -> None:
    from huggingface_hub.utils import filter_repo_objects

    from mlrun_assets.encoders.source import WANTED_FILES

    offered = [
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
        "pytorch_model.bin",
        "tf_model.h5",
        "onnx/model.onnx",
        "onnx/model.safetensors",
        "modeling_custom.py",
    ]
    assert list(filter_repo_objects(offered, allow_patterns=WANTED_FILES)) == offered[:4]
