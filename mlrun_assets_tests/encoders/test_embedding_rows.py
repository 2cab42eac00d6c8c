"""A model with fewer rows in its vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrun_assets.encoders.loading import load_classifier
from mlrun_assets.encoders.trimming import trim_embeddings
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.conftest import directory_source, tiny_config

KEPT = np.array([0, 1, 2, 3, 5, 8, 13, 21])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["xlm-roberta", "bert"])
def test_a_language_model_gives_the_same_logits_for_kept_ids(name: str, tied: bool) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    config = tiny_config(name, 30)
    config.tie_word_embeddings = tied
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()
        before = model(input_ids=torch.from_numpy(KEPT)[None]).logits
        trim_embeddings(model, KEPT)
        after = model(input_ids=torch.arange(len(KEPT))[None]).logits
    torch.testing.assert_close(after, before[..., KEPT])
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    assert (inputs.weight is outputs.weight) == tied
    assert inputs.num_embeddings == outputs.out_features == len(KEPT)
    assert not [p for p in model.parameters() if p.shape[0] == 30]


def test_a_trimmed_language_model_reloads(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_config(tiny_config("xlm-roberta", 30)).eval()
    trim_embeddings(model, KEPT)
    model.save_pretrained(tmp_path)
    reloaded = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    ids = torch.arange(len(KEPT))[None]
    with torch.no_grad():
        assert torch.equal(reloaded(input_ids=ids).logits, model(input_ids=ids).logits)


def test_special_ids_follow_their_pieces() -> None:
    from transformers import AutoModel

    config = tiny_config("bert", 30)
    config.sep_token_id, config.mask_token_id = 21, 7
    model = AutoModel.from_config(config)
    trim_embeddings(model, KEPT)
    assert model.config.vocab_size == len(KEPT)
    assert (model.config.bos_token_id, model.config.pad_token_id) == (0, 1)
    assert model.config.eos_token_id == 2
    assert model.config.sep_token_id == 7  # 21 is the eighth that is kept
    assert model.config.mask_token_id is None  # its row is gone
    assert model.get_input_embeddings().padding_idx == 1


@pytest.mark.parametrize("trained", [True, False])
def test_what_is_frozen_stays_frozen(tiny_xlmr: Path, trained: bool) -> None:
    model = load_classifier(directory_source(tiny_xlmr), ("a", "b"))
    model.get_input_embeddings().weight.requires_grad_(trained)
    trim_embeddings(model, KEPT)
    assert model.get_input_embeddings().weight.requires_grad == trained


def test_only_the_vocabulary_is_cut(tiny_xlmr: Path) -> None:
    import torch

    model = load_classifier(directory_source(tiny_xlmr), ("a", "b"))
    before: dict[str, Any] = {name: value.clone() for name, value in model.state_dict().items()}
    trim_embeddings(model, KEPT)
    words = "roberta.embeddings.word_embeddings.weight"
    before[words] = before[words][KEPT]
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_tokenizer_of_another_model_is_refused(tiny_xlmr: Path) -> None:
    model = load_classifier(directory_source(tiny_xlmr), ("a", "b"))
    with pytest.raises(EncoderError, match="do not belong together"):
        trim_embeddings(model, np.array([0, 1, 100_000]))
