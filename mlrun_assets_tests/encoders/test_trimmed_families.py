"""Trimmed encoders of each family answer like whole ones, as plain transformers directories."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlrun_assets.encoders.loading import load_classifier, load_tokenizer
from mlrun_assets.encoders.source import EncoderSource
from mlrun_assets.encoders.trimming import can_trim, trim
from mlrun_assets_tests.encoders import tiny_encoders
from mlrun_assets_tests.encoders.tiny_encoders import (
    OTHERS,
    SOMALI,
    directory_source,
    pieces_of,
    trimmed_tokenizer,
)
from mlrun_assets_tests.examples import sample_rows

BUDGET = 900
TRAIN = [row["text"] for row in sample_rows("train")[:30]]
VAL = [row["text"] for row in sample_rows("val")]


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


@pytest.fixture(scope="module", params=sorted(tiny_encoders.TOKENIZERS))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    directory = tmp_path_factory.mktemp("families") / request.param
    tiny_encoders.write_encoder(request.param, directory)
    source = directory_source(directory)
    whole = load_tokenizer(source)
    trimmed = trimmed_tokenizer(whole, TRAIN, BUDGET)
    return Family(source, whole, trimmed, frozenset(trimmed.get_vocab()))


def test_the_tokenizer_of_each_family_is_the_real_one(family: Family) -> None:
    family_name = Path(family.source.location).name
    built = tiny_encoders.TOKENIZERS[family_name]()
    assert type(family.whole) is type(built)
    assert type(built).__module__.startswith("transformers.models.")
    assert can_trim(family.whole) is None
    assert family.whole.unk_token_id is not None
    assert len(family.whole) > 1000


def test_the_training_texts_are_segmented_as_before(family: Family) -> None:
    assert len(family.trimmed) < len(family.whole)
    for text in TRAIN:
        assert pieces_of(family.trimmed, text) == pieces_of(family.whole, text)
        assert family.trimmed.decode(family.trimmed(text)["input_ids"]) == family.whole.decode(
            family.whole(text)["input_ids"]
        )


def test_of_other_texts_those_that_are_covered_are_too(family: Family) -> None:
    words = sorted({word for text in VAL for word in text.split()})
    covered = [word for word in words if family.covers(word)]
    assert len(words) / 4 < len(covered) < len(words)
    assert all(pieces_of(family.trimmed, word) == pieces_of(family.whole, word) for word in covered)


def test_nothing_new_is_unknown(family: Family) -> None:
    for text in (*VAL, *OTHERS, "Soomaaliya 🙂 語 x̣ ʿ", "ﬁ\u200d ßĞ", ""):
        whole, trimmed = (
            pieces_of(tokenizer, text) for tokenizer in (family.whole, family.trimmed)
        )
        unknown = family.whole.unk_token
        assert trimmed.count(unknown) <= whole.count(unknown)


letters = sorted({character for text in (*SOMALI, *OTHERS) for character in text} | {"語", "é"})


@settings(deadline=None, max_examples=100)
@given(text=st.text(letters, max_size=30))
def test_any_text_is_segmented_as_before_or_into_smaller_known_pieces(
    family: Family, text: str
) -> None:
    whole, trimmed = pieces_of(family.whole, text), pieces_of(family.trimmed, text)
    assert trimmed.count(family.whole.unk_token) <= whole.count(family.whole.unk_token)
    if family.covers(text):
        assert trimmed == whole


def test_special_tokens_truncation_and_pairs_work_as_before(family: Family) -> None:
    whole, trimmed = family.whole, family.trimmed
    assert trimmed.special_tokens_map == whole.special_tokens_map
    assert trimmed.pad_token_id == whole.pad_token_id
    assert trimmed.model_input_names == whole.model_input_names
    settings_of = {"truncation": True, "max_length": 12, "padding": "max_length"}
    for texts in ((TRAIN[0],), (TRAIN[0], TRAIN[1]), ("waa",), (f"waa {whole.mask_token} waa",)):
        before, after = whole(*texts, **settings_of), trimmed(*texts, **settings_of)
        assert after.keys() == before.keys()
        for name in before.keys() - {"input_ids"}:
            assert after[name] == before[name]
        assert trimmed.convert_ids_to_tokens(after["input_ids"]) == whole.convert_ids_to_tokens(
            before["input_ids"]
        )


def kept_ids(whole: Any, trimmed: Any) -> list[int]:
    ids: list[int] = whole.convert_tokens_to_ids(trimmed.convert_ids_to_tokens(range(len(trimmed))))
    return ids


def outputs(model: Any, tokenizer: Any, texts: list[str]) -> Any:
    import torch

    batch = tokenizer(texts, padding=True, truncation=True, max_length=40, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


def save(model: Any, tokenizer: Any, directory: Path) -> Path:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_a_trimmed_classifier_predicts_the_same(family: Family, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(1)
    model = load_classifier(family.source, ("a", "b", "c"))
    before = outputs(model, family.whole, TRAIN)
    rows, width = model.get_input_embeddings().weight.shape
    trimmed, record = trim(family.whole, model, TRAIN, TRAIN[:10], BUDGET)
    assert torch.equal(outputs(model, trimmed, TRAIN), before)
    assert before.std(dim=0).min() > 0
    assert record.pieces_after == BUDGET == model.config.vocab_size == len(trimmed)
    assert record.parameters_before - record.parameters_after == width * (rows - BUDGET)
    assert record.fertility_growth == 0

    directory = save(model, trimmed, tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    assert torch.equal(outputs(reloaded, tokenizer, TRAIN), before)
    assert tokenizer(TRAIN[0], TRAIN[1]) == trimmed(TRAIN[0], TRAIN[1])


def test_a_trimmed_encoder_can_be_trimmed_again(family: Family, tmp_path: Path) -> None:
    model = load_classifier(family.source, ("a", "b"))
    save(model, trimmed_tokenizer(family.whole, TRAIN, 1200), tmp_path)
    once = load_tokenizer(directory_source(tmp_path))
    twice = trimmed_tokenizer(once, TRAIN, BUDGET)
    assert len(twice) < len(once) < len(family.whole)
    for text in TRAIN:
        assert pieces_of(twice, text) == pieces_of(family.whole, text)


def test_pieces_in_a_sentencepiece_model_are_trimmed_too(tmp_path: Path) -> None:
    """mDeBERTa-v3 is published with a `spm.model` and no `tokenizer.json`."""
    from sentencepiece import SentencePieceTrainer
    from transformers import AutoTokenizer

    corpus = tmp_path / "corpus"
    corpus.write_text("\n".join(tiny_encoders.corpus()), encoding="utf-8")
    encoder, trimmed_dir = tmp_path / "encoder", tmp_path / "trimmed"
    encoder.mkdir()
    special = {"pad": "[PAD]", "bos": "[CLS]", "eos": "[SEP]", "unk": "[UNK]"}
    SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(encoder / "spm"),
        vocab_size=1500,
        minloglevel=2,
        **{f"{name}_id": index for index, name in enumerate(special)},
        **{f"{name}_piece": piece for name, piece in special.items()},
    )
    whole = tiny_encoders.mdeberta_tokenizer()
    tiny_encoders.config("deberta-v2", whole).save_pretrained(encoder)
    tokenizer = load_tokenizer(directory_source(encoder))
    trimmed = trimmed_tokenizer(tokenizer, TRAIN, BUDGET)
    assert len(trimmed) == BUDGET < len(tokenizer)
    tiny_encoders.config("deberta-v2", trimmed).save_pretrained(trimmed_dir)
    trimmed.save_pretrained(trimmed_dir)
    reloaded = AutoTokenizer.from_pretrained(trimmed_dir)
    for text in TRAIN:
        assert pieces_of(reloaded, text) == pieces_of(tokenizer, text)


def masked_model(family: Family, **settings: Any) -> Any:
    from transformers import AutoModelForMaskedLM

    return AutoModelForMaskedLM.from_pretrained(family.source.location, **settings)


@pytest.mark.parametrize("tied", [True, False])
def test_a_trimmed_language_model_predicts_the_same(
    family: Family, tmp_path: Path, tied: bool
) -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    model = masked_model(family, tie_word_embeddings=tied)
    text = f"{TRAIN[0]} {family.whole.mask_token}{TRAIN[1]}"
    before = outputs(model, family.whole, [text])
    trimmed, _ = trim(family.whole, model, TRAIN, TRAIN[:10], BUDGET)
    kept = kept_ids(family.whole, trimmed)
    after = outputs(model, trimmed, [text])
    torch.testing.assert_close(after, before[..., kept])

    directory = save(model, trimmed, tmp_path)
    reloaded = AutoModelForMaskedLM.from_pretrained(directory)
    assert torch.equal(outputs(reloaded, AutoTokenizer.from_pretrained(directory), [text]), after)
    for language_model in (model, reloaded):
        decoder = language_model.get_output_embeddings().weight
        assert (decoder is language_model.get_input_embeddings().weight) == tied


def test_a_trimmed_language_model_learns_and_becomes_a_classifier(
    family: Family, tmp_path: Path
) -> None:
    """As in task-adaptive pretraining: trim, train on masked words, then load a classifier."""
    import torch

    model = masked_model(family)
    trimmed, _ = trim(family.whole, model, TRAIN, TRAIN[:10], BUDGET)
    batch = trimmed(TRAIN[:4], padding=True, truncation=True, max_length=40, return_tensors="pt")
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert model(**batch, labels=batch["input_ids"]).loss < loss
    words = model.get_input_embeddings().weight
    classifier = load_classifier(directory_source(save(model, trimmed, tmp_path)), ("a", "b"))
    assert torch.equal(classifier.get_input_embeddings().weight, words)


def test_deberta_s_newer_head_is_trimmed_too(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForMaskedLM

    tokenizer = tiny_encoders.TOKENIZERS["deberta-v2"]()
    model = AutoModelForMaskedLM.from_config(
        tiny_encoders.config("deberta-v2", tokenizer, legacy=False)
    )
    with torch.no_grad():
        model.lm_predictions.lm_head.bias.normal_()
    before = outputs(model, tokenizer, [TRAIN[0]])
    trimmed, _ = trim(tokenizer, model, TRAIN, (), BUDGET)
    kept = kept_ids(tokenizer, trimmed)
    after = outputs(model, trimmed, [TRAIN[0]])
    torch.testing.assert_close(after, before[..., kept])
    reloaded = AutoModelForMaskedLM.from_pretrained(save(model, trimmed, tmp_path))
    assert torch.equal(outputs(reloaded, trimmed, [TRAIN[0]]), after)


FRESH_PROCESS = """
import json, sys
from transformers import pipeline
directories, texts = json.load(sys.stdin)
answers = []
for directory in directories:
    classify = pipeline("text-classification", model=directory, device=-1)
    answers.append(classify(texts, truncation=True, max_length=40))
json.dump({"answers": answers, "ours": "mlrun_assets" in sys.modules}, sys.stdout)
"""


@pytest.mark.slow
def test_a_fresh_process_without_this_package_gives_the_same_answers(tmp_path: Path) -> None:
    import torch

    directories, expected = [], []
    for name in tiny_encoders.TOKENIZERS:
        whole = tiny_encoders.write_encoder(name, tmp_path / name / "whole")
        torch.manual_seed(1)
        model = load_classifier(directory_source(tmp_path / name / "whole"), ("a", "b", "c"))
        probabilities = torch.cat([outputs(model, whole, [text]) for text in TRAIN]).softmax(-1)
        trimmed, record = trim(whole, model, TRAIN, TRAIN, BUDGET)
        assert record.pieces_after == BUDGET
        directories.append(str(save(model, trimmed, tmp_path / name / "trimmed")))
        best = probabilities.max(-1)
        expected.append(
            [
                {"label": "abc"[index], "score": pytest.approx(score, abs=1e-6)}
                for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
        )
    answer = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS],
        input=json.dumps([directories, TRAIN]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    result = json.loads(answer.stdout)
    assert not result["ours"]
    assert result["answers"] == expected
