"""The model in production, and what it predicts."""

from __future__ import annotations

from typing import ClassVar

from mlrun_assets.records.record import Record


class ProductionVersion(Record):
    """A model version that is, or was, in production.

    ``digest`` is of all files of its directory, ``export_digest`` of those that the experiment
    exported, without the model card; none: there is no card among them. ``text_columns`` and
    ``language`` say how its texts were made; none: it was promoted before that was kept, or its
    experiment can't tell.
    """

    version: str
    experiment: str
    report: str
    digest: str
    labels: tuple[str, ...]
    max_length: int
    promoted_at: str
    accuracy: float | None
    f1: float | None
    export_digest: str | None = None
    text_columns: tuple[str, ...] | None = None
    language: str | None = None

    @property
    def exported(self) -> str:
        """The digest of the files that the experiment exported."""
        return self.export_digest or self.digest

    def is_export(self, experiment: str, digest: str) -> bool:
        """Whether it is what an experiment exported: one may have exported several models."""
        return (self.experiment, self.exported) == (experiment, digest)


class ProductionRecord(Record):
    """Where production points after the run."""

    asset: ClassVar[str] = "production_model"

    moved: bool
    sentence: str
    before: ProductionVersion | None
    after: ProductionVersion | None


class PredictionsRecord(Record):
    """What the model in production said to the rows of ``data.predict_path``.

    ``file`` is relative to the production directory; ``rows`` counts those that got a label,
    ``rows_unusable`` those that had no text to label.
    """

    asset: ClassVar[str] = "predictions"

    version: str
    file: str
    rows: int
    rows_unusable: int = 0
    label_rows: dict[str, int]
    seconds: float
    rows_per_second: float
