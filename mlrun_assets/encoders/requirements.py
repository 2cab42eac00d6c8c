"""Checks that an encoder can do what the config asks for, before anything long starts."""

from __future__ import annotations

from pathlib import Path

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
from mlrun_assets.errors import EncoderError, listed

# What transformers' sequence classifiers call the layers behind the encoder.
HEADS = ("classifier.", "score.", "classification_head.", "logits_proj.", "sequence_summary.")


def check_head(source: EncoderSource, labels: int, origin: str) -> None:
    """Check that the encoder has no trained head for another number of labels than ``labels``.

    With such a head, the directory is probably not the one that the user meant. A head for as many
    labels with other names passes (see ``describe_head``), and so does a label count in the config
    without weights of a head. ``origin`` is a config key or the data, for the message.

    Raises:
        EncoderError: it has such a head, or its config can't be read.
    """
    head = _trained_head(source)
    if head and head[0] != labels:
        raise EncoderError(
            f"{source.name} ({source.location}) is {head[1]}, and "
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
    head = _trained_head(source)
    replaced = "its last layer is replaced by a new one for the labels of the data"
    return f"{source.name} is {head[1]}: {replaced}" if head else None


def _trained_head(source: EncoderSource) -> tuple[int, str] | None:
    """Number of labels and description of a classifier's trained head; None: it has none."""
    config = load_config(source)
    architectures = config.architectures or ()
    if not any(name.endswith("ForSequenceClassification") for name in architectures):
        return None
    if not any(name.startswith(HEADS) for name in weight_names(Path(source_directory(source)))):
        return None
    names = list(config.id2label.values())
    return config.num_labels, f"a classifier of {config.num_labels} labels ({listed(names)})"


def check_requirements(source: EncoderSource, config: Config) -> None:
    """Check the encoder's type, its maximum length, its head, and that it can be trimmed.

    The head is checked if ``config`` gives the number of labels; otherwise call ``check_head`` when
    the data is read. No weights are read. Takes a fraction of a second after imports, and seconds
    more for the tokenizer if ``model.trim_vocabulary`` is true.

    Raises:
        EncoderError: it can't be fine-tuned as ``config`` asks; the message names the key.
    """
    model = config.model
    check_max_length(source, model.max_length)
    if labels := model.num_labels or len(config.data.labels or ()):
        check_head(source, labels, "model.num_labels" if model.num_labels else "data.labels")
    if model.trim_vocabulary is True:
        require_trimmable(load_tokenizer(source))
