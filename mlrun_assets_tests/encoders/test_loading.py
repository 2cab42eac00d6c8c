"""The tokenizer, the classifier and the config of an encoder."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers.initialization import guard_torch_init_functions

from mlrun_assets.encoders.loading import (
    check_max_length,
    load_classifier,
    load_config,
    load_tokenizer,
    model_positions,
    pool_by_mean,
)
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import SOMALI, directory_source, tiny_config

LABELS = ("caafimaad", "ciyaaraha", "siyaasad")


def edit_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(directory: Path, *, drop: str = "", shorten: str = "") -> None:
    file = directory / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if name != drop}
    if shorten:
        weights[shorten] = weights[shorten][:-1]
    save_file(weights, file, metadata={"format": "pt"})


def test_the_classifier_has_the_encoder_s_weights_and_knows_its_labels(tiny_xlmr: Path) -> None:
    model = load_classifier(directory_source(tiny_xlmr), LABELS)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model(input_ids=torch.tensor([[0, 5, 6, 2]])).logits.shape == (1, 3)
    saved = load_file(tiny_xlmr / "model.safetensors")
    loaded = {name: value for name, value in model.state_dict().items() if "roberta." in name}
    assert len(loaded) > 20
    for name, value in loaded.items():
        np.testing.assert_array_equal(value.numpy(), saved[name])


def test_the_head_follows_the_seed(tiny_xlmr: Path) -> None:
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(load_classifier(directory_source(tiny_xlmr), LABELS).state_dict())
    name = "classifier.out_proj.weight"
    assert torch.equal(heads[0][name], heads[1][name])
    assert not torch.equal(heads[0][name], heads[2][name])


@pytest.mark.parametrize("labels", [LABELS, ("a", "b")])
@pytest.mark.parametrize("loading_elsewhere", [False, True])
def test_a_classifier_for_other_labels_gets_fresh_logits(
    xlmr_copy: Path, labels: tuple[str, ...], loading_elsewhere: bool
) -> None:
    source = directory_source(xlmr_copy)
    trained = load_classifier(source, ("x", "y", "z"))
    with torch.no_grad():
        trained.classifier.out_proj.weight.fill_(7.0)
        trained.classifier.out_proj.bias.fill_(7.0)
    trained.config.problem_type = "multi_label_classification"
    trained.save_pretrained(xlmr_copy)

    # While another thread loads a model, `torch.nn.init` leaves weights from files as they are.
    with guard_torch_init_functions() if loading_elsewhere else nullcontext():
        model = load_classifier(source, labels)
        pool_by_mean(model)
    added = model.roberta.encoder.layer[-1]
    assert added.attention.self.query.weight.eq(0.0).all()
    assert added.output.LayerNorm.weight.eq(1.0).all()
    logits = model.classifier.out_proj
    assert logits.weight.shape == (len(labels), 16)
    assert logits.weight.abs().max() < 1.0
    assert logits.bias.eq(0.0).all()
    assert model.config.problem_type == "single_label_classification"
    assert list(model.config.id2label.values()) == list(labels)


def test_loading_is_quiet_and_leaves_the_settings(
    tiny_xlmr: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    logging.set_verbosity_info()
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_classifier(directory_source(tiny_xlmr), LABELS)
    load_tokenizer(directory_source(tiny_xlmr))
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    logging.set_verbosity_warning()


def test_a_tokenizer_is_read_again_only_if_a_file_changes(xlmr_copy: Path) -> None:
    source = directory_source(xlmr_copy)
    first = load_tokenizer(source)
    assert load_tokenizer(source) is first
    os.utime(xlmr_copy / "tokenizer.json", (0, 0))
    assert load_tokenizer(source) is not first


WEIGHT = "roberta.encoder.layer.1.output.dense.weight"


@pytest.mark.parametrize("change", ["drop", "shorten"])
def test_random_weights_in_the_encoder_are_an_error(xlmr_copy: Path, change: str) -> None:
    edit_weights(xlmr_copy, **{change: WEIGHT})
    with pytest.raises(EncoderError, match=WEIGHT):
        load_classifier(directory_source(xlmr_copy), LABELS)


def test_a_pooler_may_be_new(unigram_tokenizer: Any, tmp_path: Path) -> None:
    from transformers import BertModel

    config = tiny_config("bert", len(unigram_tokenizer))
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    model = load_classifier(directory_source(tmp_path), LABELS)
    assert model.bert.pooler.dense.weight.shape == (16, 16)


@pytest.mark.parametrize(
    "file", ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_broken_file_is_one_error(xlmr_copy: Path, file: str) -> None:
    (xlmr_copy / file).write_bytes(b'{"broken')
    source = directory_source(xlmr_copy)
    with pytest.raises(EncoderError, match=r"can't be loaded: \w+") as raised:
        (load_classifier(source, LABELS), load_tokenizer(source))
    assert str(xlmr_copy) in str(raised.value)
    assert "\n" not in str(raised.value)


def each_load_refuses(directory: Path, message: str) -> None:
    source = directory_source(directory)
    for load in (load_config, load_tokenizer, lambda source: load_classifier(source, LABELS)):
        with pytest.raises(EncoderError, match=message) as raised:
            load(source)
        assert "trust_remote_code" not in str(raised.value)


def test_a_model_without_a_classifier_is_refused(xlmr_copy: Path) -> None:
    edit_config(xlmr_copy, model_type="vit")
    each_load_refuses(xlmr_copy, r"is of type vit.*no sequence classifier")


@pytest.mark.parametrize("model_type", ["unheard-of", None])
def test_a_type_that_is_not_known_is_refused(xlmr_copy: Path, model_type: str | None) -> None:
    edit_config(xlmr_copy, model_type=model_type)
    with pytest.raises(EncoderError, match=r"config of copy .* can't be loaded"):
        load_config(directory_source(xlmr_copy))


CODE = {"AutoConfig": "custom.C", "AutoModelForSequenceClassification": "custom.M"}


def test_code_in_a_directory_is_not_run(xlmr_copy: Path) -> None:
    marker = xlmr_copy / "ran"
    (xlmr_copy / "custom.py").write_text(f"open({str(marker)!r}, 'w')")
    edit_config(xlmr_copy, model_type="custom", auto_map=CODE)
    each_load_refuses(xlmr_copy, r"config of .* needs code of its own")
    # Models that came with code before they entered transformers still name it.
    edit_config(xlmr_copy, model_type="xlm-roberta", auto_map=CODE)
    model = load_classifier(directory_source(xlmr_copy), LABELS)
    assert type(model).__module__.startswith("transformers.")
    assert not marker.exists()


@pytest.mark.parametrize(
    "named",
    [
        {"attn_implementation": "somebody/kernel"},
        {"_attn_implementation": "somebody/kernel"},
        {"text_config": {"attn_implementation": {"": "somebody/kernel@main:layer"}}},
    ],
)
def test_a_kernel_of_the_hub_is_refused(xlmr_copy: Path, named: dict[str, Any]) -> None:
    edit_config(xlmr_copy, **named)
    with pytest.raises(EncoderError, match=r"attention kernel 'somebody/kernel"):
        load_config(directory_source(xlmr_copy))


@pytest.mark.parametrize("layers", [-1, 0, 1_000_000])
def test_a_number_of_layers_without_weights_is_refused(xlmr_copy: Path, layers: int) -> None:
    edit_config(xlmr_copy, num_hidden_layers=layers)
    with pytest.raises(EncoderError, match=rf"has {layers:,} hidden layers"):
        load_classifier(directory_source(xlmr_copy), LABELS)


def test_a_tokenizer_must_be_able_to_pad(xlmr_copy: Path) -> None:
    file = xlmr_copy / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    del settings["pad_token"]
    file.write_text(json.dumps(settings))
    with pytest.raises(EncoderError, match="has no padding token"):
        load_tokenizer(directory_source(xlmr_copy))


def test_pieces_in_a_sentencepiece_model_are_read(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    (tmp_path / "corpus").write_text("\n".join(SOMALI * 20), encoding="utf-8")
    SentencePieceTrainer.train(
        input=str(tmp_path / "corpus"),
        model_prefix=str(tmp_path / "sentencepiece.bpe"),
        vocab_size=100,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tiny_config("xlm-roberta", 200).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(directory_source(tmp_path))
    processor = SentencePieceProcessor(model_file=str(tmp_path / "sentencepiece.bpe.model"))
    for text in SOMALI:
        pieces = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        assert pieces == ["<s>", *processor.encode(text, out_type=str), "</s>"]


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(xlmr_copy: Path) -> None:
    edit_config(xlmr_copy, vocab_size=100)
    with pytest.raises(EncoderError, match="do not belong together"):
        load_tokenizer(directory_source(xlmr_copy))


@pytest.mark.parametrize(("name", "positions"), [("xlm-roberta", 62), ("bert", 64)])
def test_the_maximum_length_is_what_the_model_can_read(
    unigram_tokenizer: Any, tmp_path: Path, name: str, positions: int
) -> None:
    from transformers import AutoModel

    model = AutoModel.from_config(tiny_config(name, len(unigram_tokenizer)))
    model.save_pretrained(tmp_path)
    source = directory_source(tmp_path)
    assert model_positions(source) == positions
    check_max_length(source, positions)
    with pytest.raises(EncoderError, match=f"set model.max_length to {positions} or less"):
        check_max_length(source, positions + 1)
    longest = torch.full((1, positions), 5)
    assert model(input_ids=longest).last_hidden_state.shape[1] == positions
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, positions + 1), 5))


def test_relative_positions_set_no_limit(tmp_path: Path) -> None:
    config = {"model_type": "deberta-v2", "position_biased_input": False}
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 512}))
    assert model_positions(directory_source(tmp_path)) is None
    check_max_length(directory_source(tmp_path), 4096)


# Mean pooling


def test_the_first_token_holds_the_mean_of_the_unpadded_states(
    tiny_encoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    source = directory_source(tiny_encoder)
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
    pooled.save_pretrained(tmp_path)  # as a stock model
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(**batch).logits, pooled(**batch).logits)


def test_mean_pooling_of_other_families_is_refused(tiny_encoder: Path) -> None:
    model = load_classifier(directory_source(tiny_encoder), ("a", "b"))
    model.config.model_type = "deberta-v2"
    with pytest.raises(EncoderError, match=r"set model.pooling to first"):
        pool_by_mean(model)
