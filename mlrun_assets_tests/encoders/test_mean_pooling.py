from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mlrun_assets.encoders.loading import load_classifier, pool_by_mean
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError


def test_the_first_token_holds_the_mean_of_the_unpadded_states(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    source = resolve_encoder(str(tiny_encoder), None, tmp_path)
    plain = load_classifier(source, ("a", "b")).eval()
    pooled = load_classifier(source, ("a", "b")).eval()
    pool_by_mean(pooled)
    assert pooled.config.num_hidden_layers == plain.config.num_hidden_layers + 1
    batch = {
        "input_ids": torch.tensor([[0, 10, 11, 12, 2], [0, 20, 2, 1, 1]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
    }
    states = plain.bert(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    mean = (states * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.layer_norm(8.0 * mean + states[:, 0], mean.shape[-1:])
    expected = torch.nn.functional.layer_norm(expected, mean.shape[-1:])
    first = pooled.bert(**batch).last_hidden_state[:, 0]
    assert torch.allclose(first, expected, atol=1e-4)


def test_it_is_saved_and_loaded_as_a_stock_model(tiny_encoder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = load_classifier(resolve_encoder(str(tiny_encoder), None, tmp_path), ("a", "b")).eval()
    pool_by_mean(model)
    model.save_pretrained(str(tmp_path / "saved"))
    loaded = AutoModelForSequenceClassification.from_pretrained(str(tmp_path / "saved")).eval()
    ids = torch.tensor([[0, 10, 11, 2]])
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)


def test_other_families_are_refused(tiny_encoder: Path, tmp_path: Path) -> None:
    model = load_classifier(resolve_encoder(str(tiny_encoder), None, tmp_path), ("a", "b"))
    model.config.model_type = "deberta-v2"
    with pytest.raises(EncoderError, match=r"set model.pooling to first"):
        pool_by_mean(model)
