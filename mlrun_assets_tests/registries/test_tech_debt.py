from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets.errors import RecordError
from mlrun_assets.markdown import clean
from mlrun_assets.records import TechDebtRecord
from mlrun_assets.registries.tech_debt import DebtIssue, read_open_debt, record_debt
from mlrun_assets_tests.examples import POISON
from mlrun_assets_tests.reports.markdown_structure import kinds

FIRST, SECOND, THIRD = (f"impl-ml-run-somali-2026112{day}" for day in (3, 4, 5))
BALANCE = DebtIssue("data/class_balance", "The labels are out of balance", "Medium")
LATENCY = DebtIssue("export/latency", "A prediction takes too long", "High", "p95 512 ms")


def debt(reports_dir: Path) -> str:
    return (reports_dir / "_tech-debt.md").read_bytes().decode("utf-8", "surrogateescape")


def write(reports_dir: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    (reports_dir / "_tech-debt.md").write_bytes(data)


def changes(record: TechDebtRecord) -> list[tuple[int, str]]:
    return [(change.number, change.change) for change in record.changes]


def test_new_items_have_the_form_to_the_letter(tmp_path: Path) -> None:
    record = record_debt(tmp_path, FIRST, [BALANCE, LATENCY], {"data"})
    assert debt(tmp_path) == (
        "# Tech debt\n\n"
        "- [ ] **TD-001**: The labels are out of balance\n"
        "  - **Impact:** Medium\n"
        "  - **Source:** impl-ml-run-somali-20261123.md\n"
        "  - **Area:** data/class_balance\n"
        "- [ ] **TD-002**: A prediction takes too long\n"
        "  - **Impact:** High\n"
        "  - **Source:** impl-ml-run-somali-20261123.md\n"
        "  - **Area:** export/latency\n"
        "  - **Detail:** p95 512 ms\n"
    )
    assert changes(record) == [(1, "new"), (2, "new")]
    assert record.numbers("new") == ["TD-001", "TD-002"]
    assert record.file == str(tmp_path / "_tech-debt.md")
    found = read_open_debt(tmp_path)
    assert [(item.number, item.impact) for item in found] == [(1, "Medium"), (2, "High")]


def test_the_same_issue_again_keeps_its_number_and_tells_the_new_figures(tmp_path: Path) -> None:
    record_debt(tmp_path, FIRST, [LATENCY], ())
    for report in (SECOND, THIRD):
        again = DebtIssue(LATENCY.area, "Reworded", "High", f"p95 600 ms in {report[-2:]}")
        assert changes(record_debt(tmp_path, report, [again], ())) == [(1, "repeated")]
    assert debt(tmp_path) == (
        "# Tech debt\n\n"
        "- [ ] **TD-001**: A prediction takes too long\n"
        "  - **Impact:** High\n"
        "  - **Source:** impl-ml-run-somali-20261123.md\n"
        "  - **Area:** export/latency\n"
        "  - **Detail:** p95 600 ms in 25\n"
        "  - **Last seen:** impl-ml-run-somali-20261125.md\n"
    )


def test_an_issue_that_is_gone_is_ticked_where_it_was_looked_for(tmp_path: Path) -> None:
    record_debt(tmp_path, FIRST, [BALANCE, LATENCY], ())
    record = record_debt(tmp_path, SECOND, [], {"data"})
    assert changes(record) == [(1, "resolved")]
    lines = debt(tmp_path).splitlines()
    assert lines[2] == "- [x] **TD-001**: The labels are out of balance"
    assert lines[6] == f"  - **Resolved:** {SECOND}.md"
    assert [item.number for item in read_open_debt(tmp_path)] == [2]
    assert changes(record_debt(tmp_path, THIRD, [], {"data", "exp", "export/lat"})) == []


def test_an_issue_that_returns_is_a_new_item_that_names_the_old(tmp_path: Path) -> None:
    record_debt(tmp_path, FIRST, [BALANCE], ())
    write(tmp_path, debt(tmp_path).replace("[ ]", "[x]"))
    assert changes(record_debt(tmp_path, SECOND, [BALANCE], {"data"})) == [(2, "new")]
    returned = "- [ ] **TD-002**: The labels are out of balance (returned, was TD-001)"
    assert returned in debt(tmp_path)
    assert changes(record_debt(tmp_path, THIRD, [BALANCE], {"data"})) == [(2, "repeated")]
    assert changes(record_debt(tmp_path, f"{THIRD}-2", [], {"data"})) == [(2, "resolved")]
    record_debt(tmp_path, f"{THIRD}-3", [BALANCE], {"data"})
    assert "**TD-003**: The labels are out of balance (returned, was TD-002)" in debt(tmp_path)


def test_hand_edits_of_our_items_are_kept_and_the_item_is_known_again(tmp_path: Path) -> None:
    edited = (
        "* [ ] TD-007: **Soo Jeedin**: more rows of two labels are needed\r\n"
        "\t* Impact: Low, since we know it\r\n"
        f"\t* Source: [{FIRST}.md](implementation/{FIRST}.md)\r\n"
        "\r\n"
        "\t* **Area**: `data/class_balance`\r\n"
        "\t* a note: ask the newsroom  \r\n"
        "\r\n"
        "## Later\r\n"
    )
    write(tmp_path, edited)
    record = record_debt(tmp_path, SECOND, [BALANCE], {"data"})
    assert changes(record) == [(7, "repeated")]
    assert record.changes[0].impact == "Low, since we know it"
    area, seen = "\t* **Area**: `data/class_balance`\r\n", f"\t* **Last seen:** {SECOND}.md\r\n"
    assert debt(tmp_path) == edited.replace(area, area + seen)

    record_debt(tmp_path, THIRD, [], {"data"})
    resolved = f"{seen}\t* **Resolved:** {THIRD}.md\r\n"
    assert debt(tmp_path) == edited.replace(area, area + resolved).replace("[ ]", "[x]")


def test_an_item_without_an_area_is_known_by_its_description(tmp_path: Path) -> None:
    plain = (
        "- [ ] **TD-004**: the labels are out of balance.\n"
        "  - **Impact:** Medium\n"
        f"  - **Source:** {FIRST}.md"
    )
    write(tmp_path, plain)
    assert changes(record_debt(tmp_path, SECOND, [], {"data", ""})) == []
    assert debt(tmp_path) == plain
    assert changes(record_debt(tmp_path, SECOND, [BALANCE], ())) == [(4, "repeated")]
    assert debt(tmp_path) == (
        f"{plain}\n  - **Last seen:** {SECOND}.md\n  - **Area:** data/class_balance\n"
    )


def test_items_of_people_are_never_touched(tmp_path: Path) -> None:
    theirs = (
        "- [ ] **TD-041**: The labels are out of balance\n"
        "  - **Impact:** High\n"
        "  - **Source:** the newsroom\n"
        "  - **Area:** data/class_balance\n"
        "```\n- [ ] **TD-099**: an example\n  - **Source:** impl-ml-run-a-20261123.md\n```\n"
    )
    write(tmp_path, theirs)
    assert changes(record_debt(tmp_path, FIRST, [], {"data"})) == []
    assert debt(tmp_path) == theirs
    assert changes(record_debt(tmp_path, FIRST, [BALANCE], {"data"})) == [(100, "new")]
    assert debt(tmp_path).startswith(theirs)
    assert [item.number for item in read_open_debt(tmp_path)] == [41, 100]


def test_the_next_number_follows_those_of_items_alone(tmp_path: Path) -> None:
    write(
        tmp_path,
        "We closed TD-1200 last year.\n"
        "<!--\n- [x] **TD-007**: kept by hand\n-->\n"
        "- [ ] **TD-004**: see TD-9000\n  - **Detail:** - [ ] **TD-999**: a label\n",
    )
    assert changes(record_debt(tmp_path, FIRST, [BALANCE], ())) == [(8, "new")]
    write(tmp_path, f"- [ ] **TD-{10**9 - 1}**: a high number\n")
    for number in (10**9, 10**9 + 1):
        issue = DebtIssue(f"data/{number}", "Another", "Low")
        assert changes(record_debt(tmp_path, FIRST, [issue], ())) == [(number, "new")]


def test_fields_of_the_last_item_stay_above_new_items(tmp_path: Path) -> None:
    record_debt(tmp_path, FIRST, [BALANCE], ())
    record_debt(tmp_path, SECOND, [LATENCY, BALANCE], ())
    assert [line.partition(":")[0] for line in debt(tmp_path).splitlines()[5:8]] == [
        "  - **Area",
        "  - **Last seen",
        "- [ ] **TD-002**",
    ]


def test_the_same_run_again_changes_nothing(tmp_path: Path) -> None:
    record_debt(tmp_path, FIRST, [LATENCY], ())
    first = record_debt(tmp_path, SECOND, [BALANCE], {"data", "export"})
    once = debt(tmp_path)
    assert record_debt(tmp_path, SECOND, [BALANCE], {"data", "export"}) == first
    assert changes(first) == [(2, "new"), (1, "resolved")]
    assert debt(tmp_path) == once


def test_several_gone_at_once_are_each_ticked_in_place(tmp_path: Path) -> None:
    issues = [DebtIssue(f"data/check_{n}", f"Check {n} warned", "Medium") for n in range(4)]
    record_debt(tmp_path, FIRST, issues, ())
    record = record_debt(tmp_path, SECOND, [issues[2]], {"data"})
    assert changes(record) == [(3, "repeated"), (1, "resolved"), (2, "resolved"), (4, "resolved")]
    text = debt(tmp_path)
    for number, mark in enumerate("xx x"):
        item = text.split("- [")[number + 1]
        assert item.startswith(f"{mark}] **TD-{number + 1:03d}**: Check {number} warned")
        assert (f"Resolved:** {SECOND}.md" in item) == (mark == "x")


def test_thousands_of_items_take_linear_time(tmp_path: Path) -> None:
    issues = [DebtIssue(f"data/check_{n}", f"Check {n} warned", "Medium", "x") for n in range(5000)]
    for report, found in ((FIRST, issues), (SECOND, issues[::2]), (THIRD, issues)):
        record = record_debt(tmp_path, report, found, {"data"})
    assert len(record.numbers("new")) == len(record.numbers("repeated")) == 2500
    assert len({item.number for item in read_open_debt(tmp_path)}) == 5000


def test_labels_of_the_data_reach_the_file_as_text(tmp_path: Path) -> None:
    issue = DebtIssue(f"data/class_balance/{POISON}", f"Few rows: {POISON}", "Low", POISON)
    for report in (FIRST, SECOND):
        record_debt(tmp_path, report, [issue], ())
    lines = debt(tmp_path).splitlines()
    assert len(lines) == 2 + 6
    assert all(clean(line) == " ".join(line.split()) for line in lines)
    shown = [kind for line in lines[2:] for kind in kinds(line.strip().partition(":** ")[2])]
    assert set(shown) <= {"inline", "paragraph_open", "paragraph_close", "text", "code_inline"}
    assert "-->" not in debt(tmp_path)
    (item,) = read_open_debt(tmp_path)
    assert (item.number, item.description) == (1, clean(issue.description))
    assert changes(record_debt(tmp_path, THIRD, [BALANCE], {"data"})) == [
        (2, "new"),
        (1, "resolved"),
    ]


def test_areas_and_the_report_name_are_checked(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"2 issues.*'data/class_balance'"):
        record_debt(tmp_path, FIRST, [BALANCE, BALANCE], ())
    with pytest.raises(RecordError, match="''"):
        record_debt(tmp_path, FIRST, [DebtIssue(" ", "Nothing", "Low")], ())
    with pytest.raises(RecordError, match="no report name"):
        record_debt(tmp_path, "impl-ml-run-../a-20261123", [BALANCE], ())
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_not_utf8_are_read_and_kept(tmp_path: Path) -> None:
    item = b"- [ ] **TD-001**: caf\xe9\n  - **Impact:** \xff\n"
    write(tmp_path, item)
    assert read_open_debt(tmp_path)[0].model_dump_json()
    assert read_open_debt(tmp_path)[0].description == "caf\ufffd"
    record_debt(tmp_path, FIRST, [BALANCE], ())
    assert (tmp_path / "_tech-debt.md").read_bytes().startswith(item)


PIECES = [b"\n", b"\r\n", b"```\n", b"<!--\n", b"- [ ] ", b"  - **Impact:** x\n"]
PIECES += [b"- [ ] **TD-012**: by hand\r\n", b"- [x] TD-3: by hand", b"    note\n"]
OTHERS = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(PIECES)), max_size=12)
TEXTS = st.text(min_size=1)


