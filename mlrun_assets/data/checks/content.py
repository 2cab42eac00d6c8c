"""Checks of single texts: length, personal data, encoding, tokenizer fit."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import polars as pl

from mlrun_assets.data.checks.base import Dataset, Measured, judged
from mlrun_assets.data.rows import NOT_UTF8
from mlrun_assets.data.text import LOOK_ALIKES
from mlrun_assets.errors import count, percent
from mlrun_assets.records import Bound, QualityCheck

EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.\p{L}{2,}"
URL = r"(?i)\b(?:https?://|www\.)[^\s<>\"]+"
# International (+252 61 ...), national with a leading zero (061 234 5678), and 555-123-4567; plain
# numbers, years and amounts are left alone.
PHONE = (
    r"(?:\+|\b00)[1-9]\d{0,2}(?:[\s.()-]{0,2}\d){6,12}\b"
    r"|\b0\d{1,3}[\s.-]?\d{3}[\s.-]?\d{3,4}\b"
    r"|\b\d{3}[.-]\d{3}[.-]\d{4}\b"
)
_PII = {"e-mail address": EMAIL, "phone number": PHONE, "URL": URL}


def empty_or_short(dataset: Dataset) -> QualityCheck:
    """Every text has at least ``min_words`` words; empty texts are quarantined."""
    limit = dataset.config.quality.min_words
    words = dataset.every("text").select(WORDS).to_series()
    short = int((words < limit).sum())
    empty = sum(rows.quarantined.reasons["empty text"] for rows in dataset.splits.values())
    fewest = 0 if empty else words.min()
    return judged(
        "empty_or_short",
        Measured(fewest, limit, short + empty, Bound.AT_LEAST),  # type: ignore[arg-type]
        f"every text has {count(limit, 'word')} or more",
        f"{count(short, 'text')} with fewer than {count(limit, 'word')}, {empty} empty and "
        "quarantined; complete or remove them",
    )


def too_long(dataset: Dataset) -> QualityCheck:
    """No text has more than ``max_characters`` characters."""
    limit = dataset.config.quality.max_characters
    characters = dataset.every("text")["text"].str.len_chars()
    longest = int(characters.max() or 0)  # type: ignore[arg-type]
    long = int((characters > limit).sum())
    return judged(
        "too_long",
        Measured(longest, limit, long),
        f"the longest text has {longest} characters",
        f"{count(long, 'text')} with more than {limit} characters, the longest {longest}; "
        "split them, or look for rows that ran together",
    )


def pii(dataset: Dataset) -> QualityCheck:
    """No text contains an e-mail address, a phone number or a URL."""
    texts = dataset.every("text")["text"]
    matches = pl.DataFrame(
        {name: texts.str.count_matches(pattern) for name, pattern in _PII.items()}
    )
    counts = {name: int(matches[name].sum()) for name in _PII}
    total = sum(counts.values())
    rows = matches.filter(pl.any_horizontal(pl.all() > 0)).height
    listed = ", ".join(
        count(number, name, f"{name}es" if name[-1] == "s" else None)
        for name, number in counts.items()
        if number
    )
    return judged(
        "pii",
        Measured(total, 0, rows),
        "no e-mail address, phone number or URL",
        f"{listed} in {count(rows, 'row')}; mask those of people before you share texts",
    )


# UTF-8 read as Windows-1252 or Latin-1 starts with a letter of the upper half and goes on with what
# is in the place of a continuation byte; ftfy then judges whether that is likely to be meant.
_MOJIBAKE_SUSPECT = (
    r"[\u{c0}-\u{ff}][\u{80}-\u{bf}\u{152}\u{153}\u{160}\u{161}\u{178}\u{17d}\u{17e}\u{192}\u{2c6}"
    r"\u{2dc}\u{2013}\u{2014}\u{2018}-\u{201e}\u{2020}-\u{2022}\u{2026}\u{2030}\u{2039}\u{203a}"
    r"\u{20ac}\u{2122}]"
)
_REPLACEMENT = r"\u{fffd}"
# A question mark in the place of a letter that the encoding of an earlier file lacked.
_LOST_LETTER = r"(?:^|\s)\p{L}+\?\p{Ll}\p{L}*(?:$|[\s.,])"
_CONTROL = r"[\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{7f}-\u{9f}]"
_INVISIBLE = r"[\u{200b}\u{2060}\u{feff}\u{ad}]"
_NO_BREAK_SPACE = r"[\u{a0}\u{202f}]"
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});"
# Not every word in angle brackets: `<url>` and `<name>` stand for what was masked.
_TAG = (
    r"(?i)</?(?:a|b|blockquote|body|br|center|code|div|em|font|h[1-6]|head|hr|html|i|iframe|img|li"
    r"|meta|ol|p|pre|script|span|strong|style|sub|sup|table|tbody|td|th|tr|u|ul)(?:\s[^<>]*)?/?>"
)
_APOSTROPHES = {mark: rf"\p{{L}}{mark}\p{{L}}" for mark in "'" + LOOK_ALIKES}


def encoding(dataset: Dataset) -> QualityCheck:
    """The texts as read show no sign of a wrong encoding or careless copying."""
    raw = dataset.every("raw")["raw"]
    marks = pl.DataFrame({mark: raw.str.contains(kind) for mark, kind in _APOSTROPHES.items()})
    commonest = max(_APOSTROPHES, key=lambda mark: int(marks[mark].sum()))
    found = {
        "mojibake": _mojibake(raw),
        "U+FFFD": raw.str.contains(_REPLACEMENT),
        "question marks within words": raw.str.contains(_LOST_LETTER),
        "control characters": raw.str.contains(_CONTROL),
        "not NFC": raw.str.normalize("NFC") != raw,
        "invisible characters": raw.str.contains(_INVISIBLE),
        "no-break spaces": raw.str.contains(_NO_BREAK_SPACE),
        "HTML entities": raw.str.contains(_ENTITY),
        "HTML tags": raw.str.contains(_TAG),
        # The apostrophe between letters is not the one that most rows use.
        "mixed apostrophes": marks.select(pl.any_horizontal(pl.exclude(commonest))).to_series(),
    }
    not_utf8 = sum(rows.quarantined.reasons[NOT_UTF8[0]] for rows in dataset.splits.values())
    guessed = Counter[str]()
    for file in chain.from_iterable(rows.files for rows in dataset.splits.values()):
        guessed[f"read as {file.encoding}"] += file.rows_read if file.encoding else 0
    counts = {NOT_UTF8[0]: not_utf8, **{kind: int(rows.sum()) for kind, rows in found.items()}}
    counts |= guessed
    bad = not_utf8 + pl.DataFrame(found).filter(pl.any_horizontal(pl.all())).height
    rows = max(bad, guessed.total())
    share = min(1.0, rows / max(1, len(raw) + not_utf8))
    listed = ", ".join(f"{number} {kind}" for kind, number in counts.items() if number)
    return judged(
        "encoding",
        Measured(share, 0, rows),
        "no trace of a wrong encoding",
        f"{count(rows, 'row')} ({percent(share)}), by kind: {listed}; stored texts are "
        "normalised as far as is safe; repair the rest in the source of the data",
    )


def _mojibake(raw: pl.Series) -> pl.Series:
    from ftfy.badness import is_bad

    positions = raw.str.contains(_MOJIBAKE_SUSPECT).arg_true()
    bad = pl.Series([bool(is_bad(text)) for text in raw.gather(positions)], dtype=pl.Boolean)
    return pl.Series([False]).new_from_index(0, len(raw)).scatter(positions, bad)


WORDS = pl.col("text").str.count_matches(r"\S+")


def tokens_per_word(frame: pl.DataFrame, special_tokens: int) -> dict[str, float]:
    """Tokens per word in the texts of each label, without the special tokens.

    Rust, Ellis and others call it fertility (https://aclanthology.org/2021.acl-long.243): the
    higher it is, the less of a word the encoder has seen as one.
    """
    tokens = (pl.col("tokens") - special_tokens).sum()
    by_label = frame.group_by("label").agg(tokens.alias("tokens"), WORDS.sum().alias("words"))
    known = by_label.filter(pl.col("words") > 0).sort("label")
    return dict(known.select("label", pl.col("tokens") / pl.col("words")).iter_rows())


def tokenizer_fit(dataset: Dataset) -> QualityCheck:
    """The tokenizer splits words into few pieces and knows nearly all of them, for every label."""
    quality = dataset.config.quality
    every = dataset.every("text", "label", "tokens", "unknown")
    words = max(1, int(every.select(WORDS.sum()).item()))
    tokens = int(every["tokens"].sum())
    fits = {"all texts": (tokens - dataset.special_tokens * every.height) / words}
    rows_of = dict(every["label"].value_counts().iter_rows())
    for label, value in tokens_per_word(every, dataset.special_tokens).items():
        if rows_of[label] >= quality.min_rows_per_label:
            fits[f"the texts of `{label}`"] = value
    # The texts with the most tokens per word: all, or those of a label with enough rows.
    worst, fit = max(fits.items(), key=lambda item: item[1])
    share = int(every["unknown"].sum()) / max(1, tokens)
    problems = []
    if fit > quality.max_tokens_per_word:
        problems.append(f"{fit:.2f} tokens per word in {worst}")
    if share > quality.max_unknown_token_fraction:
        problems.append(f"{percent(share)} of the tokens are unknown")
    decides = (fit, quality.max_tokens_per_word)
    if problems and fit <= quality.max_tokens_per_word:
        decides = (share, quality.max_unknown_token_fraction)
    return judged(
        "tokenizer_fit",
        Measured(*decides, every.filter(pl.col("unknown") > 0).height),
        f"{fit:.2f} tokens per word in {worst}, {percent(share, 2)} of the tokens unknown",
        f"{' and '.join(problems)}: try an encoder that knows the language (model.name)",
    )
