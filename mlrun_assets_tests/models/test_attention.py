from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    DebertaV2Config,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
)
from transformers import DebertaV2ForSequenceClassification as Deberta

from mlrun_assets.encoders.loading import pool_by_mean
from mlrun_assets.models.predictor import ATTENTION, drop_no_attention, tune_for_cpu

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}


def tiny(dropout: float = 0.0) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        **SIZES, num_labels=3, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout
    )
    return BertForSequenceClassification(config)


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
    model = tiny(dropout=0.5)
    tune_for_cpu(model, bf16=False)
    model.train()
    with torch.no_grad():
        assert not torch.equal(model(**batch(True)).logits, model(**batch(True)).logits)
        model.eval()
        assert torch.equal(model(**batch(True)).logits, model(**batch(True)).logits)


def test_attention_can_drop_nothing_and_the_states_still_drop() -> None:
    model = tiny(dropout=0.5)
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
    again = BertForSequenceClassification.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    assert ATTENTION not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("window", [2, 128])
def test_an_encoder_with_a_window_keeps_it(window: int) -> None:
    config = ModernBertConfig(
        **SIZES,
        num_labels=3,
        local_attention=window,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=1,
    )
    torch.manual_seed(0)
    model = ModernBertForSequenceClassification(config).eval()
    expected = model(**batch(padded=True)).logits
    tune_for_cpu(model, bf16=False)
    torch.testing.assert_close(model(**batch(padded=True)).logits, expected)


def test_families_that_name_their_dropout_otherwise_drop_no_attention() -> None:
    distilbert = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=50, dim=16, n_layers=1, n_heads=4, hidden_dim=32)
    )
    drop_no_attention(distilbert)
    assert distilbert.distilbert.transformer.layer[0].attention.dropout.p == 0.0
    assert distilbert.distilbert.embeddings.dropout.p > 0.0
    albert = AlbertForSequenceClassification(
        AlbertConfig(**SIZES, embedding_size=8, attention_probs_dropout_prob=0.1)
    )
    drop_no_attention(albert)
    names = [name for name, _ in albert.named_modules() if name.endswith(".attention_dropout")]
    assert {albert.get_submodule(name).p for name in names} == {0.0}


def test_a_model_that_looks_back_only_keeps_its_mask() -> None:
    model = GPT2ForSequenceClassification(
        GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=4, num_labels=3, pad_token_id=0)
    ).eval()
    expected = model(**batch(padded=False)).logits
    tune_for_cpu(model, bf16=False)
    torch.testing.assert_close(model(**batch(padded=False)).logits, expected)


def test_an_encoder_with_attention_of_its_own_keeps_it() -> None:
    model = Deberta(DebertaV2Config(**SIZES, num_labels=3))
    before = model.config._attn_implementation
    tune_for_cpu(model, bf16=True)
    assert model.config._attn_implementation == before
    with torch.autocast("cpu", torch.bfloat16):
        assert model(**batch(True)).logits.shape == (3, 3)
