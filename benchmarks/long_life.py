"""What a long life costs: a new project beside one with many experiments, lines and items.

    python benchmarks/long_life.py [--experiments 300] [--lines 5000] [--items 1000]

Both projects have one run with a tiny encoder. The old one then gets copies of that experiment,
registry lines and tech-debt items. CPU seconds of `status` and of a second run, and the sizes of
what that run wrote, are printed. Limits: `status` 0.5 s, a run 1 s more than in the new project.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mlrun_assets.experiment import all_experiments

COMMAND = [sys.executable, "-m", "mlrun_assets.cli"]
ITEM = (
    "- [ ] **TD-{number:03d}**: Issue {number}\n  - **Impact:** Medium\n"
    "  - **Source:** impl-ml-run-old-20260101.md\n  - **Area:** old/{number}\n"
)


def cpu_seconds(project: Path, *words: str) -> float:
    """CPU seconds of a command and its children."""
    before = os.times()
    subprocess.run([*COMMAND, *words], cwd=project, check=True, capture_output=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def make_projects(parent: Path) -> tuple[Path, Path]:
    """A new project and an old one, each with one run."""
    from mlrun_assets_tests.examples import build_encoder, write_project

    encoder = build_encoder(parent / "encoder")
    new = parent / "new"
    new.mkdir()
    write_project(new, encoder, reports={"dir": "reports"})
    subprocess.run([*COMMAND, "run", "first"], cwd=new, check=True, capture_output=True)
    return new, Path(shutil.copytree(new, parent / "old", symlinks=True))


def grow(project: Path, experiments: int, lines: int, items: int) -> None:
    """Add copies of the only experiment, registry lines and tech-debt items."""
    (first,) = all_experiments(project / "experiments")
    reports = project / "reports"
    for number in range(experiments):
        directory = first.directory.with_name(f"exp_20260101T{number:06d}Z")
        shutil.copytree(first.directory, directory, ignore=shutil.ignore_patterns("*.safetensors"))
        for file in (directory / "manifest.json", *directory.glob("records/*.json")):
            text = file.read_text(encoding="utf-8").replace(first.id, directory.name)
            text = text.replace(first.manifest.report, f"impl-ml-run-old-20260101-{number + 2}")
            file.write_text(text, encoding="utf-8")
    with (reports / "_registry.md").open("a", encoding="utf-8") as file:
        for number in range(2, lines + 2):
            line = f"- impl-ml-run-old-20260101-{number} | Complete | accuracy 0.9, macro-F1 0.9"
            file.write(f"{line}, n-gram baseline 0.8, REJECTED, a line of an earlier run\n")
    with (reports / "_tech-debt.md").open("a", encoding="utf-8") as file:
        file.writelines(ITEM.format(number=number) for number in range(1001, items + 1001))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, default in (("experiments", 300), ("lines", 5000), ("items", 1000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    size = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        new, old = make_projects(Path(temporary).resolve())
        grow(old, size.experiments, size.lines, size.items)
        print("project  status s    run s   experiment.json kB    report kB", flush=True)
        for project in (new, old):
            status = cpu_seconds(project, "status")
            run = cpu_seconds(project, "run", "second")
            last = all_experiments(project / "experiments")[0]
            report = project / "reports" / "implementation" / f"{last.manifest.report}.md"
            record = last.directory / "records" / "experiment.json"
            sizes = "".join(f"{file.stat().st_size / 1e3:17.1f}" for file in (record, report))
            print(f"{project.name:8} {status:8.2f} {run:8.2f} {sizes}")
        start = cpu_seconds(old, "schema")
    print(f"of which the start of the command: {start:.2f} s")


if __name__ == "__main__":
    main()
