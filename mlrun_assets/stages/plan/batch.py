"""The rule about the batch, which the memory that training takes depends on."""

from __future__ import annotations

from mlrun_assets.stages.plan.choosing import Ruling
from mlrun_assets.stages.plan.situation import Situation

SMALL_BATCH = 16


def batch_size(situation: Situation) -> Ruling:
    """Small batches for small data: an epoch must have steps enough."""
    return Ruling(
        _by_rule(situation),
        "16 below 2,000 rows, which need many steps (Mosbach et al., 2021), else 32",
        situation.said_rows,
    )


def rows_a_batch(situation: Situation) -> int:
    """What the config sets, else what the rule says."""
    configured = situation.config.training.batch_size
    return _by_rule(situation) if configured == "auto" else configured


def _by_rule(situation: Situation) -> int:
    rows = SMALL_BATCH if situation.is_small else 2 * SMALL_BATCH
    workers = situation.config.training.num_workers
    return -(-rows // workers) * workers  # each has an equal part
