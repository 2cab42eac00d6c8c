"""All that the rules of the plan may look at."""

from __future__ import annotations

from dataclasses import dataclass

from mlrun_assets.config import Config
from mlrun_assets.records import DatasetRecord, PriorRun
from mlrun_assets.trainer.circumstances import Circumstances

SMALL_DATA_ROWS = 2_000


@dataclass(frozen=True)
class Situation:
    """The config, the profile of the data, the machine with its encoder, and earlier runs.

    ``prior_runs`` have the newest first.
    """

    config: Config
    dataset: DatasetRecord
    circumstances: Circumstances
    prior_runs: tuple[PriorRun, ...] = ()

    @property
    def rows(self) -> int:
        return self.dataset.splits["train"].rows_kept

    @property
    def is_small(self) -> bool:
        return self.rows < SMALL_DATA_ROWS

    @property
    def fewest(self) -> int:
        """Training rows of the rarest label."""
        return min(self.dataset.splits["train"].label_rows.values())

    @property
    def said_rows(self) -> str:
        """The evidence of the rules that go by the size of the data."""
        return f"{self.rows:,} training rows"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are trained."""
        training = self.config.training
        return training.seeds or (training.seed,)
