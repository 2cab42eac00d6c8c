"""What a training starts from: the encoder with a head, trimmed, and adapted where it has been."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mlrun_assets import encoders
from mlrun_assets.records import VocabularyTrim
from mlrun_assets.trainer.cpu_training import drop_no_attention, tune_for_cpu
from mlrun_assets.trainer.job import FineTuningJob


def load_start(
    job: FineTuningJob, adapted: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, VocabularyTrim | None]:
    """The classifier that ``job`` starts from, its tokenizer, and what trimming did.

    Args:
        job: what is to be trained. The vocabulary keeps what its unlabelled texts use too.
        adapted: weights of the encoder that take the place of its own, by their names in it.

    Raises:
        EncoderError: the encoder can't be loaded.
    """
    tokenizer = encoders.load_tokenizer(job.encoder)
    model = encoders.load_classifier(job.encoder, job.labels)
    if adapted:
        model.base_model.load_state_dict(load_file(adapted), strict=False)
    if job.recipe.pooling == "mean":
        encoders.pool_by_mean(model)
    if not job.recipe.attention_dropout:
        drop_no_attention(model)
    if not torch.cuda.is_available():
        tune_for_cpu(model, job.recipe.bf16)
    trim = None
    if job.recipe.trim_vocabulary:
        seen = texts_of(job.train_file)
        if job.pretraining and job.pretraining.unlabelled_file:
            seen += texts_of(job.pretraining.unlabelled_file)
        tokenizer, trim = encoders.trim(tokenizer, model, seen, texts_of(job.val_file))
    _leave_the_file(model)
    return model, tokenizer, trim


def _leave_the_file(model: PreTrainedModel) -> None:
    """Copy the weights into memory of their own.

    Loaded weights are views into the encoder's file. While one is left, all of the file that was
    touched counts as memory, rows of the vocabulary that were trimmed away included, and a file
    that someone cuts short would end the training.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def texts_of(file: Path) -> list[str]:
    """The column ``text`` of a Parquet file."""
    return pl.read_parquet(file, columns=["text"])["text"].to_list()
