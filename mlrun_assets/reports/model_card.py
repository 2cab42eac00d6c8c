"""The model card: what a stranger needs to know of a model before using it.

The sections follow Mitchell and others, Model Cards for Model Reporting
(https://arxiv.org/abs/1810.03993); the YAML head is what the Hub reads. A card is made to be
published: it holds no text and no path of the data.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jinja2

from mlrun_assets.config import BUILT_IN_SLICES, LoadedConfig
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError
from mlrun_assets.experiment import Experiment, run_records
from mlrun_assets.files import write_atomically
from mlrun_assets.machine import telemetry_off
from mlrun_assets.records import (
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    OnnxExport,
    RuleOutcome,
    RunRecords,
    Scores,
    TrainingPlan,
    Verdict,
)
from mlrun_assets.reports import formatting, scores, sentences
from mlrun_assets.reports.formatting import (
    Markdown,
    clean,
    code,
    count,
    digest,
    escape,
    joined,
    markdown_environment,
    megabytes,
    number,
    percent,
    prose,
    score,
)
from mlrun_assets.reports.scores import scores_row
from mlrun_assets.reports.tables import bullets, table

TASK = "text-classification"


@dataclass(frozen=True)
class Origin:
    """What the records of a run don't say of its model.

    ``language`` is an ISO 639 code, ``licence`` as the Hub spells it, ``base_model`` the Hub id of
    the encoder that was fine-tuned; None: it has none.
    """

    language: str
    licence: str | None
    base_model: str | None


def render_model_card(run: RunRecords, origin: Origin) -> str:
    """The card as Markdown under its YAML head, of a run that was evaluated and exported."""
    return _template().render(run=run, origin=origin, head=head(run, origin))


def head(run: RunRecords, origin: Origin) -> Markdown:
    """The YAML that the Hub reads, without the dashes around it."""
    telemetry_off()
    from huggingface_hub import ModelCardData

    tags = ["low-resource", *(["onnx"] if run.export and run.export.kept_onnx else [])]
    results = _results(run)
    card = ModelCardData(
        language=origin.language,
        license=origin.licence,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=tags,
        base_model=origin.base_model,
        metrics=["accuracy", "f1"],
        model_name=clean(run.manifest.name) if results else None,
        eval_results=results or None,
    )
    return Markdown(card.to_yaml())


def _results(run: RunRecords) -> list[Any]:
    from huggingface_hub import EvalResult

    if run.evaluation is None or run.dataset is None:
        return []  # the Hub asks for the name of the data
    data = clean(run.dataset.name)
    result = functools.partial(
        EvalResult,
        task_type=TASK,
        task_name="Text classification",
        dataset_type=data,
        dataset_name=data,
        dataset_split="test",
    )
    test = run.evaluation.test
    return [
        result(metric_type=kind, metric_name=name, metric_args=settings, metric_value=round(v, 4))
        for kind, name, settings, v in (
            ("accuracy", "Accuracy", None, test.accuracy.value),
            ("f1", "Macro-F1", {"average": "macro"}, test.f1_macro.value),
            ("f1", "Weighted-F1", {"average": "weighted"}, test.f1_weighted.value),
        )
    ]


def results_table(run: RunRecords) -> Markdown:
    """The model on test and val, beside what trains in seconds."""
    rows = []
    if run.evaluation:
        rows.append(scores_row(Markdown("**this model**, test"), run.evaluation.test))
        rows.append(scores_row(Markdown("this model, val"), run.evaluation.val))
    if run.baseline:
        rows.append(scores_row(Markdown("n-gram baseline, test"), run.baseline.linear))
        rows.append(scores_row(Markdown("majority class, test"), run.baseline.majority))
    return table(["", ">accuracy", ">macro-F1", ">weighted-F1"], rows)


def slices_table(evaluation: EvaluationRecord) -> Markdown:
    """The slices that every run has: those of the data's own columns may name people."""
    own = tuple(part for part in evaluation.slices if part.column in BUILT_IN_SLICES)
    if not own:
        return Markdown("")
    return scores.slices_table(evaluation.model_copy(update={"slices": own}))


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, and the digest of each split's source."""
    return table(
        ["label", *(f">{split}" for split in dataset.splits)],
        [
            *([label, *(count(part.label_rows.get(label, 0)) for part in dataset.splits.values())]
              for label in dataset.labels),
            ["all", *(count(part.rows_kept) for part in dataset.splits.values())],
            ["SHA-256", *(digest(part.source_digest) for part in dataset.splits.values())],
        ],
    )  # fmt: skip


def recipe_table(plan: TrainingPlan) -> Markdown:
    """The settings of the training; the encoder is named elsewhere, since it may be a path."""
    left_out = {"encoder", "revision", "encoder_digest", "class_weights", "seed"}
    recipe = plan.recipe.model_dump(exclude=left_out)
    weights = plan.recipe.class_weights
    rows = [[code(name), _setting(value)] for name, value in recipe.items() if value is not None]
    rows.append(
        [code("class_weights"), joined(map(number, weights)) if weights else Markdown("none")]
    )
    rows.append([code("seeds"), joined(str(each.seed) for each in plan.recipes)])
    return table(["setting", "value"], rows)


