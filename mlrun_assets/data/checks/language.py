"""Checks of the language of the texts, and of code-switching."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, assert_never

import polars as pl

from mlrun_assets.config import DataConfig
from mlrun_assets.data.checks.base import Dataset, Measured, failed, off, passed
from mlrun_assets.data.text import LanguageProfile, language_profile, language_tag
from mlrun_assets.errors import count
from mlrun_assets.records import QualityCheck, Severity

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
    judged = frame["text"].str.count_matches(r"\S+") >= quality.min_language_words
    texts = frame["text"].filter(judged).str.replace_all(_NOT_TEXT, " ")
    codes = load_detector(quality.language_detector).detect(texts.to_list())
    unknown = pl.Series("language", [None], dtype=pl.String).new_from_index(0, frame.height)
    known = frame.with_columns(
        unknown.scatter(judged.arg_true(), pl.Series(codes, dtype=pl.String))
    )
    return known.with_columns(_code_switched(known, profile))


def language(dataset: Dataset) -> QualityCheck:
    """The texts are in ``data.language``."""
    quality = dataset.config.quality
    detector = load_detector(quality.language_detector)
    profile = language_profile(dataset.config.language)
    if profile.tag not in detector.languages:
        return _not_known(detector, profile)
    shares, others = _other_languages(dataset, profile)
    worst = max(shares, key=lambda split: shares[split])
    measured = Measured(shares[worst], quality.other_language_warns, len(others))
    said = (
        f"{shares[worst]:.1%} of {worst} ({count(len(others), 'row')} in all, of those with "
        f"{quality.min_language_words} words or more) are not in `{profile.code}`"
    )
    if shares[worst] <= quality.other_language_warns:
        return passed("language", said, measured)
    message = (
        f"{said}: {_commonest(others)}; remove them (column `language` of the splits), or correct "
        "data.language"
    )
    if shares[worst] <= quality.other_language_blocks:
        return failed("language", Severity.WARN, message, measured)
    measured = measured._replace(threshold=quality.other_language_blocks)
    return failed("language", Severity.ERROR, message, measured)


def code_switching(dataset: Dataset) -> QualityCheck:
    """Code-switched rows are counted, tagged and kept; the check always passes."""
    profile = language_profile(dataset.config.language)
    if not profile.function_words:
        message = f"no function words are known for `{profile.code}`, so mixed rows can't be found"
        return off("code_switching").model_copy(update={"message": message})
    rows = pl.concat(
        [rows.frame.select("label", "code_switched") for rows in dataset.splits.values()]
    )
    mixed = int(rows["code_switched"].sum())
    measured = Measured(mixed / max(1, rows.height), None, mixed)
    if not mixed:
        return passed("code_switching", "no row mixes two languages", measured)
    message = (
        f"{count(mixed, 'row')} ({measured.value:.1%}) in `{profile.code}` and another "
        f"language, kept and tagged in the column `code_switched`: {_shares_of_labels(rows)}"
    )
    return passed("code_switching", message, measured)


def _other_languages(
    dataset: Dataset, profile: LanguageProfile
) -> tuple[dict[str, float], pl.Series]:
    """The share of each split's judged rows in another language, and the languages of all."""
    shares, found = {}, []
    for split, rows in dataset.splits.items():
        judged = rows.frame.filter(pl.col("language").is_not_null())
        other = judged.filter(_disagrees(profile) & ~pl.col("code_switched"))
        shares[split] = other.height / max(1, judged.height)
        found.append(other["language"])
    return shares, pl.concat(found)


def _not_known(detector: Detector, profile: LanguageProfile) -> QualityCheck:
    message = (
        f"{detector.name} knows no language `{profile.code}`, so rows are not judged; try another "
        "data.quality.language_detector"
    )
    return off("language").model_copy(update={"message": message})


def _disagrees(profile: LanguageProfile) -> pl.Expr:
    return pl.col("language") != profile.tag


def _code_switched(frame: pl.DataFrame, profile: LanguageProfile) -> pl.Series:
    """Whether each row is code-switched; only rows that the detector rejected are examined."""
    mixed = pl.Series("code_switched", [False]).new_from_index(0, frame.height)
    if not profile.function_words:
        return mixed
    positions = frame.select(_disagrees(profile).fill_null(value=False)).to_series().arg_true()
    words = frame["text"].gather(positions).str.to_lowercase().str.extract_all(WORD)
    function_words = [
        len(profile.function_words.intersection(row)) >= _ENOUGH_FUNCTION_WORDS
        for row in words.to_list()
    ]
    return mixed.scatter(positions, pl.Series(function_words, dtype=pl.Boolean))


def _commonest(languages: pl.Series) -> str:
    counts = languages.value_counts(sort=True, name="rows").sort(
        ["rows", "language"], descending=[True, False]
    )
    return ", ".join(f"{rows} `{code}`" for code, rows in counts.head(_LISTED).iter_rows())


def _shares_of_labels(rows: pl.DataFrame) -> str:
    shares = rows.group_by("label").agg(pl.col("code_switched").mean()).sort("label")
    mixed = shares.filter(pl.col("code_switched") > 0)
    return ", ".join(f"{share:.1%} of {label}" for label, share in mixed.iter_rows())
