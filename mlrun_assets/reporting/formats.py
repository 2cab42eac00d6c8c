"""Numbers as the report writes them: the same number looks the same everywhere."""

from __future__ import annotations

import math

from mlrun_assets.records import QualityCheck, Score, Spread
from mlrun_assets.reporting.escaping import Markdown, code
from mlrun_assets.statistics import told_p

NOTHING = Markdown("\N{EN DASH}")


def score(value: Score | float | None) -> Markdown:
    """``0.912 [0.850, 0.956]``, ``0.912`` where there is no interval, a dash where no score."""
    if value is None:
        return NOTHING
    if isinstance(value, Score):
        return Markdown(f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]")
    return Markdown(f"{value:.3f}")


def spread(value: Spread) -> Markdown:
    """``0.785 ± 0.012``: mean and sample standard deviation."""
    return Markdown(f"{value.mean:.3f} ± {value.sd:.3f}")


def difference(value: Score | float | None) -> Markdown:
    """``+0.041 [-0.003, +0.085]``: a score with its sign."""
    if value is None:
        return NOTHING
    if isinstance(value, Score):
        return Markdown(f"{value.value:+.3f} [{value.low:+.3f}, {value.high:+.3f}]")
    return Markdown(f"{value:+.3f}")


def count(value: int | None) -> Markdown:
    """``12,345``."""
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
    """``≤ 0.05``: the values of a check that pass."""
    if check.threshold is None:
        return NOTHING
    return Markdown(f"{check.bound} {number(check.threshold)}")


def percent(fraction: float | None) -> Markdown:
    """``12.5 %``, from a fraction; all and nothing are said only where they are exact."""
    if fraction is None:
        return NOTHING
    if 0.9995 <= fraction < 1.0:
        return Markdown("> 99.9 %")
    if 0.0 < fraction < 0.0005:
        return Markdown("< 0.1 %")
    return Markdown(f"{100 * fraction:.1f} %")


def p_value(value: float) -> Markdown:
    """``= 0.043``, or ``< 0.001``, to follow a p."""
    return Markdown(told_p(value))


def seconds(value: float | None) -> Markdown:
    """``12.3 s``; from two minutes on ``3 min 05 s``, from two hours on ``2 h 05 min``."""
    if value is None:
        return NOTHING
    if value < 119.95:
        return Markdown(f"{value:.1f} s")
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return Markdown(f"{minutes} min {rest:02d} s")
    return Markdown(f"{minutes // 60} h {minutes % 60:02d} min")


def megabytes(size_bytes: int) -> Markdown:
    """``112.5 MB``, of a million bytes each."""
    return Markdown(f"{size_bytes / 1e6:,.1f} MB")


def digest(value: str) -> Markdown:
    """The first twelve digits of a digest: enough to tell two apart at a glance."""
    return code(value.removeprefix("sha256:")[:12])
