"""`mlrun-assets predict`, with a model that knows which word means what."""

from __future__ import annotations

import errno
import functools
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlrun_assets.config import load_config
from mlrun_assets.files import digest_directory
from mlrun_assets.production.prediction import label_sources
from mlrun_assets.records import ExportRecord, Verdict
from mlrun_assets_tests.examples import (
    WORD_LABELS,
    finished,
    project,
    serve_words,
    word_model,
)

pytestmark = pytest.mark.slow  # whole runs, trainings or processes


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return serve_words(tmp_path_factory.mktemp("served"), tiny_encoder).parent


@pytest.fixture
def predict(home: Path, call: Any) -> Any:
    return functools.partial(call, "predict", cwd=home)


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


GOAL, CATTLE = {"id": 1, "text": "waa gool", "by": [1, "x"]}, {"id": 2, "text": "beer iyo waa"}


def test_a_pipe_is_labelled_line_by_line(predict: Any) -> None:
    called = predict("-", "--all", "--version", "exp_1", piped=lines(GOAL, CATTLE))
    assert (called.returncode, called.stderr) == (0, "")
    assert [answer["label"] for answer in called.answers] == ["sports", "farming"]
    first = called.answers[0]
    assert {key: first[key] for key in GOAL} == GOAL
    assert first["probability"] == first["probabilities"]["sports"] > 0.5
    assert sum(first["probabilities"].values()) == pytest.approx(1.0, abs=0.01)
    assert round(first["probability"], 3) == first["probability"]
    assert tuple(first["probabilities"]) == WORD_LABELS


def test_explain_names_the_words_that_decide_in_the_form_that_was_learned(predict: Any) -> None:
    plain, irregular = "waa iyo gool waa", " waa iyo \u00a0go\u200bol\ufeff\n waa"
    called = predict("-", "--explain", piped=lines({"text": plain}, {"text": irregular}))
    first, second = called.answers
    strongest, next_one, *_ = first["words"]
    assert (strongest["text"], strongest["position"]) == ("gool", 2)
    assert strongest["change"] < -0.1 and strongest["probability_without"] < first["probability"]
    assert abs(strongest["change"]) > 2 * abs(next_one["change"])
    assert second == {**first, "text": irregular}


def test_the_model_reads_the_columns_that_it_learned(
    predict: Any, tiny_encoder: Path, tmp_path: Path
) -> None:
    """Not those that the config names for the next experiment."""
    data = {"text_columns": ["text"], "predict_path": str(tmp_path / "rows.jsonl")}
    config = serve_words(tmp_path, tiny_encoder, ("headline", "text"), data=data)
    rows = lines({"headline": "gool gool gool", "text": "beer"})
    called = predict("-", "--config", str(config), piped=rows)
    assert called.answers[0]["label"] == "sports", called.stderr
    (tmp_path / "rows.jsonl").write_bytes(rows)
    assert label_sources(load_config(config), print).label_rows["sports"] == 1
    # A model whose files were changed is not asked.
    weights = tmp_path / "production/current/model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    called = predict("-", "--config", str(config), piped=rows)
    assert called.returncode == 1 and "not those that were recorded" in called.stderr


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_files_of_every_format_keep_their_columns(predict: Any, home: Path, ending: str) -> None:
    frame = pl.DataFrame({"text": ["waa gool", "waa beer"], "source": ["a", "b"], "label": "?"})
    write = {"jsonl": frame.write_ndjson, "parquet": frame.write_parquet}
    separator = "," if ending == "csv" else "\t"
    file = home / f"rows.{ending}"
    write.get(ending, functools.partial(frame.write_csv, separator=separator))(file)
    answers = [
        (row["source"], row["label"], row["input_label"]) for row in predict(file.name).answers
    ]
    assert answers == [("a", "sports", "?"), ("b", "farming", "?")]


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
    (b'{"text": "\xff"}\n', "not UTF-8"),
]


def test_bad_rows_can_be_passed_over(predict: Any) -> None:
    piped = lines(GOAL) + b"".join(line for line, _ in BAD) + lines(CATTLE)
    called = predict("-", "--skip-invalid", piped=piped)
    assert called.returncode == 0
    first, *bad, last = called.answers
    assert (first["label"], last["label"]) == ("sports", "farming")
    for answer, (_, said) in zip(bad, BAD, strict=True):
        assert answer["error"].startswith(said)
    assert bad[0] == {"line": 2, "raw": "{broken", "error": bad[0]["error"]}
    assert bad[1]["id"] == 3
    assert f"note: {len(BAD)} rows could not be labelled" in called.stderr


