"""Run the product on a small project, and write its records, report and model card.

    python -m mlrun_assets_tests.reports.regenerate_golden            # two runs, a minute
    python -m mlrun_assets_tests.reports.regenerate_golden rendered   # no training, seconds

The first run deploys its model. The second, with dirty data and two seeds, is the example:
`example_run.json` holds its records, and `golden_*.md` are rendered from them. Read the changes in
them: people see these texts.

``rendered`` keeps the models and scores of the stored run. It validates the data, plans and decides
again, which is enough after a change of sentences, checks or rules. The tests do the same and
compare. They do not train: on another CPU the sums differ in their last digits, and so do labels
of the test split. `masked` replaces values that differ from run to run (times, memory, versions,
paths).
"""

import json
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from ruamel.yaml import YAML

from mlrun_assets.config import DataConfig
from mlrun_assets.files import write_atomically
from mlrun_assets.records import DatasetRecord, RunRecords, StageRun
from mlrun_assets.reports import summaries
from mlrun_assets.reports.data_section import conclusions, failed_rows, render_datasheet
from mlrun_assets.reports.model_card import render_model_card
from mlrun_assets.reports.report import CAPTIONS, render_report
from mlrun_assets.reports.sentences import STAGES
from mlrun_assets_tests.examples import (
    EXAMPLE_RUN,
    build_encoder,
    decide_again,
    full_run,
    plan_again,
    write_dirty_project,
)

PICTURES = {name: f"../plots/{name}.svg" for name in CAPTIONS}
DATA, BASE_MODEL = DataConfig(licence="cc-by-4.0"), "FacebookAI/xlm-roberta-base"
RUN = TypeAdapter(RunRecords)
# Fields that depend on the machine or the time, with fixed values for the example.
MEASURED = {
    "seconds": 12.5,
    "cpu_seconds": 14.0,
    "peak_memory_mb": 512.0,
    "tokens_per_second": 2317.4,
    "rows_per_second": 61.3,
    "load_seconds": 1.9,
    "latency_ms_p50": 2.4,
    "latency_ms_p95": 3.25,
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "cpu_count": 2,
    "memory_gb": 7.7,
    "accelerator": None,
    "cpu_model": "a CPU",
    "thread_limits": {},
    "packages": {"torch": "2.8.0", "transformers": "5.23.0"},
    "git_commit": "0123456789abcdef0123456789abcdef01234567",
    "git_dirty": True,
    "created_at": "2026-11-23T03:15:00Z",
    "run_ids": [],
    "closed_by": None,
}


def validate_again(run: RunRecords, directory: Path) -> DatasetRecord:
    """The dataset of the run, validated by the product; ``directory`` has the encoder.

    The check against the data of an earlier run is taken from the stored record.
    """
    from mlrun_assets.config import load_config
    from mlrun_assets.data.validation import token_counter, validate_dataset
    from mlrun_assets.encoders.source import resolve_encoder

    assert run.dataset
    config = load_config(write_dirty_project(directory))
    count_tokens = token_counter(resolve_encoder("./encoder", None, directory))
    found = validate_dataset(config, directory / "experiment", count_tokens)
    (drift,) = (check for check in run.dataset.checks if check.name == "drift_from_previous")
    checks = tuple(drift if check.name == drift.name else check for check in found.checks)
    facts = found.model_copy(update={"checks": checks}).model_dump(mode="json")
    return DatasetRecord.model_validate(masked(facts, directory))


def summarise(stage: str, run: RunRecords) -> str:
    more = (run.baseline,) if stage == "checkpoint" else ()
    return str(getattr(summaries, f"summarise_{stage}")(getattr(run, stage), *more))


def golden() -> dict[Path, str]:
    """The documents of the example, by their files."""
    run = full_run()
    assert run.dataset
    texts = {
        "report": render_report(run, PICTURES, "records/model_card.md"),
        "model_card": render_model_card(run, DATA, BASE_MODEL),
        "datasheet": render_datasheet(run.dataset, DATA),
        "checks": "\n".join(
            [*map("  ".join, failed_rows(run.dataset)), *conclusions(run.dataset), ""]
        ),
        "summaries": "".join(summarise(stage, run).partition("\n")[0] + "\n" for stage in STAGES),
    }
    return {Path(__file__).with_name(f"golden_{name}.md"): text for name, text in texts.items()}


def run_example(directory: Path) -> RunRecords:
    """The records of the second of two runs in ``directory``."""
    import dagster as dg

    from mlrun_assets.config import load_config
    from mlrun_assets.definitions import defs
    from mlrun_assets.experiment import all_experiments, run_records

    build_encoder(directory / "encoder")
    file = write_dirty_project(directory)
    settings = YAML(typ="safe").load(file)
    deployment = {
        **settings["deployment"],
        "auto_deploy": True,
        "min_accuracy": 0.0,
        "min_f1": 0.0,
        "beats_baseline": "off",
    }
    training = {**settings["training"], "seeds": [13], "epochs": 2}
    first = {**settings, "deployment": deployment, "training": training}
    for name, config in (("first", first), ("Tiny encoder v2", settings)):
        file.write_text(json.dumps(config), encoding="utf-8")
        defs.resolve_job_def("ml_run").execute_in_process(
            run_config={
                "ops": {"experiment": {"config": {"name": name}}},
                "resources": {"ml_run": {"config": {"config_file": str(file)}}},
            },
            instance=dg.DagsterInstance.ephemeral(),
        )
        with (directory / ".claude/reports/_registry.md").open("a", encoding="utf-8") as registry:
            registry.write("- impl-ml-run-by-hand\n")
    newest = all_experiments(load_config(file).experiments_dir)[0]
    # The report sees its own stage like this.
    stages = {**newest.manifest.stages, "deployment_report": StageRun(status="running")}
    return run_records(newest.manifest.model_copy(update={"stages": stages}), newest)


def masked(records: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The records with fixed values in place of those that differ from run to run."""
    text = json.dumps(records, ensure_ascii=False).replace(str(directory), "/home/asha/topics")
    found = sorted(set(re.findall(r"20\d{6}T\d{6}Z(?:-\d)?", text)))
    dates = {date: f"202611{22 + place}T031500Z" for place, date in enumerate(found)}
    text = re.sub(r"20\d{6}T\d{6}Z(-\d)?", lambda found: dates[found[0]], text)
    text = re.sub(r"20\d\d-\d\d-\d\dT[\d:]+Z", "2026-11-23T03:24:41Z", text)
    text = re.sub(r"-20\d{6}\b", "-20261123", text)
    steady: dict[str, Any] = _steady(json.loads(text))
    return steady


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: MEASURED[key] if key in MEASURED and item is not None else _steady(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    if sys.argv[1:] != ["rendered"]:
        os.environ["HF_HUB_OFFLINE"] = "1"
        with tempfile.TemporaryDirectory() as place:
            found = run_example(Path(place))
            records = json.loads(RUN.dump_json(found))
            run = RUN.validate_python(masked(records, Path(place)))
        if found.plan is None or plan_again(found).recipe != found.plan.recipe:
            raise SystemExit("the example was not trained by the plan for examples.TINY_MACHINE")
    else:
        run = full_run()
        with tempfile.TemporaryDirectory() as place:
            build_encoder(Path(place) / "encoder")
            run = replace(run, dataset=validate_again(run, Path(place)))
    run = replace(run, plan=plan_again(run), decision=decide_again(run))
    write_atomically(EXAMPLE_RUN, RUN.dump_json(run, indent=1).decode() + "\n")
    full_run.cache_clear()  # it holds the records before this change
    for file, text in golden().items():
        write_atomically(file, text)
