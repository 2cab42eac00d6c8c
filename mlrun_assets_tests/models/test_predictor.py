from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.models import predictor as predictor_module
from mlrun_assets.models.predictor import CHARACTERS_A_TOKEN, Predictor, tokenize
from mlrun_assets_tests.encoders import tiny_encoders
from mlrun_assets_tests.encoders.tiny_encoders import directory_source
from mlrun_assets_tests.examples import sample_rows

TEXTS = [row["text"] for split in ("train", "val", "test") for row in sample_rows(split)]


@pytest.fixture
def undecided(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that finds all labels about as probable, so that many of its labels are close."""
    import torch
    from safetensors.torch import load_file, save_file

    directory = Path(shutil.copytree(tiny_model, tmp_path / "undecided"))
    mean_logits = Predictor(directory, 32).logits(TEXTS).mean(axis=0)
    weights = directory / "model.safetensors"
    tensors = load_file(weights)
    tensors["classifier.bias"] -= torch.tensor(mean_logits, dtype=torch.float32)
    save_file(tensors, weights, metadata={"format": "pt"})
    return directory


def test_labels_are_those_of_float32(undecided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = Predictor(undecided, 32, exact=True).probabilities(TEXTS)
    monkeypatch.setattr(predictor_module, "_multiplies_bfloat16", lambda: True)
    predictor = Predictor(undecided, 32)
    quick = predictor.probabilities(TEXTS)
    # Labels that are closer together than float32 can tell are no label's.
    told_apart = np.diff(np.sort(exact, axis=1)[:, -2:])[:, 0] > 1e-6
    assert told_apart.mean() > 0.9
    assert (quick.argmax(axis=1) == exact.argmax(axis=1))[told_apart].all()
    monkeypatch.setattr(predictor_module, "CLOSE_CALL", 0.0)
    draft = predictor.probabilities(TEXTS)
    assert (draft.argmax(axis=1) != exact.argmax(axis=1)).any()
    np.testing.assert_allclose(draft, exact, atol=0.01)


def test_no_texts_have_no_probabilities(undecided: Path) -> None:
    assert Predictor(undecided, 32).probabilities([]).shape == (0, 3)


def test_a_long_text_is_not_tokenised_whole(
    undecided: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(undecided, 32, exact=True)
    text = " ".join(TEXTS)
    spy = Spy(predictor._tokenizer)
    monkeypatch.setattr(predictor, "_tokenizer", spy)
    logits = predictor.logits([text])
    assert max(spy.given) < 1000 < len(text)
    assert (logits == predictor.logits([text[:400]])).all()


# The ids of long texts

WORDS = sorted({word for row in sample_rows("train")[:40] for word in row["text"].split()})
RARE = ["  ", "    ", "\n", "\t ", " \u00a0", "\u200b ", " \u0301", "\u3000", " ,", "- "]
SPACES = [" "] * 6 + RARE
# Letters, marks, and what normalisers delete, compose, take apart or make a space.
CHARACTERS = (
    "aeioublm AB19.,!'()<>[]_\u0301\u0308\u200b\u200d\u00a0\ufeff\u1ecd\u0e01\u0e33\u4e2d\uac00"
    "\ufdfa\uff9e\u037a\u2581\U0001f600"
)
# Words of a text with what stands between them; without spaces; anything at all.
ANY_TEXT = st.one_of(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), max_size=60).map(
        lambda pairs: "".join(word + space for word, space in pairs)
    ),
    st.lists(st.sampled_from(WORDS), max_size=60).map("".join),
    st.lists(st.sampled_from(["a", "ab", "<mask>", "[MASK]", " ", "ba ", "!"]), max_size=90).map(
        "".join
    ),
    st.text(CHARACTERS, max_size=200),
    st.text(max_size=100),
)


class Spy:
    """A tokenizer that counts the characters of each text that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.given: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: list[str], **settings: Any) -> Any:
        self.given += map(len, texts)
        return self._tokenizer(texts, **settings)


REAL = "multilingual-e5-small"


@pytest.fixture(scope="module", params=[*sorted(tiny_encoders.TOKENIZERS), "tiny", REAL])
def tokenizer(request: pytest.FixtureRequest, tiny_encoder: Path) -> Any:
    if request.param == "tiny":
        return load_tokenizer(directory_source(tiny_encoder))
    if request.param == REAL:
        return load_tokenizer(request.getfixturevalue("embedded"))
    return tiny_encoders.TOKENIZERS[request.param]()


def check(tokenizer: Any, texts: list[str], max_length: int, characters: int, side: str) -> None:
    tokenizer.truncation_side = side
    whole = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    assert tokenize(tokenizer, texts, max_length, characters) == whole
    assert tokenize(tokenizer, texts, max_length) == whole


@given(
    st.lists(ANY_TEXT, min_size=1, max_size=3),
    st.integers(4, 24),
    st.integers(1, 80),
    st.sampled_from(["right", "left"]),
)
@example(["waa gool " * 40, "waagool" * 40, " " * 400], 8, 3, "right")
@settings(max_examples=100)
def test_the_ids_are_those_of_the_whole_text(
    tokenizer: Any, texts: list[str], max_length: int, characters: int, side: str
) -> None:
    check(tokenizer, texts, max_length, characters, side)


@pytest.mark.parametrize("side", ["right", "left"])
def test_of_a_long_text_no_more_is_tokenised_than_is_read(tokenizer: Any, side: str) -> None:
    tokenizer.truncation_side = side
    spy = Spy(tokenizer)
    texts = ["waa gool iyo beer " * 50_000, "waa gool", ""]
    whole = tokenizer(texts, truncation=True, max_length=32)["input_ids"]
    assert tokenize(spy, texts, 32) == whole  # type: ignore[arg-type]
    assert max(spy.given) <= 2 * 32 * CHARACTERS_A_TOKEN
    assert tokenize(spy, [], 32) == []  # type: ignore[arg-type]
