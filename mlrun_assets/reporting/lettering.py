"""Names of labels that a picture can show, in any script.

The font that comes with matplotlib has Latin, Arabic, Cyrillic, Tifinagh and more, but neither
Ethiopic nor Devanagari nor Chinese. What it lacks is taken from the fonts of the machine; what they
lack too is named by the number that the label has in the report's table, never drawn as a box.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlrun_assets.reporting.escaping import clean

FIRST_FAMILY = "DejaVu Sans"
# Matplotlib's last resort draws a box for every character.
_BOXES = "Last Resort"
NAME_LIMIT = 24


def font_families(texts: Iterable[str], first: str = FIRST_FAMILY) -> list[str]:
    """``first``, then the installed fonts that have what it lacks of ``texts``."""
    families = [first]
    characters = {ord(character) for text in texts for character in text}
    missing = characters - _charmap(first)
    for family in _installed() if missing else []:
        found = missing & _charmap(family)
        if found:
            families.append(family)
            missing -= found
    return families


def picture_names(labels: Sequence[str], families: Sequence[str]) -> list[str]:
    """A name for each label: short, different from the others, in characters the fonts have.

    Args:
        labels: all labels, in the order of the report's table.
        families: the fonts, as `font_families` gives them.
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
    """The characters for which a family's upright font has a glyph."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_manager.findfont(family)).get_charmap())


def _installed() -> list[str]:
    """The families of the machine's upright fonts of normal weight, in a stable order."""
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
