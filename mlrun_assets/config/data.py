"""Sections ``data`` and ``data.quality``: the labelled rows, and the limits of the checks."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from mlrun_assets.config.sections import (
    Count,
    Fraction,
    Number,
    OpenFraction,
    Positive,
    Section,
    Text,
    setting,
)

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
Distance = Annotated[Number, Field(ge=0.0)]
Ratio = Annotated[Number, Field(ge=1.0)]
Auc = Annotated[Number, Field(ge=0.5, le=1.0)]


class QualityConfig(Section):
    """Limits of the data-quality checks.

    A value above a ``*_warns`` limit is a warning, one above a ``*_blocks`` limit stops the run.
    """

    skip: tuple[CheckName, ...] = setting((), example=["pii"])
    """Checks that do not run. The report lists them as off."""
    exempt: dict[CheckName, dict[Text, tuple[Text | Annotated[int, Strict()], ...]]] = setting(
        {}, example={"language": {"source": ["wire"]}}
    )
    """Rows that a check ignores: `{check: {column: [values]}}`. The column can be any column of the
    data. Not available for `schema`."""
    max_invalid_fraction: Fraction = setting(0.01, unit="share of rows", example=0.05)
    """Maximum share of quarantined rows in a split. The run blocks above it."""
    max_conflicting_fraction: Fraction = setting(0.005, unit="share of rows", example=0.01)
    """Maximum share of rows that have the same text and different labels. The run blocks above
    it."""
    near_duplicate_similarity: Annotated[Number, Field(ge=0.6, le=1.0)] = setting(
        0.8, unit="Jaccard similarity of word 5-grams", example=0.9
    )
    """Texts with at least this similarity are near-duplicates."""
    containment_warns: Fraction = setting(0.1, unit="share of 13-grams", example=0.2)
    """Warn if a val or test text shares at least this share of its 13-grams with one training
    row."""
    containment_blocks: Fraction = setting(0.5, unit="share of 13-grams", example=0.8)
    """Block if a val or test text shares at least this share of its 13-grams with one training
    row."""
    test_discordance: OpenFraction = setting(0.10, unit="share of rows", example=0.2)
    """Expected share of test rows on which exactly one of two compared models is right (discordant
    rows). The check `test_power` assumes it."""
    max_detectable_difference: Fraction = setting(
        0.05, unit="difference of accuracy or macro-F1", example=0.04
    )
    """Difference between two models that the test split must be able to show, at 80 % power. The
    check `test_power` warns if it can show larger differences only."""
    wanted_detectable_difference: OpenFraction = setting(
        0.03, unit="difference of accuracy or macro-F1", example=0.02
    )
    """Target of the advice in `test_power`: the number of test rows to label is computed for this
    difference."""
    max_suspected_fraction: Fraction = setting(0.10, unit="share of rows", example=0.05)
    """Maximum share of rows with a suspected label error. The run warns above it."""
    drift_warns: Distance = setting(0.1, unit="population stability index", example=0.2)
    """Warn if the label distributions of two sets of rows differ by more than this."""
    drift_blocks: Distance = setting(0.25, unit="population stability index", example=0.5)
    """Block if the label distributions of two sets of rows differ by more than this."""
    separability_warns: Auc = setting(0.65, unit="AUC", example=0.7)
    """Warn if a classifier can separate the texts of two sets better than this."""
    separability_blocks: Auc = setting(0.8, unit="AUC", example=0.9)
    """Block if a classifier can separate the texts of two sets better than this."""
    max_length_distance: Fraction = setting(0.2, unit="Kolmogorov-Smirnov statistic", example=0.3)
    """Maximum distance between the text lengths (in words) of two sets. The run warns above it."""
    max_unseen_words: Fraction = setting(0.5, unit="share of words", example=0.6)
    """Maximum share of the words of one set that do not occur in the other. The run warns above
    it."""
    imbalance_ratio: Ratio = setting(3.0, unit="ratio", example=5.0)
    """Maximum ratio between the rows of the largest and the smallest label. The run warns above
    it."""
    min_rows_per_label: Count = setting(10, unit="rows", example=50)
    """Minimum number of training rows per label. The run warns below it."""
    max_truncated_fraction: Fraction = setting(0.10, unit="share of rows", example=0.2)
    """Maximum share of rows longer than `model.max_length`. The run warns above it."""
    max_tokens_per_word: Ratio = setting(2.5, unit="tokens per word", example=3.0)
    """Maximum number of tokens per word (fertility), over all texts or over those of one label.
    The run warns above it."""
    max_unknown_token_fraction: Fraction = setting(0.01, unit="share of tokens", example=0.02)
    """Maximum share of tokens that the tokenizer does not know. The run warns above it."""
    language_detector: Literal["pycld2", "py3langid"] = setting("pycld2", example="py3langid")
    """Library that detects the language of a text. `pycld2` is faster."""
    min_language_words: Count = setting(6, unit="words", example=10)
    """Minimum length of a text whose language is detected. Shorter texts are not judged."""
    other_language_warns: Fraction = setting(0.02, unit="share of judged rows", example=0.05)
    """Warn if more than this share of a split's judged rows is in another language."""
    other_language_blocks: Fraction = setting(0.10, unit="share of judged rows", example=0.2)
    """Block if more than this share of a split's judged rows is in another language."""
    min_words: Count = setting(2, unit="words", example=5)
    """Minimum length of a text. The run warns below it."""
    max_characters: Count = setting(100_000, unit="characters", example=20_000)
    """Maximum length of a text. The run warns above it."""


