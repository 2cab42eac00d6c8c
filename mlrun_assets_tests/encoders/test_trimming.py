"""Vocabulary trimming keeps all that the texts need, and changes nothing else."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertModel,
    BertTokenizer,
    RobertaTokenizer,
)

from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import can_trim, trim
from mlrun_assets.errors import EncoderError
from mlrun_assets_tests.encoders import tiny_encoders
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
from mlrun_assets_tests.examples import sample_rows

# As many characters as make a large script.
HAN = [chr(0x4E00 + number) for number in range(1_000)]


def test_used_pieces_and_single_characters_are_kept(unigram_tokenizer: Any) -> None:
    trimmed = trimmed_tokenizer(unigram_tokenizer, SOMALI[:4], 200)
    tokens = trimmed.convert_ids_to_tokens(range(len(trimmed)))
    assert tuple(tokens[:4]) == SPECIAL
    assert tokens[-1] == "<mask>"
    assert np.all(np.diff(unigram_tokenizer.convert_tokens_to_ids(tokens)) > 0)
    assert len(tokens) == 200 < len(unigram_tokenizer)
    used = {piece for text in SOMALI[:4] for piece in pieces_of(unigram_tokenizer, text)}
    single = {piece for piece in unigram_tokenizer.get_vocab() if len(piece) == 1}
    assert used | single <= set(tokens)
    assert len(set(tokens) - used - single - {*SPECIAL, "<mask>"}) > 5


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


def test_a_character_known_only_within_longer_pieces_keeps_them() -> None:
    """`z` is no piece of its own behind a letter, nor `q` in front of one."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abz", "##a", "##b", "##q"]
    pieces += ["##bz", "abz", "qa", "ab", "##ab"]
    tokenizer = BertTokenizer(vocab={piece: index for index, piece in enumerate(pieces)})
    trimmed = trimmed_tokenizer(tokenizer, ["a b q"], 1)
    assert set(pieces) - set(trimmed.get_vocab()) == {"ab", "##ab"}
    for word in ("abz", "bbz", "qab", "ab", "abab"):
        assert pieces_of(trimmed, word).count("[UNK]") == pieces_of(tokenizer, word).count("[UNK]")


