"""One ML run for a low-resource language: from labelled rows to a deployment decision.

Imports go down this list, never up; import-linter holds it.

    cli/            the `mlrun-assets` command
    api.py          the functions of `import mlrun_assets`; how a run is executed
    definitions.py  the one `dg.Definitions` that Dagster loads
    orchestration/  assets, checks, jobs and sensors: the room that knows Dagster
    runs/           the life of a run: opening, stages, resumption, closing, promotion
    production/     the deployed model: versions, pointer, prediction, publishing
    reports/        records in, text and pictures out: report, model card, datasheet
    registries/     `_registry.md` and `_tech-debt.md`, Markdown files that people edit too
    decision/       rules and verdict
    evaluation/     scores, calibration, slices, comparisons, rows to label next
    training/       candidate models: frozen and fine-tuned encoder, backends, the choice
    models/         models that answer: predictor, n-grams, ONNX export
    plan/           data, hardware, config and earlier runs become a recipe with reasons
    data/           rows from file to validated split; `data/checks/` has the quality checks
    encoders/       a model name becomes a model and a tokenizer
    metrics.py      accuracy, F1 and confusion matrices
    statistics.py   intervals and tests
    experiment.py   the directory of one experiment: manifest, records, lock
    records/        what one stage hands to the next, as frozen JSON records
    config/         `ml_config.yaml`: every setting and its default
    types.py        array types with shape and dtype; the progress callback
    progress.py     what is seen of work that takes long: on a terminal, in a log
    machine.py      CPUs and memory, also in a container; settings of libraries
    files.py        writing files and directories whole or not at all
    errors.py       every error that this package raises on purpose
    markdown.py     text from data made safe: in Markdown, on one line, on a terminal
"""

from typing import TYPE_CHECKING

from mlrun_assets.machine import settle_environment

if TYPE_CHECKING:
    from mlrun_assets.api import check_data, compare, load_experiment, load_model, run

__all__ = ["__version__", "check_data", "compare", "load_experiment", "load_model", "run"]

settle_environment()


def __getattr__(name: str) -> object:
    """The functions of `api` and the version, when they are first used: imports take time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mlrun-assets")
    if name in __all__:
        from mlrun_assets import api

        return getattr(api, name)
    raise AttributeError(f"module 'mlrun_assets' has no attribute {name!r}")
