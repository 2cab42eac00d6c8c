"""From an E5S1 file to a plain transformers directory."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlrun_assets.encoders.directory import check_directory
from mlrun_assets.encoders.embedded import bert_name, write_encoder
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
    write_encoder(e5s1_bytes({"ﬁ": "fi"}), directory)
    return directory


def test_the_directory_is_a_plain_encoder(converted: Path) -> None:
    from transformers import AutoModel, BertModel

    check_directory(converted)
    model = AutoModel.from_pretrained(converted)
    assert type(model) is BertModel
    assert model.config.layer_norm_eps == 1e-12
    assert model.config.vocab_size == len(TINY_PIECES)
    assert model.config.pad_token_id == 1
    assert load_classifier(directory_source(converted), ("a", "b")).config.num_labels == 2


def test_every_weight_of_the_model_comes_from_the_file(converted: Path) -> None:
    from transformers import AutoModel

    state = AutoModel.from_pretrained(converted).state_dict()
    tensors = tiny_tensors()
    tensors["emb.word"] = tensors["emb.word"][: len(TINY_PIECES)]
    expected = {bert_name(name): values for name, values in tensors.items()}
    expected["pooler.dense.weight"] = np.eye(32, dtype=np.float32)
    expected["pooler.dense.bias"] = np.zeros(32, dtype=np.float32)
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name].numpy(), values)


def test_the_tokenizer_is_whole(converted: Path) -> None:
    tokenizer = load_tokenizer(directory_source(converted))
    assert tokenizer("ab  ﬁ\u200da")["input_ids"] == [0, 7, 4, 8, 4, 5, 2]
    assert tokenizer("a", "b")["input_ids"] == [0, 4, 5, 2, 2, 4, 6, 2]
    assert list(tokenizer("a")) == ["input_ids", "attention_mask"]
    assert tokenizer.model_max_length == 16
    assert tokenizer.special_tokens_map == SPECIAL_TOKENS
    assert tokenizer.mask_token_id == TINY_PIECES.index("<mask>")
    assert tokenizer.decode(tokenizer("ab a")["input_ids"], skip_special_tokens=True) == "ab a"


def test_the_readme_names_source_and_licence(converted: Path) -> None:
    readme = (converted / "README.md").read_text()
    assert "intfloat/multilingual-e5-small" in readme
    assert "MIT" in readme
    assert json.loads((converted / "config.json").read_text())["model_type"] == "bert"


def test_another_normaliser_than_the_file_s_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"1 characters unlike XLM-R .*U\+FB01"):
        write_encoder(e5s1_bytes({"ﬁ": "f i", "…": "..."}), tmp_path)