@given(OTHERS.map(b"".join).filter(bool), TEXTS, TEXTS)
def test_other_content_survives_a_whole_life_of_an_item(
    others: bytes, description: str, detail: str
) -> None:
    with TemporaryDirectory() as directory:
        reports_dir = Path(directory)
        file = reports_dir / "_tech-debt.md"
        write(reports_dir, others)
        issue = DebtIssue("data/class_balance", description, "Low", detail)
        (number, change), *more = changes(record_debt(reports_dir, FIRST, [issue], {"data"}))
        assert (change, more) == ("new", [])
        assert file.read_bytes().startswith(others)
        again = record_debt(reports_dir, SECOND, [issue], {"data"})
        assert changes(again) == [(number, "repeated")]
        once = file.read_bytes()
        record_debt(reports_dir, SECOND, [issue], {"data"})
        assert file.read_bytes() == once
        assert changes(record_debt(reports_dir, THIRD, [], {"data"})) == [(number, "resolved")]
        assert file.read_bytes().startswith(others)


LIVES = st.lists(
    st.tuples(st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from("abcd"))), max_size=6
)
NOTES = st.sampled_from(
    ["", "TD-5000 is a note\n", "- [ ] **TD-017**: by hand\n", "```\n", "<!-- x\r\n"]
)


@given(LIVES, st.lists(NOTES, min_size=6, max_size=6))
def test_numbers_stay_unique_and_notes_stay_beside_many_runs(
    lives: list[tuple[set[str], set[str]]], notes: list[str]
) -> None:
    with TemporaryDirectory() as directory:
        reports_dir = Path(directory)
        write(reports_dir, "# Ours\n")
        numbers: list[int] = []
        for run, ((found, examined), note) in enumerate(zip(lives, notes, strict=False)):
            issues = [
                DebtIssue(f"data/{area}", f"Issue {area}", "Low", str(run))
                for area in sorted(found)
            ]
            record = record_debt(
                reports_dir, f"{FIRST}-{run + 2}", issues, {f"data/{a}" for a in examined}
            )
            numbers += [change.number for change in record.changes if change.change == "new"]
            write(reports_dir, debt(reports_dir) + note)
        assert len(numbers) == len(set(numbers))
        rest = debt(reports_dir)
        for note in notes[: len(lives)]:
            assert note in rest
            rest = rest[rest.index(note) + len(note) :]
