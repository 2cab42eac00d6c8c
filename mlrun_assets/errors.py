"""Every error that this package raises on purpose.

    MlrunError                 what is wrong, where, and what to do about it
    ├── ConfigError            ml_config.yaml: all mistakes of the file at once
    ├── ExperimentError        no such experiment, a name that can't be used
    ├── DataError              a split that can't be read at all
    │   └── DataBlockedError   the data was read and does not meet the standards
    ├── EncoderError           a model name that leads to no usable encoder
    ├── TrainingError          a recipe that can't be trained, a loss that is not finite
    ├── ExportError            an exported model that does not answer like its checkpoint
    ├── ProductionError        a promotion or rollback that can't be done
    │   └── ComparisonError    production has moved since a model was compared with it
    ├── ReportUpdateError        production has moved, and not all that tells so could be written
    ├── PublishError           a model that can't be pushed to where it was to go
    ├── FileBusyError          another process holds the lock of a file and does not let go
    └── RecordError            a stage is missing what an earlier stage should have recorded

A message is complete on its own: it is what people see, without a traceback.
"""

import errno
import socket


class MlrunError(Exception):
    """Base of all errors that a person can do something about."""

    exit_code = 1


class ConfigError(MlrunError):
    """``ml_config.yaml`` is wrong; the message lists every mistake with its line."""

    exit_code = 2


class ExperimentError(MlrunError):
    """An experiment can't be found or opened."""

    exit_code = 2


class DataError(MlrunError):
    """A data file is missing or can't be read."""


class DataBlockedError(DataError):
    """The data was read, and a check that blocks did not pass."""

    exit_code = 3


class EncoderError(MlrunError):
    """``model.name`` leads to no usable encoder or tokenizer."""


class TrainingError(MlrunError):
    """Training can't start or can't go on."""


class ExportError(MlrunError):
    """The exported model does not answer like the checkpoint it came from."""


class ProductionError(MlrunError):
    """The production pointer can't be moved; it still points where it did."""


class ComparisonError(ProductionError):
    """What serves is not what the model was compared with; nobody knows which is better."""


class ReportUpdateError(MlrunError):
    """Production has moved; a registry line or a report that tells so can't be written."""


class PublishError(MlrunError):
    """A model can't be pushed; nothing half-made is left where it was to go."""


class FileBusyError(MlrunError):
    """Another process holds the lock of a file for longer than anybody should wait."""


class RecordError(MlrunError):
    """A record is missing or can't be read: an earlier stage did not finish."""


_CHECK_NETWORK = "check the network, the address and the proxy"
_ADVICE = (
    ("make room", (errno.ENOSPC, errno.EDQUOT)),
    ("change its permissions, or choose a place you may write to", (errno.EACCES, errno.EPERM)),
    ("choose a place that is not read-only", (errno.EROFS,)),
    ("check the path", (errno.ENOENT, errno.ENOTDIR)),
    (
        _CHECK_NETWORK,
        (
            errno.ECONNREFUSED,
            errno.ECONNRESET,
            errno.ECONNABORTED,
            errno.EPIPE,
            errno.ETIMEDOUT,
            errno.ENETUNREACH,
            errno.EHOSTUNREACH,
            errno.ENETDOWN,
        ),
    ),
)


def message_of(error: BaseException) -> str:
    """The message for a user; of an operating-system error also where, and what to do.

    >>> message_of(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'a.csv: No such file or directory; check the path and run again'
    """
    advice = _advice(error)
    return f"{cause_of(error)}; {advice} and run again" if advice else cause_of(error)


def cause_of(error: BaseException) -> str:
    """The cause, and the file where the operating system names one; no advice."""
    if isinstance(error, OSError):
        cause = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {cause}" if error.filename is not None else cause
    return str(error)


def _advice(error: BaseException) -> str | None:
    """What a user can do about an operating-system error; None: nothing that is known."""
    if not isinstance(error, OSError):
        return None
    for advice, numbers in _ADVICE:
        if error.errno in numbers:
            return advice
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):  # raised without errno
        return _CHECK_NETWORK
    return None


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, which agrees.

    >>> count(1, "row"), count(1200, "row"), count(0, "entry", "entries")
    ('1 row', '1,200 rows', '0 entries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
