"""`mlrun-assets predict`, with a model that knows which word means what."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlrun_assets.cli.__main__ import main
from mlrun_assets.config import load_config
from mlrun_assets.production.prediction import label_sources
from mlrun_assets_tests.examples import WORD_LABELS, serve_words

pytestmark = pytest.mark.slow  # whole runs, trainings or processes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return serve_words(tmp_path_factory.mktemp("served"), tiny_encoder).parent


class Called:
    """What the command did: exit code, answers, standard error."""

    def __init__(self, code: int, output: bytes, errors: str) -> None:
        self.code, self.errors = code, errors
        self.answers: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]


@pytest.fixture
def call(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any) -> Any:
    def run(*words: str, piped: bytes | None = b"") -> Called:
        monkeypatch.chdir(home)
        (tmp_path / "piped").write_bytes(piped or b"")
        stdin = None if piped is None else (tmp_path / "piped").open()  # None: closed
        monkeypatch.setattr(sys, "stdin", stdin)
        monkeypatch.setattr(sys, "argv", ["mlrun-assets", "predict", *words])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(str(end.code))
        sys.stdin.close()
        captured = capsysbinary.readouterr()
        return Called(code, captured.out, captured.err.decode())

    return run


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOAL, CATTLE = {"id": 1, "text": "waa gool", "by": [1, "x"]}, {"id": 2, "text": "beer iyo waa"}


def test_a_pipe_is_labelled_line_by_line(call: Any) -> None:
    called = call("-", "--all", piped=lines(GOAL, CATTLE))
    assert called.code == 0, called.errors
    assert [answer["label"] for answer in called.answers] == ["sports", "farming"]
    first = called.answers[0]
    assert {key: first[key] for key in GOAL} == GOAL
    assert first["probability"] == first["probabilities"]["sports"] > 0.5
    assert sum(first["probabilities"].values()) == pytest.approx(1.0, abs=0.01)
    assert round(first["probability"], 3) == first["probability"]
    assert tuple(first["probabilities"]) == WORD_LABELS
    assert called.errors == ""


def test_explain_names_the_words_that_decide(call: Any) -> None:
    called = call("-", "--explain", piped=lines({"text": "waa iyo gool waa"}))
    words = called.answers[0]["words"]
    assert (words[0]["words"], words[0]["position"]) == ("gool", 2)
    assert words[0]["change"] < -0.1
    assert words[0]["probability"] < called.answers[0]["probability"]
    assert abs(words[0]["change"]) > 2 * abs(words[1]["change"])


def test_texts_are_asked_in_the_form_in_which_they_were_learned(call: Any) -> None:
    plain, irregular = "waa gool", " waa \u00a0go\u200bol\ufeff\n"
    called = call("-", "--explain", piped=lines({"text": plain}, {"text": irregular}))
    assert called.answers[0]["probability"] == called.answers[1]["probability"]
    assert called.answers[1]["text"] == irregular


def test_the_model_reads_the_columns_that_it_learned(
    call: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Not those that the config names for the next experiment."""
    data = {"text_columns": ["text"], "predict_path": str(tmp_path / "rows.jsonl")}
    config = serve_words(tmp_path, tiny_encoder, ("headline", "text"), data=data)
    rows = lines({"headline": "gool gool gool", "text": "beer"})
    called = call("-", "--config", str(config), piped=rows)
    assert called.answers[0]["label"] == "sports", called.errors
    (tmp_path / "rows.jsonl").write_bytes(rows)
    assert label_sources(load_config(config), print).label_rows["sports"] == 1


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_files_of_every_format_keep_their_columns(call: Any, home: Path, ending: str) -> None:
    frame = pl.DataFrame({"text": ["waa gool", "waa beer"], "source": ["a", "b"], "label": "?"})
    file = home / f"rows.{ending}"
    if ending == "jsonl":
        frame.write_ndjson(file)
    elif ending == "parquet":
        frame.write_parquet(file)
    else:
        frame.write_csv(file, separator="," if ending == "csv" else "\t")
    called = call(file.name)
    assert [(row["source"], row["label"], row["input_label"]) for row in called.answers] == [
        ("a", "sports", "?"),
        ("b", "farming", "?"),
    ], called.errors


