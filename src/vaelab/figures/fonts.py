"""Texts in any script: which installed fonts have their characters, and what is drawn where none has."""

import logging
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

log = logging.getLogger(__name__)

FAMILY = "DejaVu Sans"  # ships with matplotlib: the same letters on every machine
LAST_RESORT = "Last Resort"  # ships with matplotlib too, and has a box for every character
BOX = "□"
NAMED: set[str] = set()  # characters that a warning has named already: one is enough for all figures


class Drawable(NamedTuple):
    """A text as it can be drawn."""

    text: str
    families: tuple[str, ...]
    weight: str | int
    missing: str  # the characters that are boxes, since no installed font has them


@lru_cache(maxsize=1000)
def drawable(text: str, weight: str | int = "normal") -> Drawable:
    """A text with the fonts that have its characters: matplotlib's own, else installed ones, never in bold.

    Tabs become spaces; other control characters, and marks without a shape of their own, are left out.
    """
    text = "".join(each for each in text.expandtabs(4) if each == "\n" or unicodedata.category(each) != "Cc")
    if not without_glyph(text, findfont(FontProperties(family=[FAMILY], weight=weight))):
        return Drawable(text, (FAMILY,), weight, "")
    fonts = regular_fonts()
    families, missing = [FAMILY], without_glyph(text, fonts[FAMILY])
    while missing:
        left = {family: without_glyph("".join(missing), path) for family, path in fonts.items()}
        best = min(fonts, key=lambda family: (len(left[family]), "Sans" not in family, family))
        if left[best] == missing:
            break
        families, missing = [*families, best], left[best]
    shown = {each: "" if unicodedata.category(each) in ("Cf", "Mn") else BOX for each in missing}
    boxes = "".join(each for each in text if shown.get(each) == BOX)
    return Drawable("".join(shown.get(each, each) for each in text), tuple(families), "normal", boxes)


def without_glyph(text: str, path: str) -> set[str]:
    """The characters of a text that a font has no shape for."""
    try:
        font = get_font(path)
    except (OSError, RuntimeError):  # a damaged file, or a format that FreeType can't read
        return set(text)
    return {each for each in text if each != "\n" and not font.get_char_index(ord(each))}


@cache
def regular_fonts() -> dict[str, str]:
    """The file of each installed font family's regular face."""
    faces = [each for each in fontManager.ttflist if each.style == "normal" and each.weight == 400]
    return {each.name: each.fname for each in faces if not each.name.startswith(LAST_RESORT)}


def choose_fonts(artists: Iterable[Artist]) -> None:
    """Give the texts among some artists fonts that have their characters; say where there are none."""
    missing = ""
    for artist in artists:
        if isinstance(artist, Text):
            found = drawable(artist.get_text(), artist.get_fontweight())
            missing += found.missing
            if found.text != artist.get_text():
                artist.set_text(found.text)
            if found.families != (FAMILY,) or found.weight != artist.get_fontweight():
                artist.set(fontfamily=found.families, fontweight=found.weight)
    if new := "".join(dict.fromkeys(each for each in missing if each not in NAMED)):
        NAMED.update(new)
        advice = "install one, such as a Noto font, and draw them again"
        log.warning("No installed font has %s: figures show %s instead. To see them, %s.", new, BOX, advice)
