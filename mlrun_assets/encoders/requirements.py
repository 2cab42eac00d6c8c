"""Checks that an encoder can do what the config asks for, before anything long starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlrun_assets.config import Config
from mlrun_assets.encoders.directory import weight_names
from mlrun_assets.encoders.loading import (
    check_max_length,
    load_config,
    load_tokenizer,
    source_directory,
)
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import require_trimmable
from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


# What transformers' sequence classifiers call the layers behind the encoder.
HEADS = ("classifier.", "score.", "classification_head.", "logits_proj.", "sequence_summary.")
LABELS_SHOWN = 12


def check_head(source: EncoderSource, labels: int, origin: str) -> None:
    """Check that the encoder has no trained head for another number of labels than ``labels``.

    With such a head, the directory is probably not the one that the user meant. A head for as many
    labels with other names passes (see ``describe_head``), and so does a label count in the config
    without weights of a head.

    Args:
        source: the encoder.
        labels: number of labels.
        origin: where that number comes from, for the message: a key of the config, or the data.

    Raises:
        EncoderError: it has such a head, or its config can't be read.
    """
    config = _classifier_config(source)
    if config is not None and config.num_labels != labels:
        raise EncoderError(
            f"{source.name} ({source.location}) is a classifier of {_listed(config)}, and "
            f"{origin} gives {labels}. Set model.name to the encoder that it was made from, or "
            "take data with those labels. To start from this one, save it without its head: "
            f"`AutoModel.from_pretrained({source.location!r}).save_pretrained(other)`, and "
            "its tokenizer with `AutoTokenizer` into the same directory."
        )


def describe_head(source: EncoderSource) -> str | None:
    """A note for the user about a trained head of the encoder; None: it has none.

    A head for as many labels with other names is no error: its last layer is replaced by a new one
    in any case (see ``load_classifier``).

    Raises:
        EncoderError: the encoder's config can't be read.
    """
    config = _classifier_config(source)
    if config is None:
        return None
    return (
        f"{source.name} is a classifier of {_listed(config)}: its last layer is replaced by a new "
        "one for the labels of the data"
    )


def _classifier_config(source: EncoderSource) -> PreTrainedConfig | None:
    """The encoder's config if it is a classifier and has the weights of its head; else None."""
    config = load_config(source)
    names = config.architectures or ()
    if not any(name.endswith("ForSequenceClassification") for name in names):
        return None
    weights = weight_names(Path(source_directory(source)))
    return config if any(name.startswith(HEADS) for name in weights) else None


def _listed(config: PreTrainedConfig) -> str:
    names = list(config.id2label.values())
    more = ", …" if len(names) > LABELS_SHOWN else ""
    return f"{config.num_labels} labels ({', '.join(names[:LABELS_SHOWN])}{more})"


def check_requirements(source: EncoderSource, config: Config) -> None:
    """Check the encoder's type, its maximum length, its head, and that it can be trimmed.

    The head is checked if ``config`` gives the number of labels; otherwise call ``check_head`` when
    the data is read. No weights are read. Takes a fraction of a second after imports, and seconds
    more for the tokenizer if ``model.trim_vocabulary`` is true.

    Raises:
        EncoderError: it can't be fine-tuned as ``config`` asks; the message names the key.
    """
    model, labels = config.model, config.data.labels
    check_max_length(source, model.max_length)
    if model.num_labels:
        check_head(source, model.num_labels, "model.num_labels")
    elif labels:
        check_head(source, len(labels), "data.labels")
    if model.trim_vocabulary is True:
        require_trimmable(load_tokenizer(source))
