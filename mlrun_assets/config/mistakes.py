"""Keys that are not known and values that are not allowed, each told once."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from mlrun_assets.config.whole import Config
from mlrun_assets.config_source import ConfigSource, Location, Mistake


def known_keys(location: tuple[str, ...]) -> list[str]:
    """The keys that the section at ``location`` may have."""
    model: type[BaseModel] = Config
    for key in location:
        annotation = model.model_fields[key].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def mistakes_in(error: ValidationError, source: ConfigSource) -> list[Mistake]:
    """One mistake a place: what a value of several allowed kinds should be is joined with "or"."""
    expected: dict[Location, list[str]] = {}
    unknown = []
    for detail in error.errors(include_url=False):
        # pydantic adds the kinds it tried to the location; only the file's own keys are kept.
        location = source.locate(detail["loc"])
        if detail["type"] == "extra_forbidden":
            *section, key = (str(part) for part in location)
            unknown.append(Mistake.unknown_key(location, key, known_keys(tuple(section))))
        else:
            expected.setdefault(location, []).append(_expectation(dict(detail)))
    return unknown + [
        Mistake(location, " or ".join(dict.fromkeys(messages)))
        for location, messages in expected.items()
        if not any(other != location and other[: len(location)] == location for other in expected)
    ]


def _expectation(detail: dict[str, Any]) -> str:
    said = str(detail["msg"]).removeprefix("Input ")
    if detail["type"] == "string_type" and isinstance(detail["input"], bool):
        return f"{said}: YAML reads a bare yes, no, on or off as a truth value; put it in quotes"
    if detail["type"] == "tuple_type":
        return "should be a list"  # of YAML; a tuple is ours
    if detail["type"] == "too_short":
        fewest = detail["ctx"]["min_length"]
        return f"should have at least {fewest} item{'s' if fewest > 1 else ''}"
    return said
