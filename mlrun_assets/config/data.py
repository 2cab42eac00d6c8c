"""Section ``data``: where the labelled rows are and which columns hold what."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from mlrun_assets.config.quality import QualityConfig
from mlrun_assets.config.values import Section, Text


def _name_from_integer(value: object) -> object:
    # Labels may be integers in the data, and so in the config.
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


LabelName = Annotated[Text, BeforeValidator(_name_from_integer)]
Paths = Text | Annotated[tuple[Text, ...], Field(min_length=1)]


class DataConfig(Section):
    """Where the labelled rows are and which columns hold what."""

    name: Text | None = Field(
        None,
        description="What the data is called from run to run, so that a run is compared with the "
        "one before it; unset: the name of the directory that holds train_path.",
    )
    train_path: Paths = Field(
        "data/sample/train.jsonl",
        description="Rows to train on: a file, a pattern such as `train-*.jsonl.gz`, a URL, or a "
        "list of them. JSON Lines, CSV, TSV or Parquet.",
    )
    val_path: Paths = Field("data/sample/val.jsonl", description="Rows to choose by.")
    test_path: Paths = Field("data/sample/test.jsonl", description="Rows to judge by.")
    unlabelled_path: Paths | None = Field(
        None,
        description="Texts without labels: the evaluation lists those that are worth labelling "
        "next, and training.pretraining_epochs learns from them, besides those of the training "
        "split. Files, patterns and formats as for train_path.",
    )
    predict_path: Paths | None = Field(
        None, description="Rows that the asset `predictions` labels with the model in production."
    )
    licence: Text | None = Field(
        None, description="Licence that the model card names, as the Hub spells it (cc-by-4.0)."
    )
    text_columns: Annotated[tuple[Text, ...], Field(min_length=1)] = Field(
        ("text",), description="Columns joined, in this order, into the text: headline first."
    )
    label_column: Text = Field("label", description="Column with the label, a name or an integer.")
    id_column: Text | None = Field(
        None, description="Column with a unique id; unset: `id` where there is one, else the line."
    )
    group_column: Text | None = Field(
        None, description="Column with a group (author, document) that must stay in one split."
    )
    slice_columns: tuple[Text, ...] = Field(
        (), description="Columns whose values become slices of the evaluation."
    )
    labels: Annotated[tuple[LabelName, ...], Field(min_length=2)] | None = Field(
        None, description="The label set in its order; unset: the labels of the training split."
    )
    language: Annotated[Text, Field(pattern=r"^[a-z]{2,3}$")] = Field(
        "som",
        description="Language of the texts, ISO 639-3 (som, swa) or 639-1: it sets the orthography "
        "and what the language checks look for.",
    )
    quality: QualityConfig = QualityConfig()

    def paths(self, split: str) -> tuple[str, ...]:
        """What ``train_path``, ``val_path`` or another path lists; it is set."""
        named: str | tuple[str, ...] = getattr(self, f"{split}_path")
        return (named,) if isinstance(named, str) else named

    def texts_only(self) -> DataConfig:
        """The same for rows of which only the texts are read: no label, no other column."""
        unread = {"label_column": "", "id_column": None, "group_column": None, "slice_columns": ()}
        return self.model_copy(update={**unread, "quality": QualityConfig()})

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns that are read besides text, label and id, each once."""
        exempt = (column for columns in self.quality.exempt.values() for column in columns)
        group = (self.group_column,) if self.group_column else ()
        return tuple(dict.fromkeys((*group, *self.slice_columns, *exempt)))


def extra_column(name: str) -> str:
    """The name under which a group or slice column is kept, apart from those of our own."""
    return f"extra_{name}"
