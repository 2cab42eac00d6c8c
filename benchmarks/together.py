"""Whole runs at once, beside an editor that saves the registry and the tech debt.

    python benchmarks/together.py [--runs 16]

All runs train, and each deploys its model if production has not moved since its comparison. The
editor writes four times a second: it appends a line, or writes a new file and renames it. At the
end, all that `chaos.faults_of` looks at must hold, and every line of the editor must be there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from itertools import count
from pathlib import Path

import chaos

PAUSE_S = 0.25
FILES = ("_registry.md", "_tech-debt.md")


def run(arguments: tuple[Path, int]) -> int:
    """A whole run; returns its exit status."""
    project, number = arguments
    return chaos.command(project, ("run", f"together-{number}"))


def save(file: Path, line: str, by_rename: bool) -> None:
    """Add a line as an editor does, which takes no lock."""
    if by_rename:
        new = file.with_name("new")
        new.write_bytes(file.read_bytes() + line.encode())
        new.rename(file)
    else:
        with file.open("ab", buffering=0) as opened:
            opened.write(line.encode())


def main() -> None:
    """Print what was done and what does not hold; exit 1 if anything does not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=16)
    runs = parser.parse_args().runs
    chaos.LIMIT_S = 3600
    with tempfile.TemporaryDirectory(prefix="together-") as directory:
        project, before = Path(directory, "trained"), Path(directory, "before")
        chaos.make_trained(project, Path(directory, "encoder"))
        shutil.copytree(project, before, symlinks=True)
        began, notes = time.monotonic(), [list[str](), list[str]()]
        with multiprocessing.get_context("fork").Pool(runs) as pool:
            ended = pool.map_async(run, [(project, number) for number in range(runs)], 1)
            for number in count():
                written, name = notes[number % 2], FILES[number % 2]
                written.append(f"- a note, {number}.")
                save(project / "reports" / name, f"{written[-1]}\n", number % 4 > 1)
                ended.wait(PAUSE_S)
                if ended.ready():
                    break
        found = [f"a run ended with {status}" for status in ended.get() if status]
        for name, written in zip(FILES, notes, strict=True):
            lines = (project / "reports" / name).read_text(encoding="utf-8").splitlines()
            found += [f"lost from {name}: {line}" for line in written if lines.count(line) != 1]
        found += chaos.faults_of(project, before)
        of_runs, saved = len(chaos.run_lines(project)) - 1, sum(map(len, notes))
        print(f"{runs} runs, {saved} lines of the editor, {time.monotonic() - began:.0f} s")
        print(f"{of_runs} lines of the runs, {len(found)} faults", *found, sep="\n")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
