"""CSV and TSV: what quotes mean in a file, and that no row disappears into another one."""

from __future__ import annotations

import csv
import json
from contextlib import nullcontext
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlrun_assets.config import DataConfig
from mlrun_assets.data.content import is_windows_1252
from mlrun_assets.data.reading import DataFile, SplitRows, read_split

LABELS = ("sports", "health", "sci, tech")


def read(path: Path, **data: Any) -> SplitRows:
    rows = read_split("train", (DataFile(str(path), path),), DataConfig(**data))
    assert rows.rows_read == rows.frame.height + len(rows.quarantined)
    return rows


def table(*texts: str, columns: str = "id text label", delimiter: str = "\t") -> str:
    """An unquoted table with one line per text."""
    values = {"label": lambda n: LABELS[n % 2], "id": "sib-{}".format}
    rows = [columns.split()]
    for number, text in enumerate(texts):
        rows.append([text if c == "text" else values[c](number) for c in rows[0]])
    return "".join(delimiter.join(row) + "\n" for row in rows)


TWEETS = [f"Waa qoraal {n} oo kale" for n in range(60)]
SWALLOWING = [
    f'"{text}' if n % 10 == 2 else f'{text}"' if n % 10 == 6 else text
    for n, text in enumerate(TWEETS)
]
# A pair of quotes over three lines, one quote more, and quotes in the middle.
ODD_QUOTES = ['"Waa kow', "waa laba", 'waa "saddex"', '"', '""', '"afar" iyo', 'shan"', '"lix"']
# In CSV, it may also be a quoted text; in TSV, nothing shows that it is.
WRAPPED = [*TWEETS, '"Waa kow"']


