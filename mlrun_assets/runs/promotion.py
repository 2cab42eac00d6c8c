"""Promote the model of an experiment, or roll back, and update everything that reports it.

`production.pointer` makes the move. This module decides who may ask for it, and afterwards updates
the record, the registry line and the report of the experiments concerned.
"""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun_assets.config import LoadedConfig
from mlrun_assets.errors import (
    ComparisonError,
    ConfigError,
    ExperimentError,
    MlrunError,
    ProductionError,
    ReportUpdateError,
    cause_of,
)
from mlrun_assets.experiment import Experiment
from mlrun_assets.models.probe import probe_transformers
from mlrun_assets.production.mlflow_mirror import mirror
from mlrun_assets.production.pointer import Approve, Reason, promote, read_production, rollback
from mlrun_assets.production.versions import Challenger, model_dir_of
from mlrun_assets.records import (
    DatasetRecord,
    DecisionRecord,
    EvaluationRecord,
    ExportRecord,
    ProductionRecord,
    ProductionVersion,
    Status,
    Verdict,
)
from mlrun_assets.reports.model_card import write_model_card
from mlrun_assets.runs.closing import reconcile

if TYPE_CHECKING:
    from mlrun_assets.evaluation.comparison import Deployed


def deploy_if_approved(experiment: Experiment, config: LoadedConfig) -> ProductionRecord:
    """Deploy the experiment's model if its decision says so; record the reason if not.

    The model card is written in both cases: a person reads it before approving.

    Raises:
        ProductionError: the move failed; the old model stays in production.
        ReportUpdateError: the model was deployed, but a registry line or report was not updated.
    """
    decision = experiment.load(DecisionRecord)
    challenger = challenger_of(experiment, config)
    champion = read_production(config.production_dir)
    if not decision.deploys:
        approved = decision.verdict is Verdict.APPROVED
        why = "auto_deploy is off" if approved else f"the verdict is {decision.verdict}"
        if champion and champion.is_export(experiment.id, challenger.digest):
            why = f"{champion.version} is already in production"
        return _unmoved(champion, why)
    approve = _approval(experiment, None, "auto_deploy")
    try:
        record = promote(config.production_dir, challenger, approve, probe)
    except ComparisonError as error:
        return _unmoved(read_production(config.production_dir), str(error))
    _update_reports(config, record)
    return record


def promote_by_hand(
    experiment: Experiment, config: LoadedConfig, reason: str | None, by: str
) -> ProductionRecord:
    """Deploy the experiment's model because a person asks; an approved one needs no reason.

    Raises:
        ExperimentError: the experiment has no exported and evaluated model.
        ProductionError: a reason is needed and missing (the verdict is not APPROVED, or production
            has changed since the comparison), or the move failed.
        ReportUpdateError: the model was deployed, but a registry line or report was not updated.
    """
    _require_model(experiment)
    approve = _approval(experiment, (reason or "").strip() or None, by)
    record = promote(config.production_dir, challenger_of(experiment, config), approve, probe)
    _update_reports_and_mlflow(config, record)
    return record


def roll_back(config: LoadedConfig, to: str | None, reason: str, by: str) -> ProductionRecord:
    """Deploy the version ``to`` again; None: the version that the current one replaced.

    Raises:
        ProductionError: the reason is blank, or there is no such version, or it can no longer be
            used.
        ReportUpdateError: it was deployed, but a registry line or report was not updated.
    """
    if not reason.strip():
        raise ProductionError("the reason is empty: give one, for the history")
    record = rollback(config.production_dir, to, Reason(why=reason.strip(), by=by), probe)
    _update_reports_and_mlflow(config, record)
    return record


def deployed_model(config: LoadedConfig) -> Deployed | None:
    """The champion, as `read_production`, for the evaluation; None: nothing is deployed."""
    from mlrun_assets.evaluation.comparison import Deployed

    version = read_production(config.production_dir)
    if version is None:
        return None
    return Deployed(version, model_dir_of(config.production_dir, version.version))


