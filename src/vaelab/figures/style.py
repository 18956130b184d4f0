"""The house style: sizes, colours, and how a Figure becomes the bytes of a PNG."""

import io
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from matplotlib import style as matplotlib_style
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from PIL import Image

from vaelab.figures import Figure, Floats, Pixels
from vaelab.figures.fonts import FAMILY, choose_fonts, drawable

DPI = 150
INK = "#222222"
SOFT = "#6b6b6b"
TRAIN = "#3f90da"
SCORED = "#e76300"

# One colour per class, by its number in the full set, with hues near those of Petroff's cycle (2021,
# arXiv:2107.02270). Found by simulated annealing: each has a contrast of 3 or more with its background, and
# any two differ by 14 (white) and 16 (dark) of CIEDE2000 at least, with each form of colour blindness as
# Machado et al. (2009) simulate it.
CLASS_COLOURS = (
    "#8982fd", "#97654d", "#eb697e", "#3586a0", "#042eff",
    "#941d00", "#5e2c2b", "#829e00", "#61258e", "#04645f",
)  # fmt: skip
CLASS_COLOURS_ON_DARK = (
    "#3263ff", "#ffdfbc", "#da0203", "#6cf9f5", "#cc0093",
    "#9c7469", "#e78e5e", "#cbf218", "#b5a6ff", "#76b2a7",
)  # fmt: skip

RC: dict[Any, Any] = {
    "font.family": FAMILY,
    "font.size": 10,
    "text.parse_math": False,  # a dollar sign in a name is one
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "figure.facecolor": "white",
}

house_style = partial(matplotlib_style.context, ["default", RC])
"""A decorator and a context for drawing in the house style, whatever the user's settings, which stay."""

TITLE_SIZE, SUBTITLE_SIZE = 13, 8.5
TITLE, SUBTITLE = 0, 1  # their places among a figure's texts
HEADER = 0.68  # inches above a figure's content, for title and one line of subtitle
SEPARATOR = " · "  # of a subtitle's parts
SUBTITLE_LINE = 0.16  # inches of each further line
SUBTITLE_ROOM = 4.2  # inches that a subtitle may widen a narrow figure to, before it is wrapped
WATERMARK_SIZE = 8.0


def on_dark(colour: str) -> str:
    """A colour for a dark background: nearer to white."""
    red, green, blue = (0.7 * each + 0.3 for each in to_rgb(colour))
    return to_hex((red, green, blue))


def class_colour(number: int, dark: bool = False) -> str:
    """The colour of a class, the same in every figure and for every choice of classes; another on `dark`.

    After ten classes the colours are darker, after twenty lighter, and after thirty they are repeated.
    """
    palette = CLASS_COLOURS_ON_DARK if dark else CLASS_COLOURS
    shade, place = divmod(number, len(palette))
    towards, share = ((0.0, 0.0), (0.0, 0.45), (1.0, 0.45))[shade % 3]
    red, green, blue = ((1 - share) * each + share * towards for each in to_rgb(palette[place]))
    return to_hex((red, green, blue))


@lru_cache(maxsize=1000)
def text_width(text: str, size: float, weight: str = "normal") -> float:
    """The width of a text's longest line, in inches."""
    found = drawable(text, weight)
    font = FontProperties(family=found.families, weight=found.weight, size=size)
    hinting = 1.08  # letters are moved to whole pixels when they are drawn, which widens small ones
    measure = text_to_path.get_text_width_height_descent
    widths = [measure(line, font, ismath=False)[0] for line in found.text.split("\n")]
    return hinting * max(widths) / 72


@lru_cache(maxsize=1000)
def wrapped(text: str, size: float, width: float) -> str:
    """The text in lines of at most `width` inches, broken at " · ", else at spaces; no word is broken."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        lines.append("")
        for part in paragraph.split(SEPARATOR):
            separator = SEPARATOR if lines[-1] else ""
            if text_width(f"{lines[-1]}{separator}{part}", size) <= width:
                lines[-1] += separator + part
                continue
            if lines[-1]:
                lines.append("")
            for word in part.split(" "):
                longer = f"{lines[-1]} {word}".lstrip()
                if lines[-1] and text_width(longer, size) > width:
                    lines.append(word)
                else:
                    lines[-1] = longer
    return "\n".join(lines)


class NotebookFigure(Figure):
    """A Figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        size = (round(96 * inches) for inches in self.get_size_inches())  # 96 CSS pixels per inch
        return png(self, palette=True), dict(zip(("width", "height"), size, strict=True))


def new_figure(width: float, height: float, title: str, *subtitles: str, plots: bool = False) -> Figure:
    """An empty figure in inches, header included, with its title and the first subtitle on top.

    It is wider where the title needs it, and higher where one of the subtitles takes several lines, so that
    what is placed from below stays where it is. With `plots` matplotlib lays its axes out.
    """
    words = [text_width(word, SUBTITLE_SIZE) for subtitle in subtitles for word in subtitle.split()]
    lengths = [min(text_width(each, SUBTITLE_SIZE), SUBTITLE_ROOM) for each in subtitles]
    width = max(width, 0.24 + max(text_width(title, TITLE_SIZE, "bold"), *words, *lengths, 0.0))
    lines = max(wrapped(each, SUBTITLE_SIZE, width - 0.24).count("\n") for each in subtitles)
    height += lines * SUBTITLE_LINE
    figure = NotebookFigure(figsize=(width, height), dpi=DPI)
    figure.text(0.12 / width, 1 - 0.30 / height, title, fontsize=TITLE_SIZE, weight="bold")
    look: dict[str, Any] = {"fontsize": SUBTITLE_SIZE, "color": SOFT, "va": "top", "linespacing": 1.3}
    figure.text(0.12 / width, 1 - 0.40 / height, "", **look)
    set_subtitle(figure, subtitles[0])
    if plots:
        header = HEADER + lines * SUBTITLE_LINE
        figure.set_layout_engine("constrained", rect=(0, 0, 1, 1 - header / height), w_pad=0.1, h_pad=0.08)
    return figure


