"""``mlrun-assets init`` and ``split``: a config for one's own rows, and splits made of them."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from mlrun_assets.cli import command, note, say, show, show_columns, with_config
from mlrun_assets.config import DEFAULT_CONFIG_FILE, LoadedConfig
from mlrun_assets.errors import ConfigError, DataError, count, listed, percent
from mlrun_assets.files import locked, write_together
from mlrun_assets.records import SPLITS

if TYPE_CHECKING:
    from mlrun_assets.data.proposal import Proposal
    from mlrun_assets.data.splitting import Splitting

SAMPLE_FILES = ("README.md", *(f"{split}.jsonl" for split in SPLITS))
LEFT_OUT = "left_out.jsonl"
_CONFIG = """\
# `mlrun-assets schema` lists every key with its meaning; a key that is left out has its default.
data:
{data}
model:
  name: embedded:multilingual-e5-small # offline; or a hub id, or a directory
  max_length: 128

deployment:
  min_accuracy: 0.85
  min_f1: 0.82
"""


@contextmanager
def _bad_input() -> Iterator[None]:
    """Data that a call names and that can't be used is a wrong call: exit code 2."""
    try:
        yield
    except DataError as error:
        raise ConfigError(str(error)) from None


@command(
    "init",
    "Start a project in DIR, or here. Writes ml_config.yaml and a sample of labelled rows. With "
    "--from, it writes no sample: it finds the columns and the language of FILE (CSV, TSV, JSON "
    "Lines, Parquet, Arrow, or a directory of these). Nothing is overwritten.",
    "init demo",
    "init my --from rows.csv",
    "init my --from rows.csv --label topic",
)
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), default=".")
@click.option("--from", "source", metavar="FILE", type=click.Path(path_type=Path),
              help="Your own labelled rows.")  # fmt: skip
@click.option("--text", metavar="COLUMN", help="The column of the text. Default: guessed.")
@click.option("--label", metavar="COLUMN", help="The column of the label. Default: guessed.")
def init(directory: Path, source: Path | None, text: str | None, label: str | None) -> None:
    """Write the config, and print what was assumed and the next commands."""
    config = directory / DEFAULT_CONFIG_FILE
    if directory.exists() and not directory.is_dir():
        raise ConfigError(f"{directory} is a file; name a directory")
    if config.exists():
        raise ConfigError(f"{config} exists already; edit it, or name another directory")
    if text and text == label:
        raise ConfigError(f"--text and --label both name `{text}`; they are two columns")
    if source is None:
        if text or label:
            raise ConfigError("--text and --label name columns of a file: add --from FILE")
        _write_sample(directory)
        steps = ["check-data", "run --fast"]
    else:
        from mlrun_assets.data.proposal import propose

        with _bad_input():
            found = propose(source, text, label)
        _show_proposal(found, source)
        write_together({config: _config_for(found).encode()})
        steps = [f"split {shlex.quote(_seen_from(source, directory))}", "check-data", "run --fast"]
    show(f"\nwrote {config}; next:")
    if directory.resolve() != Path.cwd():
        show(f"  cd {shlex.quote(str(directory))}")
    for step in steps:
        show(f"  mlrun-assets {step}")


def _seen_from(source: Path, directory: Path) -> str:
    return str(source) if source.is_absolute() else os.path.relpath(source, directory)


def _write_sample(directory: Path) -> None:
    """Write the config and the packaged sample.

    Raises:
        ConfigError: a file of the sample exists already.
    """
    target, sample = directory / "data" / "sample", resources.files("mlrun_assets") / "sample"
    lines = [f"  {split}_path: data/sample/{split}.jsonl" for split in SPLITS]
    data = "".join(f"{line}\n" for line in [*lines, "  language: som"])
    contents = {target / name: (sample / name).read_bytes() for name in SAMPLE_FILES}
    try:
        write_together(
            {**contents, directory / DEFAULT_CONFIG_FILE: _CONFIG.format(data=data).encode()}
        )
    except FileExistsError as error:
        raise ConfigError(
            f"{error.filename} exists already; nothing was written: name another directory"
        ) from None


def _yaml(value: str | bool) -> str:
    """A value as YAML; text in quotes, which JSON has in common with it."""
    return orjson.dumps(value).decode()


def _config_for(found: Proposal) -> str:
    values: list[tuple[str, str]] = [("name", _yaml(found.name))]
    values += [(f"{split}_path", f"data/{split}.jsonl") for split in SPLITS]
    values += [
        ("text_columns", f"[{', '.join(map(_yaml, found.texts))}]"),
        ("label_column", _yaml(found.label)),
    ]
    if found.id_column is not None:
        values.append(("id_column", _yaml(found.id_column)))
    if found.group:
        values.append(("group_column", _yaml(found.group)))
    values.append(("language", found.language))
    notes = {
        "train_path": "`mlrun-assets split` writes these three files",
        "language": "the code of ISO 639"
        if found.language_share
        else "unknown: set its ISO 639 code",
        "group_column": "its rows stay in one split",
    }
    lines = [
        f"  {key}: {value}" + (f" # {notes[key]}" if key in notes else "") for key, value in values
    ]
    return _CONFIG.format(data="".join(f"{line}\n" for line in lines))


