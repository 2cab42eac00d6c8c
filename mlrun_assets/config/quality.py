"""Section ``data.quality``: the thresholds of the checks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from mlrun_assets.config.values import Count, Fraction, Number, Section, Text

CheckName = Literal[
    "schema",
    "splits_nonempty",
    "label_domain",
    "every_label_in_every_split",
    "exact_duplicates",
    "conflicting_labels",
    "near_duplicates",
    "split_leakage",
    "class_balance",
    "test_power",
    "label_noise",
    "split_drift",
    "drift_from_previous",
    "truncation",
    "tokenizer_fit",
    "language",
    "code_switching",
    "empty_or_short",
    "too_long",
    "encoding",
    "pii",
]


class QualityConfig(Section):
    """Thresholds of the data-quality checks."""

    skip: tuple[CheckName, ...] = Field(
        (), description="Names of checks that are not run; the report lists them as off."
    )
    exempt: dict[CheckName, dict[Text, tuple[Text | Annotated[int, Strict()], ...]]] = Field(
        {},
        description="Rows that a check leaves out: `{check: {column: [values]}}`, by the value of "
        "any column of the data.",
    )
    max_invalid_fraction: Fraction = Field(
        0.01, description="Share of a split's rows that may be quarantined before the run blocks."
    )
    max_conflicting_fraction: Fraction = Field(
        0.005, description="Share of rows with equal text and unequal labels that blocks."
    )
    near_duplicate_similarity: Annotated[Number, Field(ge=0.6, le=1.0)] = Field(
        0.8, description="Jaccard similarity of word 5-grams from which texts nearly match."
    )
    containment_warns: Fraction = Field(
        0.1, description="Share of a text's 13-grams in one training row that warns."
    )
    containment_blocks: Fraction = Field(
        0.5, description="Share of a text's 13-grams in one training row that blocks."
    )
    test_discordance: Annotated[Number, Field(gt=0.0, lt=1.0)] = Field(
        0.10, description="Share of test rows that just one of two models is expected to get right."
    )
    max_detectable_difference: Fraction = Field(
        0.05, description="Smallest difference that the test split can show above which it warns."
    )
    wanted_detectable_difference: Annotated[Number, Field(gt=0.0, lt=1.0)] = Field(
        0.03, description="Difference for which test_power says how many rows to label."
    )
    max_suspected_fraction: Fraction = Field(
        0.10, description="Share of rows with a suspected label error that warns."
    )
    drift_warns: Annotated[Number, Field(ge=0.0)] = Field(
        0.1, description="Population stability index of the labels that warns."
    )
    drift_blocks: Annotated[Number, Field(ge=0.0)] = Field(
        0.25, description="Population stability index of the labels that blocks."
    )
    separability_warns: Annotated[Number, Field(ge=0.5, le=1.0)] = Field(
        0.65, description="AUC of a classifier that tells two sets of texts apart that warns."
    )
    separability_blocks: Annotated[Number, Field(ge=0.5, le=1.0)] = Field(
        0.8, description="AUC of a classifier that tells two sets of texts apart that blocks."
    )
    max_length_distance: Fraction = Field(
        0.2, description="Kolmogorov-Smirnov distance of the lengths in words that warns."
    )
    max_unseen_words: Fraction = Field(
        0.5, description="Share of the words of a set of texts that the other lacks that warns."
    )
    imbalance_ratio: Annotated[Number, Field(ge=1.0)] = Field(
        3.0, description="Rows of the largest label per row of the smallest that warns."
    )
    min_rows_per_label: Count = Field(
        10, description="Training rows of a label below which the run warns."
    )
    max_truncated_fraction: Fraction = Field(
        0.10, description="Share of rows longer than model.max_length that warns."
    )
    max_tokens_per_word: Annotated[Number, Field(ge=1.0)] = Field(
        2.5, description="Tokens of a word, in all texts or those of one label, that warns."
    )
    max_unknown_token_fraction: Fraction = Field(
        0.01, description="Share of tokens that the encoder does not know that warns."
    )
    language_detector: Literal["pycld2", "py3langid"] = Field(
        "pycld2", description="What tells the language of a text; pycld2 is the faster one."
    )
    min_language_words: Count = Field(
        6, description="Words of a text from which its language is judged."
    )
    other_language_warns: Fraction = Field(
        0.02, description="Share of a split's judged rows in another language that warns."
    )
    other_language_blocks: Fraction = Field(
        0.10, description="Share of a split's judged rows in another language that blocks."
    )
    min_words: Count = Field(2, description="Words of a text below which the run warns.")
    max_characters: Count = Field(
        100_000, description="Characters of a text above which the run warns."
    )
