"""Label texts, files and streams with the model in production, or of a version or experiment."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import orjson

from mlrun_assets.config import DataConfig, LoadedConfig
from mlrun_assets.data.other_rows import read_stream, read_whole_rows, row_of_text
from mlrun_assets.data.reading import DataFile
from mlrun_assets.data.rows import ParsedRow, QuarantinedRowError, joined_text
from mlrun_assets.data.sources import data_file, fetch_sources, join_digests, source_paths
from mlrun_assets.data.text import language_profile, normalise
from mlrun_assets.errors import ConfigError, DataError, ProductionError, count
from mlrun_assets.files import digest_file, open_atomically, temporary_directory
from mlrun_assets.markdown import visible_json
from mlrun_assets.production.answers import Answer, Classifier, PredictOptions, TextRow, answer_rows
from mlrun_assets.production.pointer import read_production
from mlrun_assets.production.versions import find_model, model_dir_of, verify_files
from mlrun_assets.progress import task
from mlrun_assets.records import (
    DatasetRecord,
    ExportRecord,
    PredictionsRecord,
    ProductionVersion,
)
from mlrun_assets.types import Probabilities, ProgressCallback

PREDICTIONS_DIR = "predictions"
_DIGITS = 12


@dataclass(frozen=True)
class ModelToAsk:
    """A model directory that predicts: of a version of production, or of an experiment.

    ``text_columns`` and ``language`` say how its texts were prepared; None: unknown.
    """

    name: str
    directory: Path
    digest: str
    max_length: int
    text_columns: tuple[str, ...] | None
    language: str | None

    def data(self, data: DataConfig) -> DataConfig:
        """``data`` with the text columns and the language that the model was trained on."""
        learned = {"text_columns": self.text_columns, "language": self.language}
        return data.model_copy(update={name: value for name, value in learned.items() if value})


def model_to_ask(config: LoadedConfig, wanted: str | None = None) -> ModelToAsk:
    """The version or experiment named ``wanted``, as `find_model`; None: the one in production.

    Raises:
        ExperimentError: there is no such version or experiment.
        ProductionError: nothing is in production, or the experiment has no exported model.
    """
    production = config.production_dir
    found = find_model(config, wanted) if wanted else read_production(production)
    if found is None:
        raise ProductionError(
            f"{production}: nothing is in production; run `mlrun-assets promote EXPERIMENT`, or "
            "try the model of an experiment with `mlrun-assets predict --version EXPERIMENT`, "
            "after `mlrun-assets run` if there is none yet"
        )
    if isinstance(found, ProductionVersion):
        model_dir = model_dir_of(production, found.version)
        known = (found.text_columns, found.language)
        return ModelToAsk(found.version, model_dir, found.digest, found.max_length, *known)
    export, dataset = found.find(ExportRecord), found.find(DatasetRecord)
    if not export or not dataset:
        raise ProductionError(
            f"{found.manifest.title}: it has no exported model ({found.manifest.status}); name "
            "another experiment"
        )
    data = found.config(config).settings.data
    directory, known = found.directory / export.model_dir, (data.text_columns, data.language)
    return ModelToAsk(found.id, directory, export.digest, dataset.max_length, *known)


def load_classifier(model: ModelToAsk, *, exact: bool = False) -> Classifier:
    """The model, after a check of its files.

    ``exact`` probabilities are computed in float32. Others may differ by a few hundredths, which is
    more than most single words change.

    Raises:
        ProductionError: the files have changed or can't be read, now or during prediction.
        ExportError: the model does not load.
    """
    from mlrun_assets.models.predictor import Predictor

    class ReadablePredictor(Predictor):
        """A predictor whose `OSError` is reported as the model's, not as the output file's."""

        def probabilities(self, texts: list[str]) -> Probabilities:
            with _readable(model.name):
                return super().probabilities(texts)

    with _readable(model.name), task(f"loading {model.name}"):
        verify_files(model.directory, model.digest)
        return ReadablePredictor(model.directory, model.max_length, exact=exact)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProductionError(
            f"{name}: the model can't be read: {error.strerror or error}; make its files "
            "readable, or choose another version"
        ) from error


# What is certainly meant as the name of a file, and what may be.
_DATA_FILE = re.compile(r"(?is).*\.(jsonl?|ndjson|[ct]sv|txt|parquet|arrow|gz|zst|bz2|xz)")
_PATH = re.compile(r"\S*[/\\]\S*|\S+\.\w+")


def rows_to_label(source: str, data: DataConfig) -> Iterator[TextRow | None]:
    """The rows of a file, or ``source`` itself as the text of the only row.

    Raises:
        DataError: a file is missing, can't be read, or is no data file.
    """
    with suppress(OSError, ValueError):  # too long for a path, or with a zero character
        if source.strip() and Path(source).exists():
            return rows_of_file(Path(source), data)
    if _DATA_FILE.fullmatch(source) or _PATH.fullmatch(source):
        raise DataError(
            f"{source}: no such file; to label a text that looks like a path, write it to a pipe, "
            "as in `echo TEXT | mlrun-assets predict -`"
        )
    row = ParsedRow(1, source, row_of_text(source.encode("utf-8", "surrogateescape"), data))
    return text_rows([row], "the text", data)


def rows_of_file(path: Path, data: DataConfig) -> Iterator[TextRow | None]:
    """The rows of a data file; a named pipe is read as JSON Lines.

    Raises:
        DataError: the file is missing, can't be read, or is no data file.
    """
    if path.is_fifo():
        return text_rows(read_stream(path.open("rb"), str(path), data), str(path), data)
    file = data_file(path)
    return text_rows(read_whole_rows(file, data), file.name, data)


def text_rows(
    parsed: Iterable[ParsedRow | None], name: str, data: DataConfig
) -> Iterator[TextRow | None]:
    """Rows with their texts in the normal form that the model was trained on.

    None where a pipe has given no further row for a while.
    """
    steps = language_profile(data.language).steps
    for each in parsed:
        if each is None:
            yield None
            continue
        place, row = f"{name}, line {each.line}", each.row
        size = len(each.raw) if each.raw else each.size
        try:
            if isinstance(row, QuarantinedRowError):
                raise row
            text = normalise(joined_text(row, data), steps).text
            if not text:
                why = "nothing is left after white space is stripped"
                raise QuarantinedRowError("empty text", why)
            yield TextRow(place, row, text, max(size, len(text)))
        except QuarantinedRowError as error:
            keys = row if isinstance(row, dict) else {"line": each.line, "raw": each.shown()}
            yield TextRow(place, keys, "", size, f"{error.reason}: {error.detail}")


def write_answers(windows: Iterable[list[Answer]], file: BinaryIO) -> Iterator[list[Answer]]:
    """Write answers as JSON Lines, flush after each window, and yield the window.

    Control and invisible characters are escaped, so that no row changes what a terminal shows.
    """
    # Parquet types that JSON lacks (decimals, bytes) are written as text.
    line_of = partial(orjson.dumps, default=str, option=orjson.OPT_APPEND_NEWLINE)
    for window in windows:
        file.writelines(visible_json(line_of(answer)) for answer in window)
        file.flush()
        yield window


def label_sources(config: LoadedConfig, progress: ProgressCallback) -> PredictionsRecord:
    """Label what ``data.predict_path`` names with the model in production.

    Writes ``predictions/VERSION/DIGEST.jsonl`` in the production directory (the digest of the input
    files) and the record beside it. Rows without a text get the key ``error``.

    Raises:
        ConfigError: the key is not set.
        ProductionError: nothing is in production, or its files have changed.
        DataError: a file can't be read, or no row has a text.
    """
    if config.settings.data.predict_path is None:
        raise ConfigError(
            f"{config.file or 'ml_config.yaml'}: data.predict_path is not set; set it to the "
            "rows to label: a file, a pattern, a URL, or a list of them"
        )
    sources = source_paths(config, ("predict",))
    version = model_to_ask(config)
    with temporary_directory("predict") as fetched:
        files = fetch_sources(sources, fetched)["predict"]
        progress(f"predictions: labelling {count(len(files), 'file')} with {version.name}")
        digest = join_digests([digest_file(file.path) for file in files])
        stem = f"{PREDICTIONS_DIR}/{version.name}/{digest.partition(':')[2][:_DIGITS]}"
        classifier = load_classifier(version)
        started = time.perf_counter()
        with open_atomically(config.production_dir / f"{stem}.jsonl") as output:
            data = version.data(config.settings.data)
            label_rows, unusable, accepted = _label(files, classifier, data, output)
        seconds = time.perf_counter() - started
    rows = label_rows.total()
    record = PredictionsRecord(
        version=version.name,
        file=f"{stem}.jsonl",
        rows=rows,
        rows_skipped=unusable,
        rows_accepted=None if classifier.accept_confidence is None else accepted,
        label_rows={label: label_rows[label] for label in classifier.labels},
        seconds=round(seconds, 3),
        rows_per_second=round(rows / max(seconds, 1e-9), 1),
    )
    record.save(config.production_dir / f"{stem}.json")
    return record


def _label(
    files: tuple[DataFile, ...], classifier: Classifier, data: DataConfig, output: BinaryIO
) -> tuple[Counter[str], int, int]:
    """Write the answers; returns the rows of each label, those without a text, those accepted."""
    parsed = (text_rows(read_whole_rows(file, data), file.name, data) for file in files)
    options = PredictOptions(skip_invalid=True)
    windows = answer_rows(chain.from_iterable(parsed), classifier, options)
    labels: Counter[str] = Counter()
    unusable, accepted, example = 0, 0, "they are empty"
    for answer in chain.from_iterable(write_answers(windows, output)):
        if "error" in answer:
            unusable, example = unusable + 1, answer["error"]
        else:
            labels[answer["label"]] += 1
            accepted += answer.get("accepted", False)
    if not labels:
        raise DataError(
            f"{', '.join(file.name for file in files)}: no row has a text to label ({example}); "
            "correct data.predict_path; the model reads the text_columns "
            f"{', '.join(data.text_columns)}"
        )
    return labels, unusable, accepted