def _show_proposal(found: Proposal, source: Path) -> None:
    """Print what the config assumes, with three example rows."""
    from mlrun_assets.data.splitting import ROWS_NEEDED

    labels = listed((f"{label} {rows:,}" for label, rows in found.labels.most_common()), most=8)
    guess = "unknown; set data.language in the config"
    if found.language_share:
        share = f"{percent(found.language_share, 0)} of the texts"
        guess = f"`{found.language}`, a guess ({share}); correct it in the config"
    rows = [
        ("rows", f"{found.rows:,}{'' if found.whole else ' read, there are more'}"),
        ("text", " and ".join(f"`{name}`" for name in found.texts)),
        ("label", f"`{found.label}`, {count(len(found.labels), 'label')}: {labels}"),
        ("id", f"`{found.id_column or 'id'}`" if found.has_id else "none"),
        ("group", f"`{found.group}`: its rows stay in one split" if found.group else "none"),
        ("language", guess),
        ("other columns", f"kept: {listed(found.others)}" if found.others else "none"),
    ]
    if found.encoding:
        advice = "if letters are wrong or `?` in the examples, save it as `CSV UTF-8`"
        rows.append(("encoding", f"read as {found.encoding}; {advice}"))
    if found.unusable:
        reasons = listed(f"{reason} {rows:,}" for reason, rows in found.unusable.most_common())
        rows.append(("not usable", reasons))
    show(source)
    show_columns(rows)
    show("\nexamples")
    show_columns(found.examples)
    scarce = [label for label, rows in found.labels.items() if rows < sum(ROWS_NEEDED[:2])]
    if found.whole and scarce:
        note(f"too few rows of {listed(scarce, most=3)}: `split` needs two for train, one for val")
    if all(label.lstrip("-").isdigit() for label in found.labels):
        note("the labels are numbers; data.labels in the config names them, the one for 0 first")


