"""Stage ``experiment``: what a run is called, what it runs on and what it starts from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import unicodedata
from importlib import metadata
from pathlib import Path

from mlrun_assets.errors import ExperimentError
from mlrun_assets.machine import total_memory_bytes, usable_cpus
from mlrun_assets.records import Environment, PriorRun

LONGEST_NAME = 60
PACKAGES = (
    "mlrun-assets",
    "dagster",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "datasets",
    "polars",
    "pandera",
    "scikit-learn",
    "numpy",
)
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def slug(name: str) -> str:
    """``name`` as it can stand in a file name and in one line of a registry.

    Letters of any script, digits, ``-``, ``_`` and ``.`` stay; a run of anything else becomes one
    hyphen.

    Raises:
        ExperimentError: nothing is left.
    """
    kept = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name.strip()))
    kept = kept.strip("-._")[:LONGEST_NAME].rstrip("-._")
    if not kept:
        raise ExperimentError(
            f"experiment name {name!r}: has no letter or digit; name it for example "
            "`xlm-r-fine-tune-v2`"
        )
    return kept


def observe_environment(directory: Path) -> Environment:
    """Versions, machine and git commit; ``directory`` is where git is asked."""
    commit = _git(directory, "rev-parse", "HEAD")
    changes = _git(directory, "status", "--porcelain")
    return Environment(
        python=sys.version.split()[0],
        platform=platform.platform(),
        cpu_count=usable_cpus(),
        memory_gb=round(total_memory_bytes() / 2**30, 1),
        accelerator=_accelerator(),
        packages={name: _version(name) for name in PACKAGES},
        git_commit=commit,
        git_dirty=None if changes is None else bool(changes),
        cpu_model=_cpu_model(),
        thread_limits={name: os.environ[name] for name in THREAD_LIMITS if name in os.environ},
    )


def best_run(prior_runs: tuple[PriorRun, ...], test_digest: str | None) -> PriorRun | None:
    """The earlier run with the highest F1 on the same test file: others can't be compared."""
    scored = [run for run in prior_runs if run.f1 is not None and run.test_digest == test_digest]
    return max(scored, key=lambda run: run.f1 or 0.0, default=None)


def _cpu_model() -> str | None:
    """The name of the first CPU, as the kernel gives it; None where there is no such file."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, None)


def _accelerator() -> str | None:
    """The name of the first GPU that the driver knows; torch is too slow to ask here."""
    drivers = Path("/proc/driver/nvidia/gpus")
    for information in sorted(drivers.glob("*/information")):
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(directory: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git or no repository."""
    try:
        result = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
