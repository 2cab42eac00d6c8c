"""What no rule decides: it stands in the plan's table as the config says it."""

from __future__ import annotations

from mlrun_assets.config import Config
from mlrun_assets.stages.plan.advice import TECHNIQUES
from mlrun_assets.stages.plan.choosing import Chosen, configured
from mlrun_assets.stages.plan.encoder import DIGEST_SHOWN
from mlrun_assets.stages.plan.situation import Situation


def settings(situation: Situation) -> tuple[Chosen, ...]:
    """The encoder, the length, the ensemble, the pretraining, the seeds and the weight decay."""
    circumstances, train = situation.circumstances, situation.dataset.splits["train"]
    encoder = (
        f"{circumstances.layers} layers, {circumstances.hidden_size} wide, "
        f"{circumstances.vocabulary:,} pieces"
    )
    several = "the model that is best on val is kept" if len(situation.seeds) > 1 else "one model"
    return (
        _as_configured("model.name", situation, encoder),
        _as_configured("model.revision", situation, "only a hub id has revisions"),
        _as_configured(
            "model.max_length",
            situation,
            f"{train.truncated_fraction:.1%} of the training texts are longer; their 95th "
            f"percentile is {train.tokens_p95:.0f} tokens",
        ),
        _as_configured(
            "model.ensemble", situation, "the n-gram model and the weights of both are set on val"
        ),
        _as_configured("training.pretraining_epochs", situation, _read_by_pretraining(situation)),
        _unlabelled_digest(situation),
        _seeds(situation, several),
        _as_configured("training.weight_decay", situation, "biases and norms are not decayed"),
    )


def shown_digest(situation: Situation) -> str | None:
    """Which texts without labels pretraining reads; None: none."""
    unlabelled = situation.dataset.unlabelled
    reads = situation.config.training.pretraining_epochs > 0
    return unlabelled.digest[:DIGEST_SHOWN] if unlabelled and reads else None


def _as_configured(key: str, situation: Situation, evidence: str) -> Chosen:
    value = configured(situation.config, key)
    return Chosen(key, value, "config", _reason(value, configured(Config(), key)), evidence)


def _read_by_pretraining(situation: Situation) -> str:
    unlabelled = situation.dataset.unlabelled
    if not situation.config.training.pretraining_epochs:
        return f"not shown to help: +1.9 macro-F1 [-1.4, +5.0] on 417 Somali rows ({TECHNIQUES})"
    others = f"{unlabelled.rows_kept:,} texts without labels" if unlabelled else "no other text"
    return f"reads {situation.said_rows} and {others}"


def _unlabelled_digest(situation: Situation) -> Chosen:
    return Chosen(
        "unlabelled_digest",
        shown_digest(situation),
        "rule",
        "an earlier run counts as the same only with the same texts without labels",
        _known(situation),
    )


def _known(situation: Situation) -> str:
    unlabelled = situation.dataset.unlabelled
    if unlabelled is None:
        return "data.unlabelled_path is not set"
    reads = situation.config.training.pretraining_epochs > 0
    return f"{unlabelled.rows_kept:,} texts" + ("" if reads else ", and no pretraining reads them")


def _seeds(situation: Situation, evidence: str) -> Chosen:
    reason = _reason(situation.seeds, (configured(Config(), "training.seed"),))
    return Chosen("training.seeds", situation.seeds, "config", reason, evidence)


def _reason(value: object, default: object) -> str:
    return "the default" if value == default else "set in the config"
