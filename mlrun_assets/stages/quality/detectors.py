"""Language detectors behind one interface: texts in, language codes out.

Both know Somali and Oromo apart (see the table in the documentation); detectors that do not, such
as lingua, take the one for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, assert_never

from mlrun_assets.text import language_tag

DetectorName = Literal["pycld2", "py3langid"]


@dataclass(frozen=True)
class Detector:
    """``detect`` returns one code per text, ``languages`` are the codes that it knows.

    The codes are those of `language_tag`: detectors disagree on Hebrew (``iw`` and ``he``). A text
    in no known language gets ``un``, or a code of its script such as ``xx-Ogam``.
    """

    name: DetectorName
    languages: frozenset[str]
    detect: Callable[[Sequence[str]], list[str]]


@cache
def load_detector(name: DetectorName) -> Detector:
    """The detector of that name, with its model loaded."""
    match name:
        case "pycld2":
            return _pycld2()
        case "py3langid":
            return _py3langid()
        case _:
            assert_never(name)


def _pycld2() -> Detector:
    """Compact Language Detector 2: naive Bayes over quadgrams."""
    import pycld2

    def detect(texts: Sequence[str]) -> list[str]:
        # Best effort: a short text gets a language rather than `un`. Plain text: no HTML in it.
        found = (pycld2.detect(text, isPlainText=True, bestEffort=True) for text in texts)
        return [language_tag(details[0][1]) for _, _, details in found]

    codes = dict(pycld2.LANGUAGES)
    known = (language_tag(codes[name]) for name in pycld2.DETECTED_LANGUAGES)
    return Detector("pycld2", frozenset(known), detect)


def _py3langid() -> Detector:
    """langid.py: naive Bayes over byte n-grams (Lui & Baldwin, 2012)."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)

    def detect(texts: Sequence[str]) -> list[str]:
        return [language_tag(str(identifier.classify(text)[0])) for text in texts]

    known = (language_tag(str(label)) for label in identifier.labels)
    return Detector("py3langid", frozenset(known), detect)
