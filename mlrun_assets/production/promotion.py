"""An experiment's model to production, and back."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

from mlrun_assets.config import DataConfig, LoadedConfig
from mlrun_assets.errors import (
    ComparisonError,
    ConfigError,
    MlrunError,
    ProductionError,
    ReportUpdateError,
    cause_of,
)
from mlrun_assets.evaluation.comparison import Deployed
from mlrun_assets.experiment import Experiment, all_experiments, is_locked
from mlrun_assets.models.probe import probe_transformers
from mlrun_assets.production.mlflow_mirror import mirror_production
from mlrun_assets.production.pointer import Approve, Reason, promote, read_production, rollback
from mlrun_assets.production.versions import Candidate, find_version, last_move_to, model_dir_of
from mlrun_assets.records import (
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    ProductionRecord,
    ProductionVersion,
    Verdict,
)
from mlrun_assets.reports.model_card import write_model_card
from mlrun_assets.runs.closing import refresh_registry_and_report


def update_reports_of_move(config: LoadedConfig, record: ProductionRecord) -> None:
    """Let the experiment of what serves, and of what that replaced, say so: record, line, report.

    An experiment that is gone tells nothing. One that a process works on gets its record; its line
    and its report are written when it ends.

    Raises:
        ReportUpdateError: something can't be written; what serves, serves.
    """
    if record.after is None:
        return
    serving = record.after.version
    try:
        for experiment in _concerned(config, record.after):
            _tell(experiment, config, record)
    except (MlrunError, OSError) as error:
        raise ReportUpdateError(
            f"{serving} serves now, and {config.production_dir} holds all of the move; but a "
            f"registry line or report that tells of it can't be written ({cause_of(error)}): make "
            f"room, or make it writable, then `mlrun-assets rollback --to {serving} --reason WHY` "
            "writes them and moves nothing"
        ) from error


def _tell(experiment: Experiment, config: LoadedConfig, record: ProductionRecord) -> None:
    told = experiment.find(ProductionRecord)
    # A move that is told a second time is no news: what the first said is better.
    if record.moved or told is None or told.after != record.after:
        experiment.save(record)
    if not is_locked(experiment.directory):
        refresh_registry_and_report(experiment, config)


def _concerned(config: LoadedConfig, serving: ProductionVersion) -> list[Experiment]:
    """The experiments that are still there, and judged: one that is not is being made anew."""
    replaced = _replaced(config, serving)
    ids = dict.fromkeys(version.experiment for version in (serving, replaced) if version)
    there = {each.id: each for each in all_experiments(config.experiments_dir)}
    found = (there[each] for each in ids if each in there)
    return [experiment for experiment in found if experiment.find(DecisionRecord)]


def _replaced(config: LoadedConfig, serving: ProductionVersion) -> ProductionVersion | None:
    """What served before the last move; None: nothing did, or it can't be read any more."""
    move = last_move_to(config.production_dir, serving.version)
    if move is None or move.before is None:
        return None
    try:
        return find_version(config.production_dir, move.before)
    except ProductionError:  # a harmed version is what people move away from
        return None


PROBE_TEXT = "Tani waa tijaabo."
PROBE_TOKENS = 32


def deploy_if_approved(experiment: Experiment, config: LoadedConfig) -> ProductionRecord:
    """Move production when the decision says so; else say why it stays.

    Either way the model card is written: a person reads it before approving.

    Raises:
        ProductionError: the move failed; the old model keeps serving.
        ReportUpdateError: it did not, and the report of the model before can't be written.
    """
    decision = experiment.load(DecisionRecord)
    candidate = candidate_of(experiment, config)
    serving = read_production(config.production_dir)
    if not decision.deploys:
        approved = decision.verdict is Verdict.APPROVED
        why = "auto_deploy is off" if approved else f"the verdict is {decision.verdict}"
        if serving and serving.is_export(experiment.id, candidate.digest):
            why = f"{serving.version} serves already"
        return _unmoved(serving, why)
    approve = _approval(experiment, None, "auto_deploy")
    try:
        record = promote(config.production_dir, candidate, approve, probe)
    except ComparisonError as error:
        return _unmoved(read_production(config.production_dir), str(error))
    update_reports_of_move(config, record)
    return record


def _unmoved(serving: ProductionVersion | None, why: str) -> ProductionRecord:
    return ProductionRecord(
        moved=False, sentence=f"Production stays as it is: {why}", before=serving, after=serving
    )


