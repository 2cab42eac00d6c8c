"""Records of a plausible run on news topics with Somali labels, complete and ended early."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import pytest

from mlrun_assets import records as r
from mlrun_assets.reporting.run_records import RunRecords
from mlrun_assets.stages.decision import blocked

LABELS = ("siyaasad", "ciyaaro", "caafimaad", "dhaqaale", "tiknoolajiyad")
CONFUSION = (
    (58, 1, 2, 3, 0),
    (2, 41, 0, 0, 1),
    (3, 0, 22, 2, 0),
    (5, 0, 1, 8, 1),
    (0, 0, 1, 1, 2),
)

CONFIG_YAML = """\
model:
  name: embedded:multilingual-e5-small
deployment:
  min_accuracy: 0.85
"""


def digest(character: str) -> str:
    return f"sha256:{character * 64}"


def around(value: float, half_width: float = 0.05) -> r.Score:
    return r.Score(value=value, low=round(value - half_width, 4), high=round(value + half_width, 4))


def class_scores(
    labels: tuple[str, ...], confusion: tuple[tuple[int, ...], ...]
) -> tuple[r.ClassScores, ...]:
    rows = []
    for place, label in enumerate(labels):
        support = sum(confusion[place])
        predicted = sum(row[place] for row in confusion)
        right = confusion[place][place]
        precision, recall = right / max(1, predicted), right / max(1, support)
        total = precision + recall
        rows.append(
            r.ClassScores(
                label=label,
                precision=precision,
                recall=recall,
                f1=2 * precision * recall / total if total else 0.0,
                support=support,
                predicted=predicted,
            )
        )
    return tuple(rows)


def scores(
    accuracy: float,
    macro: float,
    labels: tuple[str, ...] = LABELS,
    confusion: tuple[tuple[int, ...], ...] = CONFUSION,
) -> r.Scores:
    return r.Scores(
        rows=sum(map(sum, confusion)),
        accuracy=around(accuracy),
        f1_macro=around(macro, 0.06),
        f1_weighted=around((accuracy + macro) / 2),
        mcc=0.781,
        per_class=class_scores(labels, confusion),
        confusion=confusion,
    )


def square(size: int) -> tuple[tuple[int, ...], ...]:
    """A confusion matrix of ``size`` labels; the last label has no rows."""
    return tuple(
        tuple((9 if row == column else (row * column) % 3) for column in range(size))
        if row < size - 1
        else (0,) * size
        for row in range(size)
    )


def experiment() -> r.ExperimentRecord:
    return r.ExperimentRecord(
        name="xlm-r-fine-tune-v2",
        config_digest=digest("a"),
        environment=r.Environment(
            python="3.11.7",
            platform="Linux-6.1-x86_64",
            cpu_count=2,
            memory_gb=7.7,
            accelerator=None,
            packages={"torch": "2.8.0", "transformers": "5.23.0"},
            git_commit="0123456789abcdef0123456789abcdef01234567",
            git_dirty=True,
            cpu_model="Example CPU @ 2.0 GHz",
            thread_limits={"OMP_NUM_THREADS": "2"},
        ),
        prior_runs=tuple(
            r.PriorRun(
                report=f"impl-ml-run-sweep-{day}-202611{day:02d}",
                status="Complete",
                experiment=f"exp_202611{day:02d}T020000Z",
                created_at=f"2026-11-{day:02d}T02:00:00Z",
                data_digest=digest("d") if day > 12 else digest("7"),
                test_digest=digest("3") if day > 11 else digest("8"),
                recipe_digest=digest("b") if day == 16 else digest("6"),
                recipe_summary="8 epochs, lr 5e-05",
                verdict="REJECTED",
                accuracy=0.79 + day / 1000,
                f1=0.72 + day / 1000,
            )
            for day in range(16, 9, -1)
        ),
        best_run="impl-ml-run-sweep-16-20261116",
        unreadable_lines=1,
        open_debt=(r.DebtItem(number=3, description="imbalance", impact="Low"),),
    )


def version(name: str) -> r.ProductionVersion:
    return r.ProductionVersion(
        version=name,
        experiment="exp_20261101T020000Z",
        report="impl-ml-run-first-20261101",
        digest=digest("9"),
        labels=LABELS,
        max_length=128,
        promoted_at="2026-11-01T03:00:00Z",
        accuracy=0.82,
        f1=0.71,
    )


def split(name: str, rows: int, quarantined: int = 0) -> r.SplitProfile:
    parts = (0.42, 0.28, 0.17, 0.1, 0.03)
    return r.SplitProfile(
        source_digest=digest("3" if name == "test" else "1"),
        source_bytes=rows * 900,
        file=f"data/{name}.parquet",
        rows_read=rows + quarantined,
        rows_kept=rows,
        rows_quarantined=quarantined,
        label_rows={label: round(rows * part) for label, part in zip(LABELS, parts, strict=True)},
        words_median=38.0,
        words_p95=91.0,
        tokens_median=71.0,
        tokens_p95=168.5,
        tokens_max=402,
        tokens_per_word=1.82,
        truncated_fraction=0.124,
        unknown_token_fraction=0.0002,
        tokens_per_word_by_label={label: 1.7 + place / 10 for place, label in enumerate(LABELS)},
        files=(
            r.SourceFile(
                name=f"data/{name}.jsonl",
                digest=digest("3" if name == "test" else "1"),
                size_bytes=rows * 900,
                rows_read=rows + quarantined,
            ),
        ),
    )


def check(name: str, outcome: str, severity: str = "warn", **found: object) -> r.QualityCheck:
    values: dict[str, object] = {"value": None, "threshold": None, "rows": 0, "message": "nothing"}
    return r.QualityCheck.model_validate(
        {"name": name, "outcome": outcome, "severity": severity, **values, **found}
    )


def dataset() -> r.DatasetRecord:
    return r.DatasetRecord(
        ready=True,
        digest=digest("d"),
        labels=LABELS,
        splits={
            "train": split("train", 1019, 2),
            "val": split("val", 148),
            "test": split("test", 154),
        },
        checks=(
            check("schema", "passed", "error"),
            check("split_leakage", "passed", "error"),
            check(
                "class_balance",
                "failed",
                value=13.8,
                threshold=3.0,
                rows=31,
                message="tiknoolajiyad has 31 training rows, siyaasad has 428",
            ),
            check(
                "truncation",
                "failed",
                value=0.124,
                threshold=0.1,
                rows=164,
                message="164 rows are longer than 128 tokens",
            ),
            check("pii", "off"),
        ),
        quarantine_reasons={"empty text": 1, "conflicting labels": 1},
        quarantine_file="data/quarantine.jsonl",
        max_length=128,
        normalised={"apostrophes made U+0027": 378, "byte order marks deleted": 101},
        unlabelled=r.UnlabelledTexts(
            files=(
                r.SourceFile(
                    name="warar.jsonl.gz", digest=digest("9"), size_bytes=812_000, rows_read=900
                ),
            ),
            file="data/unlabelled.parquet",
            digest=digest("8"),
            rows_read=900,
            rows_kept=886,
            left_out={"stands twice": 11, "known from val or test": 3},
        ),
    )


def plan() -> r.TrainingPlan:
    return r.TrainingPlan(
        recipe=r.Recipe(
            encoder="embedded:multilingual-e5-small",
            revision=None,
            max_length=128,
            trim_vocabulary=True,
            pooling="mean",
            batch_size=16,
            learning_rate=1e-4,
            epochs=12,
            seed=13,
            warmup_fraction=0.1,
            weight_decay=0.01,
            layerwise_decay=0.92,
            label_smoothing=0.1,
            class_weights=(0.6, 0.8, 1.0, 1.3, 2.4),
            early_stopping_patience=3,
            bf16=True,
            freeze="none",
            group_by_length=True,
        ),
        recipe_digest=digest("b"),
        choices=(
            r.Choice(
                key="training.epochs",
                value="12",
                source="rule",
                reason="fewer than 2,000 rows",
                evidence="1,019 training rows; Mosbach et al., 2021",
            ),
            r.Choice(
                key="training.class_weights",
                value="sqrt",
                source="rule",
                reason="label ratio of 10 or more",
                evidence="428 rows against 31",
            ),
            r.Choice(
                key="model.max_length", value="128", source="config", reason="set", evidence=""
            ),
        ),
        advice=(
            r.Advice(
                topic="seed",
                issue="Only one seed was trained",
                sentence="Raise model.max_length: 12 % of the rows are cut.",
            ),
        ),
        seen_before=("impl-ml-run-sweep-16-20261116 ran this recipe on this data.",),
        seeds=(13, 42, 87),
        rejected=("impl-ml-run-sweep-15-20261115: REJECTED, with 8 epochs: F1 0.735 < 0.82",),
    )


def baseline() -> r.BaselineRecord:
    return r.BaselineRecord(
        candidates=(
            r.BaselineCandidate(
                name="word+char, LinearSVC balanced",
                val_accuracy=0.79,
                val_f1_macro=0.741,
                seconds=1.4,
            ),
            r.BaselineCandidate(
                name="word+char, ComplementNB", val_accuracy=0.64, val_f1_macro=0.45, seconds=0.3
            ),
        ),
        chosen="word+char, LinearSVC balanced",
        majority_label="siyaasad",
        majority=scores(0.416, 0.118),
        linear=scores(0.786, 0.721),
        predictions_file="records/baseline_predictions.parquet",
        seconds=2.4,
    )


def checkpoint() -> r.CheckpointRecord:
    losses = (
        (1.52, 1.31, 0.48),
        (1.08, 0.97, 0.61),
        (0.8, 0.82, 0.7),
        (0.61, 0.77, 0.742),
        (0.49, 0.75, 0.751),
        (0.41, 0.78, 0.739),
        (0.36, 0.8, 0.744),
        (0.33, 0.83, 0.736),
    )
    return r.CheckpointRecord(
        model_dir="model",
        digest=digest("c"),
        size_bytes=88_213_504,
        parameters=21_986_309,
        history=tuple(
            r.EpochMetrics(
                epoch=float(epoch),
                step=64 * epoch,
                train_loss=train,
                val_loss=val,
                val_accuracy=min(0.99, f1 + 0.06),
                val_f1_macro=f1,
            )
            for epoch, (train, val, f1) in enumerate(losses, 1)
        ),
        best_epoch=5.0,
        stopped_early=True,
        resumed_from_step=192,
        passed_over=("checkpoints/checkpoint-256",),
        steps=512,
        seconds=311.2,
        tokens_per_second=2317.4,
        peak_memory_mb=2051.7,
        pretraining=r.PretrainingRecord(
            texts=1_905, pairs=7_620, epochs=4, first_loss=0.871, last_loss=0.325, seconds=204.6
        ),
        trim=r.VocabularyTrim(
            pieces_before=250_002,
            pieces_after=30_118,
            parameters_before=117_654_272,
            parameters_after=21_986_309,
            val_tokens_before=10_320,
            val_tokens_after=10_398,
            val_unknown_before=0,
            val_unknown_after=1,
        ),
        seed=42,
        seeds=tuple(
            r.SeedResult(
                seed=seed,
                val_f1_macro=f1,
                val_accuracy=f1 + 0.06,
                val_loss=0.8,
                best_epoch=5.0,
                seconds=311.2,
                model_dir=f"seeds/{seed}/model",
                digest=digest("c"),
            )
            for seed, f1 in ((13, 0.731), (42, 0.751), (87, 0.742))
        ),
    )


def comparison(against: str, low: float, high: float) -> r.Comparison:
    middle = round((low + high) / 2, 4)
    return r.Comparison(
        against=against,
        comparable=True,
        reason="the same rows and labels",
        rows=154,
        other_f1=0.721,
        other_accuracy=0.786,
        f1_difference=r.Score(value=middle, low=low, high=high),
        accuracy_difference=0.065,
        only_challenger_right=16,
        only_other_right=6,
        mcnemar_p=0.0525,
    )


def evaluation() -> r.EvaluationRecord:
    return r.EvaluationRecord(
        test_digest=digest("e"),
        labels=LABELS,
        f1_kind="macro",
        confidence=0.95,
        val=scores(0.845, 0.751),
        test=scores(0.851, 0.739),
        calibration_error=0.061,
        slices=(
            r.SliceScores(column="length", value="short", rows=52, accuracy=around(0.808, 0.11)),
            r.SliceScores(column="source", value="VOA", rows=12, accuracy=None),
        ),
        baseline=comparison("n-gram baseline", -0.021, 0.057),
        production=comparison("v0003", 0.004, 0.081).model_copy(
            update={
                "labels": (part("siyaasad", 64, 0.906, 0.875), part("ciyaaro", 44, 0.932, 0.909)),
                "slices": (part("length: short", 52, 0.808, 0.904),),
                "parts_confidence": 1 - 0.05 / 3,
            }
        ),
        predictions_file="records/predictions.parquet",
        rows_per_second=41.2,
        test_use=r.TestUse(looks=3, max_looks=10, confidence=0.95),
        seeds=tuple(
            r.SeedScores(seed=seed, accuracy=f1 + 0.112, f1_macro=f1, f1_weighted=f1 + 0.1)
            for seed, f1 in ((13, 0.719), (42, 0.739), (87, 0.747))
        ),
        over_seeds=r.SeedSpread(
            accuracy=r.Spread(mean=0.847, sd=0.014),
            f1_macro=r.Spread(mean=0.735, sd=0.014),
            f1_weighted=r.Spread(mean=0.835, sd=0.014),
        ),
        calibration=calibration(),
        label_next_file="records/label_next.jsonl",
        label_next=r.LabelNext(split="val", candidates=148, rows=41, doubted=3),
    )


def part(name: str, rows: int, recall: float, other: float) -> r.PartComparison:
    loss = round(other - recall, 4)
    return r.PartComparison(
        part=name, rows=rows, recall=recall, other_recall=other, loss=around(loss, 0.07)
    )


def calibration() -> r.Calibration:
    return r.Calibration(
        temperature=1.62,
        error=0.061,
        error_scaled=0.034,
        brier=0.241,
        brier_scaled=0.229,
        bins=(
            r.ReliabilityBin(low=0.4, high=0.4667, rows=18, confidence=0.44, accuracy=0.5),
            r.ReliabilityBin(low=0.6667, high=0.7333, rows=36, confidence=0.7, accuracy=0.722),
            r.ReliabilityBin(
                low=0.9333,
                high=1.0,
                rows=100,
                confidence=0.981,
                accuracy=0.96,
                accuracy_low=0.9016,
                accuracy_high=0.9843,
            ),
        ),
        bins_scaled=(
            r.ReliabilityBin(low=0.3333, high=0.4, rows=18, confidence=0.39, accuracy=0.5),
            r.ReliabilityBin(low=0.6, high=0.6667, rows=36, confidence=0.64, accuracy=0.722),
            r.ReliabilityBin(low=0.9333, high=1.0, rows=100, confidence=0.95, accuracy=0.96),
        ),
        chance=r.ErrorByChance(mean=0.057, p95=0.089),
        chance_scaled=r.ErrorByChance(mean=0.064, p95=0.097),
    )


def decision() -> r.DecisionRecord:
    return r.DecisionRecord(
        verdict=r.Verdict.REJECTED,
        sentence="test macro-F1 0.739 is below 0.820",
        rules=(
            r.RuleResult(
                rule="min_accuracy",
                outcome=r.RuleOutcome.PASSED,
                value=0.851,
                limit=0.85,
                low=0.801,
                high=0.901,
                sentence="accuracy 0.851 reaches 0.85",
            ),
            r.RuleResult(
                rule="min_f1",
                outcome=r.RuleOutcome.FAILED,
                value=0.739,
                limit=0.82,
                low=0.679,
                high=0.799,
                sentence="macro-F1 0.739 is below 0.82",
            ),
            r.RuleResult(
                rule="beats_baseline",
                outcome=r.RuleOutcome.WARNED,
                value=0.018,
                limit=0.0,
                low=-0.021,
                high=0.057,
                sentence="not shown to beat a model that trains in seconds",
            ),
            r.RuleResult(
                rule="latency",
                outcome=r.RuleOutcome.OFF,
                value=None,
                limit=None,
                sentence="no limit is set",
            ),
        ),
        deploys=False,
        next_steps=(
            "Label more rows of the labels with the lowest F1, then run again.",
            "A person can deploy it all the same, with a reason: "
            "`mlrun-assets promote exp_20261123T031500Z` --reason WHY.",
        ),
    )


def full_run() -> RunRecords:
    """A run that went through all of its stages and rejected its model."""
    stages = (
        "experiment",
        "validated_dataset",
        "training_plan",
        "baseline_metrics",
        "trained_checkpoint",
        "evaluation_metrics",
        "exported_model",
    )
    writing = r.StageRun(status="running")
    known = experiment()
    return RunRecords(
        manifest=r.Manifest(
            id="exp_20261123T031500Z",
            name=known.name,
            original_name="XLM-R fine tune v2",
            report="impl-ml-run-xlm-r-fine-tune-v2-20261123",
            status=r.Status.COMPLETE,
            created_at="2026-11-23T03:15:00Z",
            closed_at="2026-11-23T03:24:41Z",
            inputs={"train": digest("1"), "val": digest("2"), "test": digest("3")},
            stages={
                name: r.StageRun(
                    status="done",
                    seconds=4.2 * 2.1**place / 3,
                    cpu_seconds=6.8 * 2.1**place / 3,
                    peak_memory_mb=410.4 + 300 * place,
                )
                for place, name in enumerate(stages)
            }
            | {"deployment_report": writing},
        ),
        config_yaml=CONFIG_YAML,
        experiment=known,
        dataset=dataset(),
        plan=plan(),
        baseline=baseline(),
        checkpoint=checkpoint(),
        evaluation=evaluation(),
        export=r.ExportRecord(
            model_dir="export",
            digest=digest("f"),
            size_bytes=88_214_016,
            rows_compared=148,
            agreement=1.0,
            load_seconds=1.9,
            latency_ms_p50=21.4,
            latency_ms_p95=48.25,
            rows_per_second=61.3,
            onnx=(
                r.OnnxExport(
                    file="onnx/model.onnx",
                    precision="int8",
                    size_bytes=24_120_400,
                    agreement=0.9865,
                    val_f1_macro=0.771,
                    load_seconds=0.21,
                    latency_ms_p50=7.4,
                    latency_ms_p95=15.1,
                    rows_per_second=150.4,
                    kept=False,
                ),
                r.OnnxExport(
                    file="onnx/model.onnx",
                    precision="float32",
                    size_bytes=88_420_100,
                    agreement=1.0,
                    val_f1_macro=0.779,
                    load_seconds=0.35,
                    latency_ms_p50=13.9,
                    latency_ms_p95=30.2,
                    rows_per_second=91.0,
                ),
            ),
            onnx_left_out=(
                "ONNX in int8 is left out: it gives the checkpoint's label to 98.6 % of 148 val "
                "rows, and 99.5 % are asked for.",
            ),
        ),
        decision=decision(),
        production=r.ProductionRecord(
            moved=False,
            sentence="Production stays at v0003: the verdict is REJECTED.",
            before=version("v0003"),
            after=version("v0003"),
        ),
        registry=r.RegistryRecord(
            file="_registry.md",
            line="- impl-ml-run-xlm-r-fine-tune-v2-20261123 | Complete | accuracy 0.851",
            lines_before=8,
        ),
        tech_debt=r.TechDebtRecord(
            file="_tech-debt.md",
            changes=(
                r.DebtChange(
                    number=4, description="min_f1 is not reached", impact="High", change="new"
                ),
                r.DebtChange(
                    number=3, description="imbalance of 13.8", impact="Medium", change="repeated"
                ),
            ),
        ),
    )


def ended(status: r.Status, error: str | None, *reached: str) -> RunRecords:
    """The full run as it looks when only the stages in ``reached`` have left a record."""
    full = full_run()
    manifest = full.manifest.model_copy(update={"status": status, "error": error})
    kept = {name: getattr(full, name) for name in ("experiment", *reached)}
    return RunRecords(manifest=manifest, config_yaml=full.config_yaml, **kept)


def blocked_run() -> RunRecords:
    run = ended(r.Status.BLOCKED, None, "dataset")
    assert run.dataset
    leak = check(
        "split_leakage",
        "failed",
        "error",
        value=7.0,
        threshold=0.0,
        rows=7,
        message="7 rows of test stand in train too: remove them from train",
    )
    checks = (*run.dataset.checks, leak)
    verdict = blocked(f"{leak.name}: {leak.message}")
    found = run.dataset.model_copy(update={"ready": False, "checks": checks})
    return replace(run, dataset=found, decision=verdict)


def failed_run() -> RunRecords:
    error = "trained_checkpoint: the loss is not finite\n  rows: a1, a2\nlower the learning rate"
    return ended(r.Status.FAILED, error, "dataset", "plan", "baseline")


def cancelled_run() -> RunRecords:
    return ended(r.Status.CANCELLED, "cancelled in trained_checkpoint", "dataset", "plan")


def empty_run() -> RunRecords:
    """A run that was interrupted before its first record."""
    return replace(ended(r.Status.INTERRUPTED, None), experiment=None)


def poisoned(run: RunRecords) -> RunRecords:
    """The same run with `POISON` behind every string in it, keys included."""
    fields = {name: _poison(value) for name, value in vars(run).items()}
    return RunRecords(**fields)  # type: ignore[arg-type]


POISON = (
    "</td><script>alert(1)</script> | x | [a](http://b) ![c](http://d/e.png) <http://f> `g` **h**\n"
    "# heading\n- item\n```\n> quote\n***\n| a | b |\n| - | - |\n&lt;i&gt; $j$ ~~k~~ \u202e\\"
)


_OURS = {"rule", "f1_kind"}  # names that this package gives, and looks for


def _poison(value: object) -> object:
    if isinstance(value, r.Record):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        fields |= {name: _poison(found) for name, found in fields.items() if name not in _OURS}
        return type(value).model_validate(fields)
    if isinstance(value, dict):
        return {_poison(key): _poison(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_poison(item) for item in value)
    return value + POISON if isinstance(value, str) and not isinstance(value, Enum) else value


def relabelled(run: RunRecords, labels: tuple[str, ...]) -> RunRecords:
    """The same run on other labels, of which the last has no rows in test."""
    assert run.dataset
    assert run.evaluation
    matrix = square(len(labels))
    rows = {label: 3 + place for place, label in enumerate(labels)}
    splits = {
        name: part.model_copy(
            update={
                "label_rows": rows,
                "tokens_per_word_by_label": dict.fromkeys(labels, 1.8),
            }
        )
        for name, part in run.dataset.splits.items()
    }
    test = scores(0.8, 0.7, labels, matrix)
    return replace(
        run,
        dataset=run.dataset.model_copy(update={"labels": labels, "splits": splits}),
        evaluation=run.evaluation.model_copy(update={"labels": labels, "test": test}),
    )


RUNS = {
    "full": full_run,
    "blocked": blocked_run,
    "failed": failed_run,
    "cancelled": cancelled_run,
    "empty": empty_run,
}


@pytest.fixture(params=sorted(RUNS))
def any_run(request: pytest.FixtureRequest) -> RunRecords:
    return RUNS[request.param]()
