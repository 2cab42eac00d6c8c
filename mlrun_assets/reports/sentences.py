"""What the report says of each stage in plain words, and no more than its record holds."""

from __future__ import annotations

from mlrun_assets.records import (
    BaselineRecord,
    CheckOutcome,
    CheckpointRecord,
    Comparison,
    DatasetRecord,
    EnsembleRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    LookCount,
    RunRecords,
    Status,
    VocabularyTrim,
)
from mlrun_assets.reports.formatting import (
    Markdown,
    clean,
    code,
    count,
    difference,
    escape,
    joined,
    megabytes,
    number,
    p_value,
    percent,
    prose,
    score,
    seconds,
)
from mlrun_assets.reports.scores import f1_name, label_next_sentence


def baseline_sentence(
    comparison: Comparison, f1: Markdown, baseline: BaselineRecord | None
) -> Markdown:
    """Whether the model is shown to beat the n-gram baseline."""
    name = Markdown("the n-gram baseline")
    if baseline:
        name = Markdown(f"{name}, which trains in {seconds(baseline.seconds)}")
    return _comparison(comparison, name, f1)


def production_sentence(evaluation: EvaluationRecord) -> Markdown:
    """Whether the model is shown to beat the one in production."""
    if evaluation.production is None:
        return Markdown("There is no comparison with a model in production.")
    name = Markdown(f"production ({escape(evaluation.production.against)})")
    return _comparison(evaluation.production, name, f1_name(evaluation))


def _comparison(comparison: Comparison, other: Markdown, f1: Markdown) -> Markdown:
    gain = comparison.f1_difference
    if not comparison.comparable or gain is None:
        return Markdown(f"The model is not comparable with {other}: {prose(comparison.reason)}")
    if gain.low > 0:
        shown = f"**The model is shown to beat {other}**"
    elif gain.high < 0:
        shown = f"**The model is shown to be worse than {other}**"
    else:
        shown = f"**The model is not shown to beat {other}**, nor to be worse"
    return Markdown(
        f"{shown}: {f1} {difference(gain)} on the same {count(comparison.rows)} rows"
        f"{_of_rows(comparison)}."
    )


def _of_rows(comparison: Comparison) -> str:
    """The difference of accuracy, and whether chance explains it."""
    gain, tested = comparison.accuracy_difference, _mcnemar(comparison)
    return tested if gain is None else f"; accuracy {difference(gain)}{tested}"


def _mcnemar(comparison: Comparison) -> str:
    ours, theirs = comparison.only_challenger_right, comparison.only_other_right
    if ours is None or theirs is None or comparison.mcnemar_p is None:
        return ""
    return (
        f" (right where the other is wrong: {count(ours)}, the reverse: {count(theirs)}; "
        f"exact McNemar p {p_value(comparison.mcnemar_p)})"
    )


def checks_sentence(dataset: DatasetRecord) -> Markdown:
    """How many checks passed, and which were off."""
    failed = dataset.failed_checks
    blocking = sum(check.blocks for check in failed)
    off = [code(check.name) for check in dataset.checks if check.outcome is CheckOutcome.OFF]
    return Markdown(
        f"{count(len(dataset.checks) - len(failed) - len(off))} of {count(len(dataset.checks))} "
        f"checks passed, {count(blocking)} block, {count(len(failed) - blocking)} warn. "
        f"Checks that are off: {joined(off) if off else 'none'}."
    )


def normalised_sentence(dataset: DatasetRecord) -> Markdown:
    """What was changed in the texts before they were stored."""
    changes = [
        Markdown(f"{escape(kind)}: {count(times)}") for kind, times in dataset.normalised.items()
    ]
    return Markdown(f"Changed in the texts as stored: {joined(changes) if changes else 'nothing'}.")


def unlabelled_sentence(dataset: DatasetRecord) -> Markdown:
    """What pretraining may read besides the splits, and what was left out of it."""
    texts = dataset.unlabelled
    if texts is None:
        return Markdown("There are no texts without labels.")
    left_out = joined(
        Markdown(f"{escape(reason)}: {count(rows)}") for reason, rows in texts.left_out.items()
    )
    return Markdown(
        f"Texts without labels, read by the pretraining only: {count(texts.rows_kept)} of "
        f"{count(texts.rows_read)}. Left out: {left_out if texts.left_out else 'none'}."
    )


