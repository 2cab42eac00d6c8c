"""An SVG picture: its parts, scales and colours, the same for all pictures.

The viewer draws the text, so labels of any script are shown as on any page. The colours follow the
viewer's light or dark scheme, and the background is that of the page.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlrun_assets.markdown import clean

WIDTH = 520.0
"""Width of a picture. It is small, so that its text can be read on a phone."""
ROW = 24.0
"""Height of a row of text."""
NAME_LIMIT = 24

# The palette of Okabe and Ito, distinct for people with any colour vision.
_LIGHT = "--ink:#1c2024;--quiet:#5b6670;--line:#c9d0d7;--blue:#0072b2;--red:#c24400;--page:#fff"
_DARK = "--ink:#e4e8ec;--quiet:#9aa6b1;--line:#454f59;--blue:#56b4e9;--red:#ff8a4c;--page:#14181c"
_DARK_RULE = f"@media screen and (prefers-color-scheme:dark){{svg{{{_DARK}}}}}"
_STYLE = (
    f"svg{{{_LIGHT};--green:#009e73;--orange:#e69f00}}{_DARK_RULE}"
    "text{font:14px system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans',sans-serif;"
    "fill:var(--ink)}"
)


class Picture:
    """The parts of a picture, in the order in which they are drawn.

    A colour is the name of one: ``ink``, ``quiet``, ``line``, ``blue``, ``red``, ``green``,
    ``orange`` or ``page``.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.parts: list[str] = []

    def text(
        self,
        place: tuple[float, float],
        words: str,
        colour: str = "ink",
        *,
        weight: int = 400,
        **attributes: object,
    ) -> None:
        """A line of text; ``place`` is the start of its baseline, or what ``text_anchor`` says."""
        x, y = place
        style = f"fill:var(--{colour});font-weight:{weight}"
        facts = _attributes(x=x, y=y, style=style, **attributes)
        self.parts.append(f"<text{facts}>{html.escape(clean(words))}</text>")

    def line(
        self, points: Iterable[tuple[float, float]], colour: str, **attributes: object
    ) -> None:
        """A line through the points."""
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = f"fill:none;stroke:var(--{colour})"
        self.parts.append(f"<polyline{_attributes(points=drawn, style=style, **attributes)}/>")

    def shape(self, kind: str, colour: str, **attributes: object) -> None:
        """A filled ``rect``, ``circle`` or ``polygon``."""
        self.parts.append(f"<{kind}{_attributes(style=f'fill:var(--{colour})', **attributes)}/>")

    def svg(self, height: float) -> str:
        """The picture as a file."""
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img">\n<title>{html.escape(self.title)}'
            f"</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
        )


def on_white(svg: str) -> str:
    """The picture for a page whose colours it can't know."""
    return svg.replace(_DARK_RULE, "svg{background:#fff}")


def _attributes(**values: object) -> str:
    return "".join(
        f' {name.replace("_", "-")}="{f"{value:.6g}" if isinstance(value, float) else value}"'
        for name, value in values.items()
    )


@dataclass(frozen=True)
class Scale:
    """Values from ``low`` to ``high`` on a line from ``start`` to ``end``, a tick each step."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @classmethod
    def around(
        cls, values: Iterable[float], start: float, end: float, pixels: float = 60.0
    ) -> Scale:
        """A scale around the finite ``values``, with ticks at least ``pixels`` apart."""
        found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(found), max(found)
        rough = ((high - low) or 1.0) * pixels / abs(end - start)
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough * (1 - 1e-9))
        below, above = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(step * below, step * max(above, below + 1), start, end, step)

    def ticks(self) -> list[float]:
        """The values of the ticks."""
        steps = round((self.high - self.low) / self.step)
        return [self.low + number * self.step for number in range(steps + 1)]


def names_width(names: Iterable[str]) -> float:
    """About the width of the widest name; a letter of East Asia takes two places."""
    wide = [sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in n) for n in names]
    return 7.8 * max(wide, default=0)


def short_names(labels: Sequence[str]) -> list[str]:
    """A short, unique name for each label; ``labels`` are in the order of the report's table."""
    short = [clean(label, NAME_LIMIT) for label in labels]
    often = Counter(short)
    return [
        name if name and often[name] == 1 else f"{place}. {name}"
        for place, name in enumerate(short, 1)
    ]
