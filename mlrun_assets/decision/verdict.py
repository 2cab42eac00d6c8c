"""Stage ``deployment_decision``: the rules in words, the verdict, and the next steps."""

from __future__ import annotations

from typing import NamedTuple

from mlrun_assets.config import DeploymentConfig
from mlrun_assets.decision import rules as rule_functions
from mlrun_assets.records import (
    Comparison,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    ProductionVersion,
    RuleOutcome,
    RuleResult,
    Verdict,
)

# The first of these outcomes that a rule has decides the verdict.
DECISIVE = {
    RuleOutcome.FAILED: Verdict.REJECTED,
    RuleOutcome.INCOMPARABLE: Verdict.INCOMPARABLE,
    RuleOutcome.INCONCLUSIVE: Verdict.INCONCLUSIVE,
}


class RuleText(NamedTuple):
    """A rule in words: its condition, the issue if it does not hold, and the remedy."""

    condition: str
    issue: str
    remedy: str


SCORE_RULES = {
    "min_accuracy": RuleText(
        "Test accuracy reaches deployment.min_accuracy.",
        "Test accuracy is below deployment.min_accuracy",
        "Label more rows of the labels with the lowest F1, then run again.",
    ),
    "min_f1": RuleText(
        "Test F1 reaches deployment.min_f1.",
        "Test F1 is below deployment.min_f1",
        "Label more rows of the labels with the lowest F1, then run again.",
    ),
    "min_coverage": RuleText(
        "The share of test rows that is accepted reaches deployment.min_coverage.",
        "The share of test rows that is accepted is below deployment.min_coverage",
        "Label more rows, train a better model, or lower deployment.min_precision.",
    ),
    "beats_baseline": RuleText(
        "The model is shown to beat the n-gram baseline.",
        "The model is not shown to beat the n-gram baseline",
        "Deploy nothing heavier than the n-gram model: set `model.candidates: [ngrams]`. Or try "
        "more rows, another encoder, or longer training.",
    ),
    "versus_production": RuleText(
        "deployment.policy holds against the model in production.",
        "The model is not shown to satisfy deployment.policy against production",
        "Compare on the label set of the model in production, with a better model, or on "
        "more test rows.",
    ),
    "class_guard": RuleText(
        "No label loses more than deployment.max_recall_loss against production, and each is "
        "predicted.",
        "A label is never predicted, or loses recall against production",
        "Look at the rows of the labels that the rule names, and label more of them.",
    ),
    "slice_guard": RuleText(
        "No slice loses more than deployment.max_recall_loss against production.",
        "A slice of the test split loses recall against production",
        "Look at the rows of the slices that the rule names, and label more of them.",
    ),
    "test_reuse": RuleText(
        "No more models than evaluation.max_looks have been judged on this test split.",
        "The test split is used up: more models than evaluation.max_looks were judged on it",
        "Label a fresh test split.",
    ),
}
EXPORT_RULES = {
    "export_parity": RuleText(
        "A fresh process gives the checkpoint's labels.",
        "The exported model does not give the checkpoint's labels",
        "Export again, and compare the package versions of the two processes.",
    ),
    "latency": RuleText(
        "The fastest exported form answers within deployment.max_latency_ms.",
        "The exported model is slower than deployment.max_latency_ms",
        "Use a smaller encoder or a smaller model.max_length, or export to ONNX (deployment.onnx).",
    ),
    "size": RuleText(
        "The smallest exported form is within deployment.max_size_mb.",
        "The exported model is larger than deployment.max_size_mb",
        "Trim the vocabulary (model.trim_vocabulary), use a smaller encoder, or export to ONNX "
        "(deployment.onnx).",
    ),
}
RULES = SCORE_RULES | EXPORT_RULES


def decide(
    evaluation: EvaluationRecord,
    export: ExportRecord,
    config: DeploymentConfig,
    experiment: str,
    champion: ProductionVersion | None = None,
) -> DecisionRecord:
    """Apply all rules to one decision; ``experiment`` is the id that ``promote`` takes.

    A model whose exported files are those of ``champion`` is not compared with it. If it passes the
    other rules, its verdict is UNCHANGED: there is nothing to deploy.
    """
    if champion is None or champion.exported != export.digest:
        rules = judge_scores(evaluation, config) + judge_export(export, config)
        return conclude(rules, config, experiment)
    name = champion.version
    why = f"this is the model in production: its exported files are those of {name}"
    same = Comparison(against=name, comparable=False, identical=True, reason=why, rows=0)
    evaluation = evaluation.model_copy(update={"production": same})
    decision = decide(evaluation, export, config, experiment)
    steps = tuple(decision.steps_left(in_production=True))
    changes: dict[str, object] = {"same_as": name, "next_steps": steps, "promotion": ""}
    if decision.verdict is Verdict.APPROVED:
        changes |= {"verdict": Verdict.UNCHANGED, "sentence": why, "deploys": False}
        changes["next_steps"] = ()
    return decision.model_copy(update=changes)


