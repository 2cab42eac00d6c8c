"""A YAML file with the line of every key, so that a mistake can be shown where it stands."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlrun_assets.errors import ConfigError

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Mistake:
    """One thing wrong at one place of the file."""

    location: Location
    message: str

    @classmethod
    def unknown_key(cls, location: Location, key: str, known: list[str]) -> Mistake:
        """The mistake of a key that is not known, with the nearest one that is."""
        nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
        if nearest:
            return cls(location, f"unknown key; did you mean `{nearest[0]}`?")
        return cls(location, f"unknown key; known here: {', '.join(known)}")


@dataclass(frozen=True)
class ConfigSource:
    """What a YAML file says and on which lines."""

    name: str
    values: dict[str, Any]
    lines: dict[Location, int] = field(default_factory=dict)
    mistakes: tuple[Mistake, ...] = ()

    def line(self, location: Location) -> int | None:
        """The line of ``location``, or of the nearest place around it; None: nowhere."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location)

    def locate(self, parts: Location) -> Location:
        """``parts`` without those that name no place of the file."""
        location: Location = ()
        for part in parts:
            if (*location, part) in self.lines:
                location = (*location, part)
        return location

    def describe(self, mistakes: list[Mistake]) -> str:
        """All ``mistakes`` as one message, in the order of the file."""
        ordered = sorted(mistakes, key=lambda mistake: self.line(mistake.location) or 0)
        count = "1 mistake" if len(ordered) == 1 else f"{len(ordered)} mistakes"
        return "\n".join([f"{self.name}: {count}:", *(self._sentence(each) for each in ordered)])

    def _sentence(self, mistake: Mistake) -> str:
        line = self.line(mistake.location)
        where = f"  line {line}: " if line else "  "
        return f"{where}{'.'.join(str(part) for part in mistake.location)}: {mistake.message}"


def read_source(path: Path) -> ConfigSource:
    """Read the YAML file at ``path``.

    Raises:
        ConfigError: it can't be read, is not YAML, or is not a mapping.
    """
    try:
        return parse_source(path.read_text(encoding="utf-8-sig"), str(path))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such config file; create it, or name another one with --config or "
            "MLRUN_CONFIG"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; name the YAML file in it") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def parse_source(text: str, name: str) -> ConfigSource:
    """Parse YAML ``text``; ``name`` stands in messages.

    Raises:
        ConfigError: it is not YAML, or not a mapping.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        values = loader.construct_document(node) if node else {}
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
        raise ConfigError(f"{name}:{line} not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not YAML: {error}") from None
    if values is None:
        values = {}
    if not isinstance(values, dict):
        kind = "a list" if isinstance(values, list) else "a single value"
        raise ConfigError(f"{name}: line 1: holds {kind}; write sections such as `data:`")
    lines: dict[Location, int] = {}
    repeated: list[Mistake] = []
    if node:
        _walk(node, (), lines, repeated)
    # An empty section (`training:` and nothing below it) means its defaults.
    filled = {key: {} if value is None else value for key, value in values.items()}
    return ConfigSource(name, filled, lines, tuple(repeated))


class _Loader(yaml.SafeLoader):
    """Safe YAML whose keys are the strings that stand there, also ``1``, ``no`` or ``off``."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        self.flatten_mapping(node)
        return {
            str(key.value): self.construct_object(value, deep=deep) for key, value in node.value
        }


def _walk(
    node: yaml.Node, location: Location, lines: dict[Location, int], repeated: list[Mistake]
) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*location, str(key.value))
            if here in lines:
                repeated.append(
                    Mistake(
                        here, f"given again on line {key.start_mark.line + 1}; keep one of them"
                    )
                )
            else:
                lines[here] = key.start_mark.line + 1
            _walk(value, here, lines, repeated)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*location, index)] = item.start_mark.line + 1
            _walk(item, (*location, index), lines, repeated)
