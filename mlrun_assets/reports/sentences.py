"""Sentences of the report: one function per stage, then the headline and the next steps."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from mlrun_assets.errors import count
from mlrun_assets.markdown import Markdown, clean, code, escape, joined, prose
from mlrun_assets.records import (
    MIN_AGREEMENT,
    BaselineRecord,
    CheckOutcome,
    CheckpointRecord,
    Comparison,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    FineTuningRecord,
    HelperRows,
    LookCount,
    Manifest,
    RuleOutcome,
    RunRecords,
    Status,
    TechDebtRecord,
    UnlabelledTexts,
    Verdict,
)
from mlrun_assets.reports.formatting import (
    difference,
    integer,
    megabytes,
    number,
    percent,
    score,
    seconds,
)
from mlrun_assets.reports.scores import f1_name, label_next_sentence
from mlrun_assets.statistics import formatted_p


def baseline_sentence(evaluation: EvaluationRecord, baseline: BaselineRecord | None) -> Markdown:
    """Whether the model is shown to beat the n-gram baseline, with both intervals."""
    speed = f", which trains in {seconds(baseline.seconds)}" if baseline else ""
    if evaluation.chosen == "ngrams":
        return Markdown(f"The model is the n-gram baseline{speed}.")
    return _comparison(evaluation.baseline, f"the n-gram baseline{speed}", f1_name(evaluation))


def production_sentence(
    evaluation: EvaluationRecord, decision: DecisionRecord | None = None
) -> Markdown:
    """Whether the model is shown to beat the production model, or is this model."""
    if decision and decision.same_as:
        return _same(decision.same_as)
    if evaluation.production is None:
        return Markdown("There is no comparison with a model in production.")
    name = f"production ({escape(evaluation.production.against)})"
    return _comparison(evaluation.production, name, f1_name(evaluation))


def _same(version: str) -> Markdown:
    return Markdown(
        f"It is the model in production ({escape(version)}): the exported files are the same."
    )


def _comparison(comparison: Comparison, other: str, f1: Markdown) -> Markdown:
    gain = comparison.f1_difference
    if not comparison.comparable or gain is None:
        return Markdown(f"The model is not comparable with {other}: {prose(comparison.reason)}")
    if gain.low > 0:
        shown = f"**The model is shown to beat {other}**"
    elif gain.high < 0:
        shown = f"**The model is shown to be worse than {other}**"
    else:
        shown = f"**The model is not shown to beat {other}**, nor to be worse"
    gained = comparison.accuracy_difference
    accuracy = "" if gained is None else f"; accuracy {difference(gained)}"
    ours, theirs, tested = comparison.only_challenger_right, comparison.only_other_right, ""
    if ours is not None and theirs is not None and comparison.mcnemar_p is not None:
        tested = (
            f" (only this model is right on {count(ours, 'row')}, only the other on "
            f"{integer(theirs)}; exact McNemar p {formatted_p(comparison.mcnemar_p)})"
        )
    return Markdown(
        f"{shown}: {f1} {difference(gain)} on the same {count(comparison.rows, 'row')}"
        f"{accuracy}{tested}."
    )


def checks_sentence(dataset: DatasetRecord) -> Markdown:
    """How many checks passed, warn and block, and which are off."""
    failed = dataset.failed_checks
    blocking = sum(check.blocks for check in failed)
    off = [code(check.name) for check in dataset.checks if check.outcome is CheckOutcome.OFF]
    passed = len(dataset.checks) - len(failed) - len(off)
    return Markdown(
        f"{count(len(dataset.checks), 'check')}: {integer(passed)} passed, "
        f"{integer(len(failed) - blocking)} with a warning, {integer(blocking)} blocking. "
        f"Off: {joined(off) or 'none'}."
    )


def normalised_sentence(dataset: DatasetRecord) -> Markdown:
    """Changes to the texts before they were stored, by kind."""
    return Markdown(f"Changes to the stored texts: {_counts(dataset.normalised)}.")


def _counts(rows: dict[str, int]) -> str:
    return ", ".join(f"{escape(kind)}: {integer(of)}" for kind, of in rows.items()) or "none"


def unlabelled_sentence(texts: UnlabelledTexts) -> Markdown:
    """How many unlabelled texts were kept, and why others were left out."""
    return Markdown(
        f"Unlabelled texts: {integer(texts.rows_kept)} of "
        f"{integer(texts.rows_read)} kept. Left out: {_counts(texts.left_out)}."
    )


def helper_sentence(rows: HelperRows) -> Markdown:
    """How many helper rows were kept, and why others were left out."""
    by_label = ", ".join(f"{escape(label)} {integer(of)}" for label, of in rows.label_rows.items())
    return Markdown(
        f"Helper rows: {integer(rows.rows_kept)} of {integer(rows.rows_read)} kept ({by_label}). "
        f"Left out: {_counts(rows.left_out)}. They are trained on only: no score is measured on "
        "them, and no check looks at them."
    )


def training_sentence(tuned: FineTuningRecord) -> Markdown:
    """Length and speed of the training."""
    epochs = tuned.history[-1].epoch
    resumed = tuned.resumed_from_step
    passed_over = joined(map(code, tuned.passed_over))
    return Markdown(
        f"The encoder was fine-tuned for {number(epochs)} epoch{'' if epochs == 1 else 's'} "
        f"({count(tuned.steps, 'step')}) in {seconds(tuned.seconds)}: "
        f"{number(round(tuned.tokens_per_second))} tokens/s, peak memory "
        f"{number(round(tuned.peak_memory_mb))} MB. "
        f"Resumed: {'no' if resumed is None else f'from step {integer(resumed)}'}."
        + (f" Damaged checkpoints that were skipped: {passed_over}." if passed_over else "")
    )


def seed_sentence(tuned: FineTuningRecord) -> Markdown:
    """The seed of the fine-tuned encoder, and of how many it is the best."""
    if len(tuned.seeds) < 2:
        return Markdown(f"Seed {tuned.seed}.")
    return Markdown(
        f"Seed {tuned.seed} has the highest val macro-F1 of "
        f"{count(len(tuned.seeds), 'seed')}; the other figures here are for this seed."
    )


def choice_sentence(checkpoint: CheckpointRecord, baseline: BaselineRecord | None) -> Markdown:
    """Which candidate became the model of the run, and why."""
    name, tried = code(checkpoint.chosen), len(checkpoint.candidates)
    fitted = "In the end, n-gram models and linear heads are fitted to train and val"
    tuned = "; the encoder is fine-tuned on train only" if checkpoint.fine_tuning else ""
    heads = {"frozen": baseline.frozen, "helped": baseline.helped} if baseline else {}
    head = next((heads[part] for part in checkpoint.winner.weights if part in heads), None)
    if head and head.label_names:
        tuned += f". {percent(head.label_names)} of the head's scores come from the label names"
    if tried == 1:
        return Markdown(f"The model is {name}, the only candidate. {fitted}{tuned}.")
    split = "val" if checkpoint.fine_tuning else "train and val"
    return Markdown(
        f"The model is {name}, chosen from {tried} candidates. A more expensive candidate wins "
        "unless a cheaper one has a log-loss that is lower by more than one standard error, or "
        f"gives the same label to {percent(MIN_AGREEMENT)} of the rows. "
        f"They were compared on {count(checkpoint.winner.rows_compared, f'{split} row')}, on "
        f"which they were not trained. The test split was not used. {fitted}{tuned}."
    )


def reuse_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """Whether the checkpoint of an earlier experiment is reused; empty if none was planned."""
    if not checkpoint.reused_from:
        return prose(checkpoint.not_reused or "")
    return Markdown(
        f"**Not trained in this run**: the checkpoint of {code(checkpoint.reused_from)} is "
        "reused. It has the same recipe and the same data."
    )


def model_sentence(checkpoint: CheckpointRecord) -> Markdown:
    """The size of the model and its vocabulary."""
    sentences = [
        f"The model has {count(checkpoint.parameters, 'parameter')} "
        f"({megabytes(checkpoint.size_bytes)})."
    ]
    trim = checkpoint.trim
    if trim:
        sentences.append(
            f"Its vocabulary is trimmed from {integer(trim.pieces_before)} to "
            f"{count(trim.pieces_after, 'piece')}, its size from {integer(trim.parameters_before)} "
            f"to {count(trim.parameters_after, 'parameter')}. This changes the val texts by "
            f"{100 * trim.fertility_growth:+.1f} % tokens; unknown tokens: "
            f"{integer(trim.val_unknown_after)} (before: {integer(trim.val_unknown_before)})."
        )
    elif checkpoint.chosen != "ngrams":
        sentences.append("Its vocabulary is not trimmed.")
    return Markdown(" ".join(sentences))


def export_sentence(export: ExportRecord) -> Markdown:
    """Speed of the exported model and agreement with the checkpoint, in a fresh process."""
    onnx = prose(export.onnx_reason or "There is no ONNX form.")
    if form := export.onnx:
        onnx = Markdown(
            f"The ONNX form {code(form.file)} runs without torch, with a p95 of "
            f"{number(form.latency_ms_p95)} ms."
        )
    return Markdown(
        f"The exported model ({megabytes(export.size_bytes)}) loads in "
        f"{seconds(export.load_seconds)} and answers one text in {number(export.latency_ms_p50)} "
        f"ms (median; p95 {number(export.latency_ms_p95)} ms). It gives the checkpoint's label for "
        f"{percent(export.agreement)} of {count(export.rows_compared, 'val row')}. {onnx}"
    )


def environment_sentence(experiment: ExperimentRecord) -> Markdown:
    """The commit, Python, machine and thread limits."""
    machine = experiment.environment
    commit = code(machine.git_commit) if machine.git_commit else Markdown("not recorded")
    changes = " with uncommitted changes" if machine.git_dirty else ""
    model = f" ({escape(machine.cpu_model)})" if machine.cpu_model else ""
    limits = ", ".join(code(f"{name}={value}") for name, value in machine.thread_limits.items())
    return Markdown(
        f"Git commit: {commit}{changes}. Python {escape(machine.python)} on "
        f"{escape(machine.platform)}, {count(machine.cpu_count, 'CPU')}{model}, "
        f"{number(round(machine.memory_gb, 1))} GB, "
        f"accelerator: {escape(machine.accelerator or 'none')}, "
        f"thread limits: {limits or 'none'}."
    )


def test_looks_sentence(looks: LookCount) -> Markdown:
    """How many models were judged on the test split, and the effect on the intervals."""
    judged = (
        f"{count(looks.looks, 'model')} {'was' if looks.looks == 1 else 'were'} judged on this "
        "test split, this one included"
    )
    if not looks.used_up:
        return Markdown(f"{judged}; intervals widen after {count(looks.max_looks, 'model')}.")
    return Markdown(
        f"**The test split is used up**: {judged}, and the best of so many seems better than it "
        f"is. All intervals are widened to {percent(looks.confidence)} confidence, so that those "
        f"of all {count(looks.looks, 'model')} hold together. A new test split narrows them again."
    )


# Page one: the verdict, three sentences, and what to do next


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
_CONTINUE = (
    "Continue it with `mlrun-assets run --resume {id}`, or, if it was started in Dagster's UI, "
    "there: Re-execute, From failure. Training resumes from the newest sound checkpoint."
)
_NEXT = {
    Status.BLOCKED: "Fix the data as the checks under Data describe, or change their thresholds "
    "under `data.quality`, and run again.",
    Status.FAILED: f"Fix the cause named above. {_CONTINUE}",
    Status.CANCELLED: f"{_CONTINUE} Or start a new run.",
    Status.INTERRUPTED: f"The process ended without closing the experiment. {_CONTINUE}",
    Status.PARTIAL: "Materialize `deployment_report` with everything it depends on, in "
    "this experiment.",
}


def ended_early(records: RunRecords) -> bool:
    """Whether the run ended before all stages finished."""
    return records.manifest.status in _NEXT


class Outcome(NamedTuple):
    """How a verdict or status is shown: its tone, its mark in Markdown, and what it means."""

    tone: str
    mark: str
    meaning: str


_OUTCOMES: dict[Verdict | Status, Outcome] = {
    Verdict.APPROVED: Outcome("good", "🟢", "this model may be deployed"),
    Verdict.REJECTED: Outcome("bad", "🔴", "do not deploy this model"),
    Verdict.INCONCLUSIVE: Outcome("unsure", "🟠", "the test does not show whether to deploy it"),
    Verdict.INCOMPARABLE: Outcome("unsure", "🟠", "it can't be compared with production"),
    Verdict.UNCHANGED: Outcome("quiet", "⚪", "there is nothing to deploy"),
    Status.BLOCKED: Outcome("bad", "🔴", "the data must be fixed first"),
    Status.FAILED: Outcome("bad", "🔴", "the run did not finish"),
}
_UNFINISHED = Outcome("quiet", "⚪", "the run did not finish")


def _word(records: RunRecords) -> Verdict | Status:
    """The verdict; the status of a run that has none."""
    decision = None if ended_early(records) else records.decision
    return decision.verdict if decision else records.manifest.status


def outcome(records: RunRecords) -> Outcome:
    """How the outcome of the run is shown."""
    return _OUTCOMES.get(_word(records), _UNFINISHED)


def title(records: RunRecords) -> str:
    """The name of the run, its date and its outcome."""
    manifest = records.manifest
    name = "Run" if manifest.name == manifest.id else manifest.original_name or manifest.name
    return f"{clean(name)}, {manifest.created_at[:10]}: {_word(records)}"


def headline(records: RunRecords) -> Markdown:
    """The outcome of the run in words, and the reason, on one line."""
    decision, shown = records.decision, outcome(records)
    meaning, reason = shown.meaning, "No verdict is recorded."
    if ended_early(records):
        reason = _cause(records)
        if records.manifest.status is Status.CANCELLED:  # the others may begin with a name
            reason = reason[:1].upper() + reason[1:]
    elif decision:
        reason = decision.sentence[:1].upper() + decision.sentence[1:]
        if decision.same_as and decision.verdict is not Verdict.UNCHANGED:
            meaning = "the same model is in production"
        meaning = "this model is in production" if records.in_production else meaning
    line = prose(reason, HEADLINE_LIMIT)
    end = "" if line.endswith((".", "…")) else "."
    return Markdown(f"{shown.mark} **{_word(records)}: {meaning}.** {line}{end}")


def in_short(records: RunRecords) -> list[Markdown]:
    """How good the model is, and whether it beats the baseline and production, for anybody."""
    evaluation, baseline = records.evaluation, records.baseline
    if evaluation is None:
        return []
    test = evaluation.test
    low, high = (percent(end, 0) for end in (test.accuracy.low, test.accuracy.high))
    name = term(f1_name(evaluation))
    good = Markdown(
        f"The model gives the right label to **{percent(test.accuracy.value, 0)}** of the "
        f"{count(test.rows, 'text')} of the {term('test split')}. On many more such texts, expect "
        f"{low} to {high} ({term('interval')}). Its {name} is {score(evaluation.f1.value)}."
        f"{_model(records)}"
    )
    speed = f", which trains in {seconds(baseline.seconds)}" if baseline else ""
    simple = _beats(evaluation.baseline, f"the {term('n-gram baseline')}{speed}", evaluation)
    if evaluation.chosen == "ngrams":
        simple = Markdown(f"It is the {term('n-gram baseline')}{speed}.")
    serving = Markdown("No model is in production yet.")
    if records.in_production:
        serving = Markdown("There was no model in production to compare it with.")
    if production := evaluation.production:
        champion = f"the model in production ({escape(production.against)})"
        serving = _beats(production, champion, evaluation)
    if records.decision and records.decision.same_as:
        serving = _same(records.decision.same_as)
    return [good, simple, serving]


def term(words: str) -> Markdown:
    """Words that link to the glossary."""
    return Markdown(f"[{words}](#glossary)")


def _beats(comparison: Comparison, other: str, evaluation: EvaluationRecord) -> Markdown:
    gain, theirs = comparison.f1_difference, comparison.other_f1
    if gain is None or theirs is None:
        return Markdown(f"It is not compared with {other}: {prose(comparison.reason)}.")
    f1 = f"{f1_name(evaluation)} {score(evaluation.f1.value)} against {score(theirs.value)}"
    if gain.low > 0:
        return Markdown(f"It is better than {other}: {f1}.")
    if gain.high < 0:
        return Markdown(f"It is **worse** than {other}: {f1}.")
    return Markdown(
        f"It is **not shown to be better** than {other}: {f1}; the difference may be chance."
    )


def _model(records: RunRecords) -> str:
    """Which model it is, if it is not the fine-tuned encoder of the config."""
    checkpoint, plan = records.checkpoint, records.plan
    if checkpoint is None or plan is None or checkpoint.is_fine_tuned:
        return ""
    parts, encoder = checkpoint.chosen.split("+"), code(plan.recipe.encoder)
    if parts == ["ngrams"]:
        return f" It is {code('ngrams')}: n-grams only, without {encoder}."
    helped = ", with helper rows" if "helped" in parts else ""
    added = ", plus n-grams" if "ngrams" in parts else ""
    return f" It is {code(checkpoint.chosen)}: {encoder} without fine-tuning{helped}{added}."


def _cause(records: RunRecords) -> str:
    error = (records.manifest.error or "").strip()
    checks = records.dataset.failed_checks if records.dataset else []
    blocking = "; ".join(check.message for check in checks if check.blocks)
    return next(iter(error.splitlines()), blocking) or "No reason is recorded."


def error_in_full(records: RunRecords) -> str | None:
    """The whole error message; None if the headline shows all of it."""
    error = (records.manifest.error or "").strip()
    return error if error and clean(error) != clean(_cause(records), HEADLINE_LIMIT) else None


def not_reached(records: RunRecords) -> Markdown:
    """The stages that left no record."""
    return joined(name for field, name in STAGES.items() if getattr(records, field) is None)


def next_steps(records: RunRecords) -> list[str]:
    """How to continue after an early end; what the decision advises; which rows to label."""
    steps: list[str] = []
    if ended_early(records):
        steps.append(_NEXT[records.manifest.status].format(id=records.manifest.id))
    decision = records.decision
    advised = decision.steps_left(in_production=records.in_production) if decision else []
    labelling = label_next_sentence(records.evaluation) if records.evaluation else None
    forced = decision.promotion if decision and decision.verdict is not Verdict.APPROVED else None
    steps += [step for step in advised if step != forced]
    if not (decision and any(rule.remedy for rule in decision.rules)):
        steps += filter(None, [_rows_sentence(records)])
    steps += filter(None, [labelling])
    return steps + [step for step in advised if step == forced]


def _rows_sentence(records: RunRecords) -> Markdown | None:
    """Which rows to label if the model is not shown to be better than n-grams without test rows."""
    checkpoint, dataset = records.checkpoint, records.dataset
    if checkpoint is None or dataset is None or len(checkpoint.candidates) == 1:
        return None
    ngrams = next((one for one in checkpoint.candidates if one.name == "ngrams"), None)
    if ngrams is None or ngrams.loss_above_chosen > ngrams.loss_error:
        return None
    train, *_ = dataset.splits.values()
    rows = train.label_rows
    rarest, largest = min(rows, key=rows.__getitem__), max(rows, key=rows.__getitem__)
    first = f"Label rows of {escape(rarest)} first, which has {count(rows[rarest], 'training row')}"
    largest_has = f" ({escape(largest)}, the largest label, has {integer(rows[largest])})"
    if rows[rarest] == rows[largest]:
        first, largest_has = "Label more rows of all labels", ""
    return Markdown(
        f"{first}{largest_has}: more of them may show that the model is better than n-grams alone."
    )


# Facts beside the titles of folded sections; `summaries.fact_of` has the others


def rules_fact(decision: DecisionRecord) -> str:
    """How many rules have each outcome."""
    outcomes = Counter(rule.outcome for rule in decision.rules)
    return ", ".join(f"{outcomes[each]} {each}" for each in RuleOutcome if outcomes[each])


def cost_fact(manifest: Manifest) -> str:
    """The time of all stages."""
    return f"{seconds(sum(stage.seconds or 0.0 for stage in manifest.stages.values()))} in all"


def debt_fact(debt: TechDebtRecord) -> str:
    """How many items are new, repeated and resolved."""
    changes = Counter(item.change for item in debt.changes)
    return ", ".join(f"{changes[each]} {each}" for each in ("new", "repeated", "resolved"))
