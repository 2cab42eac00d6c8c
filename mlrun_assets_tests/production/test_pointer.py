import errno
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mlrun_assets import files
from mlrun_assets.errors import ExportError, FileBusyError, ProductionError
from mlrun_assets.files import digest_directory
from mlrun_assets.production import pointer as production
from mlrun_assets.production.pointer import Reason, promote, read_production, rollback
from mlrun_assets.production.versions import Challenger, history, versions
from mlrun_assets.records import ProductionVersion

BECAUSE = Reason(why="all rules passed", by="a test")


def because(serving: str | None, version: ProductionVersion | None) -> Reason:
    return BECAUSE


def loads(model_dir: Path) -> None:
    assert (model_dir / "weights").is_file()


def candidate(tmp_path: Path, name: str, weights: str | None = None) -> Challenger:
    model_dir = tmp_path / "experiments" / name / "export"
    (model_dir / "onnx").mkdir(parents=True, exist_ok=True)
    (model_dir / "weights").write_text(weights or name)
    (model_dir / "onnx" / "weights").write_text(weights or name)
    return Challenger(
        model_dir=model_dir,
        experiment=name,
        report=f"impl-ml-run-{name}-20261123",
        digest=digest_directory(model_dir),
        labels=("ciyaaraha", "siyaasadda"),
        max_length=128,
        accuracy=0.9,
        f1=0.88,
    )


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "production"


@pytest.fixture
def serve(tmp_path, root):
    def promote_all(*names: str) -> None:
        for name in names:
            promote(root, candidate(tmp_path, name), because, loads)

    return promote_all


def serving(root: Path) -> str | None:
    version = read_production(root)
    if version is None:
        return None
    assert (root / "current" / "weights").read_text() == version.experiment
    return version.version


