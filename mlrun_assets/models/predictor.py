"""Predict texts with a trained model directory, fast on a CPU.

The sections: the predictor, the tokenization of long texts, and attention that is fast on a CPU.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from mlrun_assets.errors import ExportError
from mlrun_assets.machine import quiet_transformers
from mlrun_assets.models.served.ngram_scorer import NGRAMS_DIR, NgramScorer
from mlrun_assets.progress import task
from mlrun_assets.types import FloatArray, IntArray, Probabilities, RowNumbers

# 1024 tokens fit into the cache of a CPU; an accelerator needs more at once.
TOKENS_A_BATCH = {"cpu": 1024, "cuda": 16_384}
# If two logits are closer than this, the text is predicted again in float32 (docs/decisions/009).
CLOSE_CALL = 0.25


class Predictor:
    """A trained model directory, ready to predict.

    On a CPU that multiplies bfloat16 in hardware, texts are predicted in bfloat16 first, and again
    in float32 if the best two labels are close. This is at least twice as fast. The labels are
    those of float32 with very rare exceptions. The probabilities differ by less than 0.01, for one
    text in a hundred by a few hundredths.

    Args:
        model_dir: a transformers classifier, with or without n-grams.
        max_length: number of tokens at which a text is cut.
        exact: predict in float32 only, to compare forms of the same model or to measure effects as
            small as that of one word.
        ngrams_of: a model directory whose n-grams are added to an encoder without any.

    Raises:
        ExportError: the directory holds no model that can be loaded.
    """

    def __init__(
        self,
        model_dir: Path,
        max_length: int,
        exact: bool = False,
        ngrams_of: Path | None = None,
    ) -> None:
        self._tokenizer, self._model, self._ngrams = _load(model_dir, ngrams_of or model_dir)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device).eval()
        self._max_length = max_length
        self._drafts = not exact and self._device.type == "cpu" and _multiplies_bfloat16()
        if self._drafts:
            tune_for_cpu(self._model, bf16=True)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the probabilities."""
        names: dict[int, str] = self._model.config.id2label
        return tuple(names[number] for number in sorted(names))

    @property
    def accept_confidence(self) -> float | None:
        """The minimum confidence of a label that is accepted; None: there is no threshold."""
        return getattr(self._model.config, "accept_confidence", None)

    def probabilities(self, texts: list[str]) -> Probabilities:
        """Probabilities, shape (texts, labels), in the order of ``texts``."""
        encoded = tokenize(self._tokenizer, texts, self._max_length)
        logits = self._logits(encoded, draft=self._drafts)
        weight, scores = 1.0, np.zeros_like(logits)
        if self._ngrams:
            weight = self._ngrams.encoder_weight
            scores = self._ngrams.ngram_weight * self._ngrams.scores(texts)
        combined = weight * logits + scores
        if self._drafts:
            best = np.partition(combined, -2, axis=1)[:, -2:]
            close = np.flatnonzero(best[:, 1] - best[:, 0] < CLOSE_CALL * weight)
            exact = self._logits([encoded[row] for row in close], draft=False)
            combined[close] = weight * exact + scores[close]
        exponent = np.exp(combined - combined.max(axis=1, keepdims=True))
        return np.asarray(exponent / exponent.sum(axis=1, keepdims=True))

    def logits(self, texts: list[str]) -> FloatArray:
        """The encoder's own logits in float32, shape (texts, labels), in the order of ``texts``."""
        encoded = tokenize(self._tokenizer, texts, self._max_length)
        return self._logits(encoded, draft=False)

    def _logits(self, encoded: list[list[int]], draft: bool) -> FloatArray:
        width = len(self.labels)
        return run_batches(
            self._model, self._tokenizer, encoded, lambda output: output.logits, width, bf16=draft
        )


def _multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; otherwise float32 is faster."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _load(
    model_dir: Path, ngrams_of: Path
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel, NgramScorer | None]:
    """Tokenizer and model, and the n-gram model in ``ngrams_of`` if there is one."""
    part = ""
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(model_dir), local_files_only=True, trust_remote_code=False
            )
            model = AutoModelForSequenceClassification.from_pretrained(
                str(model_dir), use_safetensors=True, local_files_only=True, trust_remote_code=False
            )
            part = "its n-gram model "
            ngrams = NgramScorer(ngrams_of) if (ngrams_of / NGRAMS_DIR).is_dir() else None
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(f"{model_dir}: {part}can't be loaded: {reason}") from error
    return tokenizer, model, ngrams


def run_batches(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    encoded: list[list[int]],
    read: Callable[[Any], torch.Tensor],
    width: int,
    *,
    bf16: bool,
) -> FloatArray:
    """What ``read`` takes from the output of ``model`` for each text, shape (texts, width).

    ``bf16`` is whether the model runs under bfloat16 autocast.
    """
    device, found = model.device, np.zeros((len(encoded), width))
    lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=bf16),
        task("reading texts", int(lengths.sum()), "tokens") as advance,
    ):
        for rows in batches_of_like_length(lengths, TOKENS_A_BATCH[device.type]):
            batch = tokenizer.pad(
                {"input_ids": [encoded[row] for row in rows]}, return_tensors="pt"
            )
            found[rows] = read(model(**batch.to(device))).double().cpu().numpy()
            advance(int(lengths[rows].sum()))
    return found


