"""Writes what follows from the code: ``python -m mlrun_assets_tests.regenerate_docs``."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from mlrun_assets.config import Config, json_schema
from mlrun_assets.files import write_atomically
from mlrun_assets_tests.examples import ROOT

SCHEMA_FILE = ROOT / "docs" / "ml_config.schema.json"
TABLE_FILE = ROOT / "docs" / "configuration.md"
INTRODUCTION = """\
# Every key of ml_config.yaml

All may be left out. `auto` leaves the choice to the training plan; a value always wins. Relative
paths are relative to the config file. Made from the models in `mlrun_assets/config/` by
`python -m mlrun_assets_tests.regenerate_docs`.
"""


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2) + "\n"


def table_text() -> str:
    return "\n".join([INTRODUCTION, *_sections(Config, "")]) + "\n"


def _sections(model: type[BaseModel], prefix: str) -> list[str]:
    rows, nested = [], []
    for key, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            nested += _sections(kind, f"{prefix}{key}.")
        else:
            rows.append(f"| `{key}` | {_written(field.default)} | {field.description} |")
    heading = [f"## {prefix.rstrip('.')}", "", "| key | default | meaning |", "| --- | --- | --- |"]
    return ([*heading, *rows, ""] if rows else []) + nested


def _written(value: Any) -> str:
    if value is None:
        return "unset"
    return f"`{json.dumps(value)}`" if not isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    write_atomically(SCHEMA_FILE, schema_text())
    write_atomically(TABLE_FILE, table_text())
