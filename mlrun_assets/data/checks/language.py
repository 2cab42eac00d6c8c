"""Checks of the language of the texts, and of code-switching."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset, Measured, judged, off
from mlrun_assets.data.text import language_profile, language_tag
from mlrun_assets.errors import count, listed, percent
from mlrun_assets.records import QualityCheck, Severity


class Detector(NamedTuple):
    """``languages`` are the codes that it knows; ``detect`` returns the one of a text.

    ``detect`` also takes the code that is expected, which it returns unless another is much more
    likely. The codes are those of `language_tag`: detectors disagree on Hebrew (``iw`` and ``he``).
    A text in no known language gets a code of its script such as ``xx-Ogam``, or one of `UNKNOWN`.
    """

    languages: frozenset[str]
    detect: Callable[[str, str | None], str]


DETECTORS = ("pycld2", "py3langid")
UNKNOWN = ("un", "und", "zxx")
# Difference of log-probabilities. Of texts of six words in eight languages, at most 2 % are then
# taken for another language, and 97 % or more of the texts in another one are still found.
_MUCH_LIKELIER = 10


@cache
def load_detector(name: str) -> Detector:
    """The detector of that name, with its model loaded.

    ``pycld2`` is Compact Language Detector 2: naive Bayes over quadgrams. ``py3langid`` is
    langid.py: naive Bayes over byte n-grams (Lui & Baldwin, 2012).
    """
    if name == "pycld2":
        import pycld2

        codes = dict(pycld2.LANGUAGES)
        # Reversed: simplified Chinese comes before traditional, and both are `zh`.
        names = reversed(pycld2.DETECTED_LANGUAGES)
        known = {language_tag(codes[each]): codes[each] for each in names}

        def detect(text: str, expected: str | None) -> str:
            # Best effort: a short text gets a language rather than `un`. Plain: no HTML in it.
            hint = {"hintLanguage": known[expected]} if expected else {}
            _, _, details = pycld2.detect(text, isPlainText=True, bestEffort=True, **hint)
            return language_tag(str(details[0][1]))

        return Detector(frozenset(known), detect)

    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)

    def detect_likeliest(text: str, expected: str | None) -> str:
        if expected is None:
            return language_tag(str(identifier.classify(text)[0]))
        ranked = [(language_tag(str(code)), score) for code, score in identifier.rank(text)]
        best, most = ranked[0]
        return expected if most - dict(ranked)[expected] < _MUCH_LIKELIER else best

    return Detector(frozenset(map(language_tag, map(str, identifier.labels))), detect_likeliest)


def counted_as(tag: str, known: frozenset[str]) -> list[str]:
    """The codes of a detector that count as the language ``tag``, the nearest first.

    They are the language and its members (Indonesian is Malay). Of a member that the detector does
    not know, they are those of its macrolanguage (Bokmål is Norwegian).
    """
    from langcodes.data_dicts import MACROLANGUAGES

    counted = sorted(code for code in known if tag in (code, MACROLANGUAGES.get(code)))
    if not counted and tag in MACROLANGUAGES:
        return counted_as(MACROLANGUAGES[tag], known)
    return sorted(counted, key=lambda code: code != tag)


WORD = r"\p{L}+(?:['’‘ʼʻ`´]\p{L}+)*"  # noqa: RUF001 - used as apostrophes
# Addresses, users and topics look English. pycld2 refuses a text with a control character or with a
# code point that is no character.
_NOT_TEXT = r"(?i)\b(?:https?://|www\.)\S+|\S*@\S+|#\S+|\p{C}"
_ENOUGH_FUNCTION_WORDS = 2
_LISTED = 8


def words_only(texts: pl.Series) -> pl.Series:
    """``texts`` without what a detector takes for English, or refuses."""
    return texts.str.replace_all(_NOT_TEXT, " ")


def add_language(frame: pl.DataFrame, data: DataConfig) -> pl.DataFrame:
    """``frame`` with the columns ``language`` and ``code_switched``.

    ``language`` is null for a text of fewer words than it takes to judge, of no known language, and
    where no check asks. It is another than ``data.language`` only if the detector says so twice,
    the second time with ``data.language`` as the expected one: on texts as short as a tweet, its
    first guess is often wrong. ``code_switched``: the first guess is another language, yet two
    different function words of ``data.language`` occur.
    """
    quality, profile = data.quality, language_profile(data.language)
    nothing = pl.Series("language", [None], dtype=pl.String).new_from_index(0, frame.height)
    switched = pl.Series("code_switched", [False]).new_from_index(0, frame.height)
    if {"language", "code_switching"} <= set(quality.skip):
        return frame.with_columns(nothing, switched)
    detector = load_detector(quality.language_detector)
    counted = counted_as(profile.tag, detector.languages)
    texts = words_only(frame["text"])
    judged = (texts.str.count_matches(r"\S*\p{L}\S*") >= quality.min_language_words).arg_true()
    first = [detector.detect(text, None) for text in texts.gather(judged)]
    guesses = nothing.scatter(judged, pl.Series(first, dtype=pl.String))
    # Only rows that the detector rejected can be code-switched.
    rejected = (~guesses.is_in(counted)).fill_null(value=False).arg_true()
    words = frame["text"].gather(rejected).str.to_lowercase().str.extract_all(WORD).to_list()
    mixed = [len(profile.function_words & set(row)) >= _ENOUGH_FUNCTION_WORDS for row in words]
    switched = switched.scatter(rejected, pl.Series(mixed, dtype=pl.Boolean))
    if counted:
        second = [detector.detect(text, counted[0]) for text in texts.gather(rejected)]
        guesses = guesses.scatter(rejected, pl.Series(second, dtype=pl.String))
    return frame.with_columns(guesses.replace(UNKNOWN, None), switched)


def language(dataset: Dataset) -> QualityCheck:
    """The texts are in ``data.language``."""
    quality = dataset.config.quality
    detector = load_detector(quality.language_detector)
    profile = language_profile(dataset.config.language)
    counted = counted_as(profile.tag, detector.languages)
    if not counted:
        why = f"{quality.language_detector} knows no language `{profile.code}`; rows are not judged"
        knowing = (name for name in DETECTORS if counted_as(profile.tag, load_detector(name)[0]))
        better = next((f"; set data.quality.language_detector to {name}" for name in knowing), "")
        return off("language", why + better)
    shares, found = {}, []
    for split, rows in dataset.splits.items():
        judgeable = rows.frame.filter(pl.col("language").is_not_null())
        other = judgeable.filter(~pl.col("language").is_in(counted) & ~pl.col("code_switched"))
        shares[split] = other.height / max(1, judgeable.height)
        found.append(other["language"])
    others = pl.concat(found)
    worst = max(shares, key=lambda split: shares[split])
    if not dataset.every("language")["language"].count():
        why = f"not measured: no text has {count(quality.min_language_words, 'word')} or more"
        return off("language", why)
    counts = others.value_counts(name="rows").sort("rows", "language", descending=[True, False])
    commonest = ", ".join(f"{rows} `{code}`" for code, rows in counts.head(_LISTED).iter_rows())
    said = (
        f"{percent(shares[worst])} of {worst} ({count(len(others), 'row')} in all, of those with "
        f"{count(quality.min_language_words, 'word')} or more) are not in `{profile.code}`"
    )
    key, limit = "other_language_warns", quality.other_language_warns
    severity = Severity.WARN
    if shares[worst] > quality.other_language_blocks:
        key, limit = "other_language_blocks", quality.other_language_blocks
        severity = Severity.ERROR
    wrong = (
        f"{said}: {commonest}; remove them (column `language` of the splits), correct "
        f"data.language, or raise data.quality.{key} if they are meant"
    )
    return judged("language", Measured(shares[worst], limit, len(others)), said, wrong, severity)


def code_switching(dataset: Dataset) -> QualityCheck:
    """Code-switched rows are counted, tagged and kept; the check always passes."""
    profile = language_profile(dataset.config.language)
    if not profile.function_words:
        why = f"no function words are known for `{profile.code}`, so mixed rows can't be found"
        return off("code_switching", why)
    rows = dataset.every("label", "code_switched")
    mixed = int(rows["code_switched"].sum())
    share = mixed / max(1, rows.height)
    measured = Measured(share, None, mixed)
    if not mixed:
        return judged("code_switching", measured, "no row mixes two languages")
    shares = rows.group_by("label").agg(pl.col("code_switched").mean()).sort("label")
    by_label = shares.filter(pl.col("code_switched") > 0).iter_rows()
    message = (
        f"{count(mixed, 'row')} ({percent(share)}) in `{profile.code}` and another "
        "language, kept and tagged in the column `code_switched`: "
        + listed(f"{percent(part)} of {label}" for label, part in by_label)
    )
    return judged("code_switching", measured, message)
