import errno
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.errors import RecordError
from mlrun_assets.markdown import clean
from mlrun_assets.records import RunLine, Status
from mlrun_assets.registries import registry as registry_file
from mlrun_assets.registries.registry import (
    MarkdownLines,
    check_report_name,
    edit,
    read_lines,
    read_registry,
    reserve_report_name,
    write_run_line,
)

DAY = "20261123"
REPORT = f"impl-ml-run-somali-{DAY}"


ENDINGS = [b"\n", b"\r\n", b"\r"]
UNUSUAL = [b"\xff", b"caf\xe9", b"\xef\xbb\xbf", b"\xc2\x85", b"\x00", b"\x0b", b"  ", b"\t"]
MARKDOWN = [b"- a", b"```", b"~~~~", b"<!--", b"-->", b"# Runs"]
PIECES = st.sampled_from([*ENDINGS, *UNUSUAL, *MARKDOWN])
DOCUMENTS = st.one_of(st.binary(), st.lists(PIECES, max_size=30).map(b"".join))


@given(DOCUMENTS, st.data())
def test_inserted_lines_leave_all_others_as_they_were(data: bytes, draw: st.DataObject) -> None:
    lines = MarkdownLines(data)
    places = st.dictionaries(st.integers(0, len(lines.texts)), st.integers(1, 2), max_size=3)
    new = draw.draw(places)
    lines.insert({index: ["0urs"] * times for index, times in new.items()})
    expected = []
    for index, part in enumerate([*data.splitlines(keepends=True), b""]):
        expected += [b"0urs"] * new.get(index, 0) + [part]
    after = lines.to_bytes().splitlines(keepends=True)
    assert [line.rstrip(b"\r\n") for line in after] == [
        part.rstrip(b"\r\n") for part in expected[:-1]
    ]
    # Only the last line may have had no ending; it gets one if a line follows it.
    kept = [(line, part) for line, part in zip(after, expected, strict=False) if part != b"0urs"]
    assert all(line == part or (line.endswith((b"\n", b"\r")) and new) for line, part in kept)
    assert all(line.endswith((b"\n", b"\r")) for line in after if line.strip() == b"0urs")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\nours\r\n"),
        (b"a\r\nb", b"a\r\nb\r\nours\r\n"),
        (b"a", b"a\nours\n"),
    ],
)
def test_an_added_line_ends_like_the_one_above_it(data: bytes, expected: bytes) -> None:
    lines = MarkdownLines(data)
    lines.append("ours")
    assert lines.to_bytes() == expected


@pytest.mark.parametrize(
    ("data", "prose"),
    [
        (b"a\n```md\n- b\n```\nc\n~~~~\n~~~\n```\n~~~~\nd", ["a", "c", "d"]),
        (b"<!-- a\nb\n-->\nc\n<!-- d -->\ne", ["c", "e"]),
        (b"```\na\n``\n", ["```", "a", "``"]),  # never closed: hides nothing
        (b"<!-- a\nb", ["<!-- a", "b"]),
        (b"```a``` b\nc\n```\nd", ["```a``` b", "c", "```", "d"]),
    ],
)
def test_code_blocks_and_comments_are_no_prose(data: bytes, prose: list[str]) -> None:
    assert [text for _, text in MarkdownLines(data).prose()] == prose


def test_an_empty_file_gets_a_heading_once(tmp_path: Path) -> None:
    path = tmp_path / "_a.md"
    path.touch()
    edit(path, "# Runs", lambda lines: lines.append("- one"))
    edit(path, "# Runs", lambda lines: lines.append("- two"))
    assert path.read_bytes() == b"# Runs\n\n- one\n- two\n"


def test_a_change_of_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "_a.md"
    path.write_bytes(b"- one")
    before = path.stat()
    assert edit(path, "# Runs", lambda lines: lines.texts) == ["- one"]
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "_b.md", tmp_path / "_a.md"
    target.write_bytes(b"- one\n")
    link.symlink_to(target)
    edit(link, "# Runs", lambda lines: lines.append("- two"))
    assert link.is_symlink()
    assert target.read_bytes() == b"- one\n- two\n"


def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "_a.md"
    path.mkdir()
    with pytest.raises(RecordError, match=r"_a\.md: can't be read \(.*directory.*reports\.dir"):
        read_lines(path)
    with pytest.raises(RecordError, match=r"_a\.md: can't be written .*reports\.dir"):
        edit(path, "# Runs", lambda lines: lines.append("- one"))
    assert list(path.iterdir()) == []