def judge_scores(evaluation: EvaluationRecord, config: DeploymentConfig) -> tuple[RuleResult, ...]:
    """The rules on the scores, in the order of `SCORE_RULES`."""
    return (
        rule_functions.min_accuracy(evaluation, config),
        rule_functions.min_f1(evaluation, config),
        rule_functions.min_coverage(evaluation, config),
        rule_functions.beats_baseline(evaluation, config),
        rule_functions.versus_production(evaluation, config),
        rule_functions.class_guard(evaluation, config),
        rule_functions.slice_guard(evaluation, config),
        rule_functions.test_reuse(evaluation),
    )


def judge_export(export: ExportRecord, config: DeploymentConfig) -> tuple[RuleResult, ...]:
    """The rules on the exported model, in the order of `EXPORT_RULES`."""
    return (
        rule_functions.export_parity(export),
        rule_functions.latency(export, config),
        rule_functions.size(export, config),
    )


def conclude(
    rules: tuple[RuleResult, ...], config: DeploymentConfig, experiment: str
) -> DecisionRecord:
    """The verdict of ``rules``; only APPROVED with ``auto_deploy`` deploys."""
    found = {rule.outcome for rule in rules}
    decisive = next((outcome for outcome in DECISIVE if outcome in found), None)
    if decisive:
        verdict = DECISIVE[decisive]
        sentence = "; ".join(rule.sentence for rule in rules if rule.outcome is decisive)
    else:
        warned = sum(rule.outcome is RuleOutcome.WARNED for rule in rules)
        verdict = Verdict.APPROVED
        sentence = "every rule holds" + (f", {warned} with a warning" if warned else "")
    deploys = verdict is Verdict.APPROVED and config.auto_deploy
    steps, promotion = _next_steps(verdict, rules, deploys, experiment)
    return DecisionRecord(
        verdict=verdict,
        sentence=sentence,
        rules=rules,
        deploys=deploys,
        next_steps=steps,
        promotion=promotion,
    )


def blocked(why: str) -> DecisionRecord:
    """The verdict BLOCKED: the data does not meet the standards, so there is no model."""
    sentence = f"the data does not meet the standards: {why}"
    return DecisionRecord(
        verdict=Verdict.BLOCKED, sentence=sentence, rules=(), deploys=False, next_steps=()
    )


def _next_steps(
    verdict: Verdict, rules: tuple[RuleResult, ...], deploys: bool, experiment: str
) -> tuple[tuple[str, ...], str]:
    """The steps, and the one of them with which a person deploys the model."""
    if deploys:
        step = (
            "The asset production_model deploys it; `mlrun-assets rollback --reason WHY` restores "
            "the model before it."
        )
        return (step,), ""
    promote = f"mlrun-assets promote {experiment}"
    if verdict is Verdict.APPROVED:
        step = f"Deploy it with `{promote}`, or set deployment.auto_deploy for the next run."
        return (step,), step
    steps = dict.fromkeys(_remedy(rule) for rule in rules if rule.outcome in DECISIVE)
    step = f"To deploy it anyway, give a reason: `{promote} --reason WHY`."
    return (*steps, step), step


def _remedy(rule: RuleResult) -> str:
    if rule.outcome is not RuleOutcome.INCONCLUSIVE:
        return rule.remedy or RULES[rule.rule].remedy
    if rule.scarce_label is not None:
        return (
            f"To settle {rule.rule}, label test rows of {rule.scarce_label} first: its few rows "
            "weigh more than those of all other labels together."
        )
    if rule.rows_needed is None:
        return (
            f"More test rows will not settle {rule.rule}: the difference is too close to the limit "
            "(over 100 times the rows would be needed). Train a better model, or decide by hand."
        )
    guards = ("class_guard", "slice_guard")
    part = " of the first label or slice that it names" if rule.rule in guards else ""
    return (
        f"To settle {rule.rule}, label test rows until there are about {rule.rows_needed:,}{part}: "
        "if the difference is as measured, that many show it with 80 % power."
    )
