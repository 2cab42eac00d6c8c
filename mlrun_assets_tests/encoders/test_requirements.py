"""What the config asks of an encoder, asked before anything long starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlrun_assets.config import Config
from mlrun_assets.encoders.loading import load_classifier
from mlrun_assets.encoders.requirements import check_requirements
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import directory_source, tiny_config, wrapped


def asked(**settings: Any) -> Config:
    return Config.model_validate({"model": {"max_length": 62, **settings}})


@pytest.mark.parametrize("trim", [True, False, "auto"])
def test_an_encoder_that_can_do_it_passes(tiny_xlmr: Path, trim: bool | str) -> None:
    check_requirements(directory_source(tiny_xlmr), asked(trim_vocabulary=trim))


def test_the_positions_must_do(tiny_xlmr: Path) -> None:
    with pytest.raises(EncoderError, match=r"set model\.max_length to 62 or less"):
        check_requirements(directory_source(tiny_xlmr), asked(max_length=63))


def test_no_weights_are_read(xlmr_copy: Path) -> None:
    (xlmr_copy / "model.safetensors").unlink()
    check_requirements(directory_source(xlmr_copy), asked(trim_vocabulary=True))


def test_trimming_that_is_asked_for_must_be_possible(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    words = models.WordLevel({"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "waa": 4}, "<unk>")
    wrapped(Tokenizer(words)).save_pretrained(tmp_path)
    tiny_config("bert", 30).save_pretrained(tmp_path)
    source = directory_source(tmp_path)
    with pytest.raises(
        EncoderError, match=r"is a WordLevel model.*model\.trim_vocabulary to false"
    ):
        check_requirements(source, asked(trim_vocabulary=True))
    check_requirements(source, asked(trim_vocabulary="auto"))
    check_requirements(source, asked(trim_vocabulary=False))


def test_labels_that_the_config_names_must_be_as_many_as_the_head_s(xlmr_copy: Path) -> None:
    source = directory_source(xlmr_copy)
    check_requirements(source, asked(num_labels=3))
    load_classifier(source, ("ciyaaro", "caafimaad")).save_pretrained(xlmr_copy)
    check_requirements(source, asked(num_labels=2))
    check_requirements(source, asked())
    with pytest.raises(EncoderError, match=r"and model\.num_labels gives 3\. Set model\.name to"):
        check_requirements(source, asked(num_labels=3))
    config = Config.model_validate({"data": {"labels": ["a", "b", "c"]}, "model": asked().model})
    with pytest.raises(EncoderError, match=r"and data\.labels gives 3\. Set"):
        check_requirements(source, config)
