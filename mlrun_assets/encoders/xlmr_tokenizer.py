"""XLM-R's tokenizer, rebuilt from its pieces and scores: a Unigram model (Kudo, 2018).

SentencePiece normalises with ``nmt_nfkc``, a compiled map of character sequences. The package
``sentencepiece`` carries that map; the file of pieces carries the part of it that concerns single
characters, and every one of those must come out the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlrun_assets.encoders.q4_file import Pieces
from mlrun_assets.encoders.quiet import telemetry_off
from mlrun_assets.errors import EncoderError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

METASPACE = "▁"
# Newer maps keep the zero-width joiner, the one that XLM-R was trained with makes it a space.
ZERO_WIDTH_JOINER = "\u200d"
# Field numbers of sentencepiece's ModelProto and NormalizerSpec.
NORMALIZER_SPEC, PRECOMPILED_CHARSMAP = 3, 2


def build_xlmr_tokenizer(
    pieces: Pieces, character_map: dict[str, str], positions: int
) -> PreTrainedTokenizerFast:
    """The tokenizer with all special tokens set, reading at most ``positions`` tokens.

    Raises:
        EncoderError: the installed sentencepiece normalises characters differently.
    """
    telemetry_off()
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    texts = pieces.texts
    backend = _backend(pieces)
    _check_normalizer(backend, character_map)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=texts[pieces.bos],
        eos_token=texts[pieces.eos],
        cls_token=texts[pieces.bos],
        sep_token=texts[pieces.eos],
        pad_token=texts[pieces.pad],
        unk_token=texts[pieces.unk],
        mask_token=AddedToken("<mask>", lstrip=True, special=True),
        model_max_length=positions,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def _backend(pieces: Pieces) -> Tokenizer:
    from tokenizers import (
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    texts, bos, eos = pieces.texts, pieces.texts[pieces.bos], pieces.texts[pieces.eos]
    vocabulary = list(zip(texts, pieces.scores, strict=True))
    backend = Tokenizer(models.Unigram(vocabulary, unk_id=pieces.unk, byte_fallback=False))
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(ZERO_WIDTH_JOINER, " "),
            normalizers.Precompiled(nmt_nfkc_map()),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(METASPACE, prepend_scheme="always")
    backend.decoder = decoders.Metaspace(METASPACE, prepend_scheme="always")
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, pieces.bos), (eos, pieces.eos)],
    )
    return backend


def _check_normalizer(backend: Tokenizer, character_map: dict[str, str]) -> None:
    normalize = backend.normalizer.normalize_str
    wrong = [text for text, expected in character_map.items() if normalize(text) != expected]
    if wrong:
        raise EncoderError(
            f"the installed sentencepiece normalises {len(wrong)} characters unlike XLM-R "
            f"(the first is U+{ord(wrong[0]):04X}): install sentencepiece 0.2."
        )


def nmt_nfkc_map() -> bytes:
    """SentencePiece's compiled ``nmt_nfkc`` map, as ``normalizers.Precompiled`` reads it.

    The message is read by hand: sentencepiece's own protobuf classes load only with a protobuf at
    least as new as the one that generated them.
    """
    from sentencepiece import SentencePieceNormalizer

    model = SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
    return _field(_field(model, NORMALIZER_SPEC), PRECOMPILED_CHARSMAP)


def _field(message: bytes, number: int) -> bytes:
    """The first length-delimited field ``number`` of a protobuf message."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        wire_type = key & 7
        if wire_type == 0:
            _, offset = _varint(message, offset)
        elif wire_type == 2:
            length, offset = _varint(message, offset)
            if key >> 3 == number:
                return message[offset : offset + length]
            offset += length
        else:
            offset += 8 if wire_type == 1 else 4
    raise EncoderError(
        f"the installed sentencepiece has no nmt_nfkc map in field {number}: "
        "install sentencepiece 0.2."
    )


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    """The variable-length integer at ``offset``, and the offset behind it."""
    value = shift = 0
    while True:
        byte = message[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, offset
