"""From a YAML 1.2 file to the config, or to one error that lists every mistake with its line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mlrun_assets.config.schema import Config, LoadedConfig, Location, Mistake, contradictions_of
from mlrun_assets.config.sections import CONFIG_VARIABLE, SET_VARIABLE
from mlrun_assets.errors import ConfigError, count, redact
from mlrun_assets.files import read_file
from mlrun_assets.machine import set_offline

DEFAULT_CONFIG_FILE = "ml_config.yaml"
MAX_BYTES, MAX_VALUES = 1_000_000, 50_000  # 1 MB of YAML takes seconds to read

# Their items are text even without quotes: the label `no`, `1` or `2024-01-01`.
_TEXT_LIST = ("data", "labels")
_TAG = "tag:yaml.org,2002:"
_TYPED = {_TAG + name for name in ("bool", "float", "int", "null")}
_NULL = _TAG + "null"
_TEXT = {_TAG + name for name in ("str", "timestamp", "value", "merge")}
# Keys for the content of the data; and keys for places, where a URL may lack its scheme.
_DATA_KEYS = ("labels", "_column", "_columns", "quality")
_PLACE_KEYS = ("path", "dir", "uri", "address", "model.name")
_WORDS_FOR_FLAGS = {"yes", "no", "on", "off", "y", "n"}


def load_config(file: Path | str | None = None, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read the config file, and allow or refuse this process the network as it says.

    Args:
        file: the file; None: the one that ``MLRUN_CONFIG`` names, else ``ml_config.yaml`` in the
            working directory, else all defaults.
        overrides: lines such as ``training.epochs=2``, which replace values of the file. Those of
            ``MLRUN_SET`` come first.

    Raises:
        ConfigError: the named file is missing, is not YAML, or has mistakes. The message lists
            all mistakes, each with its line.
    """
    named = file or os.environ.get(CONFIG_VARIABLE)
    # pathlib raises for some names, such as `~nobody`.
    path = Path(os.path.expanduser(named or DEFAULT_CONFIG_FILE)).absolute()  # noqa: PTH111
    secrets: dict[str, str] = {}
    overrides = [*os.environ.get(SET_VARIABLE, "").split("\n"), *overrides]
    if named or path.exists():
        file, settings = path, read_config(path, secrets, overrides)
    else:
        file, settings = None, parse_config("", "--set", secrets, overrides)
    set_offline(settings.offline)
    keys = tuple(".".join(_location(line.partition("=")[0])) for line in overrides if line)
    return LoadedConfig(
        settings=settings, directory=path.parent, file=file, secrets=secrets, overridden=keys
    )


def _location(key: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in key.split("."))


def read_config(
    path: Path, secrets: dict[str, str] | None = None, overrides: Sequence[str] = ()
) -> Config:
    """The config in the file at ``path``; the other arguments and errors as in `parse_config`."""
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
        return parse_config(text, str(path), secrets, overrides)
    except FileNotFoundError:
        problem = "no such config file; create it, or name another one with --config or "
        problem += "MLRUN_CONFIG"
    except IsADirectoryError:
        problem = "is a directory; name the YAML file in it"
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start}); save the file as UTF-8"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    raise ConfigError(f"{path}: {problem}")


