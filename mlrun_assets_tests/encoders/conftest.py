"""Fixtures on the encoders of `tiny_encoders`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mlrun_assets_tests.encoders import tiny_encoders


@pytest.fixture(scope="session")
def unigram_tokenizer() -> Any:
    return tiny_encoders.xlmr_tokenizer()


@pytest.fixture(scope="session")
def tiny_xlmr(unigram_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain transformers directory with a tiny XLM-R, as it comes out of pretraining."""
    import torch
    from transformers import XLMRobertaForMaskedLM

    directory = tmp_path_factory.mktemp("encoders") / "tiny-xlmr"
    torch.manual_seed(0)
    config = tiny_encoders.tiny_config("xlm-roberta", len(unigram_tokenizer))
    XLMRobertaForMaskedLM(config).save_pretrained(directory)
    unigram_tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def xlmr_copy(tiny_xlmr: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_xlmr, tmp_path / "copy"))
