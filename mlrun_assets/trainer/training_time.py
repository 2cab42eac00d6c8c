"""What a training has taken over all its attempts: each checkpoint says what it took until then."""

from __future__ import annotations

import json
import time
from pathlib import Path

from mlrun_assets.files import write_atomically

TIME_FILE = "training_time.json"


class TrainingTime:
    """The seconds of this attempt so far, and those that led to the checkpoint it goes on from.

    What an attempt did after its last checkpoint is lost, and its time does not count: the tokens
    of a training over these seconds are its throughput.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.earlier = 0.0

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self._started

    def go_on_from(self, checkpoint: Path) -> None:
        """Count what led to a sound checkpoint; one of an older version does not say it."""
        file = checkpoint / TIME_FILE
        if file.exists():
            self.earlier = float(json.loads(file.read_bytes())["seconds"])

    def note_in(self, checkpoint: Path) -> None:
        """Write into a checkpoint, before it is sealed, what it took to come there."""
        write_atomically(checkpoint / TIME_FILE, json.dumps({"seconds": self.seconds}) + "\n")
