"""Hashed n-grams against those of scikit-learn."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mlrun_assets.data.checks import labels as module
from mlrun_assets.data.checks.labels import character_ngrams
from mlrun_assets_tests.examples import sample_rows


def test_similarities_are_those_of_char_wb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_ROWS", 30)  # several chunks
    # scikit-learn repeats a word that is shorter than the n-gram; such words are left out.
    texts = [
        " ".join(word for word in row["text"].split() if len(word) > 3)
        for row in sample_rows("val")
    ]
    ours = character_ngrams(pl.Series(texts))
    theirs = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, min_df=2
    ).fit_transform(texts)
    difference = np.abs((ours @ ours.T).toarray() - (theirs @ theirs.T).toarray())
    assert difference.max() < 0.02


@pytest.mark.parametrize("texts", [["", "waa"], ["koow", "laba"], ["", ""]])
def test_texts_that_share_nothing(texts: list[str]) -> None:
    found = character_ngrams(pl.Series(texts))
    assert [bool(count) for count in found.getnnz(axis=1)] == [bool(text) for text in texts]
