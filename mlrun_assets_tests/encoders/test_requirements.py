"""Checks of an encoder before anything long starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from mlrun_assets.config import Config
from mlrun_assets.encoders.loading import (
    check_head,
    check_requirements,
    describe_head,
    load_classifier,
)
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import directory_source, tiny_config, wrapped


def asked(**settings: Any) -> Config:
    return Config.model_validate({"model": {"max_length": 62, **settings}})


def test_the_positions_must_do_and_no_weights_are_read(xlmr_copy: Path) -> None:
    (xlmr_copy / "model.safetensors").unlink()
    source = directory_source(xlmr_copy)
    for trim in (True, False, "auto"):
        check_requirements(source, asked(trim_vocabulary=trim))
    with pytest.raises(EncoderError, match=r"set model\.max_length to 62 or less"):
        check_requirements(source, asked(max_length=63))


def test_trimming_that_is_asked_for_must_be_possible(tmp_path: Path) -> None:
    words = models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "waa": 4}, "<unk>")
    wrapped(Tokenizer(words)).save_pretrained(tmp_path)
    tiny_config("bert", 30).save_pretrained(tmp_path)
    source = directory_source(tmp_path)
    with pytest.raises(EncoderError, match=r"a WordLevel model.*model\.trim_vocabulary to false"):
        check_requirements(source, asked(trim_vocabulary=True))
    check_requirements(source, asked(trim_vocabulary="auto"))
    check_requirements(source, asked(trim_vocabulary=False))


# A trained head of the encoder

LABELS = ("ciyaaro", "caafimaad", "siyaasad", "dhaqaale", "waxbarasho")


@pytest.fixture
def classifier(xlmr_copy: Path) -> Path:
    """A directory with a head for five labels."""
    load_classifier(directory_source(xlmr_copy), LABELS).save_pretrained(xlmr_copy)
    return xlmr_copy


def test_labels_that_the_config_names_must_be_as_many_as_the_head_s(classifier: Path) -> None:
    source = directory_source(classifier)
    for passes in (asked(num_labels=5), asked()):
        check_requirements(source, passes)
    with pytest.raises(EncoderError, match=r"and model\.num_labels gives 3\. Set model\.name to"):
        check_requirements(source, asked(num_labels=3))
    config = Config.model_validate({"data": {"labels": ["a", "b", "c"]}, "model": asked().model})
    with pytest.raises(EncoderError, match=r"and data\.labels gives 3\. Set"):
        check_requirements(source, config)


def test_a_head_for_another_number_of_labels(classifier: Path, tmp_path: Path) -> None:
    source = directory_source(classifier)
    message = r"of 5 labels \(ciyaaro, .*\), and the data gives 3\. .*save it without its head"
    with pytest.raises(EncoderError, match=message):
        check_head(source, 3, "the data")
    check_head(source, 5, "the data")
    assert f"is a classifier of 5 labels ({', '.join(LABELS)}): its" in str(describe_head(source))
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(classifier).save_pretrained(bare)
    AutoTokenizer.from_pretrained(classifier).save_pretrained(str(bare))
    check_head(directory_source(bare), 3, "the data")
    assert describe_head(directory_source(bare)) is None


def test_weights_in_several_files(classifier: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    (classifier / "model.safetensors").unlink()
    model.save_pretrained(classifier, max_shard_size="10KB")
    assert (classifier / "model.safetensors.index.json").is_file()
    with pytest.raises(EncoderError, match="5 labels"):
        check_head(directory_source(classifier), 3, "the data")


@pytest.mark.parametrize("architecture", ["XLMRobertaForMaskedLM", None, "keeps its own"])
def test_an_encoder_that_only_counts_labels_passes(
    xlmr_copy: Path, architecture: str | None
) -> None:
    """Every config has a number of labels; only the weights of a head make a classifier."""
    file = xlmr_copy / "config.json"
    config = json.loads(file.read_text()) | {"id2label": {"0": "a", "1": "b"}}
    if architecture == "keeps its own":
        config["architectures"] = ["XLMRobertaForSequenceClassification"]  # without its weights
    else:
        config["architectures"] = [architecture] if architecture else None
    file.write_text(json.dumps(config))
    check_head(directory_source(xlmr_copy), 3, "the data")
    assert describe_head(directory_source(xlmr_copy)) is None
