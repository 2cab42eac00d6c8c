"""The model card that is published with a model; it holds no text and no path of the data.

The sections follow Mitchell et al., Model Cards for Model Reporting
(https://arxiv.org/abs/1810.03993). The Hugging Face Hub reads the YAML head.
"""

from __future__ import annotations

import functools

from mlrun_assets.config import BUILT_IN_SLICES, DataConfig, LoadedConfig
from mlrun_assets.encoders.source import resolve_encoder
from mlrun_assets.errors import EncoderError, count, listed
from mlrun_assets.experiment import Experiment, run_records
from mlrun_assets.files import write_atomically
from mlrun_assets.markdown import Markdown, clean, code, escape, joined
from mlrun_assets.records import (
    BaselineRecord,
    DatasetRecord,
    EvaluationRecord,
    ExportRecord,
    OnnxExport,
    RuleOutcome,
    RunRecords,
    SliceScores,
    TrainingPlan,
    Verdict,
)
from mlrun_assets.reports.formatting import (
    digest,
    integer,
    megabytes,
    number,
    percent,
    template,
)
from mlrun_assets.reports.scores import scores_rows_table
from mlrun_assets.reports.tables import bullets, table

TASK = "text-classification"


def render_model_card(run: RunRecords, data: DataConfig, base_model: str | None) -> str:
    """The card of an evaluated and exported run: a YAML head, then Markdown.

    Args:
        run: the records of the run.
        data: the config section with language and licence.
        base_model: the Hub id of the encoder, None if it has none.
    """
    return template("model_card.md.j2").render(run=run, data=data, base_model=base_model)


def head(
    run: RunRecords,
    dataset: DatasetRecord,
    evaluation: EvaluationRecord,
    data: DataConfig,
    base_model: str | None,
) -> Markdown:
    """The YAML for the Hub, without the dashes around it."""
    from huggingface_hub import EvalResult, ModelCardData

    result = functools.partial(
        EvalResult,
        task_type=TASK,
        task_name="Text classification",
        dataset_type=clean(dataset.name),
        dataset_name=clean(dataset.name),
        dataset_split="test",
    )
    test = evaluation.test
    card = ModelCardData(
        language=data.language,
        license=data.licence,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["low-resource", *(["onnx"] if run.export and run.export.onnx else [])],
        base_model=base_model if run.checkpoint and run.checkpoint.chosen != "ngrams" else None,
        metrics=["accuracy", "f1"],
        model_name=clean(run.manifest.name),
        eval_results=[
            result(metric_type=kind, metric_name=name, metric_args=args, metric_value=round(v, 4))
            for kind, name, args, v in (
                ("accuracy", "Accuracy", None, test.accuracy.value),
                ("f1", "Macro-F1", {"average": "macro"}, test.f1_macro.value),
                ("f1", "Weighted-F1", {"average": "weighted"}, test.f1_weighted.value),
            )
        ],
    )
    return Markdown(card.to_yaml())


def results_table(evaluation: EvaluationRecord, baseline: BaselineRecord | None) -> Markdown:
    """Scores of the model on test and val, and of its baselines on test."""
    measured = {"**this model**, test": evaluation.test, "this model, val": evaluation.val}
    if baseline:
        measured["n-gram baseline, test"] = baseline.linear
        measured["majority class, test"] = baseline.majority
    return scores_rows_table(measured)


def origin_sentence(run: RunRecords, base_model: str | None) -> Markdown:
    """The parts of the model, and the rows that it was trained on."""
    encoder = code(base_model) if base_model else Markdown("local encoder")
    names = {
        "ngrams": "a linear model on words and parts of words",
        "frozen": f"a linear head on the frozen {encoder}",
        "helped": f"a linear head on the frozen {encoder}",
        "encoder": f"a fine-tuned {encoder}",
    }
    if run.checkpoint is None or run.dataset is None:
        return Markdown("")
    parts = [names[part] for part in run.checkpoint.winner.weights]
    sum_of = "the weighted sum of " if len(parts) > 1 else ""
    # Fine-tuning reads train only: val selects the epoch.
    trained_on = ("train",) if run.checkpoint.chosen == "encoder" else ("train", "val")
    rows = sum(run.dataset.splits[split].rows_kept for split in trained_on)
    helped = ""
    if run.dataset.auxiliary and "helped" in run.checkpoint.winner.weights:
        rows_added = count(run.dataset.auxiliary.rows_kept, "helper row")
        helped = f" The head was also fitted to {rows_added}."
    only_train = " The encoder was fine-tuned on the train rows only."
    return Markdown(
        f"It is {sum_of}{' and '.join(parts)}, trained on {count(rows, 'labelled row')} "
        f"({' and '.join(trained_on)}) of {escape(run.dataset.name)}."
        f"{helped}{only_train if run.checkpoint.chosen == 'encoder+ngrams' else ''}"
    )


