"""What `init` finds out about a file of labelled rows."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

import pytest

from mlrun_assets.data import proposal
from mlrun_assets.data.proposal import UNKNOWN_LANGUAGE, Proposal, guess_language, propose
from mlrun_assets.errors import DataError
from mlrun_assets_tests.examples import SHARED, sample_rows, write_rows

ROWS = sample_rows("val")


def write_table(
    file: Path, header: list[str], rows: list[list[object]], delimiter: str = ","
) -> Path:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, delimiter=delimiter).writerows([header, *rows])
    return file


def columns(found: Proposal) -> tuple[object, ...]:
    return found.texts, found.label, found.id_column, found.group, found.language


def test_a_spreadsheet_with_many_columns(tmp_path: Path) -> None:
    header = ["nr", "sentence", "topic", "author", "url", "date", "gender"]
    rows: list[list[object]] = [
        [number, row["text"], row["label"], f"writer {number % 30}", f"https://x.so/{number}",
         "2026-01-01", "fm"[number % 2]]
        for number, row in enumerate(ROWS)
    ]  # fmt: skip
    for delimiter in ",;\t":
        found = propose(write_table(tmp_path / "rows.csv", header, rows, delimiter))
        assert columns(found) == (("sentence",), "topic", "nr", "author", "so")
        assert found.others == ("url", "date", "gender")
    assert found.labels == {"farming": 35, "health": 35, "sports": 35}
    assert {label for label, _, number in found.examples if number} == set(found.labels)
    assert (found.rows, found.whole, found.language_share) == (105, True, 1.0)


def test_json_lines_with_the_default_names_and_unusable_rows(tmp_path: Path) -> None:
    rows = [*ROWS, {"id": "x", "text": "not labelled", "label": ""}]
    found = propose(write_rows(tmp_path / "rows.jsonl", rows))
    assert columns(found) == (("text",), "label", None, None, "so")
    assert found.has_id and found.others == ()
    assert found.unusable == {"missing label": 1}
    assert len(set(found.examples)) == len(found.examples) == 3
    for row in rows:
        row["id"] = "same"
    assert propose(write_rows(tmp_path / "rows.jsonl", rows)).id_column is False


@pytest.mark.parametrize("nested", [False, True])
def test_a_directory_of_datasets_with_label_names(tmp_path: Path, nested: bool) -> None:
    import datasets

    names = ["farming", "health", "sports"]
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    texts = {key: [row[key] for row in ROWS] for key in ("text", "label")}
    saved = datasets.Dataset.from_dict(texts, features=features)
    whole = datasets.DatasetDict({"train": saved, "test": saved}) if nested else saved
    whole.save_to_disk(str(tmp_path / "saved"))
    found = propose(tmp_path / "saved")
    assert sorted(found.labels) == names
    assert found.rows == 105 * (1 + nested)


def test_a_headline_belongs_to_the_text(tmp_path: Path) -> None:
    def texts(header: list[str], *added: str, **named: str) -> tuple[str, ...]:
        rows: list[list[object]] = [
            [*(each.format(n) for each in added), row["text"], row["label"]]
            for n, row in enumerate(ROWS)
        ]
        return propose(write_table(tmp_path / "rows.csv", header, rows), **named).texts

    names = ["headline", "text", "label"]
    assert texts(names, "War {} oo cusub") == ("headline", "text")
    assert texts(["Subject", "url", "body", "label"], "War {}", "x/{}") == ("Subject", "body")
    assert texts(names, "War {} oo cusub", text="text") == ("text",)
    assert texts(names, "") == ("text",)
    assert texts(names, "Warka maanta") == ("text",)  # the same of all texts
    assert texts(["link", "text", "label"], "War {} oo cusub") == ("text",)


def test_a_column_that_some_rows_lack_is_not_asked_for(tmp_path: Path) -> None:
    rows = [
        {**row, "headline": f"War {n} oo cusub", "author": n // 3} for n, row in enumerate(ROWS)
    ]
    file = tmp_path / "rows.jsonl"

    def proposed() -> tuple[tuple[str, ...], str | None, int]:
        write_rows(file, rows)
        found = propose(file)
        return found.texts, found.group, found.unusable.total()

    assert proposed() == (("headline", "text"), "author", 0)
    del rows[0]["headline"], rows[1]["author"]
    assert proposed() == (("text",), None, 0)


def test_only_the_start_of_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposal, "MOST_ROWS", 40)
    monkeypatch.setattr(proposal, "MOST_BYTES", 20_000)
    rows: list[list[object]] = [[row["text"], row["label"]] for row in ROWS * 50]
    random.Random(0).shuffle(rows)
    file = write_table(tmp_path / "rows.csv", ["text", "label"], rows)
    packed = tmp_path / "rows.csv.gz"
    # Its end is never read, so that it may be damaged.
    packed.write_bytes(gzip.compress(file.read_bytes())[:-2000])
    for each in (file, packed):
        found = propose(each)
        assert (found.rows, found.whole) == (40, False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "", "no rows"),
        ("rows.csv", "text,label\n", "no rows"),
        ("rows.csv", b"\x00\x01\x02\xff\xfe" * 50, "UTF-8"),
        ("rows.jsonl", b"\x00\x01\x02\xff" * 50, "no row can be read"),
        ("rows.parquet", "not a table", "not a Parquet file"),
        ("rows.xlsx", "PK", "unknown format"),
        ("rows.csv", "PK\x03\x04 a spreadsheet", "export it as CSV"),
        ("rows.csv", "text,text\na b c,d e f\n", "`text` is repeated"),
        ("rows.csv", "text\nHal weedh oo dheer\nLaba oo dheer\n", "no column is the label"),
        ("rows.csv", "text,label\nHal oo dheer,a\nLaba oo dheer,a\n", "no column is the label"),
        ("rows.csv", "a,b\n1,2\n1,3\n", "no column of texts"),
        ("rows.csv", "text,a,b\n" + "".join(f"weedh oo {n},{n % 2},{n % 3}\n" for n in range(9)),
         "`a`, `b` may each be the label: name it with --label"),
        ("rows.csv", "text," + ",".join(f"c{n}" for n in range(40)) + "\n"
         + "".join(f"weedh oo dheer {n}" + f",{n % 2}" * 40 + "\n" for n in range(9)),
         "and 32 more may each be the label"),
    ],
)  # fmt: skip
def test_what_can_not_be_proposed_is_one_message(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        propose(file)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_columns_can_be_named(tmp_path: Path) -> None:
    rows: list[list[object]] = [[row["text"], row["label"], n % 4] for n, row in enumerate(ROWS)]
    file = write_table(tmp_path / "rows.csv", ["words", "a", "b"], rows)
    assert propose(file, label="b").labels == {str(n): 27 - (n > 0) for n in range(4)}
    with pytest.raises(DataError, match="no column `c`; it has `words`, `a`, `b`"):
        propose(file, label="c")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no data file in this directory"):
        propose(tmp_path / "empty")


def test_kirundi_is_not_kinyarwanda() -> None:
    kinyarwanda = "Ibyo bintu byose ni byiza ku bana b'u Rwanda kandi abantu benshi barabikunda"
    kirundi = "Ivyo bintu vyose ni vyiza ku bana b'u Burundi kandi abantu benshi barabikunda"
    assert guess_language([kinyarwanda] * 9) == ("rw", 1.0)
    assert guess_language([kirundi] * 9) == ("rn", 1.0)


def test_the_language_of_published_texts() -> None:
    for name, code in {
        "sib200_som": "so", "sib200_hau": "ha", "sib200_tir": "ti", "sib200_yor": "yo",
        "sib200_kin": "rw", "masakhanews_run": "rn",
    }.items():  # fmt: skip
        file = SHARED / "data" / name / "val.jsonl"
        if file.exists():
            found = propose(file)
            assert (found.language, found.label) == (code, "label")
            assert found.texts[:-1] == ("headline",) * name.startswith("masakhanews")
    assert guess_language(["1 2 3", "4 5"]) == (UNKNOWN_LANGUAGE, 0.0)
