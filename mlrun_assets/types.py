"""Types that several rooms share: arrays by content, shape and dtype; the progress callback.

Under 60 lines, and a module all the same: every room imports it.

The files that are copied into a model directory (``ngram_scorer.py``, ``classifier.py``) import
nothing of this package and write ``NDArray`` out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Numbers of any shape, which the docstring of the function gives.
FloatArray: TypeAlias = NDArray[np.float64]
Float32Array: TypeAlias = NDArray[np.float32]
# Counts, lengths and token ids, of any shape.
IntArray: TypeAlias = NDArray[np.int64]
# A condition per row or per label.
BoolArray: TypeAlias = NDArray[np.bool_]
# Hashes, and n-grams packed into one integer, shape (items,).
HashArray: TypeAlias = NDArray[np.uint64]
# Code points of a text, or rows of MinHash values.
Uint32Array: TypeAlias = NDArray[np.uint32]
# Positions of rows in a split, shape (rows,).
RowNumbers: TypeAlias = NDArray[np.int64]
# The index of one label per row, shape (rows,).
LabelIds: TypeAlias = NDArray[np.int64]
# One probability per row and label, shape (rows, labels); each row sums to 1.
Probabilities: TypeAlias = NDArray[np.float64]
# Takes one line about the progress of something that takes a while.
ProgressCallback: TypeAlias = Callable[[str], None]