@command(
    "split",
    "Split rows into train, val and test. The rows need labels. Near-duplicates, texts that "
    "contain each other and the rows of a group stay in one split; labels are spread evenly. "
    "Repeated texts and texts with two labels are left out and listed. No file is overwritten; "
    "--add adds rows to the files.",
    "split rows.csv",
    "split 2024.csv 2025.csv --group author",
    "split new.csv --add",
    "split train.jsonl val.jsonl test.jsonl --output data/new",
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option("--fractions", nargs=3, type=float, metavar="TRAIN VAL TEST",
              help="Shares of the rows. Default: 0.7 0.15 0.15; with --add, those of the "
              "splits.")  # fmt: skip
@click.option("--group", metavar="COLUMN", help="Rows with the same value, such as an "
              "author, stay in one split. Default: data.group_column of the config.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True,
              help="Another seed gives other splits.")  # fmt: skip
@click.option("--add", is_flag=True, help="Add the rows to the splits that exist. No earlier row "
              "is moved; a near-duplicate of one goes into its split.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Write train.jsonl, val.jsonl and test.jsonl there. Default: the files that "
              "the config names.")  # fmt: skip
@with_config
def split(  # noqa: PLR0913  click gives every option by its name
    config: LoadedConfig,
    *,
    files: tuple[Path, ...],
    fractions: tuple[float, float, float] | None,
    group: str | None,
    seed: int,
    add: bool,
    output: Path | None,
) -> None:
    """Write all three files or none, and print their rows by label."""
    _check_fractions(fractions)
    data = config.settings.data
    if group:
        data = data.model_copy(update={"group_column": group})
    targets = _targets(config, output)
    missing = [file for file in targets.values() if not file.exists()]
    if add and missing:
        raise ConfigError(f"{missing[0]}: no such file to add rows to; leave out --add")
    if not add and len(missing) < len(SPLITS):
        present = next(file for file in targets.values() if file.exists())
        remedy = "; add rows to it with --add"
        if missing:  # another split was killed, or it is not by this command
            remedy = f", but no {missing[0].name}: remove it if it can be made again"
        raise ConfigError(
            f"{present} exists already{remedy}, or write to another directory with --output DIR"
        )
    from mlrun_assets.data.proposal import files_in
    from mlrun_assets.data.splitting import Options, split_rows

    # Another process that adds rows meanwhile would replace these.
    with locked(targets["train"].resolve()) if add else nullcontext():
        with _bad_input():
            read = [file for path in files for file in files_in(path)]
            earlier = {name: files_in(file) for name, file in targets.items()} if add else None
            done = split_rows(read, data, Options(fractions, seed), earlier)
        _write_splits(done, targets, add=add)
    _show_splitting(done, targets, add=add)
    if group and group != config.settings.data.group_column:
        note(f"set data.group_column: {group} in the config, so that the checks know it, too")
    if output:
        note(f"set data.train_path, val_path and test_path in the config to the files in {output}")
    show("\nnext:\n  mlrun-assets check-data\n  mlrun-assets run --fast")


def _check_fractions(fractions: tuple[float, float, float] | None) -> None:
    if fractions is None:
        return
    total = sum(fractions)
    if not (all(each > 0 for each in fractions) and abs(total - 1) <= 1e-6):  # also NaN
        shown = " + ".join(f"{each:g}" for each in fractions)
        raise ConfigError(
            f"--fractions: {shown} = {total:g}; give three numbers above 0 that add up to 1"
        )


def _targets(config: LoadedConfig, output: Path | None) -> dict[str, Path]:
    """The files to write, by split.

    Raises:
        ConfigError: the config names other than one local JSON Lines file per split; or there is
            no config.
    """
    if output:
        return {name: output / f"{name}.jsonl" for name in SPLITS}
    if config.file is None:
        raise ConfigError(
            f"{config.directory}: no {DEFAULT_CONFIG_FILE} here, which names the columns and the "
            "files to write: `mlrun-assets init --from FILE` writes one; or give --output DIR"
        )
    targets = {}
    for name in SPLITS:
        paths = config.settings.data.paths(name)
        several = len(paths) > 1 or "://" in paths[0] or glob.has_magic(paths[0])
        if several or not paths[0].endswith((".jsonl", ".ndjson")):
            raise ConfigError(
                f"{config.file}: data.{name}_path: `split` writes one local file, and its name "
                "must end in .jsonl: change the path, or give --output DIR"
            )
        targets[name] = config.path(paths[0])
    if len({file.resolve() for file in targets.values()}) < len(SPLITS):
        raise ConfigError(
            f"{config.file}: two of data.train_path, val_path and test_path lead to the same file: "
            "use a file per split"
        )
    return targets


def _write_splits(done: Splitting, targets: dict[str, Path], *, add: bool) -> None:
    contents = {}
    # Train comes last: `split_rows` knows then which rows a killed command has added already.
    for name, file in reversed(targets.items()):
        before = file.read_bytes() if add else b""
        end = b"" if before.endswith(b"\n") or not before else b"\n"
        contents[file] = before + end + done.lines(name)
    listing = targets["train"].with_name(LEFT_OUT)
    if done.left_out:
        rows = sorted(done.left_out, key=lambda row: (row.file, row.line, row.reason))
        columns = ("file", "line", "reason", "detail", "raw")
        lines = [orjson.dumps({name: getattr(row, name) for name in columns}) for row in rows]
        before = listing.read_bytes() if add and listing.exists() else b""
        contents[listing] = before + b"".join(line + b"\n" for line in lines)
    try:
        write_together(contents, replace=add)
    except FileExistsError as error:
        raise ConfigError(f"{error.filename} exists already; nothing was written") from None


def _show_splitting(done: Splitting, targets: dict[str, Path], *, add: bool) -> None:
    table = [(label, *(f"{rows:,}" for rows in counts)) for label, counts in done.totals.items()]
    sums = [sum(counts) for counts in zip(*done.totals.values(), strict=True)]
    shares = [f"{rows:,} ({percent(rows / sum(sums), 0)})" for rows in sums]
    show_columns([*table, ("all", *shares)], ("label", *SPLITS))
    show("")
    if add:
        new = [done.rows.filter(done.rows["split"] == at).height for at in range(len(SPLITS))]
        parts = ", ".join(f"{rows:,} to {name}" for rows, name in zip(new, SPLITS, strict=True))
        say(f"{count(sum(new), 'row')} added: {parts}")
    if done.together:
        say(f"{count(done.together, 'row')} kept beside near-duplicates or rows of their group")
    if done.left_out:
        reasons = listed(f"{why}: {rows:,}" for why, rows in done.left_out.reasons.most_common())
        where = targets["train"].with_name(LEFT_OUT)
        say(f"{count(len(done.left_out), 'row')} left out ({reasons}), listed in {where}")
    for source in done.sources:
        if source.encoding:
            rows = count(source.rows_read, "row")
            note(f"{source.name}: {rows} read as {source.encoding}; the splits are in UTF-8")
    for label in done.scarce:
        note(f"test has no row of `{label}`: too few rows for three splits; label more")
    for file in targets.values():
        show(f"wrote {file}")
