"""What stands in the texts: too little, too much, or what identifies a person."""

from __future__ import annotations

import polars as pl

from mlrun_assets.records import Bound, QualityCheck, Severity
from mlrun_assets.stages.quality.finding import Dataset, Measured, failed, passed

EMAIL = r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.\p{L}{2,}"
URL = r"(?i)\b(?:https?://|www\.)[^\s<>\"]+"
# International (+252 61 ...), national with a leading zero (061 234 5678), and 555-123-4567; plain
# numbers, years and amounts are left alone.
PHONE = (
    r"(?:\+|\b00)[1-9]\d{0,2}(?:[\s.()-]{0,2}\d){6,12}\b"
    r"|\b0\d{1,3}[\s.-]?\d{3}[\s.-]?\d{3,4}\b"
    r"|\b\d{3}[.-]\d{3}[.-]\d{4}\b"
)
_PII = {"e-mail addresses": EMAIL, "phone numbers": PHONE, "URLs": URL}


def empty_or_short(dataset: Dataset) -> QualityCheck:
    """Every text has words enough to say something; those with none are quarantined."""
    limit = dataset.config.quality.min_words
    words = _texts(dataset).str.count_matches(r"\S+")
    short = int((words < limit).sum())
    empty = sum(bad.reason == "empty text" for rows in dataset.splits.values() for bad in rows.bad)
    fewest = 0 if empty else words.min()
    measured = Measured(fewest, limit, short + empty, Bound.AT_LEAST)  # type: ignore[arg-type]
    if short + empty == 0:
        return passed("empty_or_short", f"every text has {limit} words or more", measured)
    message = (
        f"{short} texts have fewer than {limit} words and {empty} empty ones were quarantined; "
        "complete or remove them"
    )
    return failed("empty_or_short", Severity.WARN, message, measured)


def too_long(dataset: Dataset) -> QualityCheck:
    """No text is so long that it must be several."""
    limit = dataset.config.quality.max_characters
    characters = _texts(dataset).str.len_chars()
    longest = int(characters.max() or 0)  # type: ignore[arg-type]
    long = int((characters > limit).sum())
    measured = Measured(longest, limit, long)
    if long == 0:
        return passed("too_long", f"the longest text has {longest} characters", measured)
    message = (
        f"{long} texts have more than {limit} characters, the longest {longest}; split them, or "
        "look for rows that ran together"
    )
    return failed("too_long", Severity.WARN, message, measured)


def pii(dataset: Dataset) -> QualityCheck:
    """No text holds an e-mail address, a phone number or a URL."""
    texts = _texts(dataset)
    matches = pl.DataFrame(
        {name: texts.str.count_matches(pattern) for name, pattern in _PII.items()}
    )
    counts = {name: int(matches[name].sum()) for name in _PII}
    total = sum(counts.values())
    rows = matches.filter(pl.any_horizontal(pl.all() > 0)).height
    if total == 0:
        return passed("pii", "no e-mail address, phone number or URL", Measured(0, 0))
    listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    message = f"{listed} in {rows} rows; mask those of private persons before texts are shared"
    return failed("pii", Severity.WARN, message, Measured(total, 0, rows))


def _texts(dataset: Dataset) -> pl.Series:
    return pl.concat([rows.frame["text"] for rows in dataset.splits.values()])