def built_in_slices(evaluation: EvaluationRecord) -> list[SliceScores]:
    """Without the slices by the data's own columns, whose values may name people."""
    return [part for part in evaluation.slices if part.column in BUILT_IN_SLICES]


def rows_table(dataset: DatasetRecord) -> Markdown:
    """Rows of each label by split, and the digest of each split's source."""
    splits = dataset.splits.values()
    rows = [
        [label, *(integer(part.label_rows.get(label, 0)) for part in splits)]
        for label in dataset.labels
    ]
    rows.append(["all", *(integer(part.rows_kept) for part in splits)])
    rows.append(["SHA-256", *(digest(part.source_digest) for part in splits)])
    return table(["label", *(f">{split}" for split in dataset.splits)], rows)


def recipe_table(plan: TrainingPlan) -> Markdown:
    """The training settings, without the encoder, whose name may be a path."""
    left_out = {"encoder", "revision", "encoder_digest", "class_weights", "seed", "candidates"}
    recipe, weights = plan.recipe.model_dump(exclude=left_out), plan.recipe.class_weights
    rows = [[code(name), _setting(value)] for name, value in recipe.items() if value is not None]
    rows.append([code("class_weights"), joined(map(number, weights or ())) or Markdown("none")])
    rows.append([code("seeds"), joined(map(str, plan.seeds))])
    return table("setting | value", rows)


def limits(
    run: RunRecords, dataset: DatasetRecord, evaluation: EvaluationRecord, language: str
) -> Markdown:
    """Known weaknesses, and facts that were not measured."""
    found = [f"Only texts in the language `{language}` were measured."]
    found += [*_limits_of_evaluation(evaluation), *_limits_of_data(dataset)]
    if run.decision and run.decision.verdict not in (Verdict.APPROVED, Verdict.UNCHANGED):
        # The outcomes only: sentences may hold paths and labels of other models.
        rules = ", ".join(
            f"`{rule.rule}` {rule.outcome}"
            for rule in run.decision.rules
            if rule.outcome not in {RuleOutcome.PASSED, RuleOutcome.OFF}
        )
        found.append(
            f"The rules of the run did not approve the model ({run.decision.verdict})"
            f"{rules and f': {rules}'}."
        )
    if run.checkpoint and run.checkpoint.has_ngrams:
        found.append(
            "The n-gram model contains words and short phrases of the training texts, which anyone "
            "with the model can read."
        )
    return bullets(found)


def _limits_of_evaluation(evaluation: EvaluationRecord) -> list[str]:
    test, looks = evaluation.test, evaluation.test_looks
    found = [
        f"The scores come from {count(test.rows, 'test row')}. With "
        f"{number(100 * evaluation.confidence)} % confidence the accuracy on other texts of this "
        f"kind is between {test.accuracy.low:.3f} and {test.accuracy.high:.3f}; it is unknown for "
        "texts of other kinds."
    ]
    if measured := [one for one in test.per_class if one.support]:
        weakest = min(measured, key=lambda one: one.f1)
        found.append(
            f"The label with the lowest F1 is {clean(weakest.label)}: {weakest.f1:.3f} on "
            f"{count(weakest.support, 'test row')}."
        )
    others = listed(clean(one.label) for one in test.per_class if not one.support)
    if others:
        found.append(f"Labels without test rows were not measured: {others}.")
    if looks.used_up:
        found.append(
            f"This test split was used to judge {count(looks.looks, 'model')}, so the scores are "
            "probably too high."
        )
    return found


def _limits_of_data(dataset: DatasetRecord) -> list[str]:
    found = []
    cut = dataset.splits["test"].truncated_fraction
    if cut:
        found.append(
            f"The model reads the first {count(dataset.max_length, 'token')} of a text; "
            f"{percent(cut)} of the test texts are longer."
        )
    failed = ", ".join(f"`{check.name}`" for check in dataset.failed_checks)
    if failed:
        found.append(f"Data-quality checks that did not pass: {failed}.")
    return found


def onnx_sentence(form: OnnxExport) -> Markdown:
    """Size and speed of the ONNX form."""
    return Markdown(
        f"Weights in float32, {megabytes(form.size_bytes)}; p95 latency "
        f"{number(form.latency_ms_p95)} ms for one text."
    )


def _setting(value: object) -> Markdown:
    if isinstance(value, bool):
        return Markdown("yes" if value else "no")
    return number(value) if isinstance(value, int | float) else escape(str(value))


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
    run = run_records(experiment.manifest, experiment)
    card = render_model_card(run, own.settings.data, _base_model(own))
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
