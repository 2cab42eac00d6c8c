"""The encoder adapted to texts: what it reads, what it changes, and that it can be cut off."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import mean
from typing import Any
from unittest.mock import Mock

import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file
from transformers import AutoModel, AutoTokenizer

from mlrun_assets.encoders.trimming import trim
from mlrun_assets.errors import TrainingError
from mlrun_assets.records import PretrainingRecord
from mlrun_assets.training import fine_tuning, pretraining
from mlrun_assets.training.job import FineTuningJob, PretrainingFiles
from mlrun_assets.training.pretraining import (
    MIN_SPAN_WORDS,
    ContrastiveTrainer,
    EpochsOfPairs,
    SpanPairs,
    collate_pairs,
    draw_spans,
    info_nce,
)
from mlrun_assets_tests.examples import changed, sample_rows, tiny_job, weights

pytestmark = pytest.mark.slow  # whole runs, trainings or processes

# The job, its record and its progress lines.
Undisturbed = tuple[FineTuningJob, PretrainingRecord, list[str]]
TEXTS = 60
"""48 of train, 12 without labels: eight steps an epoch."""


def adapting(directory: Path, encoder: Path, **recipe: Any) -> FineTuningJob:
    """A tiny job with two epochs of pretraining on its own texts and twelve others."""
    job = changed(tiny_job(directory, encoder), pretraining_epochs=2, **recipe)
    unlabelled = directory / "unlabelled.parquet"
    pl.DataFrame(sample_rows("train")[60:72]).drop("label").write_parquet(unlabelled)
    return replace(job, pretraining=PretrainingFiles(directory / "pretraining", unlabelled))


def pretrain(job: FineTuningJob, lines: list[str] | None = None) -> PretrainingRecord:
    assert job.pretraining
    return pretraining.pretrain(job, job.pretraining, [].append if lines is None else lines.append)


def adapted(job: FineTuningJob) -> dict[str, Any]:
    assert job.pretraining
    return dict(load_file(job.pretraining.weights))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Undisturbed:
    job, lines = adapting(tmp_path_factory.mktemp("pretraining") / "job", tiny_encoder), list[str]()
    return job, pretrain(job, lines), lines


def test_it_reads_all_texts_and_changes_the_encoder(
    undisturbed: Undisturbed, tiny_encoder: Path
) -> None:
    job, record, lines = undisturbed
    assert (record.texts, record.pairs, record.epochs) == (TEXTS, 2 * TEXTS, 2)
    log = (job.logs_dir / "pretraining.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [entry["loss"] for entry in map(json.loads, log) if "loss" in entry]
    assert (record.first_loss, record.last_loss) == pytest.approx(
        (mean(losses[:8]), mean(losses[8:]))
    )
    assert lines[0] == "pretraining: 16 steps, at most 2 epochs"
    after = adapted(job)
    assert not any(name.startswith(("embeddings.word", "pooler")) for name in after)
    assert any(name.startswith("encoder.layer.1.") for name in after)
    assert loss_of(tiny_encoder, after) < loss_of(tiny_encoder, {}) - 0.01
    assert job.pretraining
    left = sorted(file.name for file in job.pretraining.directory.iterdir())
    assert left == ["encoder.safetensors", "finished.json"]


def loss_of(encoder: Path, weights: dict[str, Any]) -> float:
    """On the same pairs each time and without dropout, which move it more than two epochs do."""
    model = AutoModel.from_pretrained(str(encoder)).eval()
    model.load_state_dict(
        {name: torch.from_numpy(value) for name, value in weights.items()}, strict=False
    )
    pairs = SpanPairs([row["text"] for row in sample_rows("train")[:TEXTS]], 16, seed=1)
    tokenizer = AutoTokenizer.from_pretrained(str(encoder))
    batch = collate_pairs([pairs[row] for row in range(TEXTS)], tokenizer, 32)
    del batch["row"]
    with torch.no_grad():
        return float(info_nce(model(**batch).last_hidden_state, batch["attention_mask"]))


def test_what_is_done_is_not_done_again_unless_its_weights_are_damaged(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    job, record, _ = undisturbed
    assert job.pretraining
    lines: list[str] = []
    assert pretrain(job, lines) == record
    assert lines == ["pretraining: was done before"]
    directory = shutil.copytree(job.pretraining.directory, tmp_path / "copy")
    copy = replace(job.pretraining, directory=directory)
    other = replace(job, pretraining=copy, logs_dir=tmp_path)
    copy.weights.write_bytes(b"damaged")
    assert pretrain(other, lines).last_loss == record.last_loss
    pretrain(changed(other, seed=2), lines)
    assert lines.count("pretraining: 16 steps, at most 2 epochs") == 2


@pytest.mark.parametrize(
    ("step", "resumes"), [(3, None), (12, "checkpoint-8"), (17, "checkpoint-16")]
)
def test_one_that_was_cut_off_ends_as_an_undisturbed_one(
    undisturbed: Undisturbed,
    tmp_path: Path,
    tiny_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    resumes: str | None,
) -> None:
    real, steps = ContrastiveTrainer.training_step, 0

    def cut_off(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        time.sleep(0.15)
        return real(*arguments)

    expected, record, _ = undisturbed
    job, lines = adapting(tmp_path / "job", tiny_encoder), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(ContrastiveTrainer, "training_step", cut_off)
        patch.setattr(pretraining, "_save", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            pretrain(job)
    again = pretrain(job, lines)
    if resumes is not None:
        assert lines[0] == f"pretraining: continues from {resumes}"
    assert again == record.model_copy(update={"seconds": again.seconds})
    assert again.seconds > 0.15 * ((step - 1) // 8 * 8)  # up to the checkpoint
    wanted, got = adapted(expected), adapted(job)
    assert wanted.keys() == got.keys()
    assert all((wanted[name] == got[name]).all() for name in wanted)


def test_fine_tuning_starts_from_it(undisturbed: Undisturbed, tmp_path: Path) -> None:
    job, _, _ = undisturbed
    trained = {}
    for name, files in (("with", job.pretraining), ("without", None)):
        still = changed(replace(job, pretraining=files), epochs=1, freeze="encoder")
        other = replace(
            still, checkpoints_dir=tmp_path / name, model_dir=tmp_path / f"model-{name}"
        )
        fine_tuning.fine_tune(other)
        trained[name] = weights(other.model_dir)
    for name, value in adapted(job).items():
        assert (trained["with"][f"bert.{name}"] == value).all()
    assert any(
        (trained["with"][name] != trained["without"][name]).any() for name in trained["with"]
    )


def test_the_vocabulary_keeps_what_the_unlabelled_texts_use(
    tmp_path: Path, tiny_encoder: Path
) -> None:
    job = adapting(tmp_path / "job", tiny_encoder, trim_vocabulary=True)
    asked: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "trim", lambda *given: (asked.append(given[2]), trim(*given))[1])
        fine_tuning.load_initial_model(job)
        fine_tuning.load_initial_model(replace(job, pretraining=None))
    assert [len(texts) for texts in asked] == [TEXTS, 48]


def test_a_loss_that_is_not_finite_names_the_texts(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretraining, "info_nce", lambda *_: torch.tensor(float("nan")))
    job = adapting(tmp_path / "job", tiny_encoder)
    message = r"loss of the pretraining is not finite at step 1, in the batch \(16 rows .* sample-"
    with pytest.raises(TrainingError, match=message):
        pretrain(job)


def test_the_loss_is_least_where_each_text_is_nearest_to_itself() -> None:
    states = torch.eye(3).unsqueeze(1).repeat(2, 2, 1)  # three pairs, two tokens each
    mask = torch.ones(6, 2)
    right = info_nce(states, mask)
    assert right < 1e-6
    first, second = states.chunk(2)
    assert info_nce(torch.cat([first.roll(1, 0), second]), mask) > 10
    states[:, 1] = 100.0  # padding counts for nothing
    mask[:, 1] = 0
    assert info_nce(states, mask) == right


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=80), st.integers(1, 40))
def test_spans_do_not_overlap_and_are_no_longer_than_wanted(words: list[str], longest: int) -> None:
    numbered = [f"{word}{number}" for number, word in enumerate(words)]
    text = " ".join(numbered)
    first, second = (span.split() for span in draw_spans(text, longest, Random(1)))
    if min(longest, len(words) // 2) < MIN_SPAN_WORDS:
        assert first == second == numbered
    else:
        assert MIN_SPAN_WORDS <= len(first) == len(second) <= longest
        assert not set(first) & set(second)
        assert " ".join(first) in text and " ".join(second) in text


def test_each_epoch_draws_other_spans_and_the_same_ones_again() -> None:
    texts = [" ".join(f"w{number}" for number in range(20 + row)) for row in range(10)]
    pairs = SpanPairs(texts, 10, 7)
    groups = EpochsOfPairs(pairs.lengths, 4, 7)
    epochs = []
    for epoch in (0, 1, 1):
        groups.set_epoch(epoch)
        epochs.append([pairs[index] for index in groups])
    assert epochs[1] == epochs[2] != epochs[0]
    for drawn in epochs:
        assert sorted(row for row, _, _ in drawn) == list(range(10))