def set_subtitle(figure: Figure, subtitle: str) -> None:
    """Replace a figure's subtitle, one of those that it was made for."""
    figure.texts[SUBTITLE].set_text(wrapped(subtitle, SUBTITLE_SIZE, figure.get_figwidth() - 0.24))


def legend_label(name: str) -> str:
    """A name for a legend: matplotlib leaves those out that start with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def add_axes(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place of a figure, all in inches."""
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, bottom / high, width / wide, height / high))


def legend_width(names: Iterable[str]) -> float:
    """Inches that a legend with these names takes beside the axes."""
    return max(1.35, 0.5 + max((text_width(name, 8.5) for name in names), default=0))


def legend_beside(axes: Axes, handles: Sequence[Artist] | None = None, **more: Any) -> Legend:
    """A legend to the right of the axes."""
    return axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, **more)


def show_images(axes: Axes, sheet: Floats, **more: Any) -> AxesImage:
    """Grey values in [0, 1], each pixel a sharp square."""
    axes.set_axis_off()
    return axes.imshow(sheet, cmap="gray", vmin=0, vmax=1, interpolation="nearest", **more)


def prior_circles(axes: Axes, colour: str, one_dimension: bool = False) -> Line2D:
    """The prior at 1 to 3 standard deviations, lines on one dimension; returns the legend's handle."""
    look: dict[str, Any] = {"color": colour, "linewidth": 0.9, "linestyle": (0, (4, 3))}
    for radius in (1, 2, 3):
        if one_dimension:
            axes.axvline(-radius, **look)
            axes.axvline(radius, **look)
        else:
            axes.add_patch(Circle((0, 0), radius, fill=False, **look))
    return Line2D([], [], label="prior, 1 to 3 σ", **look)


def signed(frame: Pixels, watermark: str | None, dpi: int = DPI) -> Pixels:
    """A drawn figure with a watermark in a band of its own below it, so that nothing is covered."""
    if not watermark:
        return frame
    band = watermark_band(watermark, frame.shape[1], dpi)
    return np.concatenate([frame, band])


@lru_cache(maxsize=100)
@house_style()
def watermark_band(watermark: str, width: int, dpi: int) -> Pixels:
    """The watermark at the right of a white band, in as many lines as it takes."""
    text = wrapped(watermark, WATERMARK_SIZE, width / dpi - 0.2)
    size = WATERMARK_SIZE * min(1.0, (width / dpi - 0.2) / max(text_width(text, WATERMARK_SIZE), 0.1))
    height = round(dpi * (0.08 + 1.3 * size * (text.count("\n") + 1) / 72))
    figure = Figure(figsize=((width + 0.5) / dpi, (height + 0.5) / dpi), dpi=dpi)  # rounded down
    look: dict[str, Any] = {"fontsize": size, "color": SOFT, "ha": "right", "va": "center"}
    figure.text(1 - 0.1 * dpi / width, 0.5, text, multialignment="right", linespacing=1.2, **look)
    return pixels(figure)


def signed_png(figure: Figure, watermark: str | None) -> bytes:
    """The figure as a PNG, with a watermark if there is one."""
    return png(signed(pixels(figure), watermark))


def png(drawn: Figure | Pixels, *, palette: bool = False) -> bytes:
    """A figure, or its pixels, as a PNG; the same figure gives the same bytes.

    With `palette` it has 256 colours, which are hardly told apart, and a third of the bytes.

    matplotlib's own savefig lays out every text twice, once without drawing.
    """
    image = pixels(drawn) if isinstance(drawn, Figure) else drawn
    red, green, blue = np.moveaxis(image, 2, 0)
    if np.array_equal(red, green) and np.array_equal(red, blue):
        image = red  # grey: a third of the bytes
    buffer, picture = io.BytesIO(), Image.fromarray(image)
    if palette and picture.mode == "RGB":
        picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(buffer, format="PNG", compress_level=2, dpi=(DPI, DPI))
    return buffer.getvalue()


def pixels(figure: Figure) -> Pixels:
    """The figure drawn."""
    choose_fonts(figure.findobj(Text))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return rgb(canvas)


def rgb(canvas: FigureCanvasAgg) -> Pixels:
    """A copy of what is drawn, without its opacity; channel by channel takes half the time of a slice."""
    drawn = np.asarray(canvas.buffer_rgba())
    copy = np.empty((*drawn.shape[:2], 3), np.uint8)
    for channel in range(3):
        copy[:, :, channel] = drawn[:, :, channel]
    return copy


class CachedBackground:
    """A figure's unchanging part, drawn once; `pixels` draws the `moving` artists over it, in their order."""

    def __init__(self, figure: Figure, moving: Sequence[Artist]) -> None:
        self.figure, self.moving = figure, moving
        choose_fonts(figure.findobj(Text))
        self.canvas = FigureCanvasAgg(figure)
        for artist in moving:
            artist.set_animated(True)  # left out by draw()
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def pixels(self) -> Pixels:
        """The figure as it is now."""
        choose_fonts(self.moving)
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            self.figure.draw_artist(artist)
        return rgb(self.canvas)
