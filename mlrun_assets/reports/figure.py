"""Size, colours, fonts and PNG files, the same for all pictures.

Matplotlib is used through its objects, without pyplot: no figure stays in memory, and the settings
apply only inside `style`.
"""

from __future__ import annotations

import functools
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlrun_assets.markdown import clean

WIDTH_INCHES = 8.0
DOTS_PER_INCH = 160
# The palette of Okabe and Ito, distinct for people with any colour vision.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5B6670"
SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}

# Labels are data: a dollar sign in a label does not start a formula.
_SETTINGS = {
    "text.usetex": False,
    "text.parse_math": False,
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "grid.color": "#E3E7EB",
    "legend.frameon": False,
    "lines.linewidth": 2.0,
}


@contextmanager
def style(families: Sequence[str]) -> Iterator[None]:
    """Matplotlib's defaults with the settings of the report; earlier settings are restored."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, "font.family": list(families)})
        yield


def new_figure(height_inches: float) -> Any:
    """An empty figure of `WIDTH_INCHES` by ``height_inches``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Any, comment: str) -> bytes:
    """The figure as PNG with a comment; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None, "Comment": comment})
    return buffer.getvalue()


def thumbnail(path: Path, limit_bytes: int) -> bytes:
    """The picture as a PNG of at most ``limit_bytes``, with as many pixels and colours as fit.

    Raises:
        ValueError: a picture of 16 pixels in width is still larger.
    """
    from PIL import Image

    with Image.open(path) as opened:
        full = opened.convert("RGB")
    width = min(full.width, 800)
    while width >= 16:
        size = (width, max(1, round(full.height * width / full.width)))
        smaller = full.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 64, 16):
            buffer = io.BytesIO()
            smaller.quantize(colours).save(buffer, format="PNG", optimize=True)
            if buffer.tell() <= limit_bytes:
                return buffer.getvalue()
        width = width * 4 // 5
    raise ValueError(f"{path}: no thumbnail fits into {limit_bytes} bytes; allow more")


FIRST_FAMILY = "DejaVu Sans"
# Matplotlib's last resort draws a box for every character.
_BOXES = "Last Resort"
NAME_LIMIT = 24


def font_families(texts: Iterable[str], first: str = FIRST_FAMILY) -> list[str]:
    """``first``, then installed fonts with the characters of ``texts`` that it lacks."""
    families = [first]
    missing = {ord(character) for text in texts for character in text} - _charmap(first)
    for family in _installed() if missing else []:
        if missing & _charmap(family):
            families.append(family)
            missing -= _charmap(family)
    return families


def picture_names(labels: Sequence[str], families: Sequence[str]) -> list[str]:
    """A short, unique name for each label, in characters that the fonts have.

    Args:
        labels: all labels, in the order of the report's table.
        families: the fonts from `font_families`.
    """
    short = [clean(label, NAME_LIMIT) for label in labels]
    often = Counter(short)
    glyphs = frozenset[int]().union(*(_charmap(family) for family in families))
    names = []
    for place, name in enumerate(short, 1):
        if not name or not glyphs.issuperset(map(ord, name)):
            names.append(f"no. {place}")
        else:
            names.append(name if often[name] == 1 else f"{place}. {name}")
    return names


@functools.cache
def _charmap(family: str) -> frozenset[int]:
    """The characters with a glyph in the upright font of a family."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_manager.findfont(family)).get_charmap())


def _installed() -> list[str]:
    """Families of the installed upright fonts of normal weight, sorted."""
    from matplotlib import font_manager

    return sorted(
        {
            font.name
            for font in font_manager.fontManager.ttflist
            if (font.style, font.weight) == ("normal", 400)
            and not font.name.startswith(_BOXES)
            and Path(font.fname).exists()
        }
    )