def pretraining_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """What the encoder learned from before fine-tuning; nothing where it was not pretrained."""
    done = checkpoint.pretraining
    if done is None:
        return Markdown("")
    first, last = (number(round(loss, 3)) for loss in (done.first_loss, done.last_loss))
    said = (
        f"went from {first} in the first epoch to {last} in the last"
        if done.epochs > 1
        else f"was {last}"
    )
    return Markdown(
        f"Before that the encoder was pretrained on {count(done.texts)} texts, without labels, in "
        f"{count(done.epochs)} epoch{'s' * (done.epochs > 1)} and {seconds(done.seconds)}; the "
        f"contrastive loss {said}."
    )


def training_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """How the training went."""
    epochs = checkpoint.history[-1].epoch if checkpoint.history else 0
    resumed = checkpoint.resumed_from_step
    passed_over = joined(map(code, checkpoint.passed_over))
    return Markdown(
        f"{number(epochs)} epochs in {count(checkpoint.steps)} steps and "
        f"{seconds(checkpoint.seconds)} ({number(round(checkpoint.tokens_per_second))} tokens/s, "
        f"peak {number(round(checkpoint.peak_memory_mb))} MB). "
        f"Best on val: epoch {number(checkpoint.best_epoch)}; "
        f"{'stopped early' if checkpoint.stopped_early else 'did not stop early'}; "
        f"{'not resumed' if resumed is None else f'resumed from step {count(resumed)}'}."
        + (f" Broken checkpoints passed over: {passed_over}." if passed_over else "")
    )


def seed_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """Which seed the model is from; nothing where a record does not say."""
    if checkpoint.seed is None:
        return Markdown("")
    if len(checkpoint.seeds) < 2:
        return Markdown(f"Seed {checkpoint.seed}.")
    return Markdown(
        f"Seed {checkpoint.seed}, which has the highest val macro-F1 of "
        f"{count(len(checkpoint.seeds))}; what is said here is about it alone."
    )


def reuse_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """Whether the checkpoint is that of an earlier experiment; nothing where nobody asked."""
    if checkpoint.reused_from:
        return Markdown(
            f"**Not trained in this run**: the checkpoint of {code(checkpoint.reused_from)} is "
            "reused, the same recipe on the same data."
        )
    return prose(checkpoint.not_reused) if checkpoint.not_reused else Markdown("")


def model_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """The size of the model, what trimming its vocabulary did, and the ensemble it is part of."""
    size = f"{count(checkpoint.parameters)} parameters, {megabytes(checkpoint.size_bytes)}."
    return Markdown(f"{size} {_vocabulary(checkpoint.trim)}{_ensemble(checkpoint.ensemble)}")


def _vocabulary(trim: VocabularyTrim | None) -> str:
    if trim is None:
        return "Its vocabulary is whole."
    return (
        f"Vocabulary trimmed from {count(trim.pieces_before)} to "
        f"{count(trim.pieces_after)} pieces ({count(trim.parameters_before)} to "
        f"{count(trim.parameters_after)} parameters); the val texts have "
        f"{100 * trim.fertility_growth:+.1f} % tokens and {count(trim.val_unknown_after)} unknown "
        f"ones (before: {count(trim.val_unknown_before)})."
    )


def _ensemble(ensemble: EnsembleRecord | None) -> str:
    if ensemble is None:
        return ""
    return (
        f" In an ensemble with the n-gram model {escape(ensemble.ngram_model)}: val macro-F1 "
        f"{score(ensemble.val_f1_ensemble)}, the encoder alone {score(ensemble.val_f1_encoder)}, "
        f"the n-grams alone {score(ensemble.val_f1_ngrams)}. The weights, "
        f"{ensemble.encoder_weight:.3g} and {ensemble.ngram_weight:.3g}, were fitted on val too."
    )


def export_sentence(export: ExportRecord) -> Markdown:
    """What a fresh process saw of the exported model."""
    return Markdown(
        f"The exported model ({megabytes(export.size_bytes)}) loads in "
        f"{seconds(export.load_seconds)} and answers in {number(export.latency_ms_p50)} ms "
        f"(median; p95 {number(export.latency_ms_p95)} ms). It agrees with the checkpoint on "
        f"{percent(export.agreement)} of {count(export.rows_compared)} rows. {_onnx(export)}"
    )


def _onnx(export: ExportRecord) -> str:
    form = export.kept_onnx
    if form is None:
        return "There is no ONNX form beside it."
    faster = export.latency_ms_p95 / form.latency_ms_p95
    return (
        f"{code(form.file)} beside it ({escape(form.precision)}) serves where torch is not "
        f"installed: its p95 is {number(round(faster, 1))} times as fast."
    )


