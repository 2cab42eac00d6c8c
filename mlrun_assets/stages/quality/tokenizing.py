"""How well the encoder's tokenizer fits the texts."""

from __future__ import annotations

import polars as pl

from mlrun_assets.records import QualityCheck, Severity
from mlrun_assets.stages.quality.finding import Dataset, Measured, failed, passed

WORDS = pl.col("text").str.count_matches(r"\S+")


def tokens_per_word(frame: pl.DataFrame, special_tokens: int) -> dict[str, float]:
    """Tokens of a word in the texts of each label, without those that every text gets.

    Rust, Ellis and others call it fertility (https://aclanthology.org/2021.acl-long.243): the
    higher it is, the less of a word the encoder has seen as one.
    """
    tokens = (pl.col("tokens") - special_tokens).sum()
    by_label = frame.group_by("label").agg(tokens.alias("tokens"), WORDS.sum().alias("words"))
    known = by_label.filter(pl.col("words") > 0).sort("label")
    return {
        label: tokens / words
        for label, tokens, words in known.select("label", "tokens", "words").iter_rows()
    }


def tokenizer_fit(dataset: Dataset) -> QualityCheck:
    """The tokenizer cuts words into few pieces and knows nearly all of them, whatever the label."""
    quality = dataset.config.quality
    every = pl.concat(
        [
            rows.frame.select("text", "label", "tokens", "unknown")
            for rows in dataset.splits.values()
        ]
    )
    fit = _worst(every, dataset)
    unknown = int(every["unknown"].sum())
    share = unknown / max(1, int(every["tokens"].sum()))
    problems = []
    if fit[1] > quality.max_tokens_per_word:
        problems.append(f"{fit[1]:.2f} tokens a word in {fit[0]}")
    if share > quality.max_unknown_token_fraction:
        problems.append(f"{share:.1%} of the tokens are unknown")
    rows = every.filter(pl.col("unknown") > 0).height
    measured = Measured(fit[1], quality.max_tokens_per_word, rows)
    if problems and fit[1] <= quality.max_tokens_per_word:
        measured = Measured(share, quality.max_unknown_token_fraction, rows)
    if problems:
        message = f"{' and '.join(problems)}: try an encoder that knows the language (model.name)"
        return failed("tokenizer_fit", Severity.WARN, message, measured)
    message = f"{fit[1]:.2f} tokens a word in {fit[0]}, {share:.2%} of the tokens unknown"
    return passed("tokenizer_fit", message, measured)


def _worst(every: pl.DataFrame, dataset: Dataset) -> tuple[str, float]:
    """The texts with the most tokens a word: all, or those of a label with enough rows to tell."""
    fits = {"all texts": _overall(every, dataset.special_tokens)}
    rows = dict(every["label"].value_counts().iter_rows())
    for label, value in tokens_per_word(every, dataset.special_tokens).items():
        if rows[label] >= dataset.config.quality.min_rows_per_label:
            fits[f"the texts of `{label}`"] = value
    return max(fits.items(), key=lambda item: item[1])


def _overall(every: pl.DataFrame, special_tokens: int) -> float:
    words = int(every.select(WORDS.sum()).item())
    return (int(every["tokens"].sum()) - special_tokens * every.height) / max(1, words)