def test_a_directory_that_can_not_be_made_or_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "_a.md"
    path.write_bytes(b"- one\n")
    with pytest.raises(RecordError, match=r"_b\.md: can't be written"):
        edit(path / "_b.md", "# Runs", lambda lines: lines.append("- one"))

    def refuse(path: Path, *_: bytes) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(registry_file, "replace_if_unchanged", refuse)
    with pytest.raises(RecordError, match=r"_a\.md: can't be written \(Permission denied\)"):
        edit(path, "# Runs", lambda lines: lines.append("- two"))
    assert path.read_bytes() == b"- one\n"


# The line of a run


def registry(reports_dir: Path) -> bytes:
    return (reports_dir / "_registry.md").read_bytes()


def write(reports_dir: Path, content: bytes) -> None:
    (reports_dir / "_registry.md").write_bytes(content)


def test_the_life_of_a_line(tmp_path: Path) -> None:
    report = reserve_report_name(tmp_path, "somali", DAY)
    assert report == REPORT
    assert registry(tmp_path) == f"# ML runs\n\n- {REPORT} | Running | started\n".encode()

    record = write_run_line(tmp_path, report, Status.COMPLETE, "accuracy 0.912, macro-F1 0.905")
    line = f"- {REPORT} | Complete | accuracy 0.912, macro-F1 0.905"
    assert registry(tmp_path) == f"# ML runs\n\n{line}\n".encode()
    assert record.line == line
    assert record.lines_before == 3
    assert record.file == str(tmp_path / "_registry.md")
    assert read_registry(tmp_path).runs == (
        RunLine(REPORT, "Complete", "accuracy 0.912, macro-F1 0.905"),
    )


def test_a_name_is_taken_by_a_report_or_a_hand_edited_line(tmp_path: Path) -> None:
    (tmp_path / "implementation").mkdir()
    (tmp_path / "implementation" / f"{REPORT}.md").touch()
    write(tmp_path, f"* *{REPORT.upper()}-2* was broken\n".encode())
    assert reserve_report_name(tmp_path, "somali", DAY) == f"{REPORT}-3"


def test_many_runs_of_one_name_and_many_unclosed_comments_take_linear_time(tmp_path: Path) -> None:
    names = [f"- {REPORT}-{number} | Complete | x" for number in range(2, 20_000)]
    write(
        tmp_path, "\n".join([f"- {REPORT} | Complete | x", *names, *["<!-- a"] * 20_000]).encode()
    )
    assert reserve_report_name(tmp_path, "somali", DAY) == f"{REPORT}-20000"
    assert len(read_registry(tmp_path).runs) == 20_000


def test_a_longer_name_does_not_take_a_shorter_one(tmp_path: Path) -> None:
    write(tmp_path, f"- {REPORT}1 | Complete | x\n- {REPORT}-2 | Complete | x".encode())
    assert reserve_report_name(tmp_path, "somali", DAY) == REPORT


@pytest.mark.parametrize("name", ["xlm-r-fine-tune-v2-20261123", "exp_20261123T031500Z-20261123-2"])
def test_report_names_that_are_fine(name: str) -> None:
    check_report_name(f"impl-ml-run-{name}")


