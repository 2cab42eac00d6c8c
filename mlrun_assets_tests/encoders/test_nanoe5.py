"""From an E5S1 file that is written here to a plain transformers directory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.encoders import embedded
from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.encoders.embedded import (
    bert_name,
    dequantise,
    nmt_nfkc_map,
    read_q4_file,
    write_encoder,
)
from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import (
    SPECIAL_TOKENS,
    TINY_PIECES,
    directory_source,
    e5s1_bytes,
    tiny_tensors,
)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("converted")
    write_encoder(e5s1_bytes({"ﬁ": "fi", "…": "...", "\u200d": " ", "\x01": ""}), directory)
    return directory


def test_the_directory_is_a_plain_encoder_with_every_weight_of_the_file(converted: Path) -> None:
    from transformers import AutoModel, BertModel

    check_directory(converted)
    model = AutoModel.from_pretrained(converted)
    assert type(model) is BertModel
    assert (model.config.num_attention_heads, model.config.pad_token_id) == (2, 1)
    assert model.config.layer_norm_eps == 1e-12
    tensors = tiny_tensors()
    tensors["emb.word"] = tensors["emb.word"][: len(TINY_PIECES)]
    expected = {bert_name(name): values for name, values in tensors.items()}
    expected["pooler.dense.weight"] = np.eye(32, dtype=np.float32)
    expected["pooler.dense.bias"] = np.zeros(32, dtype=np.float32)
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name].numpy(), values)
    assert load_classifier(directory_source(converted), ("a", "b")).config.num_labels == 2
    readme = (converted / "README.md").read_text()
    assert "intfloat/multilingual-e5-small" in readme
    assert "MIT" in readme


def test_the_tokenizer_is_whole(converted: Path) -> None:
    tokenizer = load_tokenizer(directory_source(converted))
    assert tokenizer("ab  ﬁ\u200da")["input_ids"] == [0, 7, 4, 8, 4, 5, 2]
    assert tokenizer("a", "b")["input_ids"] == [0, 4, 5, 2, 2, 4, 6, 2]
    assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
    assert tokenizer.model_max_length == 16
    assert tokenizer.special_tokens_map == SPECIAL_TOKENS
    assert tokenizer.mask_token_id == TINY_PIECES.index("<mask>")
    assert tokenizer.decode(tokenizer("ab a")["input_ids"], skip_special_tokens=True) == "ab a"


def test_another_normaliser_than_the_file_s_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EncoderError, match=r"1 characters unlike XLM-R .*U\+FB01"):
        write_encoder(e5s1_bytes({"ﬁ": "f i", "…": "..."}), tmp_path)
    monkeypatch.setattr(embedded, "PRECOMPILED_CHARSMAP", 100)
    with pytest.raises(EncoderError, match="no nmt_nfkc map in field 100"):
        write_encoder(e5s1_bytes({}), tmp_path)


def test_the_map_normalises_as_sentencepiece_does() -> None:
    from sentencepiece import SentencePieceNormalizer
    from tokenizers import normalizers

    ours = normalizers.Precompiled(nmt_nfkc_map())
    theirs = SentencePieceNormalizer(rule_name="nmt_nfkc")
    for text in (
        "ﬁne½①",
        "\uff26\uff55ll",
        "a\u00a0b\ufeffc",
        "ée\u0301",
        "…",
        "٣ﷺ",
        "\u0627\u0653",
    ):
        assert "▁" + ours.normalize_str(text).replace(" ", "▁") == theirs.normalize(text)


TENSOR = e5s1_bytes({}).index(b"l0.fi.b") + len(b"l0.fi.b")


@pytest.mark.parametrize(
    ("offset", "change", "message"),
    [
        (0, b"GGUF", "not an E5S1 file"),
        (4, bytes(40), "blocks of 0"),
        (TENSOR, b"\x07", r"tensor l0\.fi\.b: 64 weights of type 7"),
        (TENSOR + 1, b"\xff", r"tensor l0\.fi\.b: 64 weights of type 0, not"),
    ],
)
def test_another_file_is_refused(offset: int, change: bytes, message: str) -> None:
    content = e5s1_bytes({})
    with pytest.raises(ValueError, match=message):
        read_q4_file(content[:offset] + change + content[offset + len(change) :])


nibbles_of_block = st.lists(st.integers(0, 15), min_size=32, max_size=32)


@given(st.lists(st.tuples(st.floats(-8, 8, width=16), nibbles_of_block), max_size=5))
def test_a_weight_is_its_nibble_less_eight_times_the_scale(
    blocks: list[tuple[float, list[int]]],
) -> None:
    packed = b"".join(
        struct.pack("<e", scale)
        + bytes(low | high << 4 for low, high in zip(nibbles[:16], nibbles[16:], strict=True))
        for scale, nibbles in blocks
    )
    expected = [(nibble - 8) * scale for scale, nibbles in blocks for nibble in nibbles]
    weights = dequantise(packed)
    assert weights.dtype == np.float32
    assert weights.tolist() == expected
