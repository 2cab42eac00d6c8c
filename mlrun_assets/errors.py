"""All errors that this package raises on purpose, and their messages.

Users see the message without a traceback, so it is complete: fault, place and remedy.
"""

import errno
import re
import socket
from collections.abc import Iterable

from mlrun_assets.markdown import visible


class MlrunError(Exception):
    """Base of all errors that a user can fix.

    The message never shows a credential of a URL or a control character.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(_shown(message))


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
    """A lock can't be taken: another process holds it for too long, or another user owns it."""


class OfflineError(OSError):
    """``offline`` is set, and something called another machine. Libraries know an `OSError`."""


class RecordError(MlrunError):
    """A record is missing or can't be read: an earlier stage did not finish."""


_CHECK_NETWORK = "check the network, the address and the proxy"
_ADVICE = {
    "ENOSPC EDQUOT": "make room",
    "EACCES EPERM": "change its permissions, or choose a place you may write to",
    "EROFS": "choose a place that is not read-only",
    "ENOENT ENOTDIR": "check the path",
    "ECONNREFUSED ECONNRESET ECONNABORTED ETIMEDOUT": _CHECK_NETWORK,
    "ENETUNREACH EHOSTUNREACH ENETDOWN": _CHECK_NETWORK,
}


def message_of(error: BaseException) -> str:
    """The message for a user. For an operating-system error it adds the file and advice.

    >>> message_of(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'a.csv: No such file or directory; check the path and run again'
    """
    if not isinstance(error, OSError):
        return cause_of(error)
    number = errno.errorcode.get(error.errno or 0)
    advice = next((advice for names, advice in _ADVICE.items() if number in names.split()), None)
    remote = isinstance(
        error, ConnectionError | TimeoutError | socket.gaierror
    )  # without errno too
    if remote and not isinstance(error, BrokenPipeError):  # that is `| head`, too
        advice = advice or _CHECK_NETWORK
    return f"{cause_of(error)}; {advice} and run again" if advice else cause_of(error)


def cause_of(error: BaseException) -> str:
    """The message without advice; for an operating-system error the file and the cause."""
    if not isinstance(error, OSError):
        return _shown(str(error))
    cause = error.strerror or str(error) or type(error).__name__
    place = f"{error.filename}: " if error.filename is not None else ""
    return _shown(place + cause)


def _shown(message: str) -> str:
    return hide_credentials(visible(message))


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, in the singular or plural form.

    >>> count(1, "row"), count(1200, "row"), count(0, "entry", "entries")
    ('1 row', '1,200 rows', '0 entries')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(fraction: float, digits: int = 1) -> str:
    """A share; 0 % and 100 % only where they are exact.

    >>> percent(0.125), percent(1.0, 0), percent(0.9999), percent(0.005, 0)
    ('12.5 %', '100 %', '> 99.9 %', '< 1 %')
    """
    smallest = 10.0**-digits
    if 1 - smallest / 200 <= fraction < 1:
        return f"> {100 - smallest:.{digits}f} %"
    if 0 < fraction <= smallest / 200:  # Python rounds a half to the even 0
        return f"< {smallest:.{digits}f} %"
    return f"{100 * fraction:.{digits}f} %"


_LONGEST = 400


def listed(names: Iterable[str], most: int = 12) -> str:
    """The names, joined; of many only the first, of a long one only the start.

    >>> listed("abc"), listed("abcd", most=2)
    ('a, b, c', 'a, b and 2 more')
    """
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    shown = (name if len(name) <= _LONGEST else name[:_LONGEST] + "…" for name in every[:most])
    return ", ".join(shown) + more


# Credentials in URLs

_SCHEME = re.compile(r"\s*(?:[A-Za-z][\w+.-]*(?:[:;][/\\]+|[/\\]{2,})|[/\\]*)")
_PORT = re.compile(r"(?:[^:]*|\[[^@]*\]):?\d{0,5}")
_QUERY = re.compile(r"(?:\?(?!\*{3}(?:#\d+)?$)|(?<!\*{3})#|%3[Ff]|[&;][^/=&;]+=).*", re.DOTALL)
_SET = re.compile(r"[?&;#][^/=&;#]+=.*", re.DOTALL)
_REDACTED = re.compile(r"\*{3}@|\?\*{3}(?:#\d+)?$")
# A bounded scheme: else a long word takes quadratic time.
_URL_IN_TEXT = re.compile(r"[A-Za-z][\w+.-]{0,20}:/+[^\s\"'`<>]*[^\s\"'`<>.,:;)]")


def redact(place: str) -> str:
    """A URL or path with `***` for user and password, and for query and fragment.

    Anything there may be a credential. A mistyped URL is understood too: a slash or the scheme is
    missing, or the password has a character that should be escaped. In doubt, more is hidden.

    >>> redact("https://me:secret@host/a.csv?sig=secret")
    'https://***@host/a.csv?***'
    """
    links = re.split(r"::(?=[A-Za-z][\w+.-]*:/)", place)  # fsspec: zip://a.csv::https://…
    return "::".join(map(_redact_link, links))


def _redact_link(link: str) -> str:
    scheme = _SCHEME.match(link)[0]  # type: ignore[index]  # it matches the empty text
    rest = link[len(scheme) :]
    host = re.split(r"[/\\?#]", rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    if ":" in host and "@" in path:
        rest = "***@" + path.rpartition("@")[2] + rest[len(path) :]
    elif "@" in host and scheme.strip():
        rest = "***@" + rest[host.rindex("@") + 1 :]
    elif scheme.strip() and not _PORT.fullmatch(host):
        rest = "***@" + (rest.rpartition("@")[2] if "@" in rest else rest[len(host) :])
    hidden = _QUERY if scheme.strip() or rest.startswith("***@") else _SET
    return scheme + hidden.sub("?***", rest)


def is_redacted(place: str) -> bool:
    """Whether `redact` has hidden something in ``place``."""
    return _REDACTED.search(place) is not None


def public_name(place: str) -> str:
    """``place`` for people: what `redact` hides is left out.

    >>> public_name("https://me:secret@host/a.csv?sig=secret")
    'https://host/a.csv'
    """
    return _REDACTED.sub("", redact(place))


def hide_credentials(text: str) -> str:
    """``text`` with all its URLs as `redact` gives them."""
    return _URL_IN_TEXT.sub(lambda found: redact(found[0]), text)
