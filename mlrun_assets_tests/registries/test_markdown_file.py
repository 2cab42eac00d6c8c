import errno
import os
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from mlrun_assets import files
from mlrun_assets.errors import FileBusyError, RecordError
from mlrun_assets.registries import registry as registry_file
from mlrun_assets.registries.registry import (
    MarkdownLines,
    check_report_name,
    edit,
    one_line,
    printable,
    read_lines,
)

ENDINGS = [b"\n", b"\r\n", b"\r"]
UNUSUAL = [b"\xff", b"caf\xe9", b"\xef\xbb\xbf", b"\xc2\x85", b"\x00", b"\x0b", b"  ", b"\t"]
MARKDOWN = [b"- a", b"```", b"~~~~", b"<!--", b"-->", b"# Runs"]
PIECES = st.sampled_from([*ENDINGS, *UNUSUAL, *MARKDOWN])
DOCUMENTS = st.one_of(st.binary(), st.lists(PIECES, max_size=30).map(b"".join))


def prose(data: bytes) -> list[str]:
    return [text for _, text in MarkdownLines(data).prose()]


@given(DOCUMENTS)
def test_lines_come_out_as_they_came_in(data: bytes) -> None:
    assert MarkdownLines(data).to_bytes() == data


@given(DOCUMENTS, st.data())
def test_an_inserted_line_leaves_all_others_as_they_were(data: bytes, draw: st.DataObject) -> None:
    lines = MarkdownLines(data)
    index = draw.draw(st.integers(0, len(lines)))
    lines.insert(index, "ours")
    parts = data.splitlines(keepends=True)
    after = lines.to_bytes().splitlines(keepends=True)
    assert after[index].strip(b"\r\n") == b"ours"
    assert after[index].endswith((b"\n", b"\r"))
    others = after[:index] + after[index + 1 :]
    if index == len(parts) and parts and not parts[-1].endswith((b"\n", b"\r")):
        assert others[-1].rstrip(b"\r\n") == parts[-1]
        others[-1] = parts[-1]
    assert others == parts


@given(DOCUMENTS.filter(lambda data: data.splitlines()), st.data())
def test_a_replaced_line_keeps_its_ending_and_its_neighbours(
    data: bytes, draw: st.DataObject
) -> None:
    parts = data.splitlines(keepends=True)
    index = draw.draw(st.integers(0, len(parts) - 1))
    lines = MarkdownLines(data)
    lines.replace(index, "ours")
    ending = parts[index][len(parts[index].rstrip(b"\r\n")) :]
    assert lines.to_bytes() == b"".join([*parts[:index], b"ours", ending, *parts[index + 1 :]])


def test_an_added_line_ends_like_the_one_above_it() -> None:
    for data, expected in [
        (b"a\r\nb\r\n", b"a\r\nb\r\nours\r\n"),
        (b"a\r\nb", b"a\r\nb\r\nours\r\n"),
        (b"a", b"a\nours\n"),
        (b"", b"ours\n"),
    ]:
        lines = MarkdownLines(data)
        lines.append("ours")
        assert lines.to_bytes() == expected


def test_code_blocks_and_comments_are_no_prose() -> None:
    assert prose(b"a\n```md\n- b\n```\nc\n~~~~\n~~~\n```\n~~~~\nd") == ["a", "c", "d"]
    assert prose(b"<!-- a\nb\n-->\nc\n<!-- d -->\ne") == ["c", "e"]


def test_what_is_never_closed_hides_nothing() -> None:
    assert prose(b"```\na\n``\n") == ["```", "a", "``"]
    assert prose(b"<!-- a\nb") == ["<!-- a", "b"]
    assert prose(b"```a``` b\nc\n```\nd") == ["```a``` b", "c", "```", "d"]


