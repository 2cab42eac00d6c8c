"""The embedded encoder: verified, unpacked once, and as good as it was measured to be."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mlrun_assets.encoders import embedded
from mlrun_assets.encoders.embedded import default_cache_dir, embedded_directory, write_encoder
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import e5s1_bytes

NAME = "multilingual-e5-small"
ENCODER = embedded.EMBEDDED_ENCODERS[NAME]


@pytest.fixture
def tiny_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny file in place of the real one; importing it fails."""
    content = e5s1_bytes({"ﬁ": "fi"})
    package = tmp_path / "tiny_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this package is never imported')")
    (package / "tiny.bin").write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    digest = hashlib.sha256(content).hexdigest()
    tiny = dataclasses.replace(ENCODER, package="tiny_package", file="tiny.bin", sha256=digest)
    monkeypatch.setitem(embedded.EMBEDDED_ENCODERS, NAME, tiny)
    return package / "tiny.bin"


def test_it_is_unpacked_once_without_importing_its_package(
    tiny_package: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    source = resolve_encoder(f"embedded:{NAME}", None, tmp_path, cache)
    assert source.kind == "embedded"
    assert load_tokenizer(source)("a")
    assert "tiny_package" not in sys.modules
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    tiny_package.unlink()
    written = {file: file.stat() for file in Path(source.location).iterdir()}
    assert {stat.st_mode for stat in written.values()} == {plain.stat().st_mode}  # others may read
    assert embedded_directory(NAME, cache) == Path(source.location)
    assert {file: file.stat().st_mtime_ns for file in written} == {
        file: stat.st_mtime_ns for file, stat in written.items()
    }
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == [Path(source.location)]


def test_two_at_once_write_once_and_both_succeed(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def write_slowly(content: bytes, directory: Path) -> None:
        written.append(directory)
        time.sleep(0.2)
        write_encoder(content, directory)

    monkeypatch.setattr(embedded, "write_encoder", write_slowly)
    with ThreadPoolExecutor(2) as pool:
        found = set(pool.map(embedded_directory, [NAME] * 2, [tmp_path / "cache"] * 2))
    assert len(written) == len(found) == 1


def test_a_changed_file_is_refused(tiny_package: Path, tmp_path: Path) -> None:
    with tiny_package.open("ab") as file:
        file.write(b"!")
    with pytest.raises(EncoderError, match=r"its sha256 is .*pip install --force-reinstall"):
        embedded_directory(NAME, tmp_path / "cache")
    assert not any((tmp_path / "cache").glob(f"*{NAME}*-1"))


@pytest.mark.parametrize("change", [{"package": "no_such_package"}, {"file": "no-such-file"}])
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    encoder = dataclasses.replace(ENCODER, **change)
    monkeypatch.setitem(embedded.EMBEDDED_ENCODERS, NAME, encoder)
    with pytest.raises(EncoderError, match=f"pip install {encoder.package}==0.3.0"):
        embedded_directory(NAME, tmp_path)


def test_a_cache_that_can_t_be_written_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EncoderError, match="Set MLRUN_CACHE to a directory"):
        embedded_directory(NAME, tmp_path / "file" / "cache")


def test_a_damaged_cache_says_what_to_delete(tiny_package: Path, tmp_path: Path) -> None:
    directory = embedded_directory(NAME, tmp_path / "cache")
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(EncoderError, match=f"{directory} is damaged: delete it .*should have"):
        embedded_directory(NAME, tmp_path / "cache")
    weights.unlink()
    with pytest.raises(EncoderError, match=f"{directory} is damaged: delete it"):
        embedded_directory(NAME, tmp_path / "cache")


def test_a_cache_that_can_only_be_read_will_do(
    tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted into a container; root may write everywhere, so writing is denied."""
    cache = tmp_path / "cache"
    directory = embedded_directory(NAME, cache)

    def denied(*arguments: object, **settings: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(cache))

    monkeypatch.setattr(Path, "mkdir", denied)
    monkeypatch.setattr(embedded, "locked", denied)
    assert embedded_directory(NAME, cache) == directory


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/hodan")
    monkeypatch.delenv("MLRUN_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache_dir() == Path("/home/hodan/.cache/mlrun_assets")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert default_cache_dir() == Path("/var/cache/mlrun_assets")
    monkeypatch.setenv("MLRUN_CACHE", "~/scratch")
    assert default_cache_dir() == Path("/home/hodan/scratch")


@pytest.mark.slow
def test_the_real_tokenizer_gives_every_reference_id(
    embedded: EncoderSource, shared_data: Path
) -> None:
    from transformers import AutoTokenizer

    file = shared_data / "tokenizer_reference.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(embedded.location)
    wrong = [row["text"] for row in rows if tokenizer(row["text"])["input_ids"] != row["input_ids"]]
    assert len(rows) == 373
    assert wrong == []
    assert len(tokenizer) == 250_002
    assert tokenizer.model_max_length == 512


@pytest.mark.slow
def test_the_real_encoder_finds_the_translation(embedded: EncoderSource) -> None:
    import torch
    from transformers import AutoModel

    texts = [
        "Kooxda kubbadda cagta ayaa ku guuleysatay ciyaarta ugu dambeysay.",
        "Dhakhaatiirtu waxay sheegeen in tallaalku badbaado yahay.",
        "Doorashada madaxweynaha waxaa la qaban doonaa sanadka soo socda.",
        "Qiimaha shidaalka ayaa kor u kacay suuqyada.",
        "The football team won the final match.",
        "Doctors said that the vaccine is safe.",
        "The presidential election will be held next year.",
        "The price of fuel has risen on the markets.",
    ]
    tokenizer = load_tokenizer(embedded)
    batch = tokenizer([f"query: {text}" for text in texts], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(embedded.location).eval()(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1)).numpy()
    cosines = vectors[:4] @ vectors[4:].T
    pairs, others = np.diag(cosines), cosines[~np.eye(4, dtype=bool)]
    assert pairs.mean() > 0.8
    assert pairs.mean() - others.mean() > 0.06
    assert cosines.argmax(1).tolist() == [0, 1, 2, 3]
