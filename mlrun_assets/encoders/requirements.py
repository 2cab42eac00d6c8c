"""Whether an encoder can do what the config asks of it, asked before anything long starts."""

from __future__ import annotations

from mlrun_assets.config import ModelConfig
from mlrun_assets.encoders.encoder_config import check_max_length, load_config
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import require_trimmable


def check_requirements(source: EncoderSource, model: ModelConfig) -> None:
    """Check the type of the encoder, the tokens that it reads, and that it can be trimmed.

    No weights are read. Takes a fraction of a second after imports, and the seconds that loading
    the tokenizer takes where ``model.trim_vocabulary`` is true.

    Raises:
        EncoderError: it can't be fine-tuned as ``model`` says; the message names the key.
    """
    check_max_length(source, model.max_length)
    if model.trim_vocabulary is True:
        require_trimmable(load_tokenizer(source))


def describe_head(source: EncoderSource) -> str | None:
    """What is said of a classifier that the encoder brings along; None: it brings none.

    One for other labels than the data's is no error: its logits are drawn anew in any case, even
    where their number is the same (see ``load_classifier``). How many labels the data must have is
    ``model.num_labels``, and the data's checks hold the training split against it.

    Raises:
        EncoderError: the encoder's config can't be read.
    """
    config = load_config(source)
    names = config.architectures or ()
    if not any(name.endswith("ForSequenceClassification") for name in names):
        return None
    labels = ", ".join(list(config.id2label.values())[:12])
    return (
        f"{source.name} is a classifier of {config.num_labels} labels ({labels}): its logits are "
        "not used, those of the data's labels are drawn anew"
    )