def challenger_of(experiment: Experiment, config: LoadedConfig) -> Challenger:
    """The exported model of an experiment, with a newly written model card.

    If the experiment's frozen config can't be read, card, text columns and language are left out.
    """
    export = experiment.load(ExportRecord)
    dataset = experiment.load(DatasetRecord)
    evaluation = experiment.load(EvaluationRecord)
    known: dict[str, Any] = {}
    with suppress(ConfigError):
        data = experiment.config(config).settings.data
        card = write_model_card(experiment, config)
        known = {"card": card, "text_columns": data.text_columns, "language": data.language}
    return Challenger(
        model_dir=experiment.directory / export.model_dir,
        experiment=experiment.id,
        report=experiment.manifest.report,
        digest=export.digest,
        labels=evaluation.labels,
        max_length=dataset.max_length,
        accuracy=evaluation.test.accuracy.value,
        f1=evaluation.f1.value,
        **known,
    )


def user_name() -> str:
    """The user's name, or the user number where a container knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def probe(model_dir: Path) -> None:
    """Load the model in a fresh process and predict one text; raises `ExportError` if it fails."""
    probe_transformers(model_dir, ["Tani waa tijaabo."])


_REMEDIES = {
    Status.RUNNING: "wait until it ends, or, if it was killed, continue it with `{resume}`",
    Status.BLOCKED: "correct the data, then start a new run",
}


def _require_model(experiment: Experiment) -> None:
    needed = (EvaluationRecord, ExportRecord, DecisionRecord)
    if all(experiment.paths.record(kind.asset).exists() for kind in needed):
        return
    status = experiment.manifest.status
    remedy = _REMEDIES.get(status, "continue it with `{resume}`")
    resume = f"mlrun-assets run --resume {experiment.id}"
    raise ExperimentError(
        f"{experiment.id}: has no evaluated model (the run is {status}); "
        f"{remedy.format(resume=resume)}"
    )


def _approval(experiment: Experiment, reason: str | None, by: str) -> Approve:
    """Who may deploy the experiment's model: its verdict, or a person with a reason.

    A verdict compares the model with one champion. It no longer counts once another model is in
    production, unless that is a model of the same experiment.

    Raises:
        ProductionError: the verdict is not APPROVED, and no reason is given.
    """
    decision = experiment.load(DecisionRecord)
    approved = decision.verdict is Verdict.APPROVED
    if not approved and not reason:
        raise ProductionError(
            f"{experiment.id}: the verdict is {decision.verdict} ({decision.sentence}); to deploy "
            "it all the same, give the reason with --reason"
        )
    comparison = experiment.load(EvaluationRecord).production
    compared_with = comparison.against if comparison else None

    def approve(name: str | None, champion: ProductionVersion | None) -> Reason:
        own = champion is not None and champion.experiment == experiment.id
        changed = name != compared_with and not own
        if changed and not reason:
            raise ComparisonError(
                f"production has changed since the comparison: {experiment.id} was compared with "
                f"{compared_with or 'nothing'}, and {name or 'nothing'} is in production now; "
                "materialize evaluation_metrics and everything downstream again, or, to deploy it "
                "all the same, give the reason with --reason"
            )
        why = reason or f"verdict {decision.verdict}"
        return Reason(why=why, by=by, forced=changed or not approved)

    return approve


def _unmoved(champion: ProductionVersion | None, why: str) -> ProductionRecord:
    return ProductionRecord(
        moved=False, sentence=f"Production stays as it is: {why}.", before=champion, after=champion
    )


def _update_reports_and_mlflow(config: LoadedConfig, record: ProductionRecord) -> None:
    """Update MLflow last: it copies the reports, even if one of them could not be updated."""
    try:
        _update_reports(config, record)
    finally:
        mirror(config)


def _update_reports(config: LoadedConfig, record: ProductionRecord) -> None:
    """Update record, registry line and report of the new champion and of the one it replaced.

    Raises:
        ReportUpdateError: something can't be written; the move itself is complete.
    """
    if record.after is None:
        return
    champion = record.after
    try:
        reconcile(config, champion.report)
    except (MlrunError, OSError) as error:
        raise ReportUpdateError(
            f"{champion.version} is in production, and {config.production_dir} records the move; "
            f"but a registry line or report can't be updated ({cause_of(error)}): make room, or "
            "make it writable; the next run or move updates them, and `mlrun-assets rollback --to "
            f"{champion.version} --reason WHY` updates them and moves nothing"
        ) from error
