"""Kill a command before each of its file operations, or fill the disk there, and look at the rest.

    python benchmarks/chaos.py                          every point of every scenario
    python benchmarks/chaos.py --sample 40              a sample with points of every scenario
    python benchmarks/chaos.py --scenario promote --at 12 --fault kill --keep DIR

A child process runs the command. An audit hook counts every file operation below the project
(opening for writing, rename, mkdir, remove, link, chmod, copy, fsync) and, before the N-th, kills
the process with SIGKILL or raises ENOSPC. A third fault kills it after the time that N operations
take on average, wherever it is then. The next run, which fails at its data, has to put everything
in order. Then the state is compared with what must hold; see `faults_of`.

The projects are made once. Their experiments have the records of an example run and files in the
place of a model; only the scenario `whole run` trains, with a tiny encoder. The children are forked
from a process that has imported what they need. Two points are tried at a time.
"""

from __future__ import annotations

import argparse
import collections
import errno
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not installed

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
ONE_PATH = {"os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree"}
TWO_PATHS = {"os.rename", "os.symlink", "os.link", "shutil.copyfile", "shutil.copytree"}
PERSON = "- a line that a person wrote"
LIMIT_S = 180
OPTIONS = tuple(sys.argv[1:])


class Point(NamedTuple):
    """One try: the N-th file operation of a scenario fails, or its command is killed at a time."""

    scenario: str
    fault: str
    operation: int
    seconds: float = 0.0


class Scenario(NamedTuple):
    """A command, and the project in which it runs."""

    project: str
    command: tuple[str, ...]
    repair: tuple[str, ...] | None = None  # what a person does before the next run


BROKEN = ("run", "broken", "--config", "broken.yaml")
SCENARIOS = {
    "opening": Scenario("two", BROKEN),
    "promote": Scenario("two", ("promote", "second", "--reason", "better")),
    "rollback": Scenario("moved", ("rollback", "--reason", "worse")),
    "ending": Scenario("decided", ("run", "--resume", "second"), ("run", "--resume", "second")),
    "whole run": Scenario("trained", ("run", "third")),
}
# A whole run has many operations like each other: every 25th is tried.
STEPS = {"whole run": 25}


# In the child process


def arm(project: Path, act: Callable[[], None], operation: int) -> Callable[[], int]:
    """Call ``act`` before file operation number ``operation`` below ``project``.

    Returns:
        A function that gives the number of operations so far.
    """
    counted = 0
    watched, history = str(project), str(project / ".dagster")
    sync, running = os.fsync, os.getpid()

    def one_more() -> None:
        nonlocal counted
        if os.getpid() != running:
            return
        counted += 1
        if counted == operation:
            act()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writing = set(mode or "") & set("wxa+") or (isinstance(flags, int) and flags & WRITES)
            paths = [path] if writing else []
        elif event in ONE_PATH:
            paths = [arguments[0]]
        elif event in TWO_PATHS:
            paths = list(arguments[:2])
        else:
            return
        names = [
            str(Path(os.fsdecode(path)).absolute()) for path in paths if not isinstance(path, int)
        ]
        if any(name.startswith(watched) for name in names) and not any(
            name.startswith(history) for name in names
        ):
            one_more()

    def counted_sync(descriptor: int) -> None:
        one_more()
        sync(descriptor)

    os.fsync = counted_sync
    sys.addaudithook(hook)
    return lambda: counted


def kill() -> None:
    """End this process as the system does when memory or power is gone."""
    os.kill(os.getpid(), signal.SIGKILL)


def no_space() -> None:
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FAULTS: dict[str, Callable[[], None]] = {"kill": kill, "disk full": no_space}
TIMED = "kill at a time"


