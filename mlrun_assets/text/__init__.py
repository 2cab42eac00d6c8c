"""Orthography, keys and languages: pure functions from string to string.

orthography.py   stored text made regular without changing a word
keys.py          what texts have in common that a reader would call the same
lines.py         texts cut to fit a line
languages.py     what is known about a language
"""

from mlrun_assets.text.keys import duplicate_key
from mlrun_assets.text.languages import LanguageProfile, language_profile, language_tag
from mlrun_assets.text.lines import first_words, one_line, shorten
from mlrun_assets.text.orthography import ALL_STEPS, Normalised, Step, normalise

__all__ = [
    "ALL_STEPS",
    "LanguageProfile",
    "Normalised",
    "Step",
    "duplicate_key",
    "first_words",
    "language_profile",
    "language_tag",
    "normalise",
    "one_line",
    "shorten",
]