def tree(root: Path) -> dict[str, str]:
    """Everything but the lock: links by their target, files by their content."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if (path.is_symlink() or path.is_file()) and path.name != ".current.lock"
    }


def test_nothing_is_deployed_at_first(root):
    assert read_production(root) is None
    assert versions(root) == ()
    assert history(root) == ()


def test_a_promotion_serves_the_files_and_tells_what_they_are(tmp_path, root):
    first = candidate(tmp_path, "exp_1")
    record = promote(root, first, because, loads)
    version = read_production(root)
    assert record.moved
    assert record.before is None
    assert record.after == version
    assert version is not None
    assert (version.version, version.experiment, version.digest) == ("exp_1", "exp_1", first.digest)
    assert digest_directory(root / "current") == first.digest
    assert (root / "current").readlink() == Path("versions/exp_1/model")
    assert not (root / "current" / "weights").stat().st_mode & 0o222


def test_the_history_tells_every_move(root, serve):
    serve("exp_1", "exp_2")
    rollback(root, None, Reason("wrong on the radio news", "Hodan", forced=True), loads)
    lines = [json.loads(line) for line in (root / "history.jsonl").read_text().splitlines()]
    assert [(line["action"], line["from"], line["to"]) for line in lines] == [
        ("promote", None, "exp_1"),
        ("promote", "exp_1", "exp_2"),
        ("rollback", "exp_2", "exp_1"),
    ]
    assert set(lines[2]) == {"when", "action", "from", "to", "why", "by", "forced", "digests"}
    assert (lines[2]["why"], lines[2]["by"]) == ("wrong on the radio news", "Hodan")
    assert [line["forced"] for line in lines] == [False, False, True]
    assert lines[2]["digests"] == {each.version: each.digest for each in versions(root)}
    times = [line["when"] for line in lines] + [each.promoted_at for each in versions(root)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_production_can_be_moved_to_another_place(root, serve, tmp_path):
    serve("exp_1")
    root.rename(tmp_path / "elsewhere")
    assert serving(tmp_path / "elsewhere") == "exp_1"


def test_an_experiment_promoted_again_gets_a_suffix_only_if_it_changed(tmp_path, root):
    promote(root, candidate(tmp_path, "exp_1"), because, loads)
    before = tree(root)
    again = promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert (again.moved, again.before, tree(root)) == (False, again.after, before)

    promote(root, candidate(tmp_path, "exp_1", weights="other"), because, loads)
    assert [each.version for each in versions(root)] == ["exp_1", "exp_1-2"]
    assert (root / "versions" / "exp_1" / "model" / "weights").read_text() == "exp_1"
    assert (root / "current" / "weights").read_text() == "other"


def test_a_version_that_was_harmed_is_mended_by_promoting_it_again(tmp_path, root, serve):
    serve("exp_1")
    harm(root, "exp_1")
    promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert serving(root) == "exp_1-2"


def harm(root: Path, version: str) -> None:
    harm_files(root / "versions" / version / "model")


def harm_files(model_dir: Path) -> None:
    weights = model_dir / "weights"
    weights.unlink()
    weights.write_text("harmed")


def test_files_that_are_not_what_was_recorded_are_not_promoted(tmp_path, root, serve):
    serve("exp_1")
    before = tree(root)
    second = candidate(tmp_path, "exp_2")
    (second.model_dir / "weights").write_text("tampered")
    with pytest.raises(ProductionError, match="not those that were recorded"):
        promote(root, second, because, loads)
    assert tree(root) == before
    assert serving(root) == "exp_1"


def test_a_model_that_does_not_load_is_not_promoted(tmp_path, root, serve):
    serve("exp_1")
    before = tree(root)

    def fails(model_dir: Path) -> None:
        assert (model_dir / "weights").read_text() == "exp_2"
        raise ExportError("the weights are cut off")

    with pytest.raises(ProductionError, match=r"exp_2 was not promoted.*weights are cut off"):
        promote(root, candidate(tmp_path, "exp_2"), because, fails)
    assert tree(root) == before


def test_a_first_promotion_that_fails_leaves_nothing_deployed(tmp_path, root, monkeypatch):
    monkeypatch.setattr(production, "append_line", disk_full)
    with pytest.raises(ProductionError, match="No space left"):
        promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert read_production(root) is None
    assert tree(root) == {}


def disk_full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["copy", "record", "pointer", "history"])
def test_a_full_disk_leaves_the_old_model_and_nothing_half_made(
    tmp_path, root, serve, monkeypatch, step
):
    serve("exp_1")
    before = tree(root)
    copyfile = shutil.copyfile

    def half(source: Path, target: Path) -> None:
        copyfile(source, target)
        if source.parent.name == "export":
            disk_full()

    targets = {
        "copy": (shutil, "copyfile", half),
        "record": (ProductionVersion, "save", disk_full),
        "pointer": (production, "sync_directory", disk_full),
        "history": (production, "append_line", disk_full),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*targets[step])
        with pytest.raises(ProductionError, match=r"exp_2 was not promoted \(No space left"):
            promote(root, candidate(tmp_path, "exp_2"), because, loads)
    assert tree(root) == before
    assert not list((root / "versions").glob(".*"))
    serve("exp_2")
    assert serving(root) == "exp_2"


def test_what_a_killed_promotion_left_is_cleared_away_and_is_no_version(root, serve):
    serve("exp_1")
    (root / "versions" / ".exp_2.0a1b2c3d.unfinished" / "model").mkdir(parents=True)
    (root / "versions" / ".exp_2.0a1b2c3d.unfinished" / "version.json").write_text("{")
    assert [each.version for each in versions(root)] == ["exp_1"]
    serve("exp_2")
    assert sorted(path.name for path in (root / "versions").iterdir()) == ["exp_1", "exp_2"]


@pytest.mark.parametrize("name", ["../exp", "", ".exp", "a/b", "a\n"])
def test_an_experiment_that_leaves_its_directory_is_refused(tmp_path, root, name):
    facts = candidate(tmp_path, "exp_1")
    with pytest.raises(ProductionError, match="can't be a directory name"):
        promote(root, Challenger(**{**vars(facts), "experiment": name}), because, loads)
    assert tree(root) == {}


def test_a_model_that_is_not_there_is_named(tmp_path, root):
    facts = candidate(tmp_path, "exp_1")
    shutil.rmtree(facts.model_dir)
    with pytest.raises(ProductionError, match="no such model directory"):
        promote(root, facts, because, loads)


def test_rollbacks_go_back_one_promotion_each(root, serve):
    serve("exp_1", "exp_2", "exp_3")
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_2"
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"
    with pytest.raises(ProductionError, match=r"--to \(exp_2, exp_3\)"):
        rollback(root, None, BECAUSE, loads)
    rollback(root, "exp_3", BECAUSE, loads)
    assert serving(root) == "exp_3"
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"
    assert not rollback(root, "exp_1", BECAUSE, loads).moved


def test_a_promotion_after_a_rollback_goes_back_to_where_that_went(root, serve):
    serve("exp_1", "exp_2")
    rollback(root, None, BECAUSE, loads)
    serve("exp_3")
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"


def test_a_version_that_was_harmed_is_not_gone_back_to(root, serve):
    serve("exp_1", "exp_2")
    harm(root, "exp_1")
    before = tree(root)
    with pytest.raises(ProductionError, match="not those that were recorded"):
        rollback(root, None, BECAUSE, loads)
    assert tree(root) == before


def test_a_version_that_does_not_load_is_not_gone_back_to(root, serve):
    serve("exp_1", "exp_2")
    before = tree(root)

    def fails(model_dir: Path) -> None:
        raise ExportError("of another onnxruntime")

    with pytest.raises(ProductionError, match=r"no rollback was made.*another onnxruntime"):
        rollback(root, None, BECAUSE, fails)
    assert tree(root) == before


@pytest.mark.parametrize("to", ["exp_9", "../../experiments", ".", "exp_1/model"])
def test_a_version_that_is_not_there_is_named(root, serve, to):
    serve("exp_1")
    with pytest.raises(ProductionError, match=r"there is no version .*--to \(exp_1\)"):
        rollback(root, to, BECAUSE, loads)


def test_a_rollback_of_nothing_is_an_error(root):
    with pytest.raises(ProductionError, match="nothing is in production"):
        rollback(root, None, BECAUSE, loads)


def test_a_dangling_pointer_says_how_to_mend_it_and_both_ways_do(root, serve):
    serve("exp_1", "exp_2")
    shutil.rmtree(root / "versions" / "exp_2")
    with pytest.raises(ProductionError, match=r"no version 'exp_2'; .*rollback --to \(exp_1\)"):
        read_production(root)
    record = rollback(root, "exp_1", BECAUSE, loads)
    assert (record.before, serving(root)) == (None, "exp_1")
    assert "exp_2, which can't be read" in record.sentence
    assert history(root)[-1].before == "exp_2"
    shutil.rmtree(root / "versions" / "exp_1")
    with pytest.raises(ProductionError, match="promote an experiment"):
        read_production(root)
    serve("exp_3")
    assert serving(root) == "exp_3"


def test_a_record_that_can_not_be_read_is_named(root, serve):
    serve("exp_1", "exp_2")
    (root / "versions" / "exp_2" / "version.json").write_text("{")
    with pytest.raises(ProductionError, match=r"exp_2/version\.json: can't be read.*exp_1"):
        read_production(root)
    rollback(root, "exp_1", BECAUSE, loads)
    assert serving(root) == "exp_1"


def test_something_else_in_the_place_of_the_pointer_is_left_alone(tmp_path, root):
    (root / "current").mkdir(parents=True)
    with pytest.raises(ProductionError, match="move it away"):
        read_production(root)
    with pytest.raises(ProductionError, match="move it away"):
        promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert not (root / "versions").exists()


def test_a_half_written_line_is_passed_over_and_not_extended(root, serve):
    serve("exp_1", "exp_2")
    with (root / "history.jsonl").open("ab") as file:
        file.write(b'{"when": "2026-11-23T03:1')
    assert [move.after for move in history(root)] == ["exp_1", "exp_2"]
    serve("exp_3")
    assert [move.after for move in history(root)] == ["exp_1", "exp_2", "exp_3"]
    lines = (root / "history.jsonl").read_bytes().split(b"\n")
    assert lines[2] == b'{"when": "2026-11-23T03:1'
    assert json.loads(lines[3])["to"] == "exp_3"


def test_a_line_that_can_not_be_finished_is_taken_out_again(root, serve, monkeypatch):
    serve("exp_1")
    before = (root / "history.jsonl").read_bytes()
    monkeypatch.setattr(files.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        files.append_line(root / "history.jsonl", "{}")
    assert (root / "history.jsonl").read_bytes() == before


def test_a_move_whose_line_was_lost_can_still_be_taken_back(root, serve):
    serve("exp_1", "exp_2")
    lines = (root / "history.jsonl").read_bytes().splitlines(keepends=True)
    (root / "history.jsonl").write_bytes(lines[0] + lines[1][:40])
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"


def test_a_production_directory_that_can_not_be_made_is_an_error(tmp_path, root):
    root.write_text("a file")
    assert read_production(root) is None
    with pytest.raises(ProductionError, match=r"was not promoted.*make the directory writable"):
        promote(root, candidate(tmp_path, "exp_1"), because, loads)


def test_a_lock_that_another_holds_is_an_error_in_the_end(tmp_path, root, monkeypatch):
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    facts = candidate(tmp_path, "exp_1")
    with production._moving(root, "held"), ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(promote, root, facts, because, loads)
        with pytest.raises(FileBusyError, match=r"production/current: another process"):
            attempt.result()
    assert tree(root) == {}


# Reads as anybody would who knows nothing of this package, until the file `done` is there. One file
# is read through the pointer itself; several only after it was resolved.
READER = """
import pathlib, sys
root, done = map(pathlib.Path, sys.argv[1:])
reads, seen = 0, set()
print("ready", flush=True)
while not done.exists():
    (root / "current" / "weights").read_text()
    model_dir = (root / "current").resolve(strict=True)
    weights = {(model_dir / name).read_text() for name in ("weights", "onnx/weights")}
    assert len(weights) == 1, weights
    seen |= weights
    reads += 1
