"""The files by which a job goes to other processes and its result, or its error, comes back."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mlrun_assets import errors
from mlrun_assets.errors import MlrunError, TrainingError
from mlrun_assets.files import write_atomically
from mlrun_assets.trainer.job import FineTuned, FineTuningJob


@dataclass(frozen=True)
class Handover:
    """A directory that all processes of a training can read and write."""

    directory: Path

    @classmethod
    def of(cls, job: FineTuningJob) -> Handover:
        """Hand ``job`` over, beside its logs; what an earlier one left is removed."""
        handover = cls(job.logs_dir / "workers")
        shutil.rmtree(handover.directory, ignore_errors=True)
        write_atomically(handover.directory / "job.json", TypeAdapter(FineTuningJob).dump_json(job))
        return handover

    @property
    def log(self) -> Path:
        """What the processes print."""
        return self.directory / "output.log"

    def report(self, line: str) -> None:
        """Pass on a line about the progress; only one process may."""
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def progress(self) -> list[str]:
        """The lines about the progress so far."""
        try:
            return self._progress.read_text("utf-8").split("\n")[:-1]
        except FileNotFoundError:
            return []

    @property
    def _progress(self) -> Path:
        return self.directory / "progress.txt"

    def job(self) -> FineTuningJob:
        """The job, in the process that does it."""
        content = (self.directory / "job.json").read_bytes()
        return TypeAdapter(FineTuningJob).validate_json(content)

    def finish(self, tuned: FineTuned) -> None:
        """Give the result back."""
        content = TypeAdapter(FineTuned).dump_json(tuned)
        write_atomically(self.directory / "result.json", content)

    def fail(self, error: MlrunError) -> None:
        """Give an error back; the first one counts, others follow from it."""
        said = json.dumps({"kind": type(error).__name__, "message": str(error)})
        if not self.failed:
            write_atomically(self.directory / "error.json", said)

    @property
    def failed(self) -> bool:
        return (self.directory / "error.json").exists()

    def outcome(self) -> FineTuned:
        """The result, once all processes have ended.

        Raises:
            TrainingError: a process failed, or ended without a word.
            EncoderError: the encoder can't be loaded.
        """
        if self.failed:
            said = json.loads((self.directory / "error.json").read_bytes())
            raise getattr(errors, said["kind"])(said["message"])
        try:
            content = (self.directory / "result.json").read_bytes()
        except FileNotFoundError:
            raise TrainingError(
                f"the training processes ended without a result; what they said last stands in "
                f"{self.log}. One that was killed (exit code -9) commonly was out of memory: "
                "lower training.num_workers and `mlrun-assets run --resume` this experiment, which "
                "continues from its newest checkpoint, or start a new run with a smaller "
                "training.batch_size"
            ) from None
        return TypeAdapter(FineTuned).validate_json(content)
