"""Value types that all sections share, and the names of the environment variables.

A field is declared with `setting`, which carries its unit and an example besides pydantic's own
constraints: ``docs/configuration.md`` is generated from them. Add a key as a field of its section,
then run ``python -m mlrun_assets_tests.regenerate_docs``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator

CONFIG_VARIABLE = "MLRUN_CONFIG"
# Dagster puts a pipe between a run and the terminal, so the command line passes the width on.
COLUMNS_VARIABLE = "MLRUN_TERMINAL_COLUMNS"

Auto = Literal["auto"]
Text = Annotated[str, Strict(), Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Natural = Annotated[int, Strict(), Field(ge=0)]
Count = Annotated[int, Strict(), Field(ge=1)]
Number = Annotated[float, Strict()]
Fraction = Annotated[Number, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: frozen, and an undeclared key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_section(cls, value: Any) -> Any:
        # `training:` with nothing below it is null in YAML and means the defaults.
        return {} if value is None else value


def setting(default: Any, description: str, *, unit: str | None = None, example: Any = None) -> Any:
    """A field of a section.

    Args:
        default: the value of a missing key; None means that the key is unset.
        description: the meaning and, where it is not obvious, the effect of each value.
        unit: the unit of the value, for the documentation.
        example: a valid value that differs from the default, for the documentation.
    """
    return Field(
        default,
        description=description,
        examples=None if example is None else [example],
        json_schema_extra=None if unit is None else {"unit": unit},
    )