def parse_config(
    text: str,
    name: str = DEFAULT_CONFIG_FILE,
    secrets: dict[str, str] | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """The config in ``text``; errors as in `load_config`, which call the file ``name``.

    The config has no credentials of URLs: ``secrets`` gets the URLs as they are written, by their
    redacted forms. ``overrides``, such as ``training.epochs=2``, replace values of the text.
    """
    config, urls = _parse(text, name, tuple(overrides))
    if secrets is not None:
        secrets.update(urls)
    return config


@lru_cache(maxsize=4)  # every asset reads the config and that of the experiment
def _parse(text: str, name: str, overrides: tuple[str, ...]) -> tuple[Config, dict[str, str]]:
    """The config in ``text``, and the URLs that have credentials by their redacted forms."""
    document = _Document(name, {})
    values = document.read(text)
    for line in filter(None, overrides):
        document.override(values, line)
    mistakes = list(document.mistakes)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        invalid = _invalid_values(error, document)
        mistakes += invalid
        # The valid keys may contradict each other: report that in the same message.
        config = Config.model_validate(_without(values, mistakes))
    wrong = {each.location[:2] for each in mistakes}
    mistakes += (each for each in contradictions_of(config) if each.location[:2] not in wrong)
    if mistakes:
        raise ConfigError(document.describe(mistakes))
    return config, document.secrets


class _Document:
    """A YAML document as plain values, with the line of every key and item.

    It works on the nodes that ruamel.yaml composes, not on the objects it constructs: only nodes
    have both the line and the original text of a value, and all duplicate keys.
    """

    def __init__(self, name: str, secrets: dict[str, str]) -> None:
        self.name = name
        self.secrets = secrets
        self.lines: dict[Location, int] = {}
        self.mistakes: list[Mistake] = []
        self._yaml = YAML(typ="safe", pure=True)
        self._values = 0

    def read(self, text: str) -> dict[str, Any]:
        """The values of the document.

        Raises:
            ConfigError: the text is not YAML 1.2, or not a mapping.
        """
        try:
            node = self._yaml.compose(text)
            if self._yaml.version not in (None, (1, 2)):
                raise ConfigError(
                    f"{self.name}: is YAML 1.1; remove the line that starts with %YAML"
                )
            if node is not None:
                self._check_size(node, [])
            value = {} if node is None else self._value(node, ())
        except MarkedYAMLError as error:
            line = f" line {error.problem_mark.line + 1}:" if error.problem_mark else ""
            problem = (error.problem or error.context or "").removeprefix("but ")
            raise ConfigError(f"{self.name}:{line} not YAML: {problem}") from None
        except (YAMLError, RecursionError) as error:
            raise ConfigError(f"{self.name}: not YAML: {str(error).splitlines()[0]}") from None
        if value is not None and not isinstance(value, dict):
            kind = "a list" if isinstance(value, list) else "a single value"
            raise ConfigError(f"{self.name}: line 1: is {kind}; write sections such as `data:`")
        return value or {}

    def override(self, values: dict[str, Any], line: str) -> None:
        """Replace one value, as ``training.epochs=2`` says; the value is YAML.

        Raises:
            ConfigError: the line has no key, or its value is not YAML.
        """
        key, equals, text = line.partition("=")
        location: Location = _location(key)
        in_file = {
            place: number
            for place, number in self.lines.items()
            if place[: len(location)] != location
        }
        try:
            node = self._yaml.compose(text)
            if node is not None:
                self._check_size(node, [])
            value = None if node is None else self._value(node, location)
        except (YAMLError, RecursionError):
            raise ConfigError(f"--set {line}: the value is not YAML; put it in quotes") from None
        section: Any = values
        for part in location[:-1]:
            if isinstance(section, dict) and section.get(part) is None:
                section[part] = {}
            section = section[part] if isinstance(section, dict) else None
        if not (equals and all(location) and isinstance(section, dict)):
            raise ConfigError(
                f"--set {line}: write it as KEY=VALUE with a key of a section, such as "
                "training.epochs=2"
            )
        section[location[-1]] = value
        # Places that are not in the file have no line.
        added = [location[:depth] for depth in range(1, len(location) + 1)]
        self.lines = {**dict.fromkeys([*self.lines, *added], 0), **in_file, location: 0}

    def _check_size(self, node: Node, around: list[Node]) -> None:
        """Count the values in ``node``, with aliases written out: a short file can have billions.

        Raises:
            ConfigError: they are too many, or a value contains itself.
        """
        self._values += 1
        if self._values > MAX_VALUES:
            why = f"more than {MAX_VALUES:,} values, with those of aliases (`*name`)"
        elif any(node is outer for outer in around):
            why = "a value contains itself by an alias (`*name`)"
        else:
            children = node.value if isinstance(node, SequenceNode) else []
            if isinstance(node, MappingNode):
                children = chain.from_iterable(node.value)
            for child in children:
                self._check_size(child, [*around, node])
            return
        line = node.start_mark.line + 1
        raise ConfigError(f"{self.name}: line {line}: {why}; write the values out")

    def _value(self, node: Node, location: Location) -> Any:
        if isinstance(node, ScalarNode):
            return self._scalar(node, location)
        if isinstance(node, MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, location)
        if isinstance(node, SequenceNode) and node.tag == _TAG + "seq":
            return self._sequence(node, location)
        return self._unknown_tag(node, location)

    def _mapping(self, node: MappingNode, location: Location) -> dict[str, Any]:
        self._yaml.constructor.flatten_mapping(node)
        merged = len(node.merge or ())  # these come first, and the mapping's own keys override them
        values: dict[str, Any] = {}
        own: set[str] = set()
        for index, (key, value) in enumerate(node.value):
            name, line = _text(key), key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                message = f"has a key that is not text on line {line}"
                self.mistakes.append(Mistake(location, message))
                continue
            if name in own:
                message = f"is repeated on line {line}; keep one of them"
                self.mistakes.append(Mistake((*location, name), message))
            else:
                self.lines[(*location, name)] = line
            if index >= merged:
                own.add(name)
            values[name] = self._value(value, (*location, name))
        return values

    def _sequence(self, node: SequenceNode, location: Location) -> list[Any]:
        values = []
        for index, item in enumerate(node.value):
            self.lines[(*location, index)] = item.start_mark.line + 1
            values.append(self._value(item, (*location, index)))
        return values

    def _scalar(self, node: ScalarNode, location: Location) -> Any:
        if node.tag in _TEXT or (location[:-1] == _TEXT_LIST and node.tag in _TYPED - {_NULL}):
            return self._public(_text(node), location)
        with suppress(KeyError, ValueError):  # such as `!!int x`
            if node.tag in _TYPED:
                return self._yaml.constructor.construct_object(node)
        return self._unknown_tag(node, location)

    def _public(self, text: str, location: Location) -> str:
        """``text`` without credentials; two texts that differ in these only get different ones."""
        key = ".".join(map(str, location[:2]))
        if key.endswith(_DATA_KEYS) or not (":/" in text or key.endswith(_PLACE_KEYS)):
            return text
        public = alone = redact(text)
        number = 1
        while public != text and self.secrets.get(public, text) != text:
            number += 1
            public = f"{alone.removesuffix('?***')}?***#{number}"
        if public != text:
            self.secrets[public] = text
        return public

    def _unknown_tag(self, node: Node, location: Location) -> Any:
        self.mistakes.append(Mistake(location, f"has the tag {node.tag}; remove the tag"))
        return None

    def locate(self, parts: Location) -> Location:
        """``parts`` without those that are no key or item of the file."""
        location: Location = ()
        for part in parts:
            if (*location, part) in self.lines:
                location = (*location, part)
        return location

    def describe(self, mistakes: list[Mistake]) -> str:
        """All ``mistakes`` as one message, in the order of the file."""
        sentences = [f"{self.name}: {count(len(mistakes), 'mistake')}:"]
        for location, message in sorted(mistakes, key=lambda each: self._line(each.location)):
            key = ".".join(map(str, location)) or "the top level"
            sentences.append(f"  {self._place(location)}{key}: {message}")
        return "\n".join(sentences)

    def _place(self, location: Location) -> str:
        """The line of ``location``, or the option that it comes from."""
        if line := self._line(location):
            return f"line {line}: "
        return "--set " if self.locate(location) else ""

    def _line(self, location: Location) -> int:
        """The line of ``location``, or of the nearest section around it; 0 for none."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 0)


def _text(node: Node) -> str:
    # JSON, which is also YAML, writes a character such as an emoji as two escapes.
    return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _invalid_values(error: ValidationError, document: _Document) -> list[Mistake]:
    """One mistake per place: the kinds of value that are allowed there are joined with "or"."""
    expected: dict[Location, list[str]] = {}
    unknown = []
    unread = {mistake.location for mistake in document.mistakes}
    for detail in error.errors(include_url=False):
        # pydantic adds the kinds that it tried to the location; only keys of the file are kept.
        location = document.locate(detail["loc"])
        if detail["type"] == "extra_forbidden":
            unknown.append(Mistake(location, _unknown_key(location)))
        elif location not in unread:
            expected.setdefault(location, []).append(_expectation(dict(detail), location))
    return unknown + [
        Mistake(location, " or ".join(dict.fromkeys(messages)))
        for location, messages in expected.items()
        if not any(other != location and other[: len(location)] == location for other in expected)
    ]


def _unknown_key(location: Location) -> str:
    *section, key = map(str, location)
    known = list(_section(section).model_fields)
    near = [name for name in known if key in name.split("_")]  # `label` for `label_column`
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:  # a key of another section
        sections = {name: _section([name]) for name in Config.model_fields if name != "offline"}
        elsewhere = {other: name for name, each in sections.items() for other in each.model_fields}
        found = difflib.get_close_matches(key, elsewhere, n=1, cutoff=0.8)
        near = [f"{elsewhere[other]}.{other}" for other in found]
    if near:
        names = [f"`{name}`" for name in near[:3]]
        return f"unknown key; did you mean {' or '.join(names)}?"
    return f"unknown key; known here: {', '.join(known)}"


def _section(path: Sequence[str]) -> type[BaseModel]:
    model: type[BaseModel] = Config
    for part in path:
        model = cast("type[BaseModel]", model.model_fields[part].annotation)
    return model


_CONTAINERS = {
    "tuple_type": "a list",
    "model_type": "keys with values",
    "dict_type": "keys with values",
}


def _expectation(detail: dict[str, Any], location: Location) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "string_pattern_mismatch":
        *section, key = map(str, location)
        field = _section(section).model_fields[key]
        meaning = (field.description or "").replace("\n", " ").partition(". ")[0]
        return f"should look like `{(field.examples or [''])[0]}` ({meaning})"
    if kind == "string_type":
        typed = value is None or isinstance(value, bool | int | float)
        return "should be text" + ("; put it in quotes" if typed else "")
    if kind == "bool_type":
        word = isinstance(value, str) and value.lower() in _WORDS_FOR_FLAGS
        return "should be true or false" + (f" (`{value}` is text in YAML 1.2)" if word else "")
    if kind in _CONTAINERS:
        return f"should be {_CONTAINERS[kind]}"
    if kind == "too_short":
        return f"should have at least {count(detail['ctx']['min_length'], 'item')}"
    return str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input ")


def _without(values: dict[str, Any], mistakes: list[Mistake]) -> dict[str, Any]:
    """``values`` without the keys of a section in which there is a mistake."""
    wrong = {mistake.location[:2] for mistake in mistakes}
    return {
        section: {key: value for key, value in keys.items() if (section, key) not in wrong}
        if isinstance(keys, dict)
        else keys
        for section, keys in values.items()
        if (section,) not in wrong
    }
