"""Checks of the language of the texts, and of code-switching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset, Measured, judged, off
from mlrun_assets.data.text import language_profile, language_tag
from mlrun_assets.errors import count, listed
from mlrun_assets.records import QualityCheck, Severity


class Detector(NamedTuple):
    """``detect`` returns one code per text, ``languages`` are the codes that it knows.

    The codes are those of `language_tag`: detectors disagree on Hebrew (``iw`` and ``he``). A text
    in no known language gets ``un``, or a code of its script such as ``xx-Ogam``.
    """

    languages: frozenset[str]
    detect: Callable[[Sequence[str]], list[str]]


@cache
def load_detector(name: str) -> Detector:
    """The detector of that name, with its model loaded.

    ``pycld2`` is Compact Language Detector 2: naive Bayes over quadgrams. ``py3langid`` is
    langid.py: naive Bayes over byte n-grams (Lui & Baldwin, 2012).
    """
    if name == "pycld2":
        import pycld2

        codes = dict(pycld2.LANGUAGES)
        known = [codes[language] for language in pycld2.DETECTED_LANGUAGES]

        def code(text: str) -> str:
            # Best effort: a short text gets a language rather than `un`. Plain text: no HTML in it.
            _, _, details = pycld2.detect(text, isPlainText=True, bestEffort=True)
            return str(details[0][1])

    else:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
        known = list(map(str, identifier.labels))

        def code(text: str) -> str:
            return str(identifier.classify(text)[0])

    def detect(texts: Sequence[str]) -> list[str]:
        return [language_tag(code(text)) for text in texts]

    return Detector(frozenset(map(language_tag, known)), detect)


WORD = r"\p{L}+(?:['’‘ʼʻ`´]\p{L}+)*"  # noqa: RUF001 - used as apostrophes
# Control characters and code points that are no character: pycld2 refuses a text with one.
_NOT_TEXT = r"\p{C}"
_ENOUGH_FUNCTION_WORDS = 2
_LISTED = 8


def add_language(frame: pl.DataFrame, data: DataConfig) -> pl.DataFrame:
    """``frame`` with the columns ``language`` and ``code_switched``.

    ``language`` is what the detector says, null for a text of fewer words than it takes to judge
    and where no check asks. ``code_switched``: the detector disagrees with ``data.language``, yet
    two different function words of that language occur.
    """
    quality, profile = data.quality, language_profile(data.language)
    if {"language", "code_switching"} <= set(quality.skip):
        return frame.with_columns(
            language=pl.lit(None, dtype=pl.String), code_switched=pl.lit(value=False)
        )
    long = frame["text"].str.count_matches(r"\S+") >= quality.min_language_words
    texts = frame["text"].filter(long).str.replace_all(_NOT_TEXT, " ")
    codes = load_detector(quality.language_detector).detect(texts.to_list())
    unknown = pl.Series("language", [None], dtype=pl.String).new_from_index(0, frame.height)
    known = unknown.scatter(long.arg_true(), pl.Series(codes, dtype=pl.String))
    # Only rows that the detector rejected can be code-switched.
    rejected = (known != profile.tag).fill_null(value=False).arg_true()
    words = frame["text"].gather(rejected).str.to_lowercase().str.extract_all(WORD).to_list()
    mixed = [len(profile.function_words & set(row)) >= _ENOUGH_FUNCTION_WORDS for row in words]
    switched = pl.Series("code_switched", [False]).new_from_index(0, frame.height)
    return frame.with_columns(known, switched.scatter(rejected, pl.Series(mixed, dtype=pl.Boolean)))


def language(dataset: Dataset) -> QualityCheck:
    """The texts are in ``data.language``."""
    quality = dataset.config.quality
    detector = load_detector(quality.language_detector)
    profile = language_profile(dataset.config.language)
    if profile.tag not in detector.languages:
        knows = f"{quality.language_detector} knows no language `{profile.code}`"
        advice = "so rows are not judged; try another data.quality.language_detector"
        return off("language", f"{knows}, {advice}")
    shares, found = {}, []
    for split, rows in dataset.splits.items():
        judgeable = rows.frame.filter(pl.col("language").is_not_null())
        other = judgeable.filter((pl.col("language") != profile.tag) & ~pl.col("code_switched"))
        shares[split] = other.height / max(1, judgeable.height)
        found.append(other["language"])
    others = pl.concat(found)
    worst = max(shares, key=lambda split: shares[split])
    if not dataset.every("language")["language"].count():
        why = f"not measured: no text has {quality.min_language_words} words or more"
        return off("language", why)
    counts = others.value_counts(name="rows").sort("rows", "language", descending=[True, False])
    commonest = ", ".join(f"{rows} `{code}`" for code, rows in counts.head(_LISTED).iter_rows())
    said = (
        f"{shares[worst]:.1%} of {worst} ({count(len(others), 'row')} in all, of those with "
        f"{quality.min_language_words} words or more) are not in `{profile.code}`"
    )
    wrong = (
        f"{said}: {commonest}; remove them (column `language` of the splits), or correct "
        "data.language"
    )
    limit, severity = quality.other_language_warns, Severity.WARN
    if shares[worst] > quality.other_language_blocks:
        limit, severity = quality.other_language_blocks, Severity.ERROR
    return judged("language", Measured(shares[worst], limit, len(others)), said, wrong, severity)


def code_switching(dataset: Dataset) -> QualityCheck:
    """Code-switched rows are counted, tagged and kept; the check always passes."""
    profile = language_profile(dataset.config.language)
    if not profile.function_words:
        why = f"no function words are known for `{profile.code}`, so mixed rows can't be found"
        return off("code_switching", why)
    rows = dataset.every("label", "code_switched")
    mixed = int(rows["code_switched"].sum())
    measured = Measured(mixed / max(1, rows.height), None, mixed)
    if not mixed:
        return judged("code_switching", measured, "no row mixes two languages")
    shares = rows.group_by("label").agg(pl.col("code_switched").mean()).sort("label")
    by_label = shares.filter(pl.col("code_switched") > 0).iter_rows()
    message = (
        f"{count(mixed, 'row')} ({measured.value:.1%}) in `{profile.code}` and another "
        "language, kept and tagged in the column `code_switched`: "
        + listed(f"{share:.1%} of {label}" for label, share in by_label)
    )
    return judged("code_switching", measured, message)