def test_merges_keep_the_pieces_that_they_pass_through() -> None:
    """`abcd` is merged from `ab` and `cd`, which no text uses alone."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdĠ", "ab", "cd", "bc", "abc", "abcd"]
    merges = [("a", "b"), ("c", "d"), ("b", "c"), ("ab", "c"), ("ab", "cd")]
    tokenizer = RobertaTokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges
    )
    trimmed = trimmed_tokenizer(tokenizer, ["abcd"], 1)
    assert set(pieces) - set(trimmed.get_vocab()) == {"bc", "abc"}
    assert pieces_of(trimmed, "abcd") == pieces_of(tokenizer, "abcd") == ["<s>", "abcd", "</s>"]
    assert pieces_of(trimmed, "bc abc") == ["<s>", "b", "c", "Ġ", "ab", "c", "</s>"]


def test_special_ids_follow_their_pieces(unigram_tokenizer: Any) -> None:
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


def test_a_tokenizer_of_another_model_is_refused(unigram_tokenizer: Any) -> None:
    model = BertModel(tiny_config("bert", len(unigram_tokenizer) - 1))
    with pytest.raises(EncoderError, match="do not belong together"):
        trim(unigram_tokenizer, model, SOMALI, ())


@pytest.mark.parametrize(
    ("train", "val", "budget"),
    [
        (SOMALI[:2], (), 150),  # nothing to measure: the first budget is taken
        ((), (), 1),
        (SOMALI[:2], SOMALI[:2], 150),
        (SOMALI[:2], (*SOMALI, *OTHERS[:2]), 150),
        (SOMALI[:2], ("caafimaadka",), 150),  # one word: any growth is too much
        (SOMALI[:2], (OTHERS[2],), 1),
        (SOMALI[:2], SOMALI, 30_000),
        ((), ("語 語",), 150),  # unknown before and after
    ],
)
def test_the_budget_grows_until_val_needs_hardly_more_tokens(
    tiny_xlmr: Path, train: tuple[str, ...], val: tuple[str, ...], budget: int
) -> None:
    source = directory_source(tiny_xlmr)
    tokenizer, model = load_tokenizer(source), load_classifier(source, ("a", "b"))
    parameters = model.num_parameters()
    trimmed, record = trim(tokenizer, model, train, val, budget)
    for text in train:
        assert pieces_of(trimmed, text) == pieces_of(tokenizer, text)
    ids = [trimmed(text, add_special_tokens=False)["input_ids"] for text in val]
    assert record.val_tokens_after == sum(map(len, ids))
    assert record.fertility_growth <= 0.01
    unknown = sum(part.count(3) for part in ids)
    assert record.val_unknown_after == record.val_unknown_before == unknown
    assert record.pieces_after == len(trimmed) <= record.pieces_before == len(tokenizer)
    assert record.parameters_before == parameters
    dropped = record.pieces_before - record.pieces_after
    assert record.parameters_after == model.num_parameters() == parameters - 16 * dropped
    assert model.get_input_embeddings().num_embeddings == record.pieces_after
    if budget > len(tokenizer):
        assert trimmed.get_vocab() == tokenizer.get_vocab()
    elif set(val) <= set(train):
        smallest = trimmed_tokenizer(tokenizer, train, 1)
        assert record.pieces_after == max(budget, len(smallest))
    elif val == (*SOMALI, *OTHERS[:2]):
        assert record.pieces_after > 150


WORDS = {"<unk>": 0, "<pad>": 1, "a": 2}
FEW = [("<unk>", 0.0), ("<pad>", 0.0), ("a", -1.0)]
BEHIND = [("<unk>", 0.0), *((character, -1.0) for character in HAN[:200]), ("<pad>", 0.0)]
BYTES, SPACES = pre_tokenizers.ByteLevel(), pre_tokenizers.Metaspace()


@pytest.mark.parametrize(
    ("model", "split", "reason"),
    [
        (
            models.WordLevel(WORDS, "<unk>"),
            SPACES,
            "is a WordLevel model, and only Unigram, WordPiece, BPE can lose pieces",
        ),
        (models.BPE(WORDS, []), None, "BPE tokenizer does not work on bytes"),
        (
            models.BPE(WORDS | {"a</w>": 3}, [], end_of_word_suffix="</w>"),
            BYTES,
            "marks pieces by their place in the word",
        ),
        (models.WordPiece(WORDS | {"a": 9}, unk_token="<unk>"), None, "some of its ids have no"),
        (models.Unigram(FEW, 0), BYTES, "does not mark the start of words with Metaspace"),
        (models.Unigram(BEHIND, 0), SPACES, "padding token is not at the front"),
    ],
)
def test_the_reason_why_a_tokenizer_cannot_be_trimmed(model: Any, split: Any, reason: str) -> None:
    backend = Tokenizer(model)
    if split:
        backend.pre_tokenizer = split
    tokenizer = wrapped(backend)
    assert reason in str(can_trim(tokenizer))
    with pytest.raises(EncoderError, match=rf"{reason}.*model\.trim_vocabulary"):
        trim(tokenizer, None, ["a"], ["a"])


# Encoders of each family, as plain transformers directories

BUDGET = 900
TRAIN = [row["text"] for row in sample_rows("train")[:30]]
VAL = [row["text"] for row in sample_rows("val")]
LETTERS = sorted({character for text in (*SOMALI, *OTHERS) for character in text} | {"語", "é"})


@dataclass(frozen=True)
class Family:
    """An encoder, its tokenizer as it is loaded from there, and the same with fewer pieces."""

    source: EncoderSource
    whole: Any
    trimmed: Any
    kept: frozenset[str]

    def covers(self, text: str) -> bool:
        """Whether all pieces of the text are kept."""
        return set(pieces_of(self.whole, text)) <= self.kept

    def check(self, text: str) -> None:
        """A text is segmented as before, or into smaller known pieces."""
        whole, trimmed = pieces_of(self.whole, text), pieces_of(self.trimmed, text)
        assert trimmed.count(self.whole.unk_token) <= whole.count(self.whole.unk_token)
        if self.covers(text):
            assert trimmed == whole


@pytest.fixture(scope="module", params=sorted(tiny_encoders.TOKENIZERS))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    directory = tmp_path_factory.mktemp("families") / request.param
    built = tiny_encoders.write_encoder(request.param, directory)
    source = directory_source(directory)
    whole = load_tokenizer(source)
    assert type(whole) is type(built)
    trimmed = trimmed_tokenizer(whole, TRAIN, BUDGET)
    return Family(source, whole, trimmed, frozenset(trimmed.get_vocab()))


def test_texts_are_segmented_as_before_or_into_smaller_known_pieces(family: Family) -> None:
    assert all(family.covers(text) for text in TRAIN)
    words = sorted({word for text in VAL for word in text.split()})
    assert len(words) / 4 < sum(map(family.covers, words)) < len(words)
    for text in (*TRAIN, *words, *VAL, *OTHERS, "Soomaaliya 🙂 語 x̣ ʿ", "ﬁ\u200d ßĞ", ""):
        family.check(text)
    for text in TRAIN:
        assert family.trimmed.decode(family.trimmed(text)["input_ids"]) == family.whole.decode(
            family.whole(text)["input_ids"]
        )


@given(text=st.text(LETTERS, max_size=30))
def test_any_text_is_segmented_as_before_or_into_smaller_known_pieces(
    family: Family, text: str
) -> None:
    family.check(text)


def test_special_tokens_truncation_and_pairs_work_as_before(family: Family) -> None:
    whole, trimmed = family.whole, family.trimmed
    for name in ("special_tokens_map", "pad_token_id", "model_input_names", "model_max_length"):
        assert getattr(trimmed, name) == getattr(whole, name)
    settings_of = {"truncation": True, "max_length": 12, "padding": "max_length"}
    for texts in ((TRAIN[0],), (TRAIN[0], TRAIN[1]), ("waa",), (f"waa {whole.mask_token} waa",)):
        before, after = whole(*texts, **settings_of), trimmed(*texts, **settings_of)
        assert after.keys() == before.keys()
        for name in before.keys() - {"input_ids"}:
            assert after[name] == before[name]
        assert trimmed.convert_ids_to_tokens(after["input_ids"]) == whole.convert_ids_to_tokens(
            before["input_ids"]
        )


def outputs(model: Any, tokenizer: Any) -> Any:
    batch = tokenizer(TRAIN, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


def test_a_trimmed_classifier_predicts_the_same_and_can_be_trimmed_again(
    family: Family, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = load_classifier(family.source, ("a", "b", "c"))
    before = outputs(model, family.whole)
    assert before.std(dim=0).min() > 0
    rows, width = model.get_input_embeddings().weight.shape
    trimmed, record = trim(family.whole, model, TRAIN, TRAIN[:10], BUDGET)
    assert torch.equal(outputs(model, trimmed), before)
    assert record.pieces_after == BUDGET == model.config.vocab_size == len(trimmed)
    assert record.parameters_before - record.parameters_after == width * (rows - BUDGET)

    model.save_pretrained(tmp_path)
    trimmed.save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert torch.equal(outputs(reloaded, tokenizer), before)
    assert tokenizer(TRAIN[0], TRAIN[1]) == trimmed(TRAIN[0], TRAIN[1])
    twice = trimmed_tokenizer(load_tokenizer(directory_source(tmp_path)), TRAIN, BUDGET - 100)
    assert len(twice) < BUDGET
    for text in TRAIN:
        assert pieces_of(twice, text) == pieces_of(family.whole, text)


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