def limits(run: RunRecords, origin: Origin) -> Markdown:
    """What is known to be weak, or not known at all."""
    said = [f"Only texts in the language `{origin.language}` were measured."]
    if run.evaluation:
        said += _limits_of_evaluation(run.evaluation)
    if run.dataset:
        said += _limits_of_data(run.dataset)
    if run.decision and run.decision.verdict is not Verdict.APPROVED:
        said.append(_verdict(run.decision))
    if run.checkpoint and run.checkpoint.ensemble:
        said.append(
            "Its n-gram model holds words and short phrases of the training texts: whoever has the "
            "model can read them."
        )
    return bullets(said)


def _limits_of_evaluation(evaluation: EvaluationRecord) -> list[str]:
    test = evaluation.test
    said = [
        f"The scores come from {count(test.rows)} test rows: the accuracy on other texts of this "
        f"kind lies between {test.accuracy.low:.3f} and {test.accuracy.high:.3f} with "
        f"{number(100 * evaluation.confidence)} % confidence, and nothing is said of other kinds.",
        *_limits_of_labels(test),
    ]
    if evaluation.test_use and evaluation.test_use.worn:
        said.append(
            f"{evaluation.test_use.looks} models were judged on this test split: its scores are "
            "worn, and rather too high."
        )
    return said


def _limits_of_labels(test: Scores) -> list[str]:
    measured = [scores for scores in test.per_class if scores.support]
    others = [clean(scores.label) for scores in test.per_class if not scores.support]
    said = []
    if measured:
        weakest = min(measured, key=lambda scores: scores.f1)
        said.append(
            f"The label it knows least is {clean(weakest.label)}: F1 {weakest.f1:.3f} on "
            f"{count(weakest.support)} test rows."
        )
    if others:
        said.append(f"Not measured, for want of test rows: {', '.join(others)}.")
    return said


def _limits_of_data(dataset: DatasetRecord) -> list[str]:
    said = []
    cut = dataset.splits["test"].truncated_fraction
    if cut:
        said.append(
            f"It reads the first {count(dataset.max_length)} tokens of a text; "
            f"{percent(cut)} of the test texts are longer."
        )
    warned = [f"`{check.name}`" for check in dataset.failed_checks]
    if warned:
        said.append(f"Data-quality checks that did not pass: {', '.join(warned)}.")
    return said


def _verdict(decision: DecisionRecord) -> str:
    """By the outcomes alone: the sentences of rules may hold paths and labels of other models."""
    quiet = {RuleOutcome.PASSED, RuleOutcome.OFF}
    rules = [
        f"`{rule.rule}` {rule.outcome}" for rule in decision.rules if rule.outcome not in quiet
    ]
    said = f": {', '.join(rules)}" if rules else ""
    return f"The rules of the run did not approve it ({decision.verdict}){said}."


def onnx_sentence(form: OnnxExport) -> Markdown:
    """What an ONNX form is, as a process without torch saw it."""
    return Markdown(
        f"Weights in {escape(form.precision)}, {megabytes(form.size_bytes)}: val macro-F1 "
        f"{score(form.val_f1_macro)}, p95 {number(form.latency_ms_p95)} ms for one text."
    )


def _setting(value: object) -> Markdown:
    if isinstance(value, bool):
        return Markdown("yes" if value else "no")
    return number(value) if isinstance(value, int | float) else escape(str(value))


@functools.cache
def _template() -> jinja2.Template:
    environment = markdown_environment()
    environment.globals.update(
        formatting=formatting,
        scores=scores,
        sentences=sentences,
        code=code,
        escape=escape,
        joined=joined,
        prose=prose,
        results_table=results_table,
        rows_table=rows_table,
        slices_table=slices_table,
        recipe_table=recipe_table,
        limits=limits,
        onnx_sentence=onnx_sentence,
    )
    return environment.get_template("model_card.md.j2")


# What the embedded encoders are called on the Hub.
HUB_IDS = {"embedded:multilingual-e5-small": "intfloat/multilingual-e5-small"}


def write_model_card(experiment: Experiment, config: LoadedConfig) -> str:
    """Write the card of the exported model beside the experiment's records; returns its text.

    Raises:
        RecordError: the experiment has no exported and evaluated model.
    """
    for needed in (DatasetRecord, EvaluationRecord, ExportRecord):
        experiment.load(needed)
    own = experiment.config(config)
    origin = Origin(own.settings.data.language, own.settings.data.licence, _base_model(own))
    card = render_model_card(run_records(experiment.manifest, experiment), origin)
    write_atomically(experiment.paths.model_card, card)
    return card


def _base_model(config: LoadedConfig) -> str | None:
    """The Hub id of the encoder; None: it is a directory, or was one that is gone."""
    model = config.settings.model
    if model.name in HUB_IDS:
        return HUB_IDS[model.name]
    try:
        source = resolve_encoder(model.name, model.revision, config.directory)
    except EncoderError:
        return None
    return source.location if source.kind == "hub" else None