def promote_by_hand(
    experiment: Experiment, config: LoadedConfig, reason: str | None, by: str
) -> ProductionRecord:
    """A person's decision: without a reason only for a model that was approved.

    Raises:
        RecordError: the experiment has no exported and judged model.
        ProductionError: the verdict is against it, or it was not compared with what serves, and no
            reason is given; or the move failed.
        ReportUpdateError: the model serves, and that can't be written everywhere.
    """
    approve = _approval(experiment, reason, by)
    record = promote(config.production_dir, candidate_of(experiment, config), approve, probe)
    _update_reports_and_mlflow(config, record)
    return record


def _approval(experiment: Experiment, reason: str | None, by: str) -> Approve:
    """Who may move production to an experiment's model: its verdict, or a person with a reason.

    A verdict is about a model and what served when it was judged: it says nothing once another
    serves, unless that is a model of the same experiment. The comparison may have found that the
    two can't be compared; then too it names what served.

    Raises:
        ProductionError: the verdict is against it, and no reason is given.
    """
    decision = experiment.load(DecisionRecord)
    approved = decision.verdict is Verdict.APPROVED
    if not approved and not reason:
        raise ProductionError(
            f"{experiment.id}: the verdict is {decision.verdict} ({decision.sentence}); to deploy "
            "it all the same, say why with --reason"
        )
    compared = experiment.load(EvaluationRecord).production
    served = compared.against if compared else None

    def approve(serving: str | None, version: ProductionVersion | None) -> Reason:
        own = version is not None and version.experiment == experiment.id
        moved = serving != served and not own
        if moved and not reason:
            raise ComparisonError(
                f"production has moved since the comparison: {served or 'nothing'} served when "
                f"{experiment.id} was judged, {serving or 'nothing'} serves now; materialize "
                "evaluation_metrics and what follows again, or promote it with --reason WHY"
            )
        why = reason or f"verdict {decision.verdict}"
        return Reason(why=why, by=by, forced=moved or not approved)

    return approve


def roll_back(config: LoadedConfig, to: str | None, reason: str, by: str) -> ProductionRecord:
    """Production back to the version before, or to ``to``.

    Raises:
        ProductionError: there is no such version, or it can't be used any more.
        ReportUpdateError: it serves, and that can't be written everywhere.
    """
    record = rollback(config.production_dir, to, Reason(why=reason, by=by), probe)
    _update_reports_and_mlflow(config, record)
    return record


def _update_reports_and_mlflow(config: LoadedConfig, record: ProductionRecord) -> None:
    """Also MLflow, which gets the report as it is by now, or was."""
    try:
        update_reports_of_move(config, record)
    finally:
        mirror_production(config)


def deployed_model(config: LoadedConfig) -> Deployed | None:
    """The model in production, as the evaluation compares with it; None: nothing is deployed.

    Raises:
        ProductionError: the production pointer leads nowhere.
    """
    version = read_production(config.production_dir)
    if version is None:
        return None
    return Deployed(version, model_dir_of(config.production_dir, version.version))


def candidate_of(experiment: Experiment, config: LoadedConfig) -> Candidate:
    """The exported model of an experiment, as production takes it, with a card written anew.

    An experiment whose frozen config this version can't read any more goes without what it says.
    """
    export = experiment.load(ExportRecord)
    dataset = experiment.load(DatasetRecord)
    evaluation = experiment.load(EvaluationRecord)
    try:
        learned: DataConfig | None = experiment.config(config).settings.data
        card: str | None = write_model_card(experiment, config)
    except ConfigError:
        learned, card = None, None
    return Candidate(
        model_dir=experiment.directory / export.model_dir,
        experiment=experiment.id,
        report=experiment.manifest.report,
        digest=export.digest,
        labels=evaluation.labels,
        max_length=dataset.max_length,
        accuracy=evaluation.test.accuracy.value,
        f1=evaluation.f1.value,
        card=card,
        text_columns=learned.text_columns if learned else None,
        language=learned.language if learned else None,
    )


def mover() -> str:
    """Who moves production: the user's name, or the number where a container knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def probe(model_dir: Path) -> None:
    """A fresh process loads the model and predicts.

    Raises:
        ExportError: it can't.
    """
    probe_transformers(model_dir, [PROBE_TEXT], PROBE_TOKENS)
