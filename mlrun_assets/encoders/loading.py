"""Load the config, the tokenizer and a classifier of an encoder."""

from __future__ import annotations

import copy
import importlib
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from mlrun_assets.config import Config
from mlrun_assets.encoders.directory import CONFIG_FILE, COPY_AGAIN, hub_kernels, weight_names
from mlrun_assets.encoders.source import EncoderSource, hub_directory
from mlrun_assets.encoders.trimming import require_trimmable
from mlrun_assets.errors import EncoderError, listed
from mlrun_assets.files import digest_directory, read_file
from mlrun_assets.machine import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast


# The position ids of these start behind the padding id, so the first ones are never used.
POSITIONS_BEHIND_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "ibert",
        "layoutlmv3",
        "longformer",
        "luke",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)


def source_directory(source: EncoderSource) -> str:
    """The directory of the encoder; a model of the hub is fetched if it is not cached.

    Raises:
        EncoderError: a model of the hub can't be fetched.
    """
    if source.kind == "hub":
        return str(hub_directory(source.location, source.revision))
    return source.location


def load_config(source: EncoderSource) -> PreTrainedConfig:
    """Load the encoder's config with transformers' ``AutoConfig``.

    Raises:
        EncoderError: it can't be read, needs code that is not in transformers, or belongs to a
            model without a sequence classifier.
    """
    directory = source_directory(source)
    with quiet_transformers():
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
        )

        try:
            config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # a config of the wrong types raises its own
            raise unloadable(source, "config", error) from error
    if config.model_type not in CLASSIFIERS:
        raise EncoderError(
            f"{source.name} ({source.location}) is of type {config.model_type}, for which "
            "transformers has no sequence classifier: choose a text encoder, such as "
            "xlm-roberta, bert or deberta-v2."
        )
    if kernels := hub_kernels(orjson.loads(read_file(Path(directory, CONFIG_FILE)))):
        raise EncoderError(
            f"the config of {source.name} ({source.location}) names the attention kernel "
            f"{kernels[0][:60]!r}: that is code from the Hub, which is never run here. Remove "
            f"`attn_implementation` from {CONFIG_FILE}."
        )
    return config


def model_positions(source: EncoderSource) -> int | None:
    """The number of tokens that the encoder can read; None: it sets no limit.

    Raises:
        EncoderError: the encoder's config can't be read.
    """
    config = load_config(source)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or getattr(config, "position_biased_input", True) is False:
        return None
    if config.model_type in POSITIONS_BEHIND_PADDING:
        return int(positions) - int(config.pad_token_id or 0) - 1
    return int(positions)


def check_max_length(source: EncoderSource, max_length: int) -> None:
    """Check that the encoder can read ``max_length`` tokens.

    Raises:
        EncoderError: it can't, and the message names the maximum; or its config can't be read.
    """
    positions = model_positions(source)
    if positions is not None and max_length > positions:
        raise EncoderError(
            f"model.max_length is {max_length}, and {source.name} reads {positions} tokens at "
            f"most: set model.max_length to {positions} or less."
        )


def unloadable(source: EncoderSource, part: str, error: Exception) -> EncoderError:
    """The error for a ``part`` of the encoder that a library can't load."""
    if "trust_remote_code" in str(error):
        return EncoderError(
            f"the {part} of {source.name} ({source.location}) needs code of its own (`auto_map`), "
            "which is never run here: choose an encoder that transformers itself knows, such as "
            "xlm-roberta, bert or deberta-v2."
        )
    details = str(error).strip().splitlines() or ["no details"]
    return EncoderError(
        f"the {part} of {source.name} ({source.location}) can't be loaded: "
        f"{type(error).__name__}: {details[0]} Check model.name, or fetch the encoder again."
    )


def digest_encoder(encoder: EncoderSource) -> str:
    """One digest of all files of the encoder, which a process reads once.

    Raises:
        EncoderError: a model of the hub can't be fetched.
    """
    return _digest(encoder, _files(encoder))


@lru_cache(maxsize=1)
def _digest(encoder: EncoderSource, _: tuple[object, ...]) -> str:
    return digest_directory(Path(source_directory(encoder)))


def _files(encoder: EncoderSource) -> tuple[object, ...]:
    """What differs if a file of the encoder is changed."""
    files = sorted(Path(source_directory(encoder)).rglob("*"))
    return tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def load_tokenizer(source: EncoderSource) -> PreTrainedTokenizerFast:
    """Load the encoder's tokenizer with transformers' ``AutoTokenizer``.

    Callers in one process share it: a quarter of a million pieces take over a second to load. So a
    caller sets truncation and padding for itself, and changes nothing else.

    Raises:
        EncoderError: it can't be loaded, can't make batches (no padding token, not backed by
            ``tokenizers``), or does not fit the encoder (ids beyond its vocabulary).
    """
    load_config(source)  # its errors are the clearest
    return _read_tokenizer(source, _files(source))


