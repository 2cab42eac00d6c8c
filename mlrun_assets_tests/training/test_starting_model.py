"""What a training starts from owns its weights."""

import shutil
from pathlib import Path

import pytest
import torch

from mlrun_assets_tests.examples import changed, tiny_job


@pytest.mark.parametrize("trimmed", [True, False])
def test_the_weights_are_no_views_into_the_file_of_the_encoder(
    tmp_path: Path, tiny_encoder: Path, trimmed: bool
) -> None:
    from mlrun_assets.training.fine_tuning import load_initial_model

    encoder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    job = changed(tiny_job(tmp_path / "run", encoder), trim_vocabulary=trimmed)
    model, _, trim = load_initial_model(job)
    weights = encoder / "model.safetensors"
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    with weights.open("r+b") as file:
        file.write(bytes(weights.stat().st_size))
    assert (trim is not None) == trimmed
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name
