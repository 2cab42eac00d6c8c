"""The classifier that an encoder brings along."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from mlrun_assets.encoders.loading import load_classifier
from mlrun_assets.encoders.requirements import check_head, describe_head
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import directory_source

LABELS = ("ciyaaro", "caafimaad", "siyaasad", "dhaqaale", "waxbarasho")


@pytest.fixture
def classifier(xlmr_copy: Path) -> Path:
    """A directory with a head for five labels."""
    load_classifier(directory_source(xlmr_copy), LABELS).save_pretrained(xlmr_copy)
    return xlmr_copy


def test_a_head_for_another_number_of_labels(classifier: Path, tmp_path: Path) -> None:
    source = directory_source(classifier)
    with pytest.raises(
        EncoderError,
        match=r"of 5 labels \(ciyaaro, .*\), and the data gives 3\. .*save it without its head",
    ):
        check_head(source, 3, "the data")
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(classifier).save_pretrained(bare)
    AutoTokenizer.from_pretrained(classifier).save_pretrained(str(bare))
    check_head(directory_source(bare), 3, "the data")
    assert describe_head(directory_source(bare)) is None


def test_a_head_for_as_many_labels_is_mentioned(classifier: Path) -> None:
    source = directory_source(classifier)
    check_head(source, 5, "the data")
    note = str(describe_head(source))
    assert "classifier of 5 labels (ciyaaro, caafimaad, siyaasad, dhaqaale, waxbarasho)" in note


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
