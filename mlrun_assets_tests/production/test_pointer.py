import errno
import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mlrun_assets.errors import ExportError, ProductionError
from mlrun_assets.files import digest_directory, name_beside
from mlrun_assets.production import pointer as production
from mlrun_assets.production.pointer import Reason, last_move, promote, read_production, rollback
from mlrun_assets.production.versions import Challenger, history, names, versions
from mlrun_assets.records import ProductionVersion

BECAUSE = Reason(why="all rules passed", by="a test")


def because(serving: str | None, version: ProductionVersion | None) -> Reason:
    return BECAUSE


def loads(model_dir: Path) -> None:
    assert (model_dir / "weights").is_file()


def does_not_load(model_dir: Path) -> None:
    raise ExportError("the weights are cut off")


def harm_files(model_dir: Path) -> None:
    (model_dir / "weights").unlink(missing_ok=True)
    (model_dir / "weights").write_text("harmed")


def disk_full(*arguments: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def candidate(tmp_path: Path, name: str, weights: str | None = None) -> Challenger:
    model_dir = tmp_path / "experiments" / name / "export"
    (model_dir / "onnx").mkdir(parents=True, exist_ok=True)
    (model_dir / "weights").write_text(weights or name)
    (model_dir / "onnx" / "weights").write_text(weights or name)
    digest, labels = digest_directory(model_dir), ("ciyaaraha", "siyaasadda")
    return Challenger(model_dir, name, f"impl-{name}", digest, labels, 128, accuracy=0.9, f1=0.88)


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


def test_a_promotion_serves_the_files_and_tells_what_they_are(tmp_path, root):
    assert (read_production(root), versions(root), history(root)) == (None, (), ())
    first = candidate(tmp_path, "exp_1")
    record = promote(root, first, because, loads)
    version = read_production(root)
    assert (record.moved, record.before, record.after) == (True, None, version)
    assert version is not None
    assert (version.version, version.experiment, version.digest) == ("exp_1", "exp_1", first.digest)
    assert (version.labels, version.max_length, version.f1) == (first.labels, 128, 0.88)
    assert digest_directory(root / "current") == first.digest
    assert (root / "current").readlink() == Path("versions/exp_1/model")
    assert not (root / "current" / "weights").stat().st_mode & 0o222
    root.rename(tmp_path / "elsewhere")
    assert serving(tmp_path / "elsewhere") == "exp_1"


def test_the_history_tells_every_move(root, serve):
    serve("exp_1", "exp_2")
    rollback(root, None, Reason("wrong on the radio news", "Hodan", forced=True), loads)
    lines = [json.loads(line) for line in (root / "history.jsonl").read_text().splitlines()]
    assert [(line["action"], line["from"], line["to"], line["forced"]) for line in lines] == [
        ("promote", None, "exp_1", False),
        ("promote", "exp_1", "exp_2", False),
        ("rollback", "exp_2", "exp_1", True),
    ]
    assert set(lines[2]) == {"when", "action", "from", "to", "why", "by", "forced", "digests"}
    assert (lines[2]["why"], lines[2]["by"]) == ("wrong on the radio news", "Hodan")
    assert lines[2]["digests"] == {each.version: each.digest for each in versions(root)}
    times = [line["when"] for line in lines] + [each.promoted_at for each in versions(root)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time in times)


def test_an_experiment_promoted_again_gets_a_suffix_only_if_it_changed(tmp_path, root):
    promote(root, candidate(tmp_path, "exp_1"), because, loads)
    before = tree(root)
    again = promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert (again.moved, again.before, tree(root)) == (False, again.after, before)
    promote(root, candidate(tmp_path, "exp_1", weights="other"), because, loads)
    assert [each.version for each in versions(root)] == ["exp_1", "exp_1-2"]
    assert (root / "versions" / "exp_1" / "model" / "weights").read_text() == "exp_1"
    assert (root / "current" / "weights").read_text() == "other"


def test_an_experiment_promoted_again_after_others_is_not_copied(root, serve):
    serve("exp_1", "exp_2")
    rollback(root, None, BECAUSE, loads)
    serve("exp_2")
    assert names(root) == ["exp_1", "exp_2"] and serving(root) == "exp_2"
    last = history(root)[-1]
    assert (last.action, last.before, last.after) == ("promote", "exp_1", "exp_2")
    serve("exp_1")  # promoted, not gone back to: a rollback leads to what it replaced
    assert names(root) == ["exp_1", "exp_2"]
    for expected in ("exp_2", "exp_1"):
        rollback(root, None, BECAUSE, loads)
        assert serving(root) == expected
    with pytest.raises(ProductionError, match="nothing was deployed before exp_1"):
        rollback(root, None, BECAUSE, loads)


@pytest.mark.parametrize("step", ["_point", "append_line"])
def test_a_killed_promotion_of_an_earlier_version_leaves_it(root, serve, monkeypatch, step):
    serve("exp_1", "exp_2")
    with monkeypatch.context() as patched:
        patched.setattr(production, step, disk_full)
        with pytest.raises(ProductionError, match="No space"):
            serve("exp_1")
    assert serving(root) == "exp_2" and names(root) == ["exp_1", "exp_2"]


def test_a_damaged_earlier_version_is_copied_anew(root, serve):
    serve("exp_1", "exp_2")
    harm_files(root / "versions" / "exp_1" / "model")
    serve("exp_1")
    assert names(root) == ["exp_1", "exp_1-2", "exp_2"] and serving(root) == "exp_1-2"


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        (loads, "not those that were recorded"),
        (does_not_load, "weights are cut off"),
        (harm_files, "current: its files are not those"),
    ],
)
def test_a_model_that_was_changed_or_does_not_load_is_neither_promoted_nor_gone_back_to(
    tmp_path, root, serve, probe, said
):
    serve("exp_1", "exp_2")
    third = candidate(tmp_path, "exp_3")
    if probe is loads:
        harm_files(third.model_dir)
        harm_files(root / "versions" / "exp_1" / "model")
    before = tree(root)
    with pytest.raises(ProductionError, match=said):
        promote(root, third, because, probe)
    assert tree(root) == before
    with pytest.raises(ProductionError, match=said):
        rollback(root, None, BECAUSE, probe)
    assert serving(root) == "exp_2"
    assert [move.after for move in history(root)] == ["exp_1", "exp_2"]