def command(
    project: Path, arguments: tuple[str, ...], prepare: Callable[[], object] | None = None
) -> int:
    """Run a command of the product in a forked child; returns its exit status, negative: signal.

    What the function that ``prepare`` returns gives at the end is written to a file.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            log = os.open(project.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.chdir(project)
            signal.alarm(LIMIT_S)
            os.environ.pop("DAGSTER_HOME", None)
            sys.argv = ["mlrun-assets", *arguments]
            from mlrun_assets.cli.__main__ import main

            _leave_out()
            at_end = prepare() if prepare else None
            try:
                main()
            finally:
                if callable(at_end):
                    project.with_suffix(".end").write_text(str(at_end()), encoding="utf-8")
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        except BaseException:  # noqa: BLE001  (the log shows it)
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            # Not sys.exit: what the parent registered to run at its end is not for this process.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _leave_out() -> None:
    """Leave out what takes most of the time.

    That is the test of a promoted model in a process of its own and, if `--no-history` is given,
    the files of Dagster's history, whose operations do not count.
    """
    import mlrun_assets.api
    import mlrun_assets.runs.promotion

    mlrun_assets.runs.promotion.probe = lambda _: None
    if "--no-history" in OPTIONS:
        from dagster import DagsterInstance

        mlrun_assets.api._dagster_instance = DagsterInstance.ephemeral  # noqa: SLF001


# Projects


def make_projects(parent: Path, names: Sequence[str]) -> None:
    """Write the projects `two`, `moved` and `decided`, and `trained` for the `whole run`."""
    two = parent / "two"
    config = _write_project(two, parent / "encoder")
    # The first command writes Dagster's history, which is then there in every project.
    expect(two, BROKEN, 1, warm=True)
    _begin(two, "first", 1)
    expect(two, ("run", "--resume", "first"), 0)
    _write_config(two / "ml_config.yaml", config, "deployment", auto_deploy=False)
    _begin(two, "second", 2)
    decided = Path(shutil.copytree(two, parent / "decided", symlinks=True))
    for frozen in decided.glob("experiments/*/config.yaml"):
        text = frozen.read_text(encoding="utf-8")
        frozen.write_text(text.replace("auto_deploy: false", "auto_deploy: true"), encoding="utf-8")
    expect(two, ("run", "--resume", "second"), 0)
    moved = Path(shutil.copytree(two, parent / "moved", symlinks=True))
    expect(moved, ("promote", "second", "--reason", "better"), 0)
    for project in (two, moved, decided):
        _add_persons_lines(project)
    if "whole run" in names:
        make_trained(parent / "trained", parent / "encoder")


def make_trained(project: Path, encoder: Path) -> None:
    """A project in which a run has trained a model, which is in production."""
    from mlrun_assets_tests.examples import build_encoder

    config = _write_project(project, build_encoder(encoder))
    expect(project, ("run", "first"), 0, warm=True)
    _add_persons_lines(project)
    _write_config(project / "ml_config.yaml", config, "training", seed=8)


def _write_project(directory: Path, encoder: Path) -> dict[str, Any]:
    """Data and configs; every model passes, so that a run moves production if it may."""
    from mlrun_assets_tests.examples import write_project

    directory.mkdir()
    deployment = {"auto_deploy": True, "policy": "off", "max_recall_loss": 1.0}
    write_project(directory, encoder, reports={"dir": "reports"}, deployment=deployment)
    config = json.loads((directory / "ml_config.yaml").read_text(encoding="utf-8"))
    _write_config(directory / "broken.yaml", config, "data", test_path="data/missing.jsonl")
    return config


def _begin(project: Path, name: str, day: int) -> None:
    """An experiment that was killed before its decision."""
    from mlrun_assets.config import load_config
    from mlrun_assets.experiment import run_records
    from mlrun_assets.files import digest_directory
    from mlrun_assets.records import ExportRecord, Status
    from mlrun_assets.registries.registry import write_run_line
    from mlrun_assets.reports.plots import draw_pictures
    from mlrun_assets.runs import dependants
    from mlrun_assets_tests.examples import finished

    config = load_config(project / "ml_config.yaml")
    experiment = finished(config, name, day=day)
    model = experiment.directory / "export"
    for file in ("model.safetensors", "tokenizer.json", "onnx/model.onnx", "onnx/reader.py"):
        (model / file).parent.mkdir(exist_ok=True)
        (model / file).write_text(json.dumps([file, name] * 1000), encoding="utf-8")
    export = experiment.load(ExportRecord)
    experiment.save(export.model_copy(update={"digest": digest_directory(model)}))
    draw_pictures(run_records(experiment.manifest, experiment), experiment.paths.plots)
    experiment.forget({"deployment_decision", *dependants("deployment_decision")})
    experiment.update(status=Status.RUNNING, closed_at=None)
    write_run_line(config.reports_dir, experiment.manifest.report, Status.RUNNING, "started")


def _add_persons_lines(project: Path) -> None:
    for name in ("_registry.md", "_tech-debt.md"):
        with (project / "reports" / name).open("a", encoding="utf-8") as file:
            file.write(f"{PERSON}\n")


def _write_config(file: Path, config: dict[str, Any], section: str, **changes: object) -> None:
    config = config if "broken" not in file.name else json.loads(json.dumps(config))
    config.setdefault(section, {}).update(changes)
    file.write_text(json.dumps(config), encoding="utf-8")


def expect(project: Path, arguments: tuple[str, ...], status: int, *, warm: bool = False) -> None:
    """Run a command that has to end with ``status``; ``warm``: import here what it imported."""
    ended = command(project, arguments, lambda: lambda: "\n".join(sys.modules))
    if ended != status:
        log = project.with_suffix(".log").read_text(encoding="utf-8")
        raise SystemExit(f"{' '.join(arguments)} in {project} ended with {ended}:\n{log[-3000:]}")
    for module in project.with_suffix(".end").read_text().splitlines() if warm else ():
        with suppress(Exception):
            import_module(module)


# What must hold


def faults_of(project: Path, before: Path) -> Iterator[str]:
    """What does not hold in ``project`` after the next run; ``before`` is the project untouched."""
    experiments = {
        file.parent.name: json.loads(file.read_text(encoding="utf-8"))
        for file in (project / "experiments").glob("*/manifest.json")
    }
    lines = run_lines(project)
    lost = {name for name, *_ in run_lines(before)} - {name for name, *_ in lines}
    yield from (f"a line is lost: {name}" for name in lost)
    yield from _faults_of_lines(lines, list(experiments.values()))
    yield from _faults_of_production(project, lines, experiments)
    for name in ("_registry.md", "_tech-debt.md"):
        if PERSON not in (project / "reports" / name).read_text(encoding="utf-8").splitlines():
            yield f"a person's line is lost from {name}"
    debt = (project / "reports" / "_tech-debt.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^- \[.\] \*\*TD-(\d+)\*\*", debt, re.MULTILINE)
    if len(set(numbers)) != len(numbers):
        yield "two items of tech debt have one number"
    left = [*project.rglob(".*.tmp"), *project.rglob(".*.unfinished")]
    yield from (f"left behind: {_kind(path.name)}" for path in left)
    files = (path.relative_to(before) for path in before.rglob("*") if path.is_file())
    gone = [file for file in files if file.parts[0] != ".dagster" and not (project / file).exists()]
    yield from (f"a file is lost: {_kind(file.name)}" for file in gone)
    for file in project.rglob("*.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError:
            yield f"half-written: {_kind(file.name)}"


def _faults_of_lines(
    lines: list[tuple[str, str, str]], manifests: list[dict[str, Any]]
) -> Iterator[str]:
    """Every run has one line, with the status of its manifest, and none is Running."""
    times = collections.Counter(name for name, *_ in lines)
    yield from (f"two lines of one run: {name}" for name in times if times[name] > 1)
    status_of = {name: status for name, status, _ in lines}
    for manifest in manifests:
        status = status_of.pop(manifest["report"], None)
        if status != manifest["status"] or status == "Running":
            yield f"manifest {manifest['status']}, line {status}"
    if "Running" in status_of.values():
        yield "a line is Running, and there is no such experiment"


def _faults_of_production(
    project: Path, lines: list[tuple[str, str, str]], experiments: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """The model that the link leads to is the end of the history, and the one that is deployed."""
    from mlrun_assets.production.versions import history

    serving = (project / "production" / "current").readlink().parts[1]
    moves = history(project / "production")
    if not moves or moves[-1].after != serving:
        yield "the history does not end with the model in production"
    if any(move.before != earlier.after for earlier, move in itertools.pairwise(moves)):
        yield "a move is missing in the history, or is there twice"
    found = {path.name for path in (project / "production" / "versions").iterdir()}
    if unused := found - {move.after for move in moves}:
        yield f"{len(unused)} versions that never were in production"
    # A version is named by its experiment, with a number if there were several.
    experiment = serving if serving in experiments else serving.rpartition("-")[0]
    deployed = [name for name, _, text in lines if re.search(r"(?<!not )\bdeployed", text)]
    if deployed != [experiments[experiment]["report"]]:
        yield f"{len(deployed)} lines say deployed, or the wrong one"
    for name in experiments:
        report = project / "experiments" / name / "report.md"
        text = report.read_text(encoding="utf-8").replace("\\", "") if report.exists() else ""
        says = re.search(rf"{name}(-\d+)? is (already )?in production", text) is not None
        if says != (name == experiment):
            yield "a report is wrong about the model in production"


def run_lines(project: Path) -> list[tuple[str, str, str]]:
    text = (project / "reports" / "_registry.md").read_text(encoding="utf-8")
    return re.findall(r"^- (impl-ml-run-\S+) \| (\w+) \| (.*)$", text, re.MULTILINE)


def _kind(name: str) -> str:
    return re.sub(r"[0-9a-f]{8}", "HEX", re.sub(r"\.\d+-....\.", ".PID.", name))


def whole_model(project: Path) -> Iterator[str]:
    """At every moment, killed or not, the model in production is whole."""
    from mlrun_assets.errors import MlrunError
    from mlrun_assets.production.pointer import read_production
    from mlrun_assets.production.versions import verify

    try:
        version = read_production(project / "production")
        if version is None:
            yield "nothing is in production"
        else:
            verify(project / "production", version)
    except MlrunError as error:
        yield f"the model in production is not whole: {str(error)[:80]}"


# Points


def measure(projects: Path, scenario: Scenario) -> tuple[int, float]:
    """The file operations of the command when nothing fails, and its seconds."""
    with _copy(projects / scenario.project) as project:
        began = time.monotonic()
        command(project, scenario.command, lambda: arm(project, kill, 0))
        seconds = time.monotonic() - began
        return int(project.with_suffix(".end").read_text(encoding="utf-8")), seconds


class _copy:  # noqa: N801  (used as a function)
    """A copy of a project in a directory of its own, removed at the end."""

    def __init__(self, source: Path, keep: Path | None = None) -> None:
        self.source, self.keep = source, keep

    def __enter__(self) -> Path:
        self.parent = self.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
        return Path(shutil.copytree(self.source, self.parent / "project", symlinks=True))

    def __exit__(self, *_: object) -> None:
        if self.keep is None:
            shutil.rmtree(self.parent, ignore_errors=True)


def try_point(projects: Path, point: Point, keep: Path | None = None) -> list[str]:
    """Let the operation fail, let the next run put things in order, and list what does not hold."""
    scenario = SCENARIOS[point.scenario]
    with _copy(projects / scenario.project, keep) as project:

        def prepare() -> object:
            if point.fault == TIMED:
                return signal.setitimer(signal.ITIMER_REAL, point.seconds)
            return arm(project, FAULTS[point.fault], point.operation)

        ended = command(project, scenario.command, prepare)
        found = list(whole_model(project))
        if point.fault == "kill" and ended != -signal.SIGKILL:
            found.append(f"was not killed, but ended with {ended}")
        if scenario.repair and (ended := command(project, scenario.repair)):
            found.append(f"the repair ended with {ended}")
        file = project.with_suffix(".log")
        log = file.read_text(encoding="utf-8", errors="replace")
        file.rename(project.with_suffix(".first.log"))
        ended = command(project, BROKEN)
        last = file.read_text(encoding="utf-8", errors="replace")
        if ended != 1 or "missing.jsonl: no such file" not in last:
            found.append(f"the next run ended with {ended}: {last[-300:]!r}")
        if "Traceback" in log + last:
            found.append("a traceback")
        found += [*whole_model(project), *faults_of(project, projects / scenario.project)]
    return found


def _try(arguments: tuple[Path, Point]) -> tuple[Point, list[str]]:
    try:
        return arguments[1], try_point(*arguments)
    except Exception as error:  # noqa: BLE001  (one point must not end the others)
        return arguments[1], [f"{type(error).__name__}: {error}"]


def choose(points: list[Point], sample: int | None, seed: int) -> list[Point]:
    """All points, or ``sample`` of them, as many of every scenario and fault."""
    if sample is None:
        return points
    generator, groups = random.Random(seed), collections.defaultdict(list)  # noqa: S311
    for point in points:
        groups[point[:2]].append(point)
    for group in groups.values():
        generator.shuffle(group)
    chosen: list[Point] = []
    while len(chosen) < min(sample, len(points)):
        chosen += [group.pop() for group in groups.values() if group]
    return chosen[:sample]


def main() -> None:
    """Print, for every scenario, points tried and what did not hold; exit 1 if anything did not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenario", action="append", choices=SCENARIOS)
    parser.add_argument("--fault", action="append", choices=[*FAULTS, TIMED])
    parser.add_argument("--sample", type=int, help="the number of points; default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at", type=int, help="one operation only")
    parser.add_argument("--no-history", action="store_true", help="Dagster's is kept in memory")
    parser.add_argument("--keep", type=Path, help="with --at: keep the project here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-projects-") as directory:
        projects = Path(directory)
        names = arguments.scenario or list(SCENARIOS)
        faults = arguments.fault or [*FAULTS, TIMED]
        make_projects(projects, names)
        totals = {name: measure(projects, SCENARIOS[name]) for name in names}
        points = [
            Point(name, fault, number, seconds * number / total)
            for name, (total, seconds) in totals.items()
            for fault in faults
            for number in range(1, total + 1, STEPS.get(name, 1))
        ]
        if arguments.at:
            (point,) = (each for each in points if each[:3] == (names[0], faults[0], arguments.at))
            raise SystemExit("\n".join(try_point(projects, point, arguments.keep)) or 0)
        raise SystemExit(report(projects, choose(points, arguments.sample, arguments.seed), totals))


