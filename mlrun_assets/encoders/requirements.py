"""Whether an encoder can do what the config asks of it, asked before anything long starts."""

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


def check_head(source: EncoderSource, labels: int, said_by: str) -> None:
    """Check that the encoder brings no classifier of another number of labels than ``labels``.

    Its head could not be of use: the directory is likely to be another one than was meant. One for
    as many labels of other names passes (see ``describe_head``), and so does a config that counts
    labels, as every one does, where no weights of a head are.

    Args:
        source: the encoder.
        labels: how many there are.
        said_by: what says so, for the message: a key of the config, or the data.

    Raises:
        EncoderError: it brings one; or its config can't be read.
    """
    config = _classifier_config(source)
    if config is not None and config.num_labels != labels:
        raise EncoderError(
            f"{source.name} ({source.location}) is a classifier of {_listed(config)}, and "
            f"{said_by} says {labels}. Set model.name to the encoder that it was made from, or "
            "take data with those labels; to start from it all the same, save it without its "
            f"head: `AutoModel.from_pretrained({source.location!r}).save_pretrained(other)`, and "
            "its tokenizer with `AutoTokenizer` into the same directory."
        )


def describe_head(source: EncoderSource) -> str | None:
    """What is said of a classifier that the encoder brings along; None: it brings none.

    One of other labels than the data's, and of as many, is no error: its logits are drawn anew in
    any case (see ``load_classifier``).

    Raises:
        EncoderError: the encoder's config can't be read.
    """
    config = _classifier_config(source)
    if config is None:
        return None
    return (
        f"{source.name} is a classifier of {_listed(config)}: its logits are not used, those of "
        "the data's labels are drawn anew"
    )


def _classifier_config(source: EncoderSource) -> PreTrainedConfig | None:
    """The encoder's config where it is that of a classifier whose head was saved, too."""
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
    """Check the encoder: its type, the tokens that it reads, its head, whether it can be trimmed.

    The head is held against the number of labels where ``config`` says it; where the data alone
    does, see ``check_head``. No weights are read. Takes a fraction of a second after imports, and
    the seconds that loading the tokenizer takes where ``model.trim_vocabulary`` is true.

    Raises:
        EncoderError: it can't be fine-tuned as ``config`` says; the message names the key.
    """
    model, labels = config.model, config.data.labels
    check_max_length(source, model.max_length)
    if model.num_labels:
        check_head(source, model.num_labels, "model.num_labels")
    elif labels:
        check_head(source, len(labels), "data.labels")
    if model.trim_vocabulary is True:
        require_trimmable(load_tokenizer(source))
