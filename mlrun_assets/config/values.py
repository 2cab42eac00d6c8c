"""The kinds of values that settings have, and the section that holds them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict


def _number_from_yaml(value: object) -> object:
    # PyYAML follows YAML 1.1, where a float needs a dot: it reads 2e-5 as a string.
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


Auto = Literal["auto"]
Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict(), BeforeValidator(_number_from_yaml)]
Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """What all sections share: frozen, and no key that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