BAD = [
    (b"{broken\n", "not JSON"),
    (b'{"id": 3}\n', "missing column: no `text`"),
    (b'{"text": null}\n', "missing text"),
    (b'{"text": 7}\n', "text of a wrong type"),
    (b'{"text": " \\ufeff "}\n', "empty text"),
    (b"[1]\n", "not an object"),
    (b'{"text": "gool", "by": ' + b"[" * 300 + b"]" * 300 + b"}\n", "nested too deeply"),
    (b'{"text": "gool", "id": 123456789012345678901234567890}\n', "number too large"),
    (b'{"text": "gool", "id": -9223372036854775809}\n', "number too large"),
    (b'{"text": "\xff"}\n', "not JSON"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_bad_row_stops_with_its_line_after_those_before_it(
    call: Any, line: bytes, said: str
) -> None:
    called = call("-", piped=lines(GOAL) + b"\n" + line + lines(CATTLE))
    assert called.code == 1
    assert [answer["id"] for answer in called.answers] == [1]
    assert called.errors.startswith(f"error: standard input, line 3: {said}")
    assert "--skip-invalid" in called.errors


def test_bad_rows_can_be_passed_over(call: Any) -> None:
    piped = lines(GOAL) + b"".join(line for line, _ in BAD) + lines(CATTLE)
    called = call("-", "--skip-invalid", piped=piped)
    assert called.code == 0
    assert [answer["label"] for answer in called.answers if "label" in answer] == [
        "sports",
        "farming",
    ]
    assert [
        answer["error"].startswith(said)
        for answer, (_, said) in zip(called.answers[1:-1], BAD, strict=True)
    ] == [True] * len(BAD)
    assert called.answers[1] == {"line": 2, "raw": "{broken", "error": called.answers[1]["error"]}
    assert called.answers[2]["id"] == 3
    assert f"note: {len(BAD)} rows could not be labelled" in called.errors


def test_a_file_is_written_whole_or_not_at_all(call: Any, home: Path) -> None:
    (home / "rows.jsonl").write_bytes(lines(GOAL, CATTLE))
    assert call("rows.jsonl", "--output", "out/told.jsonl").answers == []
    told = (home / "out/told.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in told] == [1, 2]
    (home / "rows.jsonl").write_bytes(lines(GOAL) + b"{\n")
    failed = call("rows.jsonl", "--output", "out/told.jsonl")
    assert failed.code == 1
    assert (home / "out/told.jsonl").read_text().splitlines() == told
    assert [path.name for path in (home / "out").iterdir()] == ["told.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["absent.jsonl"], 1, "absent.jsonl: no such file"),
        (["production"], 1, "not a regular file"),
        (["ml_config.yaml"], 1, "unknown format"),
        (["-", "--output", "/dev/null"], 1, "not a regular file"),
        (["-", "--output", "ml_config.yaml/x"], 1, "can't be written"),
        (["-", "--version", "exp_9"], 1, "no version `exp_9`; choose one of: exp_1"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_calls(call: Any, words: list[str], code: int, said: str) -> None:
    called = call(*words)
    assert (called.code, called.answers) == (code, [])
    assert said in called.errors


def test_a_named_version_and_no_rows(call: Any) -> None:
    assert call("-", "--version", "exp_1", piped=lines(GOAL)).answers[0]["label"] == "sports"
    assert call("-").code == 0


def test_nothing_in_production_says_what_to_do(call: Any, home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("{}")
    called = call("-", "--config", str(empty), piped=lines(GOAL))
    assert called.code == 1
    assert "nothing is in production" in called.errors and "promote EXPERIMENT" in called.errors


def test_a_model_whose_files_were_changed_is_not_asked(
    call: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    config = serve_words(tmp_path, tiny_encoder)
    weights = tmp_path / "production/current/model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    called = call("-", "--config", str(config), piped=lines(GOAL))
    assert called.code == 1
    assert "not those that were recorded" in called.errors


@pytest.mark.parametrize("during", ["__init__", "probabilities"])
def test_a_model_that_can_not_be_read_is_not_told_as_the_output_file(
    call: Any, home: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    def fails(*args: Any, **settings: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(f"mlrun_assets.models.predictor.Predictor.{during}", fails)
    called = call("-", "--output", "unread.jsonl", piped=lines(GOAL))
    assert called.code == 1
    assert called.errors == (
        "error: exp_1: the model can't be read: Input/output error; make its files readable, or "
        "choose another version\n"
    )
    assert not list(home.glob("*unread*")) + list(home.glob(".unread*"))


ENDLESS = """
import itertools, sys
try:
    for line in itertools.repeat('{"text": "waa gool"}\\n'):
        sys.stdout.write(line)
except BrokenPipeError:
    sys.stderr.close()
"""


def test_a_slow_pipe_is_answered_before_more_of_it_comes(home: Path) -> None:
    """Rows, a part of a row, and blank lines; then Ctrl-C while nothing comes."""
    with subprocess.Popen(
        [sys.executable, "-m", "mlrun_assets.cli", "predict", "-"],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as predict:
        assert predict.stdin and predict.stdout and predict.stderr
        # One that waits for more than it was given would wait for ever.
        end = threading.Timer(300, predict.kill)
        end.daemon = True
        end.start()
        whole = lines(GOAL, CATTLE)
        for piped in (whole + whole[:20], whole[20:] + b"\n", whole):
            predict.stdin.write(piped)
            predict.stdin.flush()
            told = [json.loads(predict.stdout.readline())["label"] for _ in range(2)]
            assert told == ["sports", "farming"]
        predict.send_signal(signal.SIGINT)
        assert (predict.wait(), predict.stderr.read().strip()) == (130, b"cancelled")
        assert predict.stdout.read() == b""
        end.cancel()


def test_a_reader_that_leaves_ends_it_quietly(home: Path) -> None:
    """Rows without end: what is answered at all is answered as they come."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as endless,
        subprocess.Popen(
            [sys.executable, "-m", "mlrun_assets.cli", "predict", "-"],
            cwd=home,
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as predict,
    ):
        assert endless.stdout and predict.stdout and predict.stderr
        endless.stdout.close()
        assert json.loads(predict.stdout.readline())["label"] == "sports"
        predict.stdout.close()
        said = predict.stderr.read()
    assert (predict.returncode, said) == (0, b"")


def test_ctrl_c_leaves_no_half_file(call: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(stream: Any) -> Iterator[bytes]:
        yield from [lines(GOAL)] * 100
        raise KeyboardInterrupt

    monkeypatch.setattr("mlrun_assets.data.unlabelled.pipe_lines", interrupted)
    called = call("-", "--output", "stopped.jsonl")
    assert (called.code, called.errors.strip()) == (130, "cancelled")
    assert not list(home.glob("*stopped*")) + list(home.glob(".stopped*"))


@pytest.mark.parametrize("piped", [b"", None])
def test_no_row_is_told_and_no_error(call: Any, piped: bytes | None) -> None:
    called = call("-", piped=piped)
    assert called.code == 0, called.errors
    assert called.answers == []
    assert called.errors == "note: standard input: no rows\n"
