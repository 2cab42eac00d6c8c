"""Where a model name becomes a model and a tokenizer.

    source          what a name means: embedded, a directory, the hub
    directory       what a directory must hold: config, safetensors, tokenizer
    weights_file    whether a safetensors file is whole, and what is in it
    hub             a model of the hub as a directory, from its cache or downloaded
    embedded        multilingual-e5-small out of an installed package, without a network
    q4_file         the file of that package: its weights and pieces, as data
    q4_conversion   that file as a plain transformers directory
    xlmr_tokenizer  XLM-R's tokenizer, rebuilt from its pieces
    encoder_config  what a config says: how many tokens the encoder reads
    loading         the tokenizer and the classifier
    requirements    whether the encoder can do what the config asks
    trained_head    the classifier that an encoder brings along
    trimming        an encoder with the word pieces that a language needs
    piece_selection which ids are kept for some texts
    piece_ranking   which pieces a language is likely to need
    vocabulary      a tokenizer as data, and with fewer pieces
    unigram         its pieces in a Unigram model
    wordpiece       its pieces in a WordPiece model
    byte_pair       its pieces in a byte-level BPE model
    embedding_rows  a model with fewer embeddings
    mean_pooling    mean pooling inside a stock classifier
    quiet           no telemetry, no chatter

Every failure is an ``EncoderError``. Nothing heavy is imported before it is used.

Trimming is a tool of its own, for classifiers and for masked language models: ``can_trim`` says why
not, ``trim`` does all, and ``plan_trim``, ``trim_tokenizer`` and ``trim_embeddings`` are its steps.
What it leaves is saved with ``save_pretrained`` like any model.
"""

from mlrun_assets.encoders.embedding_rows import trim_embeddings
from mlrun_assets.encoders.encoder_config import (
    check_max_length,
    digest_encoder,
    load_config,
    model_positions,
    source_directory,
)
from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.encoders.mean_pooling import POOLED_TYPES, pool_by_mean
from mlrun_assets.encoders.requirements import check_requirements
from mlrun_assets.encoders.source import EncoderSource, resolve_encoder
from mlrun_assets.encoders.trained_head import check_head, describe_head
from mlrun_assets.encoders.trimming import (
    VOCABULARY_BUDGET,
    can_trim,
    plan_trim,
    trim,
    trim_tokenizer,
)

__all__ = [
    "POOLED_TYPES",
    "VOCABULARY_BUDGET",
    "EncoderSource",
    "can_trim",
    "check_head",
    "check_max_length",
    "check_requirements",
    "describe_head",
    "digest_encoder",
    "load_classifier",
    "load_config",
    "load_tokenizer",
    "model_positions",
    "plan_trim",
    "pool_by_mean",
    "resolve_encoder",
    "source_directory",
    "trim",
    "trim_embeddings",
    "trim_tokenizer",
]
