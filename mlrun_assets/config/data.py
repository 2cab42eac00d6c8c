"""Sections ``data`` and ``data.quality``: the labelled rows, and the limits of the checks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from mlrun_assets.config.sections import Count, Fraction, Number, Section, Text, setting

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
    """Limits of the data-quality checks.

    A value above a ``*_warns`` limit is a warning, one above a ``*_blocks`` limit stops the run.
    """

    skip: tuple[CheckName, ...] = setting(
        (), "Checks that do not run. The report lists them as off.", example=["pii"]
    )
    exempt: dict[CheckName, dict[Text, tuple[Text | Annotated[int, Strict()], ...]]] = setting(
        {},
        "Rows that a check ignores: `{check: {column: [values]}}`. The column can be any column "
        "of the data. Not available for `schema`.",
        example={"language": {"source": ["wire"]}},
    )
    max_invalid_fraction: Fraction = setting(
        0.01,
        "Maximum share of quarantined rows in a split. The run blocks above it.",
        unit="share of rows",
        example=0.05,
    )
    max_conflicting_fraction: Fraction = setting(
        0.005,
        "Maximum share of rows that have the same text and different labels. The run blocks above "
        "it.",
        unit="share of rows",
        example=0.01,
    )
    near_duplicate_similarity: Annotated[Number, Field(ge=0.6, le=1.0)] = setting(
        0.8,
        "Texts with at least this similarity are near-duplicates.",
        unit="Jaccard similarity of word 5-grams",
        example=0.9,
    )
    containment_warns: Fraction = setting(
        0.1,
        "Warn if a val or test text shares at least this share of its 13-grams with one training "
        "row.",
        unit="share of 13-grams",
        example=0.2,
    )
    containment_blocks: Fraction = setting(
        0.5,
        "Block if a val or test text shares at least this share of its 13-grams with one training "
        "row.",
        unit="share of 13-grams",
        example=0.8,
    )
    test_discordance: Annotated[Number, Field(gt=0.0, lt=1.0)] = setting(
        0.10,
        "Expected share of test rows on which exactly one of two compared models is right "
        "(discordant rows). The check `test_power` assumes it.",
        unit="share of rows",
        example=0.2,
    )
    max_detectable_difference: Fraction = setting(
        0.05,
        "Maximum of the smallest difference between two models that the test split can detect at "
        "80 % power. The check `test_power` warns above it.",
        unit="difference of accuracy or macro-F1",
        example=0.04,
    )
    wanted_detectable_difference: Annotated[Number, Field(gt=0.0, lt=1.0)] = setting(
        0.03,
        "Target of the advice in `test_power`: the number of test rows to label is computed for "
        "this difference.",
        unit="difference of accuracy or macro-F1",
        example=0.02,
    )
    max_suspected_fraction: Fraction = setting(
        0.10,
        "Maximum share of rows with a suspected label error. The run warns above it.",
        unit="share of rows",
        example=0.05,
    )
    drift_warns: Annotated[Number, Field(ge=0.0)] = setting(
        0.1,
        "Warn if the label distributions of two sets of rows differ by more than this.",
        unit="population stability index",
        example=0.2,
    )
    drift_blocks: Annotated[Number, Field(ge=0.0)] = setting(
        0.25,
        "Block if the label distributions of two sets of rows differ by more than this.",
        unit="population stability index",
        example=0.5,
    )
    separability_warns: Annotated[Number, Field(ge=0.5, le=1.0)] = setting(
        0.65,
        "Warn if a classifier can separate the texts of two sets better than this.",
        unit="AUC",
        example=0.7,
    )
    separability_blocks: Annotated[Number, Field(ge=0.5, le=1.0)] = setting(
        0.8,
        "Block if a classifier can separate the texts of two sets better than this.",
        unit="AUC",
        example=0.9,
    )
    max_length_distance: Fraction = setting(
        0.2,
        "Maximum distance between the text lengths (in words) of two sets. The run warns above it.",
        unit="Kolmogorov-Smirnov statistic",
        example=0.3,
    )
    max_unseen_words: Fraction = setting(
        0.5,
        "Maximum share of the words of one set that do not occur in the other. The run warns above "
        "it.",
        unit="share of words",
        example=0.6,
    )
    imbalance_ratio: Annotated[Number, Field(ge=1.0)] = setting(
        3.0,
        "Maximum ratio between the rows of the largest and the smallest label. The run warns above "
        "it.",
        unit="ratio",
        example=5.0,
    )
    min_rows_per_label: Count = setting(
        10,
        "Minimum number of training rows per label. The run warns below it.",
        unit="rows",
        example=50,
    )
    max_truncated_fraction: Fraction = setting(
        0.10,
        "Maximum share of rows longer than `model.max_length`. The run warns above it.",
        unit="share of rows",
        example=0.2,
    )
    max_tokens_per_word: Annotated[Number, Field(ge=1.0)] = setting(
        2.5,
        "Maximum fertility of the tokenizer, over all texts or over one label. The run warns above "
        "it.",
        unit="tokens per word",
        example=3.0,
    )
    max_unknown_token_fraction: Fraction = setting(
        0.01,
        "Maximum share of tokens that the tokenizer does not know. The run warns above it.",
        unit="share of tokens",
        example=0.02,
    )
    language_detector: Literal["pycld2", "py3langid"] = setting(
        "pycld2",
        "Library that detects the language of a text. `pycld2` is faster.",
        example="py3langid",
    )
    min_language_words: Count = setting(
        6,
        "Minimum length of a text whose language is detected. Shorter texts are not judged.",
        unit="words",
        example=10,
    )
    other_language_warns: Fraction = setting(
        0.02,
        "Warn if more than this share of a split's judged rows is in another language.",
        unit="share of judged rows",
        example=0.05,
    )
    other_language_blocks: Fraction = setting(
        0.10,
        "Block if more than this share of a split's judged rows is in another language.",
        unit="share of judged rows",
        example=0.2,
    )
    min_words: Count = setting(
        2, "Minimum length of a text. The run warns below it.", unit="words", example=5
    )
    max_characters: Count = setting(
        100_000,
        "Maximum length of a text. The run warns above it.",
        unit="characters",
        example=20_000,
    )


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

    name: Text | None = setting(
        None,
        "Name of the data. A run is compared with the previous run on data of the same name. "
        "Unset: the name of the directory of `train_path`.",
        example="somali-news",
    )
    train_path: Paths = setting(
        "data/sample/train.jsonl",
        "Rows of the train split: a file, a pattern, a URL, or a list of these. Formats: JSON "
        "Lines, CSV, TSV, Parquet; compressed files too.",
        example="data/train-*.jsonl.gz",
    )
    val_path: Paths = setting(
        "data/sample/val.jsonl",
        "Rows of the val split: the model is selected and calibrated on them.",
        example="data/val.csv",
    )
    test_path: Paths = setting(
        "data/sample/test.jsonl",
        "Rows of the test split: the final scores come from them.",
        example="data/test.csv",
    )
    unlabelled_path: Paths | None = setting(
        None,
        "Texts without labels. The evaluation lists the rows to label next, and "
        "`training.pretraining_epochs` trains on them. Files and formats as in `train_path`.",
        example="data/unlabelled.jsonl",
    )
    predict_path: Paths | None = setting(
        None,
        "New rows to label with the production model (`--select predictions`). Files and formats "
        "as in `train_path`.",
        example="data/new.jsonl",
    )
    licence: Text | None = setting(
        None,
        "Licence of the data, as an identifier of the Hugging Face Hub. The model card and the "
        "datasheet show it.",
        example="cc-by-4.0",
    )
    text_columns: Annotated[tuple[Text, ...], Field(min_length=1)] = setting(
        ("text",),
        "Columns of the text. Several columns are joined in this order.",
        example=["headline", "body"],
    )
    label_column: Text = setting(
        "label", "Column of the label: a name or an integer.", example="category"
    )
    id_column: Text | None = setting(
        None,
        "Column of a unique row id. Unset: the column `id` if it exists, else the line number.",
        example="doc_id",
    )
    group_column: Text | None = setting(
        None,
        "Column of a group, such as an author or a document. All rows of a group must be in the "
        "same split.",
        example="author",
    )
    slice_columns: tuple[Text, ...] = setting(
        (),
        "Columns whose values become slices of the evaluation.",
        example=["source"],
    )
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2)] | None = setting(
        None,
        'All labels, in order. Each item is read as it is written: `no` is the label "no". '
        "Unset: the labels of the train split.",
        example=["sports", "health"],
    )
    language: Annotated[Text, Field(pattern=r"^[a-z]{2,3}$"), AfterValidator(_known_language)] = (
        setting(
            "som",
            "Language of the texts: a code of ISO 639-1, 639-2 or 639-3. `som` and `so` are "
            "equivalent. It selects the spelling rules and the expected language of the checks.",
            example="swa",
        )
    )
    quality: QualityConfig = QualityConfig()

    def paths(self, split: str) -> tuple[str, ...]:
        """The files of ``train_path``, ``val_path`` or another ``*_path`` that is set."""
        named: str | tuple[str, ...] = getattr(self, f"{split}_path")
        return (named,) if isinstance(named, str) else named

    def texts_only(self) -> DataConfig:
        """A copy for rows without labels: only the text columns are read."""
        unread = {"label_column": "", "id_column": None, "group_column": None, "slice_columns": ()}
        return self.model_copy(update={**unread, "quality": QualityConfig()})

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns to read besides text, label and id, without repetition."""
        exempt = (column for columns in self.quality.exempt.values() for column in columns)
        group = (self.group_column,) if self.group_column else ()
        return tuple(dict.fromkeys((*group, *self.slice_columns, *exempt)))


def extra_column(name: str) -> str:
    """The name of a group, slice or exemption column in the stored splits.

    The prefix keeps it apart from the product's own columns.
    """
    return f"extra_{name}"