print(reads, len(seen))
"""


def test_readers_see_one_model_at_every_moment_of_100_promotions_and_rollbacks(
    tmp_path, root, serve
):
    serve("exp_0")
    done = tmp_path / "done"
    command = [sys.executable, "-c", READER, str(root), str(done)]
    readers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for number in range(1, 101):
            serve(f"exp_{number}")
            rollback(root, None, BECAUSE, loads)
    finally:
        done.touch()
        ends = [reader.communicate(timeout=300) for reader in readers]
    for output, errors in ends:
        assert errors == ""
        reads, seen = map(int, output.split())
        assert reads > 0 and seen > 1
    assert serving(root) == "exp_0"
    assert len(history(root)) == 201


def test_promotions_at_once_are_made_one_after_the_other(tmp_path, root):
    candidates = [candidate(tmp_path, f"exp_{number}") for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        records = list(pool.map(lambda each: promote(root, each, because, loads), candidates))
    moves = history(root)
    assert [move.before for move in moves] == [None, *(move.after for move in moves[:-1])]
    assert serving(root) == moves[-1].after
    assert {record.after.version for record in records if record.after} == {
        f"exp_{number}" for number in range(6)
    }


PROMOTION = """
import pathlib, sys, time
from mlrun_assets.production.pointer import Challenger, Reason, promote
from mlrun_assets.files import digest_directory

