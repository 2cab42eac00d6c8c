"""All errors that this package raises on purpose, and their messages.

    MlrunError                 the base: the fault, its place and the remedy
    ├── ConfigError            ml_config.yaml is wrong: all mistakes at once
    ├── ExperimentError        an experiment is not found, or its name is not valid
    ├── DataError              a data file is missing or can't be read
    │   └── DataBlockedError   a data check that blocks did not pass
    ├── EncoderError           model.name leads to no usable encoder
    ├── TrainingError          training can't start or continue
    ├── ExportError            the exported model does not answer like its checkpoint
    ├── ProductionError        a promotion or rollback failed; production is unchanged
    │   └── ComparisonError    the champion changed since the comparison
    ├── ReportUpdateError      production has moved, but a registry line or report is not updated
    ├── PublishError           a model can't be pushed to its target
    ├── FileBusyError          another process holds the lock of a file for too long
    └── RecordError            a record is missing or can't be read

Users see the message without a traceback, so it is complete: fault, place and remedy.
"""

import errno
import socket


class MlrunError(Exception):
    """Base of all errors that a user can fix."""

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
    """The data was read, but a check that blocks did not pass."""

    exit_code = 3


class EncoderError(MlrunError):
    """``model.name`` leads to no usable encoder or tokenizer."""


class TrainingError(MlrunError):
    """Training can't start or continue, for example because the loss is not finite."""


class ExportError(MlrunError):
    """The exported model does not answer like the checkpoint it came from."""


class ProductionError(MlrunError):
    """The production pointer can't be moved; it still points where it did."""


class ComparisonError(ProductionError):
    """The champion is not the model that the challenger was compared with."""


class ReportUpdateError(MlrunError):
    """Production has moved, but a registry line or report can't be updated."""


class PublishError(MlrunError):
    """A model can't be pushed; the target holds no part of it."""


class FileBusyError(MlrunError):
    """Another process held the lock of a file for longer than the time limit."""


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
    """The message for a user. For an operating-system error it adds the file and advice.

    >>> message_of(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'a.csv: No such file or directory; check the path and run again'
    """
    advice = _advice(error)
    return f"{cause_of(error)}; {advice} and run again" if advice else cause_of(error)


def cause_of(error: BaseException) -> str:
    """The message without advice; for an operating-system error the file and the cause."""
    if isinstance(error, OSError):
        cause = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {cause}" if error.filename is not None else cause
    return str(error)


def _advice(error: BaseException) -> str | None:
    """Advice for an operating-system error; None if there is none for its number."""
    if not isinstance(error, OSError):
        return None
    for advice, numbers in _ADVICE:
        if error.errno in numbers:
            return advice
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):  # raised without errno
        return _CHECK_NETWORK
    return None


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, in the singular or plural form.

    >>> count(1, "row"), count(1200, "row"), count(0, "entry", "entries")
    ('1 row', '1,200 rows', '0 entries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
