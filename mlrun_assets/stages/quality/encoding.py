"""Traces of what happened to the texts before they came here."""

from __future__ import annotations

import polars as pl

from mlrun_assets.records import QualityCheck, Severity
from mlrun_assets.stages.quality.finding import Dataset, Measured, failed, passed

# UTF-8 read as Windows-1252 or Latin-1 starts with a letter of the upper half and goes on with what
# stands in the place of a continuation byte; ftfy then judges whether that is likely to be meant.
_MOJIBAKE_SUSPECT = (
    r"[\u{c0}-\u{ff}][\u{80}-\u{bf}\u{152}\u{153}\u{160}\u{161}\u{178}\u{17d}\u{17e}\u{192}\u{2c6}"
    r"\u{2dc}\u{2013}\u{2014}\u{2018}-\u{201e}\u{2020}-\u{2022}\u{2026}\u{2030}\u{2039}\u{203a}"
    r"\u{20ac}\u{2122}]"
)
_REPLACEMENT = r"\u{fffd}"
_CONTROL = r"[\u{0}-\u{8}\u{b}\u{c}\u{e}-\u{1f}\u{7f}-\u{9f}]"
_INVISIBLE = r"[\u{200b}\u{2060}\u{feff}\u{ad}]"
_NO_BREAK_SPACE = r"[\u{a0}\u{202f}]"
_APOSTROPHES = {
    "'": r"\p{L}'\p{L}",
    "\u2019": r"\p{L}\u{2019}\p{L}",
    "\u2018": r"\p{L}\u{2018}\p{L}",
    "\u02bc": r"\p{L}\u{2bc}\p{L}",
    "\u02bb": r"\p{L}\u{2bb}\p{L}",
    "`": r"\p{L}`\p{L}",
    "\u00b4": r"\p{L}\u{b4}\p{L}",
}


def encoding(dataset: Dataset) -> QualityCheck:
    """The texts, as they came, show no trace of a wrong encoding or of careless copying."""
    raw = pl.concat([rows.frame["raw"] for rows in dataset.splits.values()])
    found = {
        "mojibake": _mojibake(raw),
        "U+FFFD": raw.str.contains(_REPLACEMENT),
        "control characters": raw.str.contains(_CONTROL),
        "not NFC": raw.str.normalize("NFC") != raw,
        "invisible characters": raw.str.contains(_INVISIBLE),
        "no-break spaces": raw.str.contains(_NO_BREAK_SPACE),
        "mixed apostrophes": _mixed_apostrophes(raw),
    }
    counts = {kind: int(rows.sum()) for kind, rows in found.items()}
    rows = pl.DataFrame(found).filter(pl.any_horizontal(pl.all())).height
    share = rows / max(1, len(raw))
    if rows == 0:
        return passed("encoding", "no trace of a wrong encoding", Measured(0.0, 0))
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    message = (
        f"{rows} rows ({share:.1%}), by kind: {listed}; stored texts are normalised as far as is "
        "safe, repair the rest where the data come from"
    )
    return failed("encoding", Severity.WARN, message, Measured(share, 0, rows))


def _mojibake(raw: pl.Series) -> pl.Series:
    from ftfy.badness import is_bad

    positions = raw.str.contains(_MOJIBAKE_SUSPECT).arg_true()
    bad = pl.Series([bool(is_bad(text)) for text in raw.gather(positions)], dtype=pl.Boolean)
    return pl.Series([False]).new_from_index(0, len(raw)).scatter(positions, bad)


def _mixed_apostrophes(raw: pl.Series) -> pl.Series:
    """The rows with another apostrophe between letters than the one that most rows have."""
    marks = pl.DataFrame({mark: raw.str.contains(kind) for mark, kind in _APOSTROPHES.items()})
    rows = {mark: int(marks[mark].sum()) for mark in _APOSTROPHES}
    commonest = max(rows, key=lambda mark: rows[mark])
    return marks.select(pl.any_horizontal(pl.exclude(commonest))).to_series()