root, model_dir, name = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
candidate = Challenger(model_dir, name, name, digest_directory(model_dir), ("a", "b"), 8, 0.9, 0.9)
print("ready", flush=True)
sys.stdin.readline()
approve = lambda *_: Reason("x", name)
print(promote(root, candidate, approve, lambda model_dir: time.sleep(0.2)).sentence)
"""


def other_process(root: Path, facts: Challenger, first: str = "") -> subprocess.Popen[str]:
    arguments = [str(root), str(facts.model_dir), facts.experiment]
    process = subprocess.Popen(
        [sys.executable, "-c", first + PROMOTION, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_that_promote_at_once_do_so_one_after_the_other(tmp_path, root):
    names = ("exp_1", "exp_2")
    processes = [other_process(root, candidate(tmp_path, name)) for name in names]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300) for process in processes]
    assert [errors for _, errors in said] == ["", ""]
    assert {output.split()[0] for output, _ in said} == set(names)
    first, second = history(root)
    assert (first.before, second.before) == (None, first.after)
    assert {first.after, second.after} == set(names)
    assert serving(root) == second.after


def test_a_disk_that_is_really_full_leaves_the_old_model(tmp_path, root, serve):
    serve("exp_1")
    before = tree(root)
    facts = candidate(tmp_path, "exp_2", weights="x" * 100_000)
    limit = (
        "import resource, sys\n"
        "sys.dont_write_bytecode = True\n"  # a module compiled from here on would be cut off
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
    )
    process = other_process(root, facts, limit)
    _, errors = process.communicate("\n", timeout=300)
    assert process.returncode == 1
    assert "exp_2 was not promoted (File too large)" in errors
    assert tree(root) == before
    assert not list((root / "versions").glob(".*"))


def test_a_version_holds_the_card_and_is_known_by_all_of_its_files(tmp_path, root):
    facts = replace(candidate(tmp_path, "exp_1"), card="# A model\n")
    version = promote(root, facts, because, loads).after
    assert version is not None
    card = root / "current" / "README.md"
    assert card.read_text() == "# A model\n"
    assert not card.stat().st_mode & 0o222
    assert not (facts.model_dir / "README.md").exists()
    assert version.export_digest == facts.digest
    assert version.digest == digest_directory(root / "current") != facts.digest
    assert not promote(root, facts, because, loads).moved
    card.chmod(0o644)
    card.write_text("# Another\n")
    assert promote(root, facts, because, loads).moved
    assert (root / "current").readlink() == Path("versions/exp_1-2/model")


def test_a_version_of_before_there_were_cards_serves_on(tmp_path, root, serve):
    serve("exp_1")
    record = root / "versions" / "exp_1" / "version.json"
    facts = json.loads(record.read_text())
    del facts["export_digest"]
    record.write_text(json.dumps(facts))
    assert serving(root) == "exp_1"
    again = replace(candidate(tmp_path, "exp_1"), card="# A model\n")
    assert not promote(root, again, because, loads).moved
    serve("exp_2")
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"


def test_files_that_change_while_they_are_tried_do_not_stay_in_force(tmp_path, root, serve):
    serve("exp_1")
    before = tree(root)
    with pytest.raises(ProductionError, match="current: its files are not those"):
        promote(root, candidate(tmp_path, "exp_2"), because, harm_files)
    assert tree(root) == before
    serve("exp_2")
    with pytest.raises(ProductionError, match="current: its files are not those"):
        rollback(root, None, BECAUSE, harm_files)
    assert serving(root) == "exp_2"
    assert [move.after for move in history(root)] == ["exp_1", "exp_2"]
