"""Whether an encoder can do what the config asks of it, asked before anything long starts."""

from __future__ import annotations

from mlrun_assets.config import Config
from mlrun_assets.encoders.encoder_config import check_max_length
from mlrun_assets.encoders.loading import load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trained_head import check_head
from mlrun_assets.encoders.trimming import require_trimmable


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
