"""A model given away, to a directory and to a stand-in of the Hub."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlrun_assets.errors import PublishError
from mlrun_assets.production.publishing import PushedModel, publish
from mlrun_assets_tests.production.hub_stand_in import Hub, Repository, local_hub

# The library's own, in the part that sends large files.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CARD = "---\nlicense: mit\n---\n\n# A model\n"


@pytest.fixture
def model(tmp_path: Path) -> PushedModel:
    directory = tmp_path / "versions" / "exp_1" / "model"
    (directory / "onnx").mkdir(parents=True)
    for name, content in (("weights", "w" * 2000), ("config.json", "{}"), ("onnx/model.onnx", "o")):
        (directory / name).write_text(content)
        (directory / name).chmod(0o444)
    return PushedModel("exp_1", directory, CARD)


EXPECTED = {
    "weights": b"w" * 2000,
    "config.json": b"{}",
    "onnx/model.onnx": b"o",
    "README.md": CARD.encode(),
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with local_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the stand-in knows LFS
        monkeypatch.setenv("HF_TOKEN", "a-token")
        yield hub


def files(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_directory_gets_the_files_and_the_card(model: PushedModel, tmp_path: Path) -> None:
    target = tmp_path / "new" / "model"
    assert publish(model, str(target), public=False) == str(target)
    assert files(target) == EXPECTED
    assert os.access(target / "weights", os.W_OK)


def test_an_empty_directory_by_a_bare_name_is_taken(
    model: PushedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    publish(model, "user/name", public=False)
    assert files(tmp_path / "user" / "name") == EXPECTED


def test_a_card_that_is_there_stays_where_none_is_given(model: PushedModel, tmp_path: Path) -> None:
    (model.model_dir / "README.md").write_text("its own")
    publish(PushedModel(model.name, model.model_dir, None), str(tmp_path / "out"), public=False)
    assert (tmp_path / "out" / "README.md").read_text() == "its own"


def test_a_target_that_is_not_an_empty_directory_is_left_alone(
    model: PushedModel, tmp_path: Path
) -> None:
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    for target in (full, file):
        with pytest.raises(PublishError, match="is not an empty directory"):
            publish(model, str(target), public=False)
    assert files(full) == {"mine": b"mine"} and file.read_text() == "mine"
    with pytest.raises(PublishError, match="can't be written there"):
        publish(model, str(file / "below"), public=False)


def test_a_directory_that_can_not_be_filled_is_not_there_afterwards(
    model: PushedModel, tmp_path: Path
) -> None:
    (model.model_dir / "gone").symlink_to("nowhere")
    with pytest.raises(PublishError, match="can't be written there"):
        publish(model, str(tmp_path / "out" / "model"), public=False)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_repository_is_made_private_and_holds_the_model(model: PushedModel, hub: Hub) -> None:
    where = publish(model, "hodan/news", public=False)
    assert where == f"{hub.url}/hodan/news/commit/1"
    assert hub.repositories["hodan/news"] == Repository(private=True, files=EXPECTED)
    assert {token for method, _, token in hub.requests if method != "PUT"} == {"a-token"}


def test_a_repository_is_public_only_when_that_is_said(model: PushedModel, hub: Hub) -> None:
    publish(model, "hodan/news", public=True)
    assert hub.repositories["hodan/news"].private is False
    with pytest.raises(PublishError, match="exists and is public; add --public"):
        publish(model, "hodan/news", public=False)


def test_nothing_of_an_older_model_stays_in_a_repository(model: PushedModel, hub: Hub) -> None:
    old: dict[str, bytes] = {"onnx/model_int8.onnx": b"old", ".gitattributes": b"*", "weights": b""}
    hub.repositories["hodan/news"] = Repository(private=True, files=old)
    publish(model, "hodan/news", public=False)
    assert hub.repositories["hodan/news"].files == {**EXPECTED, ".gitattributes": b"*"}


def test_without_a_token_nobody_is_asked(
    model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match=r"hodan/news: .* export HF_TOKEN"):
        publish(model, "hodan/news", public=False)
    assert hub.requests == []


def test_a_token_that_the_hub_does_not_know(
    model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "another")
    with pytest.raises(PublishError, match=r"does not know the token in HF_TOKEN.*\(401\)") as said:
        publish(model, "hodan/news", public=False)
    assert "another" not in str(said.value)


@pytest.mark.parametrize("existing", [False, True])
def test_a_token_that_may_not_write_there(model: PushedModel, hub: Hub, existing: bool) -> None:
    if existing:
        hub.repositories["hodan/news"] = Repository(private=True)
    hub.refuse = 403
    with pytest.raises(PublishError, match=r"hodan/news: not pushed: the token may not.*\(403\)"):
        publish(model, "hodan/news", public=False)


def test_a_hub_that_can_not_be_reached(
    model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(PublishError, match=r"the Hub can't be reached .*HF_ENDPOINT"):
            publish(model, "hodan/news", public=False)


def test_offline_says_so(model: PushedModel, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE"):
        publish(model, "hodan/news", public=False)


@pytest.mark.parametrize(
    "name", ["news", "a/b/c", "hodan/ne ws", "hodan/--x", "", "hodan/news.git"]
)
def test_a_name_that_is_none(model: PushedModel, hub: Hub, name: str) -> None:
    with pytest.raises(PublishError, match="neither a repository of the Hub"):
        publish(model, name, public=False)
    assert hub.requests == []
