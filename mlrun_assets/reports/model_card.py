"""The model card that is published with a model; it holds no text and no path of the data.

The sections follow Mitchell et al., Model Cards for Model Reporting
(https://arxiv.org/abs/1810.03993). The Hugging Face Hub reads the YAML head.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jinja2

from mlrun_assets.config import BUILT_IN_SLICES, LoadedConfig
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError, count
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
    digest,
    escape,
    integer,
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
    """Facts about a model that are in the config, not in the records of its run.

    ``language`` is an ISO 639 code, ``licence`` is spelled as on the Hub, ``base_model`` is the Hub
    id of the encoder, None if it has none.
    """

    language: str
    licence: str | None
    base_model: str | None


def render_model_card(run: RunRecords, origin: Origin) -> str:
    """The card of an evaluated and exported run: a YAML head, then Markdown."""
    return _template().render(run=run, origin=origin, head=head(run, origin))


def head(run: RunRecords, origin: Origin) -> Markdown:
    """The YAML for the Hub, without the dashes around it."""
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
    """Scores of the model on test and val, and of its baselines on test."""
    rows = []
    if run.evaluation:
        rows.append(scores_row(Markdown("**this model**, test"), run.evaluation.test))
        rows.append(scores_row(Markdown("this model, val"), run.evaluation.val))
    if run.baseline:
        rows.append(scores_row(Markdown("n-gram baseline, test"), run.baseline.linear))
        rows.append(scores_row(Markdown("majority class, test"), run.baseline.majority))
    return table(["", ">accuracy", ">macro-F1", ">weighted-F1"], rows)


def slices_table(evaluation: EvaluationRecord) -> Markdown:
    """The built-in slices only: values of the data's own columns may name people."""
    own = tuple(part for part in evaluation.slices if part.column in BUILT_IN_SLICES)
    if not own:
        return Markdown("")
    return scores.slices_table(evaluation.model_copy(update={"slices": own}))


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, and the digest of each split's source."""
    return table(
        ["label", *(f">{split}" for split in dataset.splits)],
        [
            *([label, *(integer(part.label_rows.get(label, 0)) for part in dataset.splits.values())]
              for label in dataset.labels),
            ["all", *(integer(part.rows_kept) for part in dataset.splits.values())],
            ["SHA-256", *(digest(part.source_digest) for part in dataset.splits.values())],
        ],
    )  # fmt: skip


def recipe_table(plan: TrainingPlan) -> Markdown:
    """The training settings, without the encoder, whose name may be a path."""
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
    """Known weaknesses, and facts that were not measured."""
    found = [f"Only texts in the language `{origin.language}` were measured."]
    if run.evaluation:
        found += _limits_of_evaluation(run.evaluation)
    if run.dataset:
        found += _limits_of_data(run.dataset)
    if run.decision and run.decision.verdict is not Verdict.APPROVED:
        found.append(_verdict(run.decision))
    if run.checkpoint and run.checkpoint.ensemble:
        found.append(
            "The n-gram model contains words and short phrases of the training texts, which anyone "
            "with the model can read."
        )
    return bullets(found)


def _limits_of_evaluation(evaluation: EvaluationRecord) -> list[str]:
    test = evaluation.test
    found = [
        f"The scores come from {count(test.rows, 'test row')}. With "
        f"{number(100 * evaluation.confidence)} % confidence the accuracy on other texts of this "
        f"kind is between {test.accuracy.low:.3f} and {test.accuracy.high:.3f}; it is unknown for "
        "texts of other kinds.",
        *_limits_of_labels(test),
    ]
    looks = evaluation.test_looks
    if looks and looks.used_up:
        found.append(
            f"{count(looks.looks, 'model')} were judged on this test split, so the scores are "
            "probably too high."
        )
    return found


def _limits_of_labels(test: Scores) -> list[str]:
    measured = [scores for scores in test.per_class if scores.support]
    others = [clean(scores.label) for scores in test.per_class if not scores.support]
    found = []
    if measured:
        weakest = min(measured, key=lambda scores: scores.f1)
        found.append(
            f"The label with the lowest F1 is {clean(weakest.label)}: {weakest.f1:.3f} on "
            f"{count(weakest.support, 'test row')}."
        )
    if others:
        found.append(f"Labels without test rows were not measured: {', '.join(others)}.")
    return found


def _limits_of_data(dataset: DatasetRecord) -> list[str]:
    found = []
    cut = dataset.splits["test"].truncated_fraction
    if cut:
        found.append(
            f"The model reads the first {count(dataset.max_length, 'token')} of a text; "
            f"{percent(cut)} of the test texts are longer."
        )
    failed = [f"`{check.name}`" for check in dataset.failed_checks]
    if failed:
        found.append(f"Data-quality checks that did not pass: {', '.join(failed)}.")
    return found


def _verdict(decision: DecisionRecord) -> str:
    """The verdict and the outcomes only: sentences may hold paths and labels of other models."""
    quiet = {RuleOutcome.PASSED, RuleOutcome.OFF}
    rules = [
        f"`{rule.rule}` {rule.outcome}" for rule in decision.rules if rule.outcome not in quiet
    ]
    named = f": {', '.join(rules)}" if rules else ""
    return f"The rules of the run did not approve the model ({decision.verdict}){named}."


def onnx_sentence(form: OnnxExport) -> Markdown:
    """Precision, size, val score and speed of an ONNX form."""
    return Markdown(
        f"Weights in {escape(form.precision)}, {megabytes(form.size_bytes)}; val macro-F1 "
        f"{score(form.val_f1_macro)}, p95 latency {number(form.latency_ms_p95)} ms for one text."
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
        count=count,
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


# The embedded encoders by their names on the Hub.
HUB_IDS = {"embedded:multilingual-e5-small": "intfloat/multilingual-e5-small"}


def write_model_card(experiment: Experiment, config: LoadedConfig) -> str:
    """Write the card of the exported model into the experiment; return its text.

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
    """The Hub id of the encoder; None if it is, or was, a local directory."""
    model = config.settings.model
    if model.name in HUB_IDS:
        return HUB_IDS[model.name]
    try:
        source = resolve_encoder(model.name, model.revision, config.directory)
    except EncoderError:
        return None
    return source.location if source.kind == "hub" else None