@pytest.mark.parametrize("columns", ["id text label", "text label", "label text", "id label text"])
@pytest.mark.parametrize("texts", [SWALLOWING, ODD_QUOTES + TWEETS, WRAPPED])
@pytest.mark.parametrize(("ending", "delimiter"), [(".tsv", "\t"), (".csv", ";"), (".csv", ",")])
def test_a_text_may_start_with_a_quote(
    tmp_path: Path, columns: str, texts: list[str], ending: str, delimiter: str
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text(table(*texts, columns=columns, delimiter=delimiter), encoding="utf-8")
    rows = read(path)
    assert [*rows.quarantined] == []
    bare = (lambda text: text.strip('"')) if texts is WRAPPED and delimiter != "\t" else str
    assert rows.frame["text"].to_list() == list(map(bare, texts))


POEM = "Waa kow, laba\nSaddex, afar\n\nShan, lix, toddoba\nSideed"
LETTER = "Mudane Cali,\nhaa, waan imanayaa"
QUOTED_TEXTS = [
    POEM,
    LETTER,
    'Wuxuu yiri "haa"',
    '"',
    '"Haa, waa" buu yiri',
    "tab\there",
    "",
    "; | ,",
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("columns", [["id", "text", "label"], ["text", "label"], ["label", "text"]])
@pytest.mark.parametrize(
    ("ending", "delimiter"), [(".csv", ","), (".csv", ";"), (".tsv", "\t"), (".csv", "\t")]
)
def test_what_a_writer_quotes_is_read_back(
    tmp_path: Path, ending: str, delimiter: str, columns: list[str], escaped: bool, quoting: Any
) -> None:
    style = {"doublequote": False, "escapechar": "\\"} if escaped else {}
    texts = QUOTED_TEXTS * 3 + TWEETS
    path = tmp_path / f"a{ending}"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, **style)
        writer.writerow(columns)
        for number, text in enumerate(texts):
            row = {"id": f"a-{number}", "text": text, "label": LABELS[number % 3]}
            writer.writerow([row[column] for column in columns])
    # With the least quotes, a writer with a backslash escapes quotation marks outside quotes too.
    known = "escaped" if escaped and quoting == csv.QUOTE_MINIMAL else "auto"
    rows = read(path, quoting=known)
    assert [*rows.quarantined] == []
    assert rows.frame["text"].to_list() == [text.strip() for text in texts]


def test_rows_that_a_quote_joins_are_quarantined_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    good = "".join(f'a-{n},"Haa, waa {n}",{LABELS[n % 2]}\n' for n in range(30))
    joined = 'b-1,"Waa kow,sports\nb-2,Waa laba,health\nb-3,Waa saddex",sports\n'
    path.write_text(f"id,text,label\n{good}{joined}{good.replace('a-', 'c-')}")
    rows = read(path)
    assert rows.frame.height == 60
    assert [(bad.line, bad.reason) for bad in rows.quarantined] == [
        (32, "joined rows"), (33, "joined rows"), (34, "joined rows"),
    ]  # fmt: skip
    assert "lines 32 to 34" in next(iter(rows.quarantined)).detail
    assert read(path, quoting="quoted").frame.height == 61


@pytest.mark.parametrize(
    ("quoting", "text"),
    [
        ("auto", '"Haa \\"waa\\" ""'),
        ("quoted", None),
        ("unquoted", '"Haa \\"waa\\" ""'),
        ("escaped", 'Haa "waa" "'),
    ],
)
def test_the_config_decides_what_quotes_mean(
    tmp_path: Path, quoting: str, text: str | None
) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"Haa \\"waa\\" ""\tx\n')
    assert read(path, quoting=quoting).frame["text"].to_list() == ([text] if text else [])


def test_lines_that_one_row_takes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"Waa\nkow",x\nWaa laba,y\nWaa\n')
    (file,) = read(path).files
    assert (file.rows_read, file.joined_lines) == (3, 1)


FRENCH = "Le café fermé à Noël, c\u2019était «l\u2019été» de la famille \u2013 à ÉCOLE"


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_windows_1252_is_read_and_named(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    content = table(FRENCH, "Waa kow", delimiter=";", columns="text label")
    path.write_bytes(content.replace("label", "étiquette").encode("cp1252"))
    rows = read(path, label_column="étiquette")
    assert rows.frame["text"].to_list() == [FRENCH, "Waa kow"]
    (file,) = rows.files
    assert (file.encoding, file.rows_read) == ("Windows-1252", 2)
    path.write_bytes(content.encode())
    assert [file.encoding for file in read(path).files] == [""]


OTHER_ENCODINGS = {
    "cp850": FRENCH.replace("\u2019", "'").replace("\u2013", "-"),
    "mac-roman": FRENCH,
    "cp1250": "Zażółć gęślą jaźń, łódź i ładny kościół nad rzeką",
    "cp1251": "Команда победила, https://example.com/a/long/page-about-the-match",
    "cp1253": "Καλημέρα κόσμε, πώς είσαι σήμερα φίλε μου",
    "cp1254": "Bugün hava çok güzel ve ağaçlar yeşil, başka şey",
    "cp1256": "مرحبا بالعالم",
}


@pytest.mark.parametrize("encoding", OTHER_ENCODINGS)
def test_other_encodings_are_not_guessed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    texts = [OTHER_ENCODINGS[encoding], "Waa kow"]
    path.write_bytes(table(*texts, delimiter=";").encode(encoding))
    rows = read(path)
    assert rows.frame["text"].to_list() == ["Waa kow"]
    (bad,) = rows.quarantined
    assert bad.reason == "not UTF-8" and "iconv" in bad.detail


@given(st.lists(st.tuples(st.integers(0, 1999), st.integers(128, 255)), min_size=1, max_size=5))
def test_damaged_utf8_is_not_windows_1252(changes: list[tuple[int, int]]) -> None:
    content = bytearray((f"{FRENCH}\n" * 60).encode()[:2000])
    for place, value in changes:
        content[place] = value
    assert not is_windows_1252(lambda: nullcontext(BytesIO(content)))


# Whatever is written

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.text('ab",;\t\n\r\\', max_size=12)
WRITTEN = st.lists(st.tuples(TEXTS, st.sampled_from("xy")), max_size=12)
ANY_TEMPORARY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
STYLES: dict[str, dict[str, Any]] = {
    "quoted": {},
    "escaped": {"doublequote": False, "escapechar": "\\"},
    "unquoted": {"quoting": csv.QUOTE_NONE, "quotechar": None},
}


DIALECTS = st.tuples(
    st.sampled_from(sorted(STYLES)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
)


@ANY_TEMPORARY
@given(WRITTEN, DIALECTS, st.booleans())
def test_tables_come_back(
    tmp_path: Path, rows: list[tuple[str, str]], dialect: tuple[str, Any, str, str], auto: bool
) -> None:
    style, quoting, delimiter, end = dialect
    if style == "unquoted":
        spaces = str.maketrans(dict.fromkeys(delimiter + "\r\n", " "))
        rows = [(text.translate(spaces), label) for text, label in rows]
    path = tmp_path / ("a.tsv" if delimiter == "\t" else "a.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        options = {"quoting": quoting, **STYLES[style]}
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, **options)
        writer.writerows([("text", "label"), *rows])
    read_back = read(path, quoting="auto" if auto else style)
    found = list(read_back.frame.select("text", "label").iter_rows())
    written = [(text.strip(), label) for text, label in rows]
    if not auto:
        assert (found, [*read_back.quarantined]) == (written, [])
    elif quoting == csv.QUOTE_ALL and style == "quoted":
        left = iter(written)
        assert all(row in left for row in found)
        assert len(found) + len(read_back.quarantined) >= len(written)


@ANY_TEMPORARY
@given(WRITTEN, st.sampled_from([None, 1]), st.booleans(), st.booleans(), st.sampled_from(
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]))  # fmt: skip
def test_json_comes_back(
    tmp_path: Path, rows: list[tuple[str, str]], indent: int | None, array: bool, ascii_only: bool,
    encoding: str,
) -> None:  # fmt: skip
    objects = [{"text": text, "label": label} for text, label in rows]
    path = tmp_path / "a.json"
    dump = partial(json.dumps, ensure_ascii=ascii_only)
    content = dump(objects, indent=indent) if array else "\n".join(map(dump, objects))
    path.write_bytes(content.encode(encoding))
    read_back = read(path)
    assert [*read_back.quarantined] == []
    assert list(read_back.frame.select("text", "label").iter_rows()) == [
        (text.strip(), label) for text, label in rows
    ]
