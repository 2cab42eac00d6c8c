"""Files to rows, strictly: a row that can't be used is put aside with its file, line and reason.

sources.py      what the config names → files and URLs, each once
remote.py       URLs, read once through fsspec
content.py      bytes of a file: unpacked, of the format that its name says, and no more of them
                than it had when it was opened
json_lines.py   bytes → rows
arriving.py     pipes → lines, and when none came
tables.py       bytes → rows, of CSV and TSV
parquet.py      files → rows
rows.py         what a row must hold, and what is kept of it
splits.py       all files of a split → one frame, and the rows put aside
whole_rows.py   rows without labels, one after another
"""

from mlrun_assets.stages.quality.reading.remote import public_name
from mlrun_assets.stages.quality.reading.rows import (
    RAW_CHARACTERS,
    BadRow,
    Parsed,
    UnusableError,
    joined_text,
)
from mlrun_assets.stages.quality.reading.sources import (
    UNLABELLED,
    Source,
    data_file,
    digest_sources,
    fetch_sources,
    join_digests,
    source_paths,
    split_sources,
)
from mlrun_assets.stages.quality.reading.splits import DataFile, SplitRows, read_split
from mlrun_assets.stages.quality.reading.whole_rows import read_stream, read_whole_rows

__all__ = [
    "RAW_CHARACTERS",
    "UNLABELLED",
    "BadRow",
    "DataFile",
    "Parsed",
    "Source",
    "SplitRows",
    "UnusableError",
    "data_file",
    "digest_sources",
    "fetch_sources",
    "join_digests",
    "joined_text",
    "public_name",
    "read_split",
    "read_stream",
    "read_whole_rows",
    "source_paths",
    "split_sources",
]