def batches_of_like_length(lengths: IntArray, tokens: int) -> Iterator[RowNumbers]:
    """Row numbers, longest first, in batches of at most ``tokens`` tokens, padding included."""
    order = np.argsort(-lengths, kind="stable")
    while len(order):
        rows = max(1, tokens // max(1, int(lengths[order[0]])))
        yield order[:rows]
        order = order[rows:]


# Tokenization of long texts

# Somali has 3 to 5. With more, the text is tokenised again.
CHARACTERS_A_TOKEN = 16
# A space at which every tokenizer splits: no combining mark follows it, no neighbour is normalised
# to a space, and no token begins with it.
_LAST_SPACE = re.compile(r"(?s).*[\w!-~](?= [\w!-~])")
_FIRST_SPACE = re.compile(r"(?<=[\w!-~]) [\w!-~]")


def tokenize(
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    max_length: int,
    characters: int | None = None,
) -> list[list[int]]:
    """The ids of each text, cut to ``max_length`` on the side where the tokenizer truncates.

    The ids are those of the whole text, but only a part of a long text is tokenised: its first (or
    last) ``characters``, up to a space. Words on both sides of a space are tokenised separately, so
    the ids of the part are the first (or last) of the text. If they are too few, the part is
    doubled. A text without a space is tokenised whole in the end. This limits memory: one row may
    have 24 MB.
    """
    if not texts:
        return []  # tokenizers refuse an empty list
    characters = characters or CHARACTERS_A_TOKEN * max_length
    parts = [_part(text, characters, tokenizer.truncation_side) for text in texts]
    ids: list[list[int]] = tokenizer(
        parts, truncation=True, max_length=max_length, return_attention_mask=False
    )["input_ids"]
    short = [
        row
        for row, (part, text) in enumerate(zip(parts, texts, strict=True))
        if len(part) < len(text) and len(ids[row]) < max_length
    ]
    more = tokenize(tokenizer, [texts[row] for row in short], max_length, 2 * characters)
    for row, found in zip(short, more, strict=True):
        ids[row] = found
    return ids


def _part(text: str, characters: int, cut: str) -> str:
    """Whole words within the first ``characters`` of ``text``; the last ones if ``cut`` is left."""
    if len(text) <= characters:
        return text
    if cut == "left":
        found = _FIRST_SPACE.search(text, len(text) - characters)
        return text[found.start() :] if found else ""
    found = _LAST_SPACE.match(text, 0, characters)
    return found.group() if found else ""


# Attention that is fast on a CPU, used in training too

ATTENTION = "batched_products"


def tune_for_cpu(model: PreTrainedModel, bf16: bool) -> None:
    """Make ``model`` faster with the same results; nothing of this is saved with the model.

    ``bf16`` is whether the model runs under bfloat16 autocast.
    """
    if _attends_to_all(model):
        AttentionInterface.register(ATTENTION, batched_products)
        AttentionMaskInterface.register(ATTENTION, padding_bias)
        with quiet_transformers():  # a model with attention of its own keeps it, with a warning
            model.set_attn_implementation(ATTENTION)
    embeddings = getattr(model.base_model, "embeddings", None)
    if bf16 and embeddings is not None:
        # A float32 state would be cast for each product that reads it, and would stay float32.
        embeddings.register_forward_hook(_in_bfloat16)


def _attends_to_all(model: PreTrainedModel) -> bool:
    """Whether tokens attend to all tokens: no causal mask or window, and a key per query head."""
    heads = getattr(model.config, "num_attention_heads", None)
    return (
        not getattr(model.config, "is_decoder", False)
        and not any(getattr(module, "is_causal", False) for module in model.modules())
        and "sliding_attention" not in (getattr(model.config, "layer_types", None) or ())
        and (getattr(model.config, "num_key_value_heads", None) or heads) == heads
    )


def drop_no_attention(model: PreTrainedModel) -> None:
    """Turn off the dropout of attention weights; the dropout of states stays."""
    for module in model.modules():
        if "Attention" not in type(module).__name__:
            continue
        for name in ("dropout", "attention_dropout"):
            rate = getattr(module, name, None)
            if isinstance(rate, torch.nn.Dropout):
                rate.p = 0.0
            elif isinstance(rate, float):
                setattr(module, name, 0.0)


def _in_bfloat16(_module: torch.nn.Module, _inputs: Any, states: torch.Tensor) -> torch.Tensor:
    return states.to(torch.bfloat16) if torch.is_autocast_enabled("cpu") else states


def padding_bias(
    batch_size: int,
    kv_length: int,
    attention_mask: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    **_: Any,
) -> torch.Tensor | None:
    """The mask that is added to the attention products: the lowest number for padding, else 0.

    Shape (rows, 1, tokens), the same for all queries, as in an encoder; None without padding.
    """
    if attention_mask is None:
        return None
    padded = ~attention_mask.view(batch_size, 1, kv_length).bool()
    bias = torch.zeros(padded.shape, dtype=dtype, device=padded.device)
    return bias.masked_fill_(padded, torch.finfo(dtype).min)


def batched_products(  # noqa: PLR0913, PLR0917  the signature that transformers calls
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention in the precision of ``query``, all of shape (rows, heads, tokens, width).

    Returns:
        The attended values, shape (rows, tokens, heads, width), and no weights.
    """
    rows, heads, tokens, width = query.shape
    query, key, value = (part.reshape(rows * heads, tokens, width) for part in (query, key, value))
    if attention_mask is None:
        bias = query.new_zeros(1, 1, 1)
    else:
        bias = attention_mask.to(query.dtype).repeat_interleave(heads, dim=0)
    with torch.autocast(query.device.type, enabled=False):
        # Autocast would compute the softmax in float32 and copy the products twice.
        products = torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scaling)
        weights = torch.softmax(products, dim=-1)
        weights = torch.dropout(weights, dropout, train=module.training)
        attended = torch.bmm(weights, value)
    return attended.view(rows, heads, tokens, width).transpose(1, 2).contiguous(), None