@lru_cache(maxsize=1)
def _read_tokenizer(source: EncoderSource, _: tuple[object, ...]) -> PreTrainedTokenizerFast:
    directory, config = source_directory(source), load_config(source)
    with quiet_transformers():
        from transformers import AutoTokenizer

        if not (Path(directory) / "tokenizer.json").is_file():
            _replace_sentencepiece_messages()

        try:
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
        except Exception as error:  # tokenizers raises bare Exceptions
            raise unloadable(source, "tokenizer", error) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lack = "padding token" if tokenizer.is_fast else "tokenizer.json"
        raise EncoderError(f"the tokenizer of {source.name} has no {lack}: choose another encoder.")
    size = getattr(config, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise EncoderError(
            f"the tokenizer of {source.name} has {len(tokenizer)} ids, its model only {size}: "
            "they do not belong together."
        )
    return tokenizer


def load_classifier(source: EncoderSource, labels: tuple[str, ...]) -> PreTrainedModel:
    """Load the encoder with a head for ``labels``, in float32 on the CPU.

    The layer of the logits is always new, drawn from torch's global generator (seed it first): the
    logits of another task are of no use, even for the same number of labels.

    Raises:
        EncoderError: the model can't be loaded, has no classifier in transformers, or weights of
            the encoder itself are missing or of another shape.
    """
    directory = source_directory(source)
    config = load_config(source)  # its errors are clearer than those of from_pretrained
    with quiet_transformers():
        from transformers import AutoModelForSequenceClassification

        try:
            _check_layers(source, config, len(weight_names(Path(directory))))
            model, report = AutoModelForSequenceClassification.from_pretrained(
                directory,
                num_labels=len(labels),
                id2label=dict(enumerate(labels)),
                label2id={label: index for index, label in enumerate(labels)},
                problem_type="single_label_classification",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype="float32",
            )
        except EncoderError:
            raise
        except Exception as error:  # safetensors and model classes raise their own
            raise unloadable(source, "model", error) from error
    vars(model.config).pop("_auto_class", None)  # with it, saving would copy code
    _check_encoder_weights(source, model, report)
    _reset_logits(model, len(labels))
    return model


def _check_layers(source: EncoderSource, config: PreTrainedConfig, weights: int) -> None:
    """Check the number of layers before they are built, which could take all memory."""
    layers = getattr(config, "num_hidden_layers", None)
    if isinstance(layers, int) and not 0 < layers <= weights:
        raise EncoderError(
            f"the config of {source.name} ({source.location}) has {layers:,} hidden layers, which "
            f"do not fit its {weights:,} weights: {COPY_AGAIN}"
        )


def _replace_sentencepiece_messages() -> None:
    """Make a directory readable whose pieces are only in a ``sentencepiece.bpe.model``.

    transformers reads it with sentencepiece's own protobuf classes, which fail to load with a
    protobuf older than the one that generated them. transformers has the same classes, too.
    """
    refused = importlib.import_module("google.protobuf.runtime_version").VersionError
    name = "sentencepiece.sentencepiece_model_pb2"
    try:
        importlib.import_module(name)
    except refused:
        substitute = "transformers.utils.sentencepiece_model_pb2_new"
        sys.modules[name] = importlib.import_module(substitute)


def _check_encoder_weights(
    source: EncoderSource, model: PreTrainedModel, report: dict[str, Any]
) -> None:
    """A pooler or a head may be new; random weights in the encoder would ruin the run."""
    keys = (*report["missing_keys"], *(entry[0] for entry in report["mismatched_keys"]))
    in_encoder = (key for key in keys if key.startswith(f"{model.base_model_prefix}."))
    if lost := sorted(key for key in in_encoder if ".pooler." not in key):
        raise EncoderError(
            f"the weights of {source.name} ({source.location}) do not fit its config: {len(lost)} "
            f"tensors of the encoder are missing or have another shape, among them {lost[0]}. "
            "Fetch or save the encoder again."
        )


def _reset_logits(model: PreTrainedModel, labels: int) -> None:
    """Draw the weights of the head's last layer as in BERT (Devlin et al., 2019).

    Not with ``torch.nn.init``: transformers replaces its functions while a model is loaded, also in
    another thread, by ones that leave weights from a file as they are.
    """
    from torch import nn

    deviation = getattr(model.config, "initializer_range", 0.02)
    for name, module in model.named_modules():
        in_encoder = name.split(".")[0] == model.base_model_prefix
        if isinstance(module, nn.Linear) and module.out_features == labels and not in_encoder:
            module.weight.data.normal_(std=deviation)
            if module.bias is not None:
                module.bias.data.zero_()


# Mean pooling

POOLED_TYPES = frozenset({"bert", "roberta", "xlm-roberta"})
# Weight of the mean relative to the first token's own state, which the residual adds to it.
MEAN_WEIGHT = 8.0


def pool_by_mean(model: PreTrainedModel) -> None:
    """Make a classifier of the BERT family start from the mean of the tokens' states.

    Its head reads the first token. The layer appended here attends to all tokens alike: queries and
    keys are zero, so the softmax is uniform over the unmasked tokens. The values are passed on
    unchanged and the feed-forward part adds nothing yet, so the first token holds the normalised
    mean. The layer is trained like any other, and the result is a plain transformers model that
    every tool can load.

    Raises:
        EncoderError: the model is of another family.
    """
    if model.config.model_type not in POOLED_TYPES:
        raise EncoderError(
            f"model.pooling: mean works for {', '.join(sorted(POOLED_TYPES))}, and this encoder "
            f"is of type {model.config.model_type}: set model.pooling to first."
        )
    layers = model.base_model.encoder.layer
    # The layer shares the model's config: a change of the attention must reach it too.
    layer = copy.deepcopy(layers[-1], {id(model.config): model.config})
    attention, output = layer.attention.self, layer.attention.output
    scales = [(attention.query, 0.0), (attention.key, 0.0), (layer.output.dense, 0.0)]
    for projection, scale in (*scales, (attention.value, MEAN_WEIGHT), (output.dense, 1.0)):
        projection.weight.data.zero_().fill_diagonal_(scale)
        projection.bias.data.zero_()
    for norm in (output.LayerNorm, layer.output.LayerNorm):
        norm.weight.data.fill_(1.0)
        norm.bias.data.zero_()
    layers.append(layer)
    model.config.num_hidden_layers += 1


# What the config asks of an encoder

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
