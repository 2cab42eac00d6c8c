import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.errors import RecordError
from mlrun_assets.records import RunLine, Status
from mlrun_assets.registries.registry import read_registry, reserve_report_name, write_run_line

DAY = "20261123"
REPORT = f"impl-ml-run-somali-{DAY}"


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


def test_the_second_of_a_day_gets_a_suffix(tmp_path: Path) -> None:
    names = [reserve_report_name(tmp_path, "somali", DAY) for _ in range(3)]
    assert names == [REPORT, f"{REPORT}-2", f"{REPORT}-3"]


def test_a_name_is_taken_by_a_report_or_a_hand_edited_line(tmp_path: Path) -> None:
    (tmp_path / "implementation").mkdir()
    (tmp_path / "implementation" / f"{REPORT}.md").touch()
    write(tmp_path, f"* *{REPORT.upper()}-2* was broken\n".encode())
    assert reserve_report_name(tmp_path, "somali", DAY) == f"{REPORT}-3"


def test_a_longer_name_does_not_take_a_shorter_one(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"- impl-ml-run-somali-{DAY}1 | Complete | x\n- {REPORT}-2 | Complete | x".encode(),
    )
    assert reserve_report_name(tmp_path, "somali", DAY) == REPORT


@pytest.mark.parametrize("name", ["a|b", "../a", "a\nb", "a b", ""])
def test_a_name_that_would_break_the_registry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RecordError, match="rename the experiment"):
        reserve_report_name(tmp_path, name, DAY)
    with pytest.raises(RecordError, match="rename the experiment"):
        write_run_line(tmp_path, f"impl-ml-run-{name}-{DAY}", Status.COMPLETE, "")
    assert list(tmp_path.iterdir()) == []


def test_a_summary_can_not_break_its_line(tmp_path: Path) -> None:
    record = write_run_line(tmp_path, REPORT, Status.FAILED, "a | b\r\nc\u2028d\x00 --> \udc80")
    assert record.line == f"- {REPORT} | Failed | a / b c d ->"
    assert read_registry(tmp_path).runs[0].summary == "a / b c d ->"
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


OTHERS = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from([b"\n", b"\r\n", b"```\n", b"<!--\n", b"- a | b | c\n", b"## x"]),
        st.just(f"- {REPORT}-2 | Running | started\n".encode()),
    ),
    max_size=12,
).map(b"".join)


@given(OTHERS, st.text())
def test_other_content_survives_and_the_same_line_again_changes_nothing(
    others: bytes, summary: str
) -> None:
    with TemporaryDirectory() as directory:
        reports_dir = Path(directory)
        write(reports_dir, others)
        write_run_line(reports_dir, REPORT, Status.RUNNING, "started")
        if others:
            assert registry(reports_dir).startswith(others)
        record = write_run_line(reports_dir, REPORT, Status.COMPLETE, summary)
        once = registry(reports_dir)
        if others:
            assert once.startswith(others)
            added = once[len(others) :].strip(b"\r\n")
            assert added == record.line.encode()
        write_run_line(reports_dir, REPORT, Status.COMPLETE, summary)
        assert registry(reports_dir) == once
        last = read_registry(reports_dir).runs[-1]
        assert f"- {last.report} | {last.status} | {last.summary}" == record.line


def reserve_many(reports_dir: Path) -> list[str]:
    return [reserve_report_name(reports_dir, "somali", DAY) for _ in range(5)]


def test_processes_at_once_get_different_names(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        names = [name for taken in pool.map(reserve_many, [tmp_path] * 3) for name in taken]
    assert sorted(names) == sorted([REPORT, *(f"{REPORT}-{number}" for number in range(2, 16))])
    assert {run.report for run in read_registry(tmp_path).runs} == set(names)
