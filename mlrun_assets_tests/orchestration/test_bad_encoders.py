"""An encoder or tracker that can't be used: one message, before the data is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.definitions import defs
from mlrun_assets.encoders.loading import load_classifier
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.experiment import all_experiments
from mlrun_assets.orchestration import assets
from mlrun_assets.records import Manifest, Status
from mlrun_assets_tests.examples import MakeProject

pytestmark = pytest.mark.usefixtures("dagster_home")


def run(config: Path) -> Manifest:
    defs.resolve_job_def("ml_run").execute_in_process(
        run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
        raise_on_error=False,
    )
    return all_experiments(load_config(config).experiments_dir)[0].manifest


def without_tokenizer(encoder: Path) -> None:
    (encoder / "tokenizer.json").unlink()


def with_a_pickle(encoder: Path) -> None:
    (encoder / "model.safetensors").rename(encoder / "pytorch_model.bin")


def half_downloaded(encoder: Path) -> None:
    weights = encoder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def with_a_shard_less(encoder: Path) -> None:
    (encoder / "model.safetensors").rename(encoder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = encoder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": shards}))


def adapter_only(encoder: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (encoder / name).unlink()
    (encoder / "adapter_config.json").write_text('{"base_model_name_or_path": "xlm-roberta-base"}')


def of_type(model_type: str, **more: Any) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        file = encoder / "config.json"
        config = json.loads(file.read_text()) | {"model_type": model_type, **more}
        file.write_text(json.dumps(config))

    return change


def of_whole_words(encoder: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({"<pad>": 0, "<unk>": 1, "waa": 2}, "<unk>")
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(str(encoder))


def with_a_head(labels: str) -> Callable[[Path], None]:
    def change(encoder: Path) -> None:
        source = EncoderSource(encoder.name, str(encoder), None, "directory")
        load_classifier(source, tuple(labels)).save_pretrained(encoder)

    return change


def unchanged(encoder: Path) -> None:
    assert encoder.is_dir()


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (without_tokenizer, {}, "holds no tokenizer"),
        (with_a_pickle, {}, "is a pickle"),
        (half_downloaded, {}, "its download did not end"),
        (with_a_shard_less, {}, "lacks model-00002-of-00002.safetensors"),
        (adapter_only, {}, "adapter (LoRA or such) of xlm-roberta-base"),
        (of_type("vit"), {}, "no sequence classifier"),
        (of_type("own", auto_map={"AutoConfig": "own.Config"}), {}, "needs code of its own"),
        (of_whole_words, {"trim_vocabulary": True}, "set model.trim_vocabulary to false"),
        (with_a_head("abcde"), {}, "5 labels (a, b, c, d, e), and model.num_labels says 3"),
        (unchanged, {"max_length": 65}, "set model.max_length to 64 or less"),
    ],
)
def test_each_bad_encoder_has_its_message(
    make_project: MakeProject,
    tiny_encoder: Path,
    tmp_path: Path,
    change: Callable[[Path], None],
    settings: dict[str, Any],
    message: str,
) -> None:
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    change(encoder)
    config = make_project(model={"name": "./encoder", **settings})
    shutil.rmtree(config.parent / "data")  # the encoder's error comes before that of the data
    manifest = run(config)
    assert manifest.status is Status.FAILED
    assert message.casefold() in (manifest.error or "").casefold()
    assert set(manifest.stages) == {"experiment", "validated_dataset"}


def test_a_classifier_for_as_many_other_labels_is_only_mentioned(
    make_project: MakeProject, tiny_encoder: Path, tmp_path: Path
) -> None:
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    with_a_head("abc")(encoder)
    config = make_project(model={"name": "./encoder"})
    instance = dg.DagsterInstance.get()
    result = dg.materialize(
        [*assets.stages, *assets.raw_splits],
        selection=dg.AssetSelection.from_string('+key:"validated_dataset"'),
        resources=defs.resources,
        run_config={"resources": {"ml_run": {"config": {"config_file": str(config)}}}},
        instance=instance,
    )
    assert result.success
    said = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert [line for line in said if "is a classifier of 3 labels (a, b, c)" in line]


def test_a_classifier_for_another_number_than_the_data_s_ends_the_run(
    make_project: MakeProject, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Where the config does not say how many, the data does."""
    encoder = Path(shutil.copytree(tiny_encoder, tmp_path / "encoder"))
    with_a_head("abcde")(encoder)
    manifest = run(make_project(model={"name": "./encoder", "num_labels": None}))
    assert manifest.status is Status.FAILED
    assert "5 labels (a, b, c, d, e), and the training split says 3" in (manifest.error or "")
    assert set(manifest.stages) == {"experiment", "validated_dataset"}


def test_other_labels_than_the_config_s_are_one(make_project: MakeProject) -> None:
    manifest = run(make_project(model={"num_labels": 4}))
    assert manifest.status is Status.BLOCKED
    assert "model.num_labels is 4" in (manifest.error or "")
    assert "trained_checkpoint" not in manifest.stages


def test_a_tracker_that_is_not_known_is_told_before_the_data_is_read(
    make_project: MakeProject,
) -> None:
    config = make_project(training={"report_to": ["tensorbord"]})
    shutil.rmtree(config.parent / "data")
    manifest = run(config)
    assert manifest.status is Status.FAILED
    assert "transformers knows no tracker `tensorbord`" in (manifest.error or "")
