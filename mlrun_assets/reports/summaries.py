"""One bold sentence and one table a stage: what the UI shows beside each asset."""

from __future__ import annotations

from mlrun_assets.records import (
    BaselineRecord,
    CheckpointRecord,
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExperimentRecord,
    ExportRecord,
    PredictionsRecord,
    ProductionRecord,
    ProductionVersion,
    RegistryRecord,
    TechDebtRecord,
    TrainingPlan,
)
from mlrun_assets.reports.data_section import (
    checks_table,
    choices_table,
    history_table,
    splits_table,
)
from mlrun_assets.reports.formatting import (
    Markdown,
    code,
    count,
    digest,
    escape,
    number,
    percent,
    prose,
    score,
    seconds,
    spread,
)
from mlrun_assets.reports.scores import candidates_table, f1_name, rules_table, scores_rows_table
from mlrun_assets.reports.tables import debt_table, forms_table, last_runs, runs_table, table


def summarise_experiment(record: ExperimentRecord) -> str:
    """The name, and the last runs that the registry knows."""
    return _summary(
        f"{escape(record.name)}: {count(len(record.prior_runs))} prior runs, "
        f"{count(len(record.open_debt))} open tech-debt items",
        runs_table(last_runs(record)),
    )


def summarise_dataset(record: DatasetRecord) -> str:
    """The splits; what blocks, where the data are not ready."""
    failed = record.failed_checks
    blocking = sum(check.blocks for check in failed)
    quarantined = sum(split.rows_quarantined for split in record.splits.values())
    changes = sum(record.normalised.values())
    others = record.unlabelled
    unlabelled = f"; {count(others.rows_kept)} texts without labels" if others else ""
    return _summary(
        f"{'Ready' if record.ready else 'Not ready'}: {count(record.rows)} rows, "
        f"{count(quarantined)} quarantined; {count(blocking)} checks block, "
        f"{count(len(failed) - blocking)} warn; {count(changes)} changes to texts{unlabelled}",
        splits_table(record) if record.ready else checks_table(failed),
    )


def summarise_plan(record: TrainingPlan) -> str:
    """The recipe, and why."""
    recipe, seeds = record.recipe, len(record.recipes)
    return _summary(
        f"{escape(recipe.encoder)}: up to {count(recipe.epochs)} epochs, learning rate "
        f"{number(recipe.learning_rate)}, batch size {count(recipe.batch_size)}, "
        f"{count(seeds)} seed{'s' * (seeds > 1)}",
        choices_table(record),
    )


def summarise_baseline(record: BaselineRecord) -> str:
    """What the linear model reaches, and which were tried."""
    return _summary(
        f"{escape(record.chosen)}: test macro-F1 {score(record.linear.f1_macro)} after "
        f"{seconds(record.seconds)}; majority class {score(record.majority.f1_macro.value)}",
        candidates_table(record.candidates),
    )


def summarise_checkpoint(record: CheckpointRecord) -> str:
    """The best epoch, the speed, and the history."""
    several = len(record.seeds) > 1
    seed = f"seed {record.seed} of {count(len(record.seeds))}, " if several else ""
    reused = f"Reused from {escape(record.reused_from)}. " if record.reused_from else ""
    done = record.pretraining
    pretrained = (
        f"; pretrained on {count(done.texts)} texts in {seconds(done.seconds)}" if done else ""
    )
    return _summary(
        f"{reused}Best on val: {seed}epoch {number(record.best_epoch)}; "
        f"{seconds(record.seconds)}, {number(round(record.tokens_per_second))} tokens/s"
        f"{pretrained}",
        history_table(record.history),
    )


def summarise_evaluation(record: EvaluationRecord) -> str:
    """The F1 that counts, on test and val."""
    over = record.f1_over_seeds
    seeds = f" ({spread(over)} over {count(len(record.seeds))} seeds)" if over else ""
    return _summary(
        f"Test {f1_name(record)} {score(record.f1)}{seeds}, accuracy "
        f"{score(record.test.accuracy)} on {count(record.test.rows)} rows",
        scores_rows_table({"test": record.test, "val": record.val}),
    )


def summarise_export(record: ExportRecord) -> str:
    """Whether the exported model answers like its checkpoint, in which forms, and how fast."""
    left_out = "".join(f" {prose(sentence)}" for sentence in record.onnx_left_out)
    return _summary(
        f"Agrees with the checkpoint on {percent(record.agreement)} of "
        f"{count(record.rows_compared)} rows, digest {digest(record.digest)}.{left_out}",
        forms_table(record),
    )


def summarise_decision(record: DecisionRecord) -> str:
    """The verdict, and what each rule says."""
    return _summary(f"{record.verdict}: {prose(record.sentence)}", rules_table(record.rules))


def summarise_production(record: ProductionRecord) -> str:
    """Where production points, before and after."""
    places = {"before": record.before, "after": record.after}
    return _summary(
        prose(record.sentence),
        table(
            ["", "version", "report", ">accuracy", ">F1", "promoted", "digest"],
            ([when, *_version(found)] for when, found in places.items()),
        ),
    )


def _version(version: ProductionVersion | None) -> list[str]:
    if version is None:
        return ["none", *[score(None)] * 5]
    return [
        code(version.version),
        version.report,
        score(version.accuracy),
        score(version.f1),
        version.promoted_at,
        digest(version.digest),
    ]


def summarise_predictions(record: PredictionsRecord) -> str:
    """How many rows got which label, and from which version."""
    aside = f"; {count(record.rows_unusable)} had no text" if record.rows_unusable else ""
    return _summary(
        f"{count(record.rows)} rows labelled by {escape(record.version)} in "
        f"{seconds(record.seconds)}{aside}",
        table(
            ["label", ">rows", ">share"],
            [
                [code(label), count(rows), percent(rows / max(1, record.rows))]
                for label, rows in record.label_rows.items()
            ],
        ),
    )


def summarise_registry(record: RegistryRecord) -> str:
    """This run's line."""
    return _summary(
        f"One line in {escape(record.file)}, which had {count(record.lines_before)}",
        table(["line"], [[record.line]]),
    )


def summarise_tech_debt(record: TechDebtRecord) -> str:
    """The items that this run wrote."""
    changes = {change: len(record.numbers(change)) for change in ("new", "repeated", "resolved")}
    return _summary(
        ", ".join(f"{count(number)} {change}" for change, number in changes.items()),
        debt_table(record.changes),
    )


def _summary(sentence: str, body: Markdown) -> str:
    return f"**{sentence}**\n\n{body}\n"