def _label_from_integer(value: object) -> object:
    # Labels may be integers in the data, so also in the config.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _known_language(code: str) -> str:
    from langcodes import tag_is_valid

    if not tag_is_valid(code):
        raise ValueError("should be a language code of ISO 639, such as som or so")
    return code


LabelName = Annotated[Text, BeforeValidator(_label_from_integer)]
Paths = Text | Annotated[tuple[Text, ...], Field(min_length=1)]


class DataConfig(Section):
    """The labelled rows and the meaning of their columns."""

    name: Text | None = setting(None, example="somali-news")
    """Name of the data. A run is compared with the previous run on data of the same name. Unset:
    the name of the directory of `train_path`."""
    train_path: Paths = setting("data/sample/train.jsonl", example="data/train-*.jsonl.gz")
    """Rows of the train split: a file, a pattern, a URL, or a list of these. Formats: JSON Lines,
    CSV, TSV, Parquet, Arrow; compressed files too. Set the paths of all three splits, or none."""
    val_path: Paths = setting("data/sample/val.jsonl", example="data/val.csv")
    """Rows of the val split: the model is selected and calibrated on them."""
    test_path: Paths = setting("data/sample/test.jsonl", example="data/test.csv")
    """Rows of the test split: the final scores come from them."""
    auxiliary_path: Paths | None = setting(None, example="data/english.jsonl")
    """Helper rows: the same labels in another language or from another source. A candidate model
    also learns from them (see `model.candidates`); they are never evaluated on. The columns and
    formats are those of `train_path`."""
    unlabelled_path: Paths | None = setting(None, example="data/unlabelled.jsonl")
    """Texts without labels. The evaluation lists those to label next. Files and formats as in
    `train_path`."""
    predict_path: Paths | None = setting(None, example="data/new.jsonl")
    """New rows to label with the production model (`--select predictions`). Files and formats as in
    `train_path`."""
    licence: Text | None = setting(None, example="cc-by-4.0")
    """Licence of the data, as an identifier of the Hugging Face Hub. The model card and the
    datasheet show it."""
    text_columns: Annotated[tuple[Text, ...], Field(min_length=1)] = setting(
        ("text",), example=["headline", "body"]
    )
    """Columns of the text. Several columns are joined in this order; one that is null or empty is
    left out."""
    label_column: Text = setting("label", example="category")
    """Column of the label: a name or an integer."""
    id_column: Text | Literal[False] | None = setting(None, example="doc_id")
    """Column of a row id that is unique in its file. Unset: the column `id` if it exists, else the
    line number. `false`: the line number."""
    group_column: Text | None = setting(None, example="author")
    """Column of a group, such as an author or a document. All rows of a group must be in the same
    split."""
    slice_columns: tuple[Text, ...] = setting((), example=["source"])
    """Columns whose values become slices of the evaluation."""
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2)] | None = setting(
        None, example=["sports", "health"]
    )
    """All labels, in order. Each item is read as it is written: `no` is the label "no". Unset: the
    labels of the train split."""
    quoting: Literal["auto", "quoted", "escaped", "unquoted"] = setting("auto", example="unquoted")
    """Meaning of `"` in CSV and TSV. `quoted`: it surrounds a value, and is doubled in it.
    `escaped`: it surrounds a value, and has a backslash before it in it. `unquoted`: it is a
    character like others. `auto`: the one under which most lines have the columns of the header; if
    several fit, CSV is quoted, and TSV is unquoted unless it shows that it is quoted."""
    max_file_mb: Positive = setting(10_000.0, unit="MB (10**6 bytes)", example=1000)
    """Maximum size of a compressed file after decompression. A larger file is refused."""
    max_rows: Count = setting(3_000_000, unit="rows", example=100_000)
    """Maximum number of rows of a file; they are kept in memory. A larger file is refused."""
    max_row_mb: Positive = setting(16.0, unit="MB (10**6 bytes)", example=1)
    """Maximum size of a row in a file of lines. A larger row is quarantined."""
    max_text_characters: Count = setting(1_000_000, unit="characters", example=100_000)
    """Maximum length of a text. A row with a longer one is quarantined."""
    language: Annotated[Text, Field(pattern=r"^[a-z]{2,3}$"), AfterValidator(_known_language)] = (
        setting("som", example="swa")
    )
    """Language of the texts: a code of ISO 639-1, 639-2 or 639-3. `som` and `so` are equivalent. It
    selects the spelling rules and the expected language of the checks."""
    quality: QualityConfig = QualityConfig()

    def paths(self, split: str) -> tuple[str, ...]:
        """The files of ``train_path``, ``val_path`` or another ``*_path``; none if it is unset."""
        named: str | tuple[str, ...] | None = getattr(self, f"{split}_path")
        return (named,) if isinstance(named, str) else named or ()

    def for_helper_rows(self) -> DataConfig:
        """A copy for rows of which only the text columns and the label are read."""
        unread: dict[str, Any] = {"group_column": None, "slice_columns": ()}
        unread["id_column"] = None if self.id_column else self.id_column
        return self.model_copy(update={**unread, "quality": QualityConfig()})

    def texts_only(self) -> DataConfig:
        """A copy for rows without labels: only the text columns are read."""
        return self.for_helper_rows().model_copy(update={"label_column": ""})

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns to read besides text, label and id, without repetition."""
        exempt = (column for columns in self.quality.exempt.values() for column in columns)
        group = (self.group_column,) if self.group_column else ()
        return tuple(dict.fromkeys((*group, *self.slice_columns, *exempt)))


def extra_column(name: str) -> str:
    """A group, slice or exemption column in the stored splits, apart from the product's own."""
    return f"extra_{name}"
