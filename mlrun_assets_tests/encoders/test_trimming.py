"""Vocabulary trimming keeps all that the texts need, and changes nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import can_trim, trim
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.tiny_encoders import (
    OTHERS,
    SOMALI,
    SPECIAL,
    directory_source,
    pieces_of,
    tiny_config,
    trimmed_tokenizer,
    wrapped,
)

BUDGET = 200
# As many characters as make a large script.
HAN = [chr(0x4E00 + number) for number in range(1_000)]


@pytest.fixture(scope="module")
def trimmed(unigram_tokenizer: Any) -> Any:
    return trimmed_tokenizer(unigram_tokenizer, SOMALI[:4], BUDGET)


def test_used_pieces_and_single_characters_are_kept(unigram_tokenizer: Any, trimmed: Any) -> None:
    tokens = trimmed.convert_ids_to_tokens(range(len(trimmed)))
    assert tuple(tokens[:4]) == SPECIAL
    assert tokens[-1] == "<mask>"
    assert np.all(np.diff(unigram_tokenizer.convert_tokens_to_ids(tokens)) > 0)
    assert len(tokens) == BUDGET < len(unigram_tokenizer)
    used = {piece for text in SOMALI[:4] for piece in pieces_of(unigram_tokenizer, text)}
    single = {piece for piece in unigram_tokenizer.get_vocab() if len(piece) == 1}
    assert used | single <= set(tokens)
    others = set(tokens) - used - single - {*SPECIAL, "<mask>"}
    assert len(others) > 5


def test_a_small_budget_keeps_all_needed_pieces(unigram_tokenizer: Any) -> None:
    trimmed = trimmed_tokenizer(unigram_tokenizer, SOMALI, 1)
    for text in SOMALI:
        assert pieces_of(trimmed, text) == pieces_of(unigram_tokenizer, text)


def test_without_texts_the_characters_are_kept(unigram_tokenizer: Any) -> None:
    trimmed = trimmed_tokenizer(unigram_tokenizer, [], 1)
    for text in (*SOMALI, *OTHERS):
        assert trimmed.unk_token_id not in trimmed(text)["input_ids"]


def test_the_new_tokenizer_is_like_the_old(unigram_tokenizer: Any, trimmed: Any) -> None:
    for name in ("special_tokens_map", "model_max_length", "model_input_names", "padding_side"):
        assert getattr(trimmed, name) == getattr(unigram_tokenizer, name)
    assert trimmed.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3]
    assert trimmed.mask_token_id == len(trimmed) - 1 == BUDGET - 1
    assert trimmed("a", "b")["input_ids"].count(2) == 3
    assert sorted(trimmed.get_vocab().values()) == list(range(BUDGET))


def test_earlier_truncation_has_no_effect(unigram_tokenizer: Any) -> None:
    used = copy.deepcopy(unigram_tokenizer)
    used(SOMALI[0], truncation=True, max_length=4, padding="max_length")
    trimmed = trimmed_tokenizer(used, SOMALI, 1)
    assert trimmed.get_vocab() == trimmed_tokenizer(unigram_tokenizer, SOMALI, 1).get_vocab()
    assert pieces_of(trimmed, SOMALI[0]) == pieces_of(unigram_tokenizer, SOMALI[0])


def test_added_tokens_are_kept(unigram_tokenizer: Any) -> None:
    tokenizer = copy.deepcopy(unigram_tokenizer)
    tokenizer.add_tokens(["#somali"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<dhammaad>"]})
    trimmed = trimmed_tokenizer(tokenizer, SOMALI[:1], 1)
    text = f"{SOMALI[0]} #somali <dhammaad>"
    assert pieces_of(trimmed, text) == pieces_of(tokenizer, text)
    assert trimmed.decode(trimmed(text)["input_ids"], skip_special_tokens=True) == tokenizer.decode(
        tokenizer(text)["input_ids"], skip_special_tokens=True
    )


def unigram_of(pieces: list[str], byte_fallback: bool = False) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    scores = [(piece, -1.0 - number) for number, piece in enumerate([*SPECIAL, *pieces])]
    backend = Tokenizer(models.Unigram(scores, 3, byte_fallback=byte_fallback))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return wrapped(backend)


def test_han_is_kept_only_if_it_occurs() -> None:
    tokenizer = unigram_of(["▁", *"12%.", "a", "b", "ش", "▁ab", *HAN, "一丁"])

    def kept_for(*texts: str) -> set[str]:
        return set(trimmed_tokenizer(tokenizer, texts, 1).get_vocab())

    # The last piece has the lowest score, from which the cost of an unknown character is computed.
    assert kept_for() == {*SPECIAL, "<mask>", "▁", "1", "2", "%", ".", "ش", *"ab", "一丁"}
    assert not kept_for("ab") & set(HAN)
    assert kept_for("ab") >= {"a", "b", "ش", "▁ab"}
    assert kept_for("ab 丈") >= set(HAN)


def test_a_script_of_val_alone_stays_known() -> None:
    from transformers import BertModel

    tokenizer = unigram_of(["▁", *"ab", "▁ab", *HAN, "ش"])
    model = BertModel(tiny_config("bert", len(tokenizer)))
    trimmed, record = trim(tokenizer, model, ["a"], ["丈"], 1)
    assert record.val_unknown_after == 0
    assert set(HAN) < set(trimmed.get_vocab())
    assert "▁ab" not in trimmed.get_vocab()


def test_byte_pieces_are_kept() -> None:
    pieces = ["▁", "a", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = unigram_of(pieces, byte_fallback=True)
    trimmed = trimmed_tokenizer(tokenizer, ["a"], 1)
    assert pieces_of(trimmed, "語a") == pieces_of(tokenizer, "語a")
    assert "<0xE8>" in pieces_of(trimmed, "語")


def test_special_ids_follow_their_pieces(unigram_tokenizer: Any) -> None:
    from transformers import BertModel

    config = tiny_config("bert", len(unigram_tokenizer))
    dropped = set(unigram_tokenizer.get_vocab()) - set(
        trimmed_tokenizer(unigram_tokenizer, SOMALI[:1], 1).get_vocab()
    )
    config.sep_token_id = unigram_tokenizer.mask_token_id
    config.mask_token_id = unigram_tokenizer.convert_tokens_to_ids(min(dropped))
    model = BertModel(config)
    trimmed, _ = trim(unigram_tokenizer, model, SOMALI[:1], (), 1)
    assert model.config.vocab_size == len(trimmed)
    assert (model.config.bos_token_id, model.config.pad_token_id) == (0, 1)
    assert model.config.eos_token_id == 2
    assert model.config.sep_token_id == trimmed.mask_token_id
    assert model.config.mask_token_id is None
    assert model.get_input_embeddings().padding_idx == 1


@pytest.mark.parametrize("trained", [True, False])
def test_frozen_embeddings_stay_frozen(tiny_xlmr: Path, trained: bool) -> None:
    tokenizer, model = loaded(tiny_xlmr)
    model.get_input_embeddings().weight.requires_grad_(trained)
    trim(tokenizer, model, SOMALI[:1], (), BUDGET)
    assert model.get_input_embeddings().weight.requires_grad == trained


def test_a_tokenizer_of_another_model_is_refused(unigram_tokenizer: Any) -> None:
    from transformers import BertModel

    model = BertModel(tiny_config("bert", len(unigram_tokenizer) - 1))
    with pytest.raises(EncoderError, match="do not belong together"):
        trim(unigram_tokenizer, model, SOMALI, ())


def loaded(directory: Path) -> tuple[Any, Any]:
    source = directory_source(directory)
    return load_tokenizer(source), load_classifier(source, ("a", "b"))


def test_the_record_counts_tokens_pieces_and_parameters(tiny_xlmr: Path) -> None:
    tokenizer, model = loaded(tiny_xlmr)
    parameters = model.num_parameters()
    val = [*SOMALI[4:], "語 waa"]
    trimmed, record = trim(tokenizer, model, SOMALI[:4], val)
    ids = [trimmed(text, add_special_tokens=False)["input_ids"] for text in val]
    # A budget of 30k keeps all of this small vocabulary.
    assert record.pieces_before == record.pieces_after == len(trimmed) == len(tokenizer)
    assert record.parameters_before == record.parameters_after == parameters
    assert record.val_tokens_after == sum(map(len, ids))
    assert record.val_unknown_before == record.val_unknown_after == 1
    assert sum(part.count(3) for part in ids) == 1


def test_the_budget_grows_until_val_needs_hardly_more_tokens(tiny_xlmr: Path) -> None:
    def trimmed_for(val: tuple[str, ...]) -> Any:
        tokenizer, model = loaded(tiny_xlmr)
        record = trim(tokenizer, model, SOMALI[:2], val, 150)[1]
        assert model.get_input_embeddings().num_embeddings == record.pieces_after
        assert record.fertility_growth <= 0.01
        assert record.parameters_before - record.parameters_after == 16 * (
            record.pieces_before - record.pieces_after
        )
        return record

    seen, unseen = trimmed_for(SOMALI[:2]), trimmed_for((*SOMALI, *OTHERS[:2]))
    assert seen.pieces_after == 150
    assert 150 < unseen.pieces_after <= unseen.pieces_before


@pytest.mark.parametrize(
    ("train", "val", "budget"),
    [
        (SOMALI[:2], (), 150),  # nothing to measure: the first budget is taken
        ((), (), 1),
        (SOMALI[:2], ("caafimaadka",), 150),  # one word: any growth is too much
        (SOMALI[:2], (OTHERS[2],), 1),
        (SOMALI[:2], SOMALI, 10**9),
        ((), ("語 語",), 150),  # unknown before and after
    ],
)
def test_the_search_for_a_budget_always_ends(
    tiny_xlmr: Path, train: tuple[str, ...], val: tuple[str, ...], budget: int
) -> None:
    tokenizer, model = loaded(tiny_xlmr)
    trimmed, record = trim(tokenizer, model, train, val, budget)
    assert record.fertility_growth <= 0.01
    assert record.val_unknown_after == record.val_unknown_before
    assert record.pieces_after == len(trimmed) <= record.pieces_before == len(tokenizer)
    if budget > len(tokenizer):
        assert trimmed.get_vocab() == tokenizer.get_vocab()
    if not val:
        smallest = trimmed_tokenizer(tokenizer, train, 1)
        assert record.pieces_after == max(budget, len(smallest))


def test_a_character_known_only_within_longer_pieces_keeps_them() -> None:
    """`z` is no piece of its own behind a letter, nor `q` in front of one."""
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abz", "##a", "##b", "##q"]
    pieces += ["##bz", "abz", "qa", "ab", "##ab"]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    trimmed = trimmed_tokenizer(tokenizer, ["a b q"], 1)
    assert set(pieces) - set(trimmed.get_vocab()) == {"ab", "##ab"}
    for word in ("abz", "bbz", "qab", "ab", "abab"):
        assert pieces_of(trimmed, word).count("[UNK]") == pieces_of(tokenizer, word).count("[UNK]")


def test_merges_keep_the_pieces_that_they_pass_through() -> None:
    """`abcd` is merged from `ab` and `cd`, which no text uses alone."""
    from transformers import RobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdĠ", "ab", "cd", "bc", "abc", "abcd"]
    merges = [("a", "b"), ("c", "d"), ("b", "c"), ("ab", "c"), ("ab", "cd")]
    tokenizer = RobertaTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges
    )
    trimmed = trimmed_tokenizer(tokenizer, ["abcd"], 1)
    assert set(pieces) - set(trimmed.get_vocab()) == {"bc", "abc"}
    assert pieces_of(trimmed, "abcd") == pieces_of(tokenizer, "abcd") == ["<s>", "abcd", "</s>"]
    assert pieces_of(trimmed, "bc abc") == ["<s>", "b", "c", "Ġ", "ab", "c", "</s>"]


def words_only() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<unk>": 0, "<pad>": 1, "a": 2}, "<unk>"))


def byte_pair_of_characters() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.BPE({"<unk>": 0, "<pad>": 1, "a": 2}, []))


def byte_pair_with_word_ends() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = {"<unk>": 0, "<pad>": 1, "a": 2, "a</w>": 3}
    backend = Tokenizer(models.BPE(pieces, [], end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    return backend


def wordpiece_with_gaps() -> Any:
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordPiece({"<unk>": 0, "<pad>": 1, "a": 9}, unk_token="<unk>"))


def byte_level_unigram() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    backend = Tokenizer(models.Unigram([("<unk>", 0.0), ("<pad>", 0.0), ("a", -1.0)], 0))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel()
    return backend


def padding_behind() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = [("<unk>", 0.0), *((chr(0x4E00 + i), -1.0) for i in range(200)), ("<pad>", 0.0)]
    backend = Tokenizer(models.Unigram(pieces, 0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (words_only, "is a WordLevel model, and only Unigram, WordPiece, BPE can lose pieces"),
        (byte_pair_of_characters, "BPE tokenizer does not work on bytes"),
        (byte_pair_with_word_ends, "marks pieces by their place in the word"),
        (wordpiece_with_gaps, "some of its ids have no piece"),
        (byte_level_unigram, "does not mark the start of words with Metaspace"),
        (padding_behind, "padding token is not at the front"),
    ],
)
def test_the_reason_why_a_tokenizer_cannot_be_trimmed(build: Any, reason: str) -> None:
    tokenizer = wrapped(build())
    assert reason in str(can_trim(tokenizer))
    with pytest.raises(EncoderError, match=rf"{reason}.*model\.trim_vocabulary"):
        trim(tokenizer, None, ["a"], ["a"])


def test_a_unigram_tokenizer_can_be_trimmed(unigram_tokenizer: Any) -> None:
    assert can_trim(unigram_tokenizer) is None


@pytest.mark.slow
def test_the_real_vocabulary_is_trimmed_without_loss(
    embedded: EncoderSource, shared_data: Path
) -> None:
    files = [shared_data / "sib200_som" / f"{split}.jsonl" for split in ("train", "val")]
    train, val = (
        [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]
        for file in files
    )
    tokenizer = load_tokenizer(embedded)
    model = load_classifier(embedded, ("a", "b"))
    trimmed, record = trim(tokenizer, model, train, val)
    assert record.pieces_before == 250_002
    assert record.pieces_after < 50_000
    assert record.parameters_after < 45e6 < record.parameters_before
    assert record.val_unknown_after == record.val_unknown_before == 0
    assert record.fertility_growth <= 0.01
    for text in train:
        assert pieces_of(trimmed, text) == pieces_of(tokenizer, text)
