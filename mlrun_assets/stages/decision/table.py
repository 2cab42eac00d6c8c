"""The rules in words, once: for the checks, for tech debt, and for what to do next."""

from __future__ import annotations

from typing import NamedTuple

from mlrun_assets.records import RuleOutcome

DECISIVE = (RuleOutcome.FAILED, RuleOutcome.INCONCLUSIVE, RuleOutcome.INCOMPARABLE)


class RuleText(NamedTuple):
    """What a rule asks for, what it means that it does not hold, and what would change that."""

    asks: str
    issue: str
    remedy: str


SCORE_RULES = {
    "min_accuracy": RuleText(
        "Test accuracy reaches deployment.min_accuracy.",
        "Test accuracy is below deployment.min_accuracy",
        "Label more rows of the labels with the lowest recall, then run again.",
    ),
    "min_f1": RuleText(
        "Test F1 reaches deployment.min_f1.",
        "Test F1 is below deployment.min_f1",
        "Label more rows of the labels with the lowest F1, then run again.",
    ),
    "beats_baseline": RuleText(
        "The model is shown to beat the n-gram baseline.",
        "The model is not shown to beat the n-gram baseline",
        "Deploy nothing heavier than the n-gram model until the encoder beats it: more rows, "
        "another encoder, or longer training.",
    ),
    "versus_production": RuleText(
        "deployment.policy holds against the model in production.",
        "The model is not shown to satisfy deployment.policy against production",
        "Compare on the label set of the model in production, with a model that is better, or on "
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
        "The test split is worn: more models than evaluation.max_looks were judged on it",
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
GUARDS = ("class_guard", "slice_guard")
RULES = SCORE_RULES | EXPORT_RULES
