"""Templates, and numbers, times and digests in one form each."""

from __future__ import annotations

import functools
import math
from importlib import import_module
from typing import TYPE_CHECKING

from mlrun_assets import errors, markdown
from mlrun_assets.errors import count
from mlrun_assets.markdown import Markdown, code, escape
from mlrun_assets.records import QualityCheck, Score, Spread

if TYPE_CHECKING:
    import jinja2


@functools.cache
def template(name: str) -> jinja2.Template:
    """A Markdown template of this room, with the modules that it may call; values are escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mlrun_assets.reports"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - the output is Markdown: `finalize` escapes for that
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {"count": count, "markdown": markdown}
    # By name, because these modules import this one.
    modules = "data_section formatting model_card scores sentences summaries tables"
    for module in modules.split():
        environment.globals[module] = import_module(f"mlrun_assets.reports.{module}")
    return environment.get_template(name)


def _finalize(value: object) -> str:
    return value if isinstance(value, Markdown) else escape(str(value))


NOTHING = Markdown("\N{EN DASH}")


def score(value: Score | float | None, sign: str = "") -> Markdown:
    """``0.912 [0.850, 0.956]``, ``0.912`` without an interval, a dash without a score."""
    if value is None:
        return NOTHING
    if isinstance(value, Score):
        low, high = (f"{end:{sign}.3f}" for end in (value.low, value.high))
        return Markdown(f"{value.value:{sign}.3f} [{low}, {high}]")
    return Markdown(f"{value:{sign}.3f}")


def difference(value: Score | float | None) -> Markdown:
    """``+0.041 [-0.003, +0.085]``: a score with its sign."""
    return score(value, "+")


def spread(value: Spread) -> Markdown:
    """``0.785 ± 0.012``: mean and sample standard deviation."""
    return Markdown(f"{value.mean:.3f} ± {value.sd:.3f}")


def integer(value: int | None) -> Markdown:
    """``12,345``; a number with its noun is `errors.count`."""
    return NOTHING if value is None else Markdown(f"{value:,}")


def number(value: float | None) -> Markdown:
    """Four significant digits, thousands separated: ``1,021``, ``0.01``, ``52.25``, ``2e-05``."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return Markdown(str(value))
    if value == int(value) or abs(value) >= 1000:
        return Markdown(f"{value:,.0f}")
    return Markdown(f"{value:.4g}")


def threshold(check: QualityCheck) -> Markdown:
    """``≤ 0.05``: the condition for a check to pass."""
    limit = check.threshold
    return NOTHING if limit is None else Markdown(f"{check.bound} {number(limit)}")


def percent(fraction: float | None, digits: int = 1) -> Markdown:
    """``12.5 %``, from a fraction."""
    return NOTHING if fraction is None else Markdown(errors.percent(fraction, digits))


def seconds(value: float | None) -> Markdown:
    """``12.3 s``, from a minute ``3 min 05 s``, from an hour ``2 h 05 min``."""
    if value is None:
        return NOTHING
    if value < 59.95:
        return Markdown(f"{value:.1f} s")
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return Markdown(f"{minutes} min {rest:02d} s")
    return Markdown(f"{minutes // 60} h {minutes % 60:02d} min")


def megabytes(size_bytes: int) -> Markdown:
    """``112.5 MB``; a MB is 10**6 bytes."""
    return Markdown(f"{size_bytes / 1e6:,.1f} MB")


def digest(value: str) -> Markdown:
    """The first twelve digits of a digest."""
    return code(value.removeprefix("sha256:")[:12])
