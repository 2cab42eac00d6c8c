"""Writes the generated documents: ``python -m mlrun_assets_tests.regenerate_docs``."""

from __future__ import annotations

import json
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.compat import StringIO

from mlrun_assets.config import json_schema
from mlrun_assets.files import write_atomically
from mlrun_assets.machine import IGNORED_VARIABLES
from mlrun_assets_tests.examples import ROOT

SCHEMA_FILE = ROOT / "docs" / "ml_config.schema.json"
TABLE_FILE = ROOT / "docs" / "configuration.md"
INTRODUCTION = """\
# Configuration

All keys of `ml_config.yaml`, and the environment variables. Every key is optional: a missing key
takes its default. `auto` leaves the choice to the training plan; a value in the file overrides it.
Relative paths are relative to the directory of the config file.

The file is YAML 1.2: `true` and `false` are the only truth values, `off` and `no` are text, and
`2e-5` is a number. All mistakes are reported at once, each with its line.

This page is generated from `mlrun_assets/config/` by
`python -m mlrun_assets_tests.regenerate_docs`.
"""
VARIABLES = {
    "MLRUN_CONFIG": "Config file. Unset: `ml_config.yaml` in the working directory. The option "
    "`--config` overrides it.",
    "MLRUN_SET": "Values that replace those of the file, one `key=value` a line, such as "
    "`training.epochs=2`. The option `--set` adds to it.",
    "MLRUN_EXPERIMENT": "Name of the next experiment. Unset: a timestamp.",
    "MLRUN_CACHE": "Directory of unpacked encoders. Unset: `mlrun_assets` in `XDG_CACHE_HOME` or "
    "`~/.cache`.",
    "MLRUN_OFFLINE": "Set by the program, for the processes of a run with `offline: true`.",
    "DAGSTER_HOME": "Directory of Dagster's history; an absolute path. Unset: `mlrun-assets run` "
    "and `ui` use `.dagster` beside the config file. Dagster's own commands need it.",
    "DAGSTER_MODULE_NAME": "For `dagster asset` without `-m`: `mlrun_assets.definitions`. Not for "
    "`dagster dev`, which hangs if it is set.",
    "HF_TOKEN": "Access token of the Hugging Face Hub, for `mlrun-assets push` and private models.",
    "HF_ENDPOINT": "Address of the Hub, for a mirror.",
    "HF_HUB_OFFLINE": "`1`: never contact the Hub; models come from its cache.",
    "XDG_CACHE_HOME": "Parent of the cache directory, if `MLRUN_CACHE` is unset.",
    "OMP_NUM_THREADS": "Number of CPU threads of a process. Unset: all usable CPUs.",
    "GOMP_SPINCOUNT": "How long a thread spins before it sleeps, while it waits for another. "
    "`10000` if unset, so that other programs slow a run down less.",
}
IGNORED = """\
Some variables of libraries would change a result. They are ignored, so that the same data and
config give the same result everywhere. Otherwise, they would:
"""


def schema_text() -> str:
    return json.dumps(json_schema(), indent=2) + "\n"


def table_text() -> str:
    schema = json_schema()
    rows = [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    heading = ["## Environment variables", "", "| variable | meaning |", "| --- | --- |"]
    ignored = [
        f"- `{name}{'…' * name.endswith('_')}`: {why}" for name, why in IGNORED_VARIABLES.items()
    ]
    return "\n".join(
        [INTRODUCTION, *_sections(schema, schema, ""), *heading, *rows, "", IGNORED, *ignored, ""]
    )


def _sections(schema: dict[str, Any], section: dict[str, Any], prefix: str) -> list[str]:
    rows, nested = [], []
    for key, field in section["properties"].items():
        if "$ref" in field:
            inner = schema["$defs"][field["$ref"].rpartition("/")[2]]
            nested += _sections(schema, inner, f"{prefix}{key}.")
        else:
            default = "unset" if field["default"] is None else _code(field["default"])
            example, meaning = _code(field["examples"][0]), field["description"]
            cells = [f"`{key}`", allowed(field), field.get("unit", ""), default, example, meaning]
            rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    title, meaning = prefix.rstrip("."), section.get("description", "").partition("\n\n")[0]
    title = title or "Top level"
    columns = "| key | type and allowed values | unit | default | example | meaning |"
    heading = [f"## {title}\n\n{meaning}\n\n{columns}", "| --- | --- | --- | --- | --- | --- |"]
    return ([*heading, *rows, ""] if rows else []) + nested


def allowed(field: dict[str, Any]) -> str:
    """The values that a JSON Schema allows, in words."""
    if "anyOf" in field:
        kinds = [allowed(kind) for kind in field["anyOf"] if kind.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field or "const" in field:
        return ", ".join(map(_code, field.get("enum", [field.get("const")])))
    if field["type"] == "array":
        return f"list of {allowed(field['items'])}"
    if field["type"] == "string" and "pattern" in field:
        return f"text that matches `{field['pattern']}`"
    named = {"boolean": "`true`, `false`", "object": "mapping", "string": "text"}
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {field[bound]:.10g}" for bound, sign in signs.items() if bound in field]
    return ", ".join([named.get(field["type"], field["type"]), *bounds])


def _code(value: Any) -> str:
    """``value`` as it is written in the config file."""
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.default_flow_style, yaml.width = True, 200
    yaml.dump(value, text)
    return f"`{text.getvalue().removesuffix('...' + chr(10)).strip()}`"


if __name__ == "__main__":
    write_atomically(SCHEMA_FILE, schema_text())
    write_atomically(TABLE_FILE, table_text())