def test_a_file_is_written_whole_or_not_at_all(predict: Any, home: Path) -> None:
    (home / "rows.jsonl").write_bytes(lines(GOAL, CATTLE))
    assert predict("rows.jsonl", "--output", "out/told.jsonl").answers == []
    told = (home / "out/told.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in told] == [1, 2]
    (home / "rows.jsonl").write_bytes(lines(GOAL) + b"{\n")
    assert predict("rows.jsonl", "--output", "out/told.jsonl").returncode == 1
    assert (home / "out/told.jsonl").read_text().splitlines() == told
    assert [path.name for path in (home / "out").iterdir()] == ["told.jsonl"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["absent.jsonl"], 1, "absent.jsonl: no such file"),
        (["production"], 1, "not a regular file"),
        (["ml_config.yaml"], 1, "unknown format"),
        (["broken.jsonl", "--output", "./broken.jsonl"], 2, "would be replaced by its answers"),
        (["-", "--output", "/dev/null"], 1, "not a regular file"),
        (["-", "--output", "ml_config.yaml/x"], 1, "can't be written"),
        (["broken.jsonl"], 1, "broken.jsonl, line 2: not JSON"),
        (["-", "--version", "exp_9"], 2, "no version `exp_9`; there are:\n  words (exp_1)"),
        ([""], 1, "the text, line 1: empty text"),
        (["new/rows"], 1, "new/rows: no such file; to label a text that looks like a path"),
        (["new rows.csv"], 1, "new rows.csv: no such file"),
        (
            ["-", "--config", "empty/a.yaml"],
            1,
            "nothing is in production; run `mlrun-assets promote",
        ),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_calls(predict: Any, home: Path, words: list[str], code: int, said: str) -> None:
    (home / "empty").mkdir(exist_ok=True)
    (home / "empty/a.yaml").write_text("{}")
    (home / "broken.jsonl").write_text("\n{broken\n")
    called = predict(*words)
    assert (called.returncode, called.answers) == (code, [])
    assert said in called.stderr


def test_a_text_is_labelled_as_it_is_typed(predict: Any, home: Path) -> None:
    (answer,) = predict("waa gool, e.g. 3/4").answers
    assert (answer["text"], answer["label"]) == ("waa gool, e.g. 3/4", "sports")
    assert predict("gool").answers[0]["label"] == "sports"


def test_lines_that_are_no_json_are_texts(predict: Any) -> None:
    called = predict("-", piped=b"\xef\xbb\xbf\n waa gool\r\n\n{beer}\nbeer iyo waa")
    assert [answer["text"] for answer in called.answers] == ["waa gool", "{beer}", "beer iyo waa"]
    assert [answer["label"] for answer in called.answers][::2] == ["sports", "farming"]
    called = predict("-", "--skip-invalid", piped=b"gool\n\xff\n")
    assert called.answers[1]["error"].startswith("not UTF-8")


def test_the_model_of_an_experiment_is_tried_before_it_is_promoted(
    tmp_path: Path, tiny_encoder: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = project(tmp_path, monkeypatch)
    experiment = finished(config, "first", Verdict.REJECTED)
    shutil.rmtree(experiment.directory / "export")
    word_model(experiment.directory / "export", tiny_encoder)
    digest = digest_directory(experiment.directory / "export")
    export = experiment.load(ExportRecord)
    experiment.save(export.model_copy(update={"digest": digest, "model_dir": "export"}))
    called = call("predict", "gool", "--version", "First", cwd=tmp_path)
    assert called.returncode == 2 and "first (exp_" in called.stderr
    called = call("predict", "gool", "--version", "first", cwd=tmp_path)
    assert called.answers[0]["label"] == "sports", called.stderr
    assert "predict --version EXPERIMENT" in call("predict", "gool", cwd=tmp_path).stderr
    experiment.paths.record("exported_model").unlink()
    called = call("predict", "gool", "--version", experiment.id, cwd=tmp_path)
    assert called.returncode == 1 and "it has no exported model (Complete)" in called.stderr


@pytest.mark.parametrize("during", ["__init__", "probabilities"])
def test_a_model_that_can_not_be_read_is_not_told_as_the_output_file(
    predict: Any, home: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    def fails(*args: Any, **settings: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(f"mlrun_assets.models.predictor.Predictor.{during}", fails)
    called = predict("-", "--output", "unread.jsonl", piped=lines(GOAL))
    assert called.returncode == 1
    assert called.stderr == (
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


def process(home: Path, stdin: Any) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("mlrun-assets")), "predict", "-"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=home, stdin=stdin, stdout=pipe, stderr=pipe)


def test_a_slow_pipe_is_answered_before_more_of_it_comes(home: Path) -> None:
    """Rows, a part of a row, and blank lines; then Ctrl-C while nothing comes."""
    with process(home, subprocess.PIPE) as predict:
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
        process(home, endless.stdout) as predict,
    ):
        assert endless.stdout and predict.stdout and predict.stderr
        endless.stdout.close()
        assert json.loads(predict.stdout.readline())["label"] == "sports"
        predict.stdout.close()
        said = predict.stderr.read()
    assert (predict.returncode, said) == (0, b"")


def test_ctrl_c_leaves_no_half_file(
    predict: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any) -> Iterator[bytes]:
        yield from [lines(GOAL)] * 100
        raise KeyboardInterrupt

    monkeypatch.setattr("mlrun_assets.data.other_rows.pipe_lines", interrupted)
    called = predict("-", "--output", "stopped.jsonl")
    assert (called.returncode, called.stderr.strip()) == (130, "cancelled")
    assert not list(home.glob("*stopped*")) + list(home.glob(".stopped*"))


@pytest.mark.parametrize("piped", [b"", None])
def test_no_row_is_told_and_no_error(predict: Any, piped: bytes | None) -> None:
    called = predict("-", piped=piped)
    assert (called.returncode, called.stdout) == (0, "")
    assert called.stderr == "note: standard input: no rows\n"
