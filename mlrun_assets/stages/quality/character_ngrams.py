"""Character n-grams of many texts as one sparse matrix, counted on columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

FEATURES = 1 << 18
_LENGTHS = (2, 3, 4)
_CHUNK_ROWS = 5_000
_ODD = np.uint64(0x9E3779B97F4A7C15)
_SPACE = ord(" ")


def character_ngrams(texts: pl.Series) -> Any:
    """TF-IDF of n-grams of 2 to 4 characters within words: sparse, of shape (rows, n-grams).

    The features of scikit-learn's ``char_wb`` analyzer (a space marks the ends of a word), hashed;
    those of two texts or more count, or all where there is none such.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import TfidfTransformer

    parts = [
        _counts(texts.slice(start, _CHUNK_ROWS)) for start in range(0, len(texts), _CHUNK_ROWS)
    ]
    counts = vstack(parts, format="csr")
    # An n-gram of one text tells nothing about another, and each costs the model a weight a label.
    texts_with = np.bincount(counts.indices, minlength=FEATURES)
    common = texts_with >= min(2, texts_with.max())
    return TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, np.flatnonzero(common)])


def _counts(texts: pl.Series) -> Any:
    from scipy.sparse import coo_matrix

    padded = " " + texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars() + " "
    characters = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32)
    row = np.repeat(np.arange(len(texts)), padded.str.len_chars().to_numpy())
    space = characters == _SPACE
    rows, columns = [], []
    for length in _LENGTHS:
        places = max(0, len(characters) - length + 1)
        hashes = np.full(places, length, dtype=np.uint64)
        inside = row[:places] == row[length - 1 :]
        for place in range(length):
            hashes = (hashes ^ characters[place : place + places]) * _ODD
            if 0 < place < length - 1:
                inside &= ~space[place : place + places]
        inside &= ~(space[:places] & space[length - 1 :])
        rows.append(row[:places][inside])
        columns.append((hashes[inside] >> np.uint64(40)) % np.uint64(FEATURES))
    where = (np.concatenate(rows), np.concatenate(columns).astype(np.int64))
    counts = coo_matrix(
        (np.ones(len(where[0]), dtype=np.float32), where), shape=(len(texts), FEATURES)
    )
    return counts.tocsr()