def environment_sentence(experiment: ExperimentRecord) -> Markdown:
    """The machine, the Python, the commit and the thread limits."""
    machine = experiment.environment
    commit = code(machine.git_commit) if machine.git_commit else Markdown("not recorded")
    changes = " with changes that were not committed" if machine.git_dirty else ""
    model = f" ({escape(machine.cpu_model)})" if machine.cpu_model else ""
    limits = ", ".join(code(f"{name}={value}") for name, value in machine.thread_limits.items())
    return Markdown(
        f"Git commit: {commit}{changes}. Python {escape(machine.python)} on "
        f"{escape(machine.platform)}, {count(machine.cpu_count)} CPUs{model}, "
        f"{number(round(machine.memory_gb, 1))} GB, "
        f"accelerator: {escape(machine.accelerator or 'none')}, "
        f"thread limits: {limits or 'none'}."
    )


def test_use_sentence(use: LookCount) -> Markdown:
    """How worn the test split is, and what that does to the intervals."""
    looks = (
        f"{count(use.looks)} model{'s have' if use.looks > 1 else ' has'} been judged on this test "
        "split, this one included"
    )
    if not use.worn:
        return Markdown(f"{looks}; it is worn after {count(use.max_looks)}.")
    return Markdown(
        f"**The test split is worn**: {looks}, and the best of so many looks better than it is. "
        f"All intervals here have {percent(use.confidence)} confidence instead, so that those of "
        f"all {count(use.looks)} would hold together. A fresh test split makes them narrow again."
    )


HEADLINE_LIMIT = 300
STAGES = {
    "experiment": "experiment",
    "dataset": "validated dataset",
    "plan": "training plan",
    "baseline": "baseline",
    "checkpoint": "trained checkpoint",
    "evaluation": "evaluation",
    "export": "exported model",
    "decision": "decision",
    "production": "production",
    "registry": "experiment registry",
    "tech_debt": "tech-debt registry",
}
_UNFINISHED = {Status.BLOCKED, Status.FAILED, Status.CANCELLED, Status.INTERRUPTED, Status.PARTIAL}
_CONTINUE = (
    "Re-execute the run from failure: that continues this experiment, and training continues from "
    "its newest sound checkpoint."
)
_NEXT = {
    Status.BLOCKED: "Correct the data as the checks below say, or set their thresholds under "
    "`data.quality`, and run again.",
    Status.FAILED: f"Remove the cause named above. {_CONTINUE}",
    Status.CANCELLED: f"{_CONTINUE} Or start a new run.",
    Status.INTERRUPTED: f"The process ended without closing the experiment. {_CONTINUE}",
    Status.PARTIAL: "Materialize `deployment_report` with all that it depends on, in this "
    "experiment.",
}


def ended_early(records: RunRecords) -> bool:
    """The run has ended, and not by going through all of its stages."""
    return records.manifest.status in _UNFINISHED


def headline(records: RunRecords) -> Markdown:
    """The verdict, or how the run ended, and why: one line."""
    manifest, decision = records.manifest, records.decision
    if ended_early(records):
        return Markdown(f"**{manifest.status}**: {prose(_cause(records), HEADLINE_LIMIT)}")
    if decision:
        return Markdown(f"**{decision.verdict}**: {prose(decision.sentence)}")
    return Markdown(f"**{manifest.status}**: no verdict is recorded.")


def _cause(records: RunRecords) -> str:
    if records.manifest.error and records.manifest.error.strip():
        return records.manifest.error.strip().splitlines()[0]
    if records.dataset:
        blocking = [check.message for check in records.dataset.failed_checks if check.blocks]
        if blocking:
            return "; ".join(blocking)
    return "no reason is recorded."


def error_in_full(records: RunRecords) -> str | None:
    """The error as it was raised, where the headline shows only a part of it."""
    error = (records.manifest.error or "").strip()
    return error if clean(error) != clean(_cause(records), HEADLINE_LIMIT) and error else None


def not_reached(records: RunRecords) -> Markdown:
    """The stages that left no record."""
    return joined(name for field, name in STAGES.items() if getattr(records, field) is None)


def next_steps(records: RunRecords) -> list[str]:
    """What to do next: how to go on after an early end, then what the stages advise."""
    steps: list[str] = []
    if ended_early(records):
        steps.append(Markdown(_NEXT[records.manifest.status]))
    if records.decision:
        steps += [
            step for step in records.decision.next_steps if not _promotes_what_serves(step, records)
        ]
    labelling = label_next_sentence(records.evaluation) if records.evaluation else None
    if labelling:
        steps.append(labelling)
    if records.plan:
        steps += [advice.sentence for advice in records.plan.advice]
    return steps


def _promotes_what_serves(step: str, records: RunRecords) -> bool:
    """Whether a step is to promote the model, which serves by now."""
    return records.serves and f"mlrun-assets promote {records.manifest.id}" in step
