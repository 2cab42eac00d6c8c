"""Figures, colours and files of the pictures.

Matplotlib is used through its objects: no pyplot, no figure that outlives the function, and the
settings hold only inside `style`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTH_INCHES = 8.0
DOTS_PER_INCH = 160
# Okabe and Ito's palette, which people with any colour vision can tell apart.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#5B6670"
SPLIT_COLOURS = {"train": BLUE, "val": ORANGE, "test": GREEN}

# Labels are data: a dollar sign in one of them is no formula.
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
    """Matplotlib's defaults with this report's settings, and what was set before afterwards."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, "font.family": list(families)})
        yield


def new_figure(height_inches: float) -> Any:
    """An empty figure of the common width."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Any) -> bytes:
    """The figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def thumbnail(path: Path, limit_bytes: int = 50_000) -> bytes:
    """The picture as a PNG of at most ``limit_bytes``, as large and as colourful as that allows.

    Raises:
        ValueError: not even a picture of 16 pixels in width is that small.
    """
    from PIL import Image

    with Image.open(path) as opened:
        full = opened.convert("RGB")
    width = min(full.width, 800)
    while width >= 16:
        size = (width, max(1, round(full.height * width / full.width)))
        smaller = full.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 64, 16):
            content = _palette_png(smaller, colours)
            if len(content) <= limit_bytes:
                return content
        width = width * 4 // 5
    raise ValueError(f"{path}: no thumbnail fits into {limit_bytes} bytes; allow more")


def _palette_png(image: Any, colours: int) -> bytes:
    buffer = io.BytesIO()
    image.quantize(colours).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
