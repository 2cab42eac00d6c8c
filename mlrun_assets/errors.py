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
    ├── UntoldMoveError        production has moved, and not all that tells so could be written
    ├── PublishError           a model that can't be pushed to where it was to go
    └── RecordError            a stage is missing what an earlier stage should have recorded

A message is complete on its own: it is what people see, without a traceback.
"""


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


class UntoldMoveError(MlrunError):
    """Production has moved; a registry line or a report that tells so can't be written."""


class PublishError(MlrunError):
    """A model can't be pushed; nothing half-made is left where it was to go."""


class RecordError(MlrunError):
    """A record is missing or can't be read: an earlier stage did not finish."""


def message_of(error: BaseException) -> str:
    """What an error says to people; of one of the file system, where and what can be done as well.

    >>> message_of(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'a.csv: No such file or directory; make room, or make it readable and writable, and run again'
    """
    if isinstance(error, OSError):
        return f"{cause_of(error)}; make room, or make it readable and writable, and run again"
    return str(error)


def cause_of(error: BaseException) -> str:
    """What went wrong and where; of an error of the file system without what can be done."""
    if isinstance(error, OSError):
        return f"{error.filename or 'a file'}: {error.strerror or error}"
    return str(error)