@pytest.mark.parametrize("step", ["copy", "record", "pointer", "history"])
@pytest.mark.parametrize("served", [[], ["exp_1"]])
def test_a_full_disk_leaves_the_old_model_and_nothing_half_made(
    tmp_path, root, serve, monkeypatch, step, served
):
    serve(*served)
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
    left = name_beside(root / "versions" / "exp_2", "unfinished").name
    left = left.replace(f".{os.getpid()}-", ".999999999-")
    (root / "versions" / left / "model").mkdir(parents=True)
    assert [each.version for each in versions(root)] == ["exp_1"]
    serve("exp_2")
    assert sorted(path.name for path in (root / "versions").iterdir()) == ["exp_1", "exp_2"]


@pytest.mark.parametrize("name", ["../exp", "", ".exp", "a/b", "a\n"])
def test_an_experiment_that_leaves_its_directory_is_refused(tmp_path, root, name):
    facts = replace(candidate(tmp_path, "exp_1"), experiment=name)
    with pytest.raises(ProductionError, match="can't be a directory name"):
        promote(root, facts, because, loads)
    assert tree(root) == {}


def test_a_model_that_is_not_there_is_named(tmp_path, root):
    facts = candidate(tmp_path, "exp_1")
    shutil.rmtree(facts.model_dir)
    with pytest.raises(ProductionError, match="no such model directory"):
        promote(root, facts, because, loads)


def test_rollbacks_go_back_one_promotion_each(root, serve):
    serve("exp_1", "exp_2", "exp_3")
    for expected in ("exp_2", "exp_1"):
        rollback(root, None, BECAUSE, loads)
        assert serving(root) == expected
    with pytest.raises(ProductionError, match=r"--to \(exp_2, exp_3\)"):
        rollback(root, None, BECAUSE, loads)
    # After another move, to a version that was left or to a new one, back to where it came from.
    rollback(root, "exp_3", BECAUSE, loads)
    assert serving(root) == "exp_3"
    rollback(root, None, BECAUSE, loads)
    assert not rollback(root, "exp_1", BECAUSE, loads).moved
    serve("exp_4")
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"


