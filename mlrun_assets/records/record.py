"""What all records share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mlrun_assets.errors import RecordError
from mlrun_assets.files import write_atomically


def timestamp(now: datetime | None = None) -> str:
    """``now``, or the present, in UTC to the second: ``2026-11-23T03:15:00Z``."""
    return f"{(now or datetime.now(UTC)).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Record(BaseModel):
    """What all records share: frozen, no key that is not declared, kept as JSON.

    The record that an asset writes names the asset.
    """

    asset: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record.

        Raises:
            RecordError: the file is missing or is not such a record.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise RecordError(
                f"{path}: no such record; materialize the asset that writes it first, in the same "
                "experiment"
            ) from None
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{path}: not a {cls.__name__} of this version ({place}: {first['msg']}); "
                "materialize its asset again"
            ) from None

    def save(self, path: Path) -> None:
        """Write the record in one step."""
        write_atomically(path, self.model_dump_json(indent=2) + "\n")
