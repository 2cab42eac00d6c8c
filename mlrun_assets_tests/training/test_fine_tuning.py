"""Fine-tuning the tiny encoder: what is trained, resumed, halted."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.metrics import label_numbers, val_metrics
from mlrun_assets.models.predictor import Predictor
from mlrun_assets.training.checkpoints import newest_sound, seal
from mlrun_assets.training.fine_tuning import fine_tune, load_initial_model
from mlrun_assets.training.job import FineTuningJob
from mlrun_assets.training.trainer import FineTuningTrainer
from mlrun_assets_tests.examples import LABELS, changed, tiny_job, weights


@pytest.fixture
def job(tmp_path: Path, tiny_encoder: Path) -> FineTuningJob:
    return tiny_job(tmp_path, tiny_encoder)


def test_a_job_leaves_a_plain_model_directory_and_its_logs(job: FineTuningJob) -> None:
    tuned = fine_tune(job)
    assert [entry.epoch for entry in tuned.history] == [1.0, 2.0, 3.0]
    assert tuned.steps == 18 and tuned.trim is None
    model = AutoModelForSequenceClassification.from_pretrained(str(job.model_dir))
    assert model.config.id2label == dict(enumerate(LABELS))
    assert AutoTokenizer.from_pretrained(str(job.model_dir)).pad_token_id == 1
    logged = [
        json.loads(line) for line in (job.logs_dir / "metrics.jsonl").read_text().splitlines()
    ]
    assert sum("eval_f1_macro" in entry for entry in logged) == 3
    assert all("grad_norm" in entry for entry in logged if "loss" in entry)
    assert list(job.logs_dir.glob("events.out.tfevents.*"))


def test_the_last_epoch_is_the_one_that_is_kept(job: FineTuningJob) -> None:
    tuned = fine_tune(job)
    val = pl.read_parquet(job.val_file)
    guess = Predictor(job.model_dir, 32).probabilities(val["text"].to_list()).argmax(axis=1)
    scored = val_metrics(label_numbers(val["label"], LABELS), guess)
    assert scored["f1_macro"] == pytest.approx(tuned.history[-1].val_f1_macro)


def test_the_first_epochs_read_the_beginnings_of_texts(
    job: FineTuningJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: dict[bool, list[tuple[float, int]]] = {True: [], False: []}
    note = FineTuningTrainer._note_batch

    def noted(self: FineTuningTrainer, inputs: dict[str, torch.Tensor]) -> None:
        note(self, inputs)
        assert len(inputs["labels"]) == len(inputs["input_ids"])
        widths[self.model.training].append((self.state.epoch or 0, inputs["input_ids"].shape[1]))

    monkeypatch.setattr(FineTuningTrainer, "_note_batch", noted)
    monkeypatch.setattr("mlrun_assets.training.trainer.SHORT_TEXT_TOKENS", 4)
    monkeypatch.setattr("mlrun_assets.training.fine_tuning.SHORT_TEXT_TOKENS", 4)
    tuned = fine_tune(changed(job, short_epochs=2))
    assert {width for epoch, width in widths[True] if epoch < 2} == {4}
    assert min(width for epoch, width in widths[True] if epoch >= 2) > 4
    assert min(width for _, width in widths[False]) > 4
    whole = fine_tune(changed(job, short_epochs=0, epochs=1)).tokens
    assert tuned.tokens == 2 * 4 * 48 + whole  # every text has more than four tokens


def test_texts_that_begin_behind_padding_are_read_whole(
    job: FineTuningJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tmp_path / "left"
    shutil.copytree(job.encoder.location, encoder)
    file = encoder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"padding_side": "left"}))
    widths: list[int] = []
    note = FineTuningTrainer._note_batch

    def noted(self: FineTuningTrainer, inputs: dict[str, torch.Tensor]) -> None:
        note(self, inputs)
        if not inputs["attention_mask"][:, 0].all():
            widths.append(inputs["input_ids"].shape[1])

    monkeypatch.setattr(FineTuningTrainer, "_note_batch", noted)
    monkeypatch.setattr("mlrun_assets.training.trainer.SHORT_TEXT_TOKENS", 4)
    source = resolve_encoder(str(encoder), None, tmp_path)
    fine_tune(changed(replace(job, encoder=source), short_epochs=3))
    assert widths and min(widths) > 4


def test_what_the_recipe_freezes_does_not_change(job: FineTuningJob) -> None:
    fine_tune(changed(job, freeze="embeddings", epochs=1))
    before, after = weights(Path(job.encoder.location)), weights(job.model_dir)
    for name, frozen in (
        ("embeddings.word_embeddings.weight", True),
        ("encoder.layer.0.output.dense.weight", False),
    ):
        assert (before[name] == after[f"bert.{name}"]).all() == frozen


def test_a_batch_larger_than_the_split_is_one_step_an_epoch(job: FineTuningJob) -> None:
    assert fine_tune(changed(job, batch_size=512)).steps == 3


def test_checkpoints_of_other_data_are_not_continued(job: FineTuningJob) -> None:
    left = job.checkpoints_dir / "checkpoint-6"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"of other data")
    seal(left, replace(job, data_digest="sha256:other").digest)
    job.logs_dir.mkdir()
    (job.logs_dir / "metrics.jsonl").write_text('{"step": 6, "of": "other data"}\n')
    assert newest_sound(job.checkpoints_dir, job.digest)[0] is None
    tuned = fine_tune(job)
    assert tuned.resumed_from_step is None
    assert tuned.passed_over == ("checkpoint-6",)
    assert "other data" not in (job.logs_dir / "metrics.jsonl").read_text()


def test_time_and_tokens_are_those_of_all_attempts(
    job: FineTuningJob, tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = FineTuningTrainer.training_step, 0

    def slowly_and_cut_off(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 15:
            raise KeyboardInterrupt
        time.sleep(0.2)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(FineTuningTrainer, "training_step", slowly_and_cut_off)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(job)
    resumed = fine_tune(job)
    assert resumed.resumed_from_step == 12
    assert resumed.seconds > 12 * 0.2
    undisturbed = fine_tune(tiny_job(tmp_path / "other", tiny_encoder))
    assert resumed.tokens == undisturbed.tokens
    lines: list[str] = []
    once_more = fine_tune(job, lines.append)
    assert once_more.history == resumed.history
    assert lines == ["training: continues from checkpoint-18"]
    assert once_more.tokens == undisturbed.tokens
    assert 12 * 0.2 < once_more.seconds <= resumed.seconds


@pytest.mark.parametrize("trimmed", [True, False])
def test_the_weights_are_no_views_into_the_file_of_the_encoder(
    tmp_path: Path, tiny_encoder: Path, trimmed: bool
) -> None:
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