def report(projects: Path, points: list[Point], totals: dict[str, tuple[int, float]]) -> int:
    """Try the points, two at a time, and print the table; returns the exit status."""
    began = time.monotonic()
    tried: collections.Counter[tuple[str, str]] = collections.Counter()
    broken: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(
        collections.Counter
    )
    first: dict[str, Point] = {}
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for point, found in pool.imap_unordered(_try, [(projects, point) for point in points]):
            tried[point[:2]] += 1
            broken[point[:2]].update(set(found))
            for sentence in found:
                first.setdefault(sentence, point)
                print(f"{point.scenario}, {point.fault}, {point.operation}: {sentence}", flush=True)
            if not tried.total() % 100:
                print(f"{tried.total()} of {len(points)}", file=sys.stderr, flush=True)
    for (scenario, fault), count in sorted(tried.items()):
        operations, seconds = totals[scenario]
        known = f"{operations:>5} operations in {seconds:4.1f} s"
        print(f"{scenario:<10} {fault:<15} {known} {count:>5} tried")
        for sentence, times in broken[scenario, fault].most_common():
            print(f"    {times:>4} x {sentence} (first: operation {first[sentence].operation})")
    lost = sum(counter.total() for counter in broken.values())
    print(f"{len(points)} points, {lost} faults, {time.monotonic() - began:.0f} s")
    return 1 if lost else 0


if __name__ == "__main__":
    main()
