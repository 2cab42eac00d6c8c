"""Vocabulary trimming: nothing is lost that the texts need, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.encoders import trimming, vocabulary
from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import (
    can_trim,
    plan_trim,
    trim,
    trim_embeddings,
    trim_tokenizer,
)
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders.conftest import (
    OTHERS,
    SOMALI,
    SPECIAL,
    directory_source,
    shared_rows,
    tiny_config,
    wrapped,
)

BUDGET = 200


def pieces_of(tokenizer: Any, text: str) -> list[str]:
    tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    return tokens


@pytest.fixture(scope="module")
def kept(unigram_tokenizer: Any) -> Any:
    return plan_trim(unigram_tokenizer, SOMALI[:4], BUDGET)


@pytest.fixture(scope="module")
def trimmed(unigram_tokenizer: Any, kept: Any) -> Any:
    return trim_tokenizer(unigram_tokenizer, kept)


def test_the_plan_keeps_what_it_promises(unigram_tokenizer: Any, kept: Any) -> None:
    tokens = unigram_tokenizer.convert_ids_to_tokens(kept.tolist())
    assert tuple(tokens[:4]) == SPECIAL
    assert tokens[-1] == "<mask>"
    assert np.all(np.diff(kept) > 0)
    assert len(kept) == BUDGET < len(unigram_tokenizer)
    used = {piece for text in SOMALI[:4] for piece in pieces_of(unigram_tokenizer, text)}
    single = {piece for piece in unigram_tokenizer.get_vocab() if len(piece) == 1}
    assert used <= set(tokens)
    assert single <= set(tokens)
    others = set(tokens) - used - single - {*SPECIAL, "<mask>"}
    assert len(others) > 5


def test_a_small_budget_still_keeps_what_is_needed(unigram_tokenizer: Any) -> None:
    smallest = plan_trim(unigram_tokenizer, SOMALI, 1)
    trimmed = trim_tokenizer(unigram_tokenizer, smallest)
    for text in SOMALI:
        assert pieces_of(trimmed, text) == pieces_of(unigram_tokenizer, text)


def test_a_large_budget_keeps_all(unigram_tokenizer: Any) -> None:
    kept = plan_trim(unigram_tokenizer, SOMALI)
    assert kept.tolist() == list(range(len(unigram_tokenizer)))


def test_no_texts_leave_the_characters(unigram_tokenizer: Any) -> None:
    kept = plan_trim(unigram_tokenizer, [], 1)
    trimmed = trim_tokenizer(unigram_tokenizer, kept)
    for text in (*SOMALI, *OTHERS):
        assert trimmed.unk_token_id not in trimmed(text)["input_ids"]


@pytest.mark.parametrize("text", [*SOMALI[:4], f"{SOMALI[0]} <mask> {SOMALI[1]}", "", " "])
def test_covered_text_is_split_as_before(unigram_tokenizer: Any, trimmed: Any, text: str) -> None:
    assert pieces_of(trimmed, text) == pieces_of(unigram_tokenizer, text)
    assert trimmed.decode(trimmed(text)["input_ids"]) == unigram_tokenizer.decode(
        unigram_tokenizer(text)["input_ids"]
    )


letters = sorted({character for text in (*SOMALI, *OTHERS) for character in text} | {"語", "😀"})


@settings(deadline=None)
@given(st.text(letters, max_size=40))
def test_no_text_becomes_unknown_and_what_is_covered_stays(
    unigram_tokenizer: Any, kept: Any, trimmed: Any, text: str
) -> None:
    before, after = pieces_of(unigram_tokenizer, text), pieces_of(trimmed, text)
    assert ("<unk>" in after) == ("<unk>" in before)
    if set(before) <= set(unigram_tokenizer.convert_ids_to_tokens(kept.tolist())):
        assert after == before


def test_the_new_tokenizer_is_like_the_old(unigram_tokenizer: Any, trimmed: Any) -> None:
    assert trimmed.special_tokens_map == unigram_tokenizer.special_tokens_map
    assert trimmed.model_max_length == unigram_tokenizer.model_max_length
    assert trimmed.model_input_names == unigram_tokenizer.model_input_names
    assert trimmed.padding_side == unigram_tokenizer.padding_side
    assert trimmed.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3]
    assert trimmed.mask_token_id == len(trimmed) - 1 == BUDGET - 1
    assert trimmed("a", "b")["input_ids"].count(2) == 3
    assert sorted(trimmed.get_vocab().values()) == list(range(BUDGET))


def test_truncation_that_was_used_before_leaves_no_trace(unigram_tokenizer: Any) -> None:
    import copy

    used = copy.deepcopy(unigram_tokenizer)
    used(SOMALI[0], truncation=True, max_length=4, padding="max_length")
    kept = plan_trim(used, SOMALI, 1)
    assert kept.tolist() == plan_trim(unigram_tokenizer, SOMALI, 1).tolist()
    trimmed = trim_tokenizer(used, kept)
    assert pieces_of(trimmed, SOMALI[0]) == pieces_of(unigram_tokenizer, SOMALI[0])


def test_tokens_that_were_added_stay(unigram_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(unigram_tokenizer)
    tokenizer.add_tokens(["#somali"])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<dhammaad>"]})
    trimmed = trim_tokenizer(tokenizer, plan_trim(tokenizer, SOMALI[:1], 1))
    text = f"{SOMALI[0]} #somali <dhammaad>"
    assert pieces_of(trimmed, text) == pieces_of(tokenizer, text)
    assert trimmed.decode(trimmed(text)["input_ids"], skip_special_tokens=True) == tokenizer.decode(
        tokenizer(text)["input_ids"], skip_special_tokens=True
    )


def test_han_is_kept_only_where_it_occurs(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    monkeypatch.setattr(vocabulary, "LARGE_SCRIPT", 3)
    pieces = [*SPECIAL, "▁", *"12%.", "a", "b", "ش", "中", "国", "語", "▁ab", "中国"]
    backend = Tokenizer(models.Unigram([(piece, -1.0 - i) for i, piece in enumerate(pieces)], 3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = wrapped(backend)

    def kept_for(*texts: str) -> set[str]:
        return set(tokenizer.convert_ids_to_tokens(plan_trim(tokenizer, texts, 1).tolist()))

    assert kept_for() == {*SPECIAL, "<mask>", "▁", "1", "2", "%", ".", "ش", *"ab", "中国"}
    assert not kept_for("ab") & {"中", "国", "語"}
    assert kept_for("ab") >= {"a", "b", "ش", "▁ab"}
    assert kept_for("ab 中") >= {"中", "国", "語"}


def test_byte_pieces_stay() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = [*SPECIAL, "▁", "a", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    scores = [(piece, -1.0 - i) for i, piece in enumerate(pieces)]
    backend = Tokenizer(models.Unigram(scores, 3, byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = wrapped(backend)
    trimmed = trim_tokenizer(tokenizer, plan_trim(tokenizer, ["a"], 1))
    assert pieces_of(trimmed, "語a") == pieces_of(tokenizer, "語a")
    assert "<0xE8>" in pieces_of(trimmed, "語")


@pytest.mark.parametrize("name", ["xlm-roberta", "bert"])
def test_predictions_do_not_change(unigram_tokenizer: Any, tmp_path: Path, name: str) -> None:
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(3)
    # More rows than ids, as multilingual-e5-small has on the hub.
    AutoModel.from_config(tiny_config(name, len(unigram_tokenizer) + 5)).save_pretrained(tmp_path)
    unigram_tokenizer.save_pretrained(tmp_path)
    model = load_classifier(directory_source(tmp_path), ("a", "b", "c")).eval()

    def logits(model: Any, tokenizer: Any) -> Any:
        with torch.no_grad():
            return model(**tokenizer(list(SOMALI), padding=True, return_tensors="pt")).logits

    before = logits(model, unigram_tokenizer)
    kept = plan_trim(unigram_tokenizer, SOMALI, BUDGET)
    trimmed = trim_tokenizer(unigram_tokenizer, kept)
    trim_embeddings(model, kept)
    assert torch.equal(logits(model, trimmed), before)

    saved = tmp_path / "trimmed"
    model.save_pretrained(saved)
    trimmed.save_pretrained(saved)
    reloaded = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    assert torch.equal(logits(reloaded, tokenizer), before)
    assert reloaded.config.vocab_size == len(kept) == len(tokenizer)
    assert load_tokenizer(directory_source(saved))(SOMALI[0]) == trimmed(SOMALI[0])


def test_a_tokenizer_class_of_its_own_is_trimmed_too(tmp_path: Path) -> None:
    from transformers import AutoTokenizer, XLMRobertaTokenizer

    words = ["▁waxay", "▁wax", "ay", "▁the", "▁", *"waxythe"]
    vocabulary = [(piece, 0.0) for piece in SPECIAL]
    vocabulary += [(word, -3.0 - i) for i, word in enumerate(words)] + [("<mask>", 0.0)]
    tokenizer = XLMRobertaTokenizer(vocab=vocabulary)
    trimmed = trim_tokenizer(tokenizer, plan_trim(tokenizer, ["waxay"], 1))
    assert "▁the" not in trimmed.get_vocab()
    tiny_config("xlm-roberta", len(trimmed)).save_pretrained(tmp_path)
    trimmed.save_pretrained(tmp_path)
    reloaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("waxay wax", "the <mask> waxay", "waxay  the"):
        assert pieces_of(reloaded, text) == pieces_of(trimmed, text)
    assert pieces_of(reloaded, "waxay") == ["<s>", "▁waxay", "</s>"]


def test_the_record_counts_what_happened(tiny_xlmr: Path) -> None:
    source = directory_source(tiny_xlmr)
    tokenizer, model = load_tokenizer(source), load_classifier(source, ("a", "b"))
    pieces, parameters = len(tokenizer), model.num_parameters()
    val = [*SOMALI[4:], "語 waa"]
    trimmed, record = trim(tokenizer, model, SOMALI[:4], val)
    ids = [trimmed(text, add_special_tokens=False)["input_ids"] for text in val]
    assert (record.pieces_before, record.pieces_after) == (pieces, len(trimmed))
    assert (record.parameters_before, record.parameters_after) == (
        parameters,
        model.num_parameters(),
    )
    assert record.val_tokens_after == sum(map(len, ids))
    assert record.val_unknown_before == record.val_unknown_after == 1
    assert sum(part.count(3) for part in ids) == 1
    # A budget of 30k keeps all of this small vocabulary.
    assert record.pieces_after == record.pieces_before


def test_the_budget_grows_until_val_is_split_nearly_as_before(
    tiny_xlmr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "VOCABULARY_BUDGET", 150)
    source = directory_source(tiny_xlmr)

    def trimmed_for(val: tuple[str, ...]) -> Any:
        tokenizer, model = load_tokenizer(source), load_classifier(source, ("a", "b"))
        record = trim(tokenizer, model, SOMALI[:2], val)[1]
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
        (SOMALI[:2], (), 150),  # nothing to measure: the first budget will do
        ((), (), 1),
        (SOMALI[:2], ("caafimaadka",), 150),  # one word: all growth is too much
        (SOMALI[:2], (OTHERS[2],), 1),
        (SOMALI[:2], SOMALI, 10**9),
        ((), ("語 語",), 150),  # unknown before and after
    ],
)
def test_every_search_for_a_budget_ends_well(
    tiny_xlmr: Path,
    monkeypatch: pytest.MonkeyPatch,
    train: tuple[str, ...],
    val: tuple[str, ...],
    budget: int,
) -> None:
    monkeypatch.setattr(trimming, "VOCABULARY_BUDGET", budget)
    source = directory_source(tiny_xlmr)
    tokenizer, model = load_tokenizer(source), load_classifier(source, ("a", "b"))
    trimmed, record = trim(tokenizer, model, train, val)
    assert record.fertility_growth <= 0.01
    assert record.val_unknown_after == record.val_unknown_before
    assert record.pieces_after == len(trimmed) <= record.pieces_before == len(tokenizer)
    if budget > len(tokenizer):
        assert trimmed.get_vocab() == tokenizer.get_vocab()
    if not val:
        smallest = plan_trim(tokenizer, train, 1)
        assert record.pieces_after == max(budget, len(smallest))


def test_a_script_of_val_alone_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertModel

    monkeypatch.setattr(vocabulary, "LARGE_SCRIPT", 3)
    monkeypatch.setattr(trimming, "VOCABULARY_BUDGET", 1)
    pieces = [*SPECIAL, "▁", *"ab", "▁ab", "中", "国", "語", "ش"]
    backend = Tokenizer(models.Unigram([(piece, -1.0 - i) for i, piece in enumerate(pieces)], 3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer = wrapped(backend)
    model = BertModel(tiny_config("bert", len(tokenizer)))
    trimmed, record = trim(tokenizer, model, ["a"], ["国"])
    assert record.val_unknown_after == 0
    assert {"中", "国", "語"} < set(trimmed.get_vocab())
    assert "▁ab" not in trimmed.get_vocab()


def test_a_character_known_only_within_longer_pieces_keeps_them() -> None:
    """`z` is no piece by itself behind a letter, nor `q` in front of one."""
    from transformers import BertTokenizer

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abz", "##a", "##b", "##q"]
    pieces += ["##bz", "abz", "qa", "ab", "##ab"]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    trimmed = trim_tokenizer(tokenizer, plan_trim(tokenizer, ["a b q"], 1))
    assert set(pieces) - set(trimmed.get_vocab()) == {"ab", "##ab"}
    for word in ("abz", "bbz", "qab", "ab", "abab"):
        assert pieces_of(trimmed, word).count("[UNK]") == pieces_of(tokenizer, word).count("[UNK]")


def test_merges_keep_what_they_pass_through() -> None:
    """`abcd` is merged from `ab` and `cd`, which no text uses by themselves."""
    from transformers import RobertaTokenizer

    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdĠ", "ab", "cd", "bc", "abc", "abcd"]
    merges = [("a", "b"), ("c", "d"), ("b", "c"), ("ab", "c"), ("ab", "cd")]
    tokenizer = RobertaTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges
    )
    trimmed = trim_tokenizer(tokenizer, plan_trim(tokenizer, ["abcd"], 1))
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
        (padding_behind, "padding token does not stand at the front"),
    ],
)
def test_what_can_t_be_trimmed_says_why(build: Any, reason: str) -> None:
    tokenizer = wrapped(build())
    assert reason in str(can_trim(tokenizer))
    for attempt in (
        lambda: plan_trim(tokenizer, ["a"]),
        lambda: trim_tokenizer(tokenizer, np.arange(3)),
        lambda: trim(tokenizer, None, ["a"], ["a"]),
    ):
        with pytest.raises(EncoderError, match=rf"{reason}.*Set model\.trim_vocabulary to false"):
            attempt()


def test_a_unigram_tokenizer_can_be_trimmed(unigram_tokenizer: Any) -> None:
    assert can_trim(unigram_tokenizer) is None


@pytest.mark.slow
def test_the_real_vocabulary_is_trimmed_without_loss(embedded: EncoderSource) -> None:
    train, val = (
        [row["text"] for row in shared_rows(f"sib200_som/{split}.jsonl")]
        for split in ("train", "val")
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
