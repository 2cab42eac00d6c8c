"""Which pieces a language is likely to need."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.encoders.vocabulary import (
    ORDER,
    PRIOR,
    character_log_probabilities,
    rank_pieces,
    script,
)

words = st.text("ab▁šش語", min_size=1, max_size=6)


def naive(pieces: list[str], corpus: str) -> list[float]:
    """The model of the docstring, character by character."""
    counts = Counter(
        corpus[end - order : end]
        for order in range(1, ORDER + 1)
        for end in range(order, len(corpus) + 1)
    )
    counts[""] = len(corpus)

    def probability(context: str, character: str) -> float:
        uniform = 1.0 / (len(set(corpus)) + 1)
        shorter = probability(context[1:], character) if context else uniform
        return (counts[context + character] + PRIOR * shorter) / (counts[context] + PRIOR)

    return [
        sum(
            math.log(probability(piece[max(0, index - ORDER + 1) : index], character))
            for index, character in enumerate(piece)
        )
        for piece in pieces
    ]


@given(st.lists(words, min_size=1, max_size=8), st.text("ab▁šش", min_size=1, max_size=40))
def test_the_character_model_is_the_one_that_is_described(pieces: list[str], corpus: str) -> None:
    found = character_log_probabilities(pieces, corpus)
    np.testing.assert_allclose(found, naive(pieces, corpus), rtol=1e-9)


def test_pieces_of_the_language_come_before_equally_frequent_others() -> None:
    corpus = "▁waxay▁waxaan▁waxaa▁magaalada▁magaalooyinka"
    pieces = ["▁the", "waxa", "tion", "maga", "ش", "aan"]
    order = rank_pieces(pieces, np.full(len(pieces), -9.0), corpus, {"LATIN"})
    assert set(order[:3].tolist()) == {1, 3, 5}
    assert order[-1] == 4


def test_another_script_comes_last_however_frequent_it_is() -> None:
    order = rank_pieces(["ش", "z", "1"], np.array([-1.0, -20.0, -30.0]), "▁ab", {"LATIN"})
    assert order.tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("a", "LATIN"),
        ("Š", "LATIN"),
        ("ش", "ARABIC"),
        ("ل", "ARABIC"),
        ("ልጆ"[0], "ETHIOPIC"),
        ("語", "CJK"),
        ("한", "HANGUL"),
        ("1", ""),
        ("▁", ""),
        ("%", ""),
        ("\u0301", ""),
        ("😀", ""),
        ("\ue000", ""),
    ],
)
def test_a_character_s_script(character: str, name: str) -> None:
    assert script(character) == name
