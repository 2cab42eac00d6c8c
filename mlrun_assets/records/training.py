"""The trained checkpoint, and how the training went."""

from __future__ import annotations

from typing import ClassVar

from mlrun_assets.records.record import Record


class EpochMetrics(Record):
    """One epoch of the training history."""

    epoch: float
    step: int
    train_loss: float | None
    val_loss: float
    val_accuracy: float
    val_f1_macro: float


class VocabularyTrim(Record):
    """What vocabulary trimming did."""

    pieces_before: int
    pieces_after: int
    parameters_before: int
    parameters_after: int
    val_tokens_before: int
    val_tokens_after: int
    val_unknown_before: int
    val_unknown_after: int

    @property
    def fertility_growth(self) -> float:
        """Growth of the number of tokens of the val texts."""
        return self.val_tokens_after / max(1, self.val_tokens_before) - 1.0


class SeedResult(Record):
    """The model of one seed on val, at its best epoch.

    Of a mixture with n-grams F1 and accuracy are its own, and the loss is the encoder's.
    """

    seed: int
    val_f1_macro: float
    val_accuracy: float
    val_loss: float
    best_epoch: float
    seconds: float
    model_dir: str
    digest: str


class EnsembleRecord(Record):
    """An encoder mixed with an n-gram model: the weights, and what each reaches on val.

    ``val_accuracy_mixed`` is not known of old runs.
    """

    ngram_model: str
    encoder_weight: float
    ngram_weight: float
    val_f1_encoder: float
    val_f1_ngrams: float
    val_f1_mixed: float
    val_accuracy_mixed: float | None = None


class PretrainingRecord(Record):
    """Contrastive pretraining before the labels: what it read and how its loss fell.

    ``pairs`` are those of all epochs; the losses are the means of the first and the last one.
    """

    texts: int
    pairs: int
    epochs: int
    first_loss: float
    last_loss: float
    seconds: float


class CheckpointRecord(Record):
    """The trained checkpoint: of the seed that is best on val, where several were trained.

    ``reused_from`` is the earlier experiment that it was taken from instead of being trained,
    ``not_reused`` why one that was to be taken was not.
    """

    asset: ClassVar[str] = "trained_checkpoint"

    model_dir: str
    digest: str
    size_bytes: int
    parameters: int
    history: tuple[EpochMetrics, ...]
    best_epoch: float
    stopped_early: bool
    resumed_from_step: int | None
    passed_over: tuple[str, ...]
    steps: int
    seconds: float
    tokens_per_second: float
    peak_memory_mb: float
    trim: VocabularyTrim | None
    seed: int | None = None
    seeds: tuple[SeedResult, ...] = ()
    reused_from: str | None = None
    not_reused: str | None = None
    ensemble: EnsembleRecord | None = None
    pretraining: PretrainingRecord | None = None