@pytest.mark.parametrize(
    "name",
    [
        "-20261123",
        "a-2026",
        "a-20261123.md",
        "a/../../b-20261123",
        "a\\b-20261123",
        "a b-20261123",
        "a|b-20261123",
        "a\nb-20261123",
        "a\u2028b-20261123",
        "a\x00b-20261123",
        "a\udc80b-20261123",
        "[a]-20261123",
        "a-20261123\n",
        f"{'a' * 200}-20261123",
    ],
)
def test_a_name_that_breaks_a_line_or_leaves_its_directory_is_refused(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(RecordError, match=r"no report name.* rename the experiment"):
        write_run_line(tmp_path, f"impl-ml-run-{name}", Status.COMPLETE, "")
    with pytest.raises(RecordError, match="rename the experiment"):
        reserve_report_name(tmp_path, "a|b", DAY)
    assert list(tmp_path.iterdir()) == []


def test_a_summary_can_not_break_its_line(tmp_path: Path) -> None:
    record = write_run_line(tmp_path, REPORT, Status.FAILED, "a | b\r\nc\u2028d\x00 --> \udc80")
    assert record.line == rf"- {REPORT} | Failed | a / b c d --\>"
    assert read_registry(tmp_path).runs[0].summary == "a / b c d -->"
    assert write_run_line(tmp_path, REPORT, Status.FAILED, " \n").line.endswith("| no metrics")


def test_our_line_is_replaced_where_it_stands_and_others_stay(tmp_path: Path) -> None:
    before = (
        b"\xef\xbb\xbf# Runs \r\n"
        b"caf\xe9, written by hand\r\n"
        b"- impl-ml-run-other-20261101 | Complete | x  \n"
        b"  * [%b](implementation/%b.md) | Running | started\r\n"
        b"- %b-2 | Running | started\n"
        b"\n"
        b"- the end | without a newline"
    )
    name = REPORT.encode()
    write(tmp_path, before % (name, name, name))
    write_run_line(tmp_path, REPORT, Status.COMPLETE, "fine")
    expected = (before % (name, name, name)).replace(
        b"* [%b](implementation/%b.md) | Running | started" % (name, name),
        b"- %b | Complete | fine" % name,
    )
    assert registry(tmp_path) == expected


def test_an_example_in_a_code_block_is_no_run_and_is_not_replaced(tmp_path: Path) -> None:
    example = f"```\n- {REPORT} | Complete | accuracy 0.9\n```\n".encode()
    write(tmp_path, example)
    assert read_registry(tmp_path).runs == ()
    write_run_line(tmp_path, REPORT, Status.COMPLETE, "fine")
    assert registry(tmp_path) == example + f"- {REPORT} | Complete | fine\n".encode()


def test_lines_that_can_not_be_parsed_are_counted(tmp_path: Path) -> None:
    write(
        tmp_path,
        b"# impl-ml-run registry\n\n"
        b"Prose on impl-ml-run-a-20261123 | is | prose.\n"
        b"- a note of somebody\n"
        b"- impl-ml-run-a-20261123 | Complete | fine | and a remark\n"
        b"- **impl-ml-run-b-20261123.md** | done by hand | caf\xe9\n"
        b"- impl-ml-run-c-20261123 | Complete\n"
        b"- impl-ml-run-d-20261123\n"
        b"- impl-ml-run-e-2026 | Complete | x\n"
        b"- impl-ml-run-f-20261123 |  | x\n"
        b"- see impl-ml-run-a-20261123 | for | more\n",
    )
    view = read_registry(tmp_path)
    assert view.runs == (
        RunLine("impl-ml-run-a-20261123", "Complete", "fine | and a remark"),
        RunLine("impl-ml-run-b-20261123", "done by hand", "caf\ufffd"),
    )
    assert view.unreadable == 5


def test_no_registry_is_an_empty_one(tmp_path: Path) -> None:
    view = read_registry(tmp_path / "none")
    assert (view.runs, view.unreadable) == ((), 0)


@given(DOCUMENTS, st.text())
def test_other_content_survives_and_the_same_line_again_changes_nothing(
    others: bytes, summary: str
) -> None:
    with TemporaryDirectory() as directory:
        reports_dir = Path(directory)
        write(reports_dir, others)
        write_run_line(reports_dir, REPORT, Status.RUNNING, "started")
        record = write_run_line(reports_dir, REPORT, Status.COMPLETE, summary)
        once = registry(reports_dir)
        added = once.removeprefix(others or b"# ML runs\n\n").strip(b"\r\n")
        assert added == record.line.encode()
        write_run_line(reports_dir, REPORT, Status.COMPLETE, summary)
        assert registry(reports_dir) == once
        last = read_registry(reports_dir).runs[-1]
        assert (last.report, last.status) == (REPORT, "Complete")
        assert last.summary == (clean(summary.replace("|", "/")) or "no metrics")


def reserve_many(reports_dir: Path) -> list[str]:
    return [reserve_report_name(reports_dir, "somali", DAY) for _ in range(5)]


def test_processes_at_once_get_different_names(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        names = [name for taken in pool.map(reserve_many, [tmp_path] * 3) for name in taken]
    assert sorted(names) == sorted([REPORT, *(f"{REPORT}-{number}" for number in range(2, 16))])
    assert {run.report for run in read_registry(tmp_path).runs} == set(names)


@pytest.mark.parametrize("by_rename", [False, True])
def test_no_line_of_an_editor_is_lost_beside_the_runs(tmp_path: Path, by_rename: bool) -> None:
    path = tmp_path / "_registry.md"
    path.touch()

    def write_note(number: int) -> None:
        if by_rename:
            new = tmp_path / "new"
            new.write_bytes(path.read_bytes() + b"note %d.\n" % number)
            new.rename(path)
        else:
            with path.open("ab", buffering=0) as file:
                file.write(b"note %d.\n" % number)

    def write_notes() -> None:
        while not done.wait(0.005):
            write_note(len(notes))
            notes.append(len(notes))

    notes: list[int] = []
    done = Event()
    with ThreadPoolExecutor(1) as pool:
        editor = pool.submit(write_notes)
        for number in range(60):
            write_run_line(tmp_path, REPORT, Status.RUNNING, f"step {number}")
        done.set()
        editor.result()
    found = re.findall(rb"note (\d+)\.", path.read_bytes())
    assert [int(number) for number in found] == notes != []