@pytest.mark.parametrize("to", ["exp_9", "../../experiments", ".", "exp_1/model"])
def test_a_version_that_is_not_there_is_named(root, serve, to):
    with pytest.raises(ProductionError, match="nothing is in production"):
        rollback(root, None, BECAUSE, loads)
    serve("exp_1")
    with pytest.raises(ProductionError, match=r"no version `\S+`; there are:\n  .*exp_1"):
        rollback(root, to, BECAUSE, loads)


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
    serve("exp_3", "exp_4")
    assert serving(root) == "exp_4"
    (root / "versions" / "exp_4" / "version.json").write_text("{")
    with pytest.raises(ProductionError, match=r"exp_4/version\.json: can't be read.*exp_3"):
        read_production(root)
    rollback(root, "exp_3", BECAUSE, loads)
    assert serving(root) == "exp_3"


def test_something_else_in_the_place_of_the_pointer_is_left_alone(tmp_path, root):
    (root / "current").mkdir(parents=True)
    with pytest.raises(ProductionError, match="move it away"):
        promote(root, candidate(tmp_path, "exp_1"), because, loads)
    assert not (root / "versions").exists()


@pytest.mark.parametrize("step", ["_announce", "_point", "verify_files", "append_line", "_settle"])
@pytest.mark.parametrize("after", [False, True])
def test_a_move_that_was_killed_is_in_the_history_if_the_pointer_has_moved(
    tmp_path, root, serve, monkeypatch, step, after
):
    """The directory as it is before and after each step of a move, in the eyes of the next one."""
    serve("exp_1")
    owner = production.versions if step == "verify_files" else production
    run, seen = getattr(owner, step), []

    def snapshot(*arguments):
        result = run(*arguments) if after else None
        seen.append(Path(shutil.copytree(root, tmp_path / f"seen-{len(seen)}", symlinks=True)))
        return result if after else run(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, snapshot)
        record = promote(root, candidate(tmp_path, "exp_2"), because, loads)
    assert seen
    for killed in seen:
        serving_now = read_production(killed)
        assert last_move(killed).after == serving_now
        moves = history(killed)
        assert [move.after for move in moves] == ["exp_1", "exp_2"][: len(moves)]
        assert moves[-1].after == serving_now.version
        assert sorted(move.after for move in moves) == names(killed)  # no version is unused
        assert (moves[-1].why, moves[-1].by) == (BECAUSE.why, BECAUSE.by)
        assert not (killed / ".next-move.json").exists()
        assert not rollback(killed, serving_now.version, BECAUSE, loads).moved
        assert history(killed) == moves
    assert last_move(root) == record


def test_a_move_whose_line_is_half_written_can_still_be_taken_back(root, serve):
    serve("exp_1", "exp_2")
    lines = (root / "history.jsonl").read_bytes().splitlines(keepends=True)
    (root / "history.jsonl").write_bytes(lines[0] + lines[1][:40])
    assert [move.after for move in history(root)] == ["exp_1"]
    rollback(root, None, BECAUSE, loads)
    assert serving(root) == "exp_1"
    assert [move.action for move in history(root)] == ["promote", "rollback"]


def test_a_production_directory_or_history_that_can_not_be_used_is_an_error(tmp_path, root, serve):
    root.write_text("a file")
    assert read_production(root) is None
    with pytest.raises(ProductionError, match=r"was not promoted.*make the directory writable"):
        serve("exp_1")
    root.unlink()
    serve("exp_1")
    (root / "history.jsonl").unlink()
    (root / "history.jsonl").mkdir()
    with pytest.raises(ProductionError, match=r"history\.jsonl: can't be read"):
        history(root)


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
        list(pool.map(lambda each: promote(root, each, because, loads), candidates))
    moves = history(root)
    assert [move.before for move in moves] == [None, *(move.after for move in moves[:-1])]
    assert serving(root) == moves[-1].after
    assert {move.after for move in moves} == {each.experiment for each in candidates}


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
