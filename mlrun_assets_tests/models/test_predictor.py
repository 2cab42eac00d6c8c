from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForSequenceClassification

from mlrun_assets.encoders.loading import load_tokenizer, pool_by_mean
from mlrun_assets.models import predictor as predictor_module
from mlrun_assets.models.predictor import (
    ATTENTION,
    CHARACTERS_A_TOKEN,
    Predictor,
    drop_no_attention,
    tokenize,
    tune_for_cpu,
)
from mlrun_assets_tests.encoders import tiny_encoders
from mlrun_assets_tests.encoders.tiny_encoders import directory_source
from mlrun_assets_tests.examples import sample_rows

TEXTS = [row["text"] for split in ("train", "val", "test") for row in sample_rows(split)]


@pytest.fixture
def undecided(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that finds all labels about as probable, so that many of its labels are close."""
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


@given(
    st.lists(ANY_TEXT, min_size=1, max_size=3),
    st.integers(4, 24),
    st.integers(1, 80),
    st.sampled_from(["right", "left"]),
)
@example(["waa gool " * 40, "waagool" * 40, " " * 400], 8, 3, "right")
def test_the_ids_are_those_of_the_whole_text(
    tokenizer: Any, texts: list[str], max_length: int, characters: int, side: str
) -> None:
    tokenizer.truncation_side = side
    whole = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
    assert tokenize(tokenizer, texts, max_length, characters) == whole
    assert tokenize(tokenizer, texts, max_length) == whole


@pytest.mark.parametrize("side", ["right", "left"])
def test_of_a_long_text_no_more_is_tokenised_than_is_read(tokenizer: Any, side: str) -> None:
    tokenizer.truncation_side = side
    spy = Spy(tokenizer)
    texts = ["waa gool iyo beer " * 50_000, "waa gool", ""]
    whole = tokenizer(texts, truncation=True, max_length=32)["input_ids"]
    assert tokenize(spy, texts, 32) == whole  # type: ignore[arg-type]
    assert max(spy.given) <= 2 * 32 * CHARACTERS_A_TOKEN
    assert tokenize(spy, [], 32) == []  # type: ignore[arg-type]


# Attention that is fast on a CPU

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 32, "num_labels": 3}


def model_of(family: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[family](**settings)
    return AutoModelForSequenceClassification.from_config(config).eval()


def tiny(rate: float = 0.0) -> Any:
    rates = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate}
    return model_of("bert", **SIZES, **rates)


def batch(padded: bool) -> dict[str, torch.Tensor]:
    ids = torch.arange(24).reshape(3, 8) % 50
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 5:] = 0
        mask[2, 1:] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("padded", [True, False])
def test_logits_and_gradients_are_those_of_the_stock_attention(padded: bool) -> None:
    stock, tuned = tiny(), tiny()
    tune_for_cpu(tuned, bf16=False)
    assert tuned.config._attn_implementation == ATTENTION
    expected, actual = stock(**batch(padded)).logits, tuned(**batch(padded)).logits
    torch.testing.assert_close(actual, expected)
    for model, logits in ((stock, expected), (tuned, actual)):
        logits.square().sum().backward()
        assert all(p.grad is not None for n, p in model.named_parameters() if "position" not in n)
    for (name, one), (_, other) in zip(
        stock.named_parameters(), tuned.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_under_autocast_the_states_stay_in_bfloat16_and_the_logits_close() -> None:
    stock, tuned = tiny(), tiny()
    tune_for_cpu(tuned, bf16=True)
    dtypes = []
    tuned.bert.encoder.layer[1].register_forward_hook(lambda *a: dtypes.append(a[-1].dtype))
    expected = stock(**batch(padded=True)).logits
    torch.testing.assert_close(tuned(**batch(padded=True)).logits, expected)
    with torch.autocast("cpu", torch.bfloat16):
        logits = tuned(**batch(padded=True)).logits
    assert dtypes == [torch.float32, torch.bfloat16]
    torch.testing.assert_close(logits.float(), expected, atol=0.02, rtol=0.05)


def test_the_pooling_layer_attends_like_the_others() -> None:
    stock, tuned = tiny(), tiny()
    for model in (stock, tuned):
        pool_by_mean(model)
    tune_for_cpu(tuned, bf16=False)
    torch.testing.assert_close(tuned(**batch(True)).logits, stock(**batch(True)).logits)


def test_attention_dropout_is_drawn_in_training_only() -> None:
    model = tiny(rate=0.5)
    tune_for_cpu(model, bf16=False)
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(**batch(True)).logits, model(**batch(True)).logits)
        model.eval()
        assert torch.equal(model(**batch(True)).logits, model(**batch(True)).logits)


def test_attention_can_drop_nothing_and_the_states_still_drop() -> None:
    model = tiny(rate=0.5)
    drop_no_attention(model)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {rate for name, rate in rates.items() if name.endswith("attention.self.dropout")} == {0}
    others = [rate for name, rate in rates.items() if "attention.self" not in name]
    assert set(others) == {0.5}
    assert len(others) == 6
    assert model.config.attention_probs_dropout_prob == 0.5


def test_nothing_of_it_is_saved(tmp_path: Path) -> None:
    model = tiny()
    tune_for_cpu(model, bf16=True)
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    assert ATTENTION not in (tmp_path / "config.json").read_text()


def test_families_that_name_their_dropout_otherwise_drop_no_attention() -> None:
    distilbert = model_of("distilbert", vocab_size=50, dim=16, n_layers=1, n_heads=4, hidden_dim=32)
    drop_no_attention(distilbert)
    assert distilbert.distilbert.transformer.layer[0].attention.dropout.p == 0.0
    assert distilbert.distilbert.embeddings.dropout.p > 0.0
    albert = model_of("albert", **SIZES, embedding_size=8, attention_probs_dropout_prob=0.1)
    drop_no_attention(albert)
    names = [name for name, _ in albert.named_modules() if name.endswith(".attention_dropout")]
    assert {albert.get_submodule(name).p for name in names} == {0.0}


SPECIAL = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("modernbert", {**SIZES, **SPECIAL, "local_attention": 2}),
        ("modernbert", {**SIZES, **SPECIAL, "local_attention": 128}),
        ("gpt2", {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 4, "num_labels": 3}),
        ("deberta-v2", SIZES),
    ],
)
def test_a_model_with_a_window_a_causal_mask_or_attention_of_its_own_keeps_it(
    family: str, settings: dict[str, Any]
) -> None:
    model = model_of(family, **{"pad_token_id": 0, **settings})
    before, expected = model.config._attn_implementation, model(**batch(padded=True)).logits
    tune_for_cpu(model, bf16=True)
    assert model.config._attn_implementation == before
    torch.testing.assert_close(model(**batch(padded=True)).logits, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(**batch(padded=True)).logits.shape == (3, 3)