def test_a_missing_or_empty_file_gets_a_heading_once(tmp_path: Path) -> None:
    for path in (tmp_path / "new" / "_a.md", tmp_path / "_b.md"):
        if path.name == "_b.md":
            path.touch()
        edit(path, "# Runs", lambda lines: lines.append("- one"))
        edit(path, "# Runs", lambda lines: lines.append("- two"))
        assert path.read_bytes() == b"# Runs\n\n- one\n- two\n"


def test_a_change_of_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "_a.md"
    path.write_bytes(b"- one")
    before = path.stat()
    assert edit(path, "# Runs", len) == 1
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    target = tmp_path / "shared" / "_a.md"
    target.write_bytes(b"- one\n")
    link = tmp_path / "_a.md"
    link.symlink_to(target)
    edit(link, "# Runs", lambda lines: lines.append("- two"))
    assert link.is_symlink()
    assert target.read_bytes() == b"- one\n- two\n"


def test_a_missing_file_has_no_lines(tmp_path: Path) -> None:
    assert len(read_lines(tmp_path / "_a.md")) == 0


def test_a_directory_in_its_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "_a.md"
    path.mkdir()
    with pytest.raises(RecordError, match=r"_a\.md: can't be read \(.*directory.*reports\.dir"):
        read_lines(path)
    with pytest.raises(RecordError, match=r"_a\.md: can't be written .*reports\.dir"):
        edit(path, "# Runs", lambda lines: lines.append("- one"))
    assert list(path.iterdir()) == []


def test_a_directory_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("a file")
    with pytest.raises(RecordError, match=r"_a\.md: can't be written"):
        edit(tmp_path / "reports" / "_a.md", "# Runs", lambda lines: lines.append("- one"))


def test_a_directory_that_can_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "_a.md"
    path.write_bytes(b"- one\n")

    def refuse(path: Path, content: str | bytes) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(registry_file, "write_atomically", refuse)
    with pytest.raises(RecordError, match=r"_a\.md: can't be written \(Permission denied\)"):
        edit(path, "# Runs", lambda lines: lines.append("- two"))
    assert path.read_bytes() == b"- one\n"


def test_a_lock_that_another_holds_is_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    path = tmp_path / "_a.md"
    with (
        FileLock(tmp_path / "._a.md.lock", thread_local=False),
        pytest.raises(FileBusyError, match=r"_a\.md: another process"),
    ):
        edit_in_a_thread(path)
    assert not path.exists()


def edit_in_a_thread(path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(edit, path, "# Runs", lambda lines: lines.append("- one")).result()


@pytest.mark.parametrize(
    "name",
    ["impl-ml-run-xlm-r-fine-tune-v2-20261123", "impl-ml-run-exp_20261123T031500Z-20261123-2"],
)
def test_report_names_that_are_fine(name: str) -> None:
    check_report_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "impl-ml-run--20261123",
        "impl-ml-run-a-2026",
        "impl-ml-run-a-20261123.md",
        "impl-ml-run-a/../../b-20261123",
        "impl-ml-run-a\\b-20261123",
        "impl-ml-run-a b-20261123",
        "impl-ml-run-a|b-20261123",
        "impl-ml-run-a\nb-20261123",
        "impl-ml-run-a\u2028b-20261123",
        "impl-ml-run-a\x00b-20261123",
        "impl-ml-run-a\udc80b-20261123",
        "impl-ml-run-[a]-20261123",
        "impl-ml-run-a-20261123\n",
        f"impl-ml-run-{'a' * 200}-20261123",
    ],
)
def test_report_names_that_break_a_line_or_leave_their_directory(name: str) -> None:
    with pytest.raises(RecordError, match="no report name"):
        check_report_name(name)


@given(st.text())
def test_one_line_is_one_line_that_closes_no_comment(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert "-->" not in line
    assert one_line(line) == line
    line.encode()


@given(st.binary())
def test_printable_text_can_be_encoded(data: bytes) -> None:
    printable(data.decode("utf-8", "surrogateescape")).encode()
