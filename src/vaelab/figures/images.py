"""Grids of images, and animations.

Shapes: R rows, C columns, H height, W width, F frames.
"""

import io
import math
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.transforms import Bbox, TransformedBbox
from PIL import Image

from vaelab.figures import Floats, Pixels, style

MARGIN = 0.12  # inches around the content, and between labels and images
LABEL_SIZE = 8.5
LINE = 0.155  # inches of a line of labels
ROW_LABEL = 1.8  # inches in which the label of a row is wrapped
PANELS_IN_A_ROW = 4


def zoom_for(zoom: int, height: int, width: int) -> int:
    """The zoom that makes images of any size about as large as those of 28 × 28 pixels are with `zoom`."""
    return max(1, round(zoom * 28 / max(height, width)))


class Sheet(Artist):
    """Images in [0, 1], grey (H, W) or in colour (H, W, 3), each pixel `zoom` by `zoom` screen pixels.

    They are copied to their place: axes would resample them, and draw ticks that nobody sees. Where the
    figure is saved at another resolution, as vectors or cropped, matplotlib places them.
    """

    def __init__(self, figure: Figure, sheet: Floats, left: float, bottom: float, zoom: int) -> None:
        """`left` and `bottom` are in inches."""
        super().__init__()
        self.left, self.bottom, self.zoom = round(left * style.DPI), round(bottom * style.DPI), zoom
        self.show(sheet)
        corner, size = (self.left, self.bottom), self.image.shape[1::-1]
        inches = np.array([*corner, *np.add(corner, size)]).reshape(2, 2) / style.DPI
        box = TransformedBbox(Bbox(inches / figure.get_size_inches()), figure.transFigure)
        self.placed = BboxImage(box, interpolation="nearest")
        figure.add_artist(self)

    def show(self, sheet: Floats) -> None:
        pixels = (255 * np.nan_to_num(sheet).clip(0, 1)).round().astype(np.uint8)
        pixels = pixels.repeat(self.zoom, axis=0).repeat(self.zoom, axis=1)
        rgb = [pixels] * 3 if pixels.ndim == 2 else [pixels]
        self.image = np.dstack([*rgb, np.full(pixels.shape[:2], 255, np.uint8)])

    def get_window_extent(self, renderer: RendererBase | None = None) -> Bbox:
        return self.placed.get_window_extent(renderer)

    def draw(self, renderer: RendererBase) -> None:
        figure = self.get_figure(root=True)
        assert figure is not None
        if figure.dpi == style.DPI and not figure.transFigure.transform((0, 0)).any():
            renderer.draw_image(renderer.new_gc(), self.left, self.bottom, self.image[::-1])
            return
        self.placed.set_figure(figure)
        self.placed.set_data(self.image)
        self.placed.draw(renderer)


class ImageGrid:
    """Images in [0, 1] in rows and columns; `figure` once, or `pixels` for other images of that layout.

    They are grey, (R, C, H, W), or in colour, (R, C, H, W, 3). `zoom` is that of images of 28 pixels.

    `gap` is the white space between images in their own pixels; 0 makes one seamless sheet. It is wider after
    every `row_group` rows and every `column_group` columns.
    """

    @style.house_style()
    def __init__(
        self,
        images_RCHW: Floats,
        title: str,
        subtitle: str,
        *,
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        bottom_label: str = "",
        zoom: int = 3,
        gap: int = 2,
        row_group: int = 0,
        column_group: int = 0,
    ) -> None:
        """There are as many column labels as columns, or as groups of them."""
        rows, columns, high, wide = images_RCHW.shape[:4]
        zoom = zoom_for(zoom, high, wide)
        self.tile = partial(tile, gap=gap, row_group=row_group, column_group=column_group)
        sheet, inch = self.tile(images_RCHW), zoom / style.DPI
        height, width = sheet.shape[0] * inch, sheet.shape[1] * inch
        label_size = LABEL_SIZE
        left = MARGIN
        row_labels = [style.wrapped(label, label_size, ROW_LABEL) for label in row_labels]
        if row_labels:
            left += max(style.text_width(label, label_size) for label in row_labels) + 0.08
        needed = max(left + width + MARGIN, 0.3 + style.text_width(title, style.TITLE_SIZE, "bold"))
        about = min(style.text_width(subtitle, style.SUBTITLE_SIZE), style.SUBTITLE_ROOM)
        needed = max(needed, 0.24 + about)  # as wide as the figure
        caption = style.wrapped(bottom_label, label_size, needed - left - MARGIN) if bottom_label else ""
        bottom = 0.15 + (0.06 + LINE * (caption.count("\n") + 1) if caption else 0)
        top = LINE * max((label.count("\n") + 1 for label in column_labels), default=0)
        self.figure = style.new_figure(needed, bottom + height + top + style.HEADER, title, subtitle)
        full_width, full_height = self.figure.get_size_inches()
        if not row_labels:
            left = max(left, (full_width - width) / 2)
        self.sheet = Sheet(self.figure, sheet, left, bottom, zoom)

        def write(x: float, y: float, text: str, **look: Any) -> None:
            self.figure.text(x / full_width, y / full_height, text, linespacing=1.05, **look)

        ups = places(rows, high, gap, row_group)
        for up, label in zip(ups, row_labels, strict=False):
            y = bottom + height - (up + high / 2) * inch
            write(left - 0.06, y, label, fontsize=label_size, ha="right", va="center")
        acrosses = places(columns, wide, gap, column_group)
        together = max(1, columns // max(1, len(column_labels)))
        pitch = (wide * together + gap) * inch
        longest = max((style.text_width(label, label_size) for label in column_labels), default=0)
        fitted = max(5.0, label_size * min(1.0, pitch / max(longest, 0.01)))
        for number, label in enumerate(column_labels):
            first, last = acrosses[number * together], acrosses[(number + 1) * together - 1] + wide
            x = left + (first + last) / 2 * inch
            write(x, bottom + height + 0.07, label, fontsize=fitted, ha="center", va="baseline")
        if caption:
            write(left, bottom - 0.06, caption, fontsize=label_size, va="top")
        self.cached: style.CachedBackground | None = None

    def pixels(self, images_RCHW: Floats, title: str) -> Pixels:
        """The figure with other images. `figure` itself can't be drawn any more."""
        heading = self.figure.texts[style.TITLE]
        self.cached = self.cached or style.CachedBackground(self.figure, [self.sheet, heading])
        heading.set_text(title)
        self.sheet.show(self.tile(images_RCHW))
        return self.cached.pixels()


def image_grid(images_RCHW: Floats, title: str, subtitle: str, **more: Any) -> Figure:
    """The figure of an `ImageGrid`, which explains the arguments."""
    return ImageGrid(images_RCHW, title, subtitle, **more).figure


@style.house_style()
def image_panels(
    panels: Sequence[tuple[str, Floats]],
    title: str,
    subtitle: str,
    *,
    zoom: int = 2,
    in_a_row: int = PANELS_IN_A_ROW,
    beside: float = 0.0,
) -> Figure:
    """Grids of images (R, C, H, W), or in colour (R, C, H, W, 3), in [0, 1], of one size, under their names.

    `beside` are inches that are left free to the right of them.
    """
    sheets = [tile(images_RCHW, gap=2) for _, images_RCHW in panels]
    zoom = zoom_for(zoom, *panels[0][1].shape[2:4])
    rows = math.ceil(len(panels) / in_a_row)
    columns = math.ceil(len(panels) / rows)
    inch, space, size = zoom / style.DPI, 0.25, 10.0
    height, width = (max(sheet.shape[axis] for sheet in sheets) * inch for axis in (0, 1))
    names = [style.wrapped(name, size, width) for name, _ in panels]
    caption = 0.12 + 0.18 * max(name.count("\n") + 1 for name in names)
    content = columns * (width + space) - space + beside
    above = style.HEADER - space - 0.05
    total = above + rows * (space + caption + height) + MARGIN
    figure = style.new_figure(content + 2 * MARGIN, total, title, subtitle)
    full_width, full_height = figure.get_size_inches()
    start = max(MARGIN, (full_width - content) / 2)
    for number, (name, sheet) in enumerate(zip(names, sheets, strict=True)):
        row, column = divmod(number, columns)
        left = start + column * (width + space)
        bottom = MARGIN + (rows - 1 - row) * (space + caption + height)
        Sheet(figure, sheet, left, bottom + height - len(sheet) * inch, zoom)
        figure.text(left / full_width, (bottom + height + 0.07) / full_height, name, fontsize=size)
    return figure


@style.house_style()
def diversity_panels(
    panels: Sequence[tuple[str, Floats]],
    curve: Sequence[tuple[float, float, float]],
    references: Mapping[str, tuple[float, float]],
    label: str,
    title: str,
    subtitle: str,
) -> Figure:
    """Panels of images two by two, and beside them a number against sigma: (sigma, value, standard error).

    `references` are values with standard errors, drawn as lines across.
    """
    room = 4.1
    figure = image_panels(panels, title, subtitle, in_a_row=2, beside=room)
    full_width, full_height = figure.get_size_inches()
    axes = style.add_axes(figure, full_width - room + 0.65, 0.65, room - 0.9, full_height - 2.3)
    sigmas, values, errors = np.transpose(curve)
    axes.errorbar(sigmas, values, errors, fmt="o-", color=style.TRAIN, capsize=3, label="z = σ·ε, μ = 0")
    for (name, (value, error)), dashes in zip(references.items(), ("--", ":"), strict=False):
        axes.axhline(value, color=style.INK, linestyle=dashes, linewidth=1.2, label=name)
        axes.axhspan(value - error, value + error, color=style.INK, alpha=0.1, linewidth=0)
    axes.set(xlabel="σ", ylabel=label, xticks=sigmas, xlim=(0, max(sigmas) * 1.05))
    axes.set_ylim(0, 1.05 * max(*values, *(value for value, _ in references.values())))
    axes.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))  # above: the curve may be anywhere
    return figure


def places(count: int, size: int, gap: int, group: int) -> list[int]:
    """Where each of `count` images begins that are `size` pixels long: twice as far apart between groups."""
    wider = max(4, 2 * gap) if group else 0
    return [number * (size + gap) + (number // group * wider if group else 0) for number in range(count)]


def tile(images_RCHW: Floats, gap: int, row_group: int = 0, column_group: int = 0) -> Floats:
    """One white sheet with the images on it; see `ImageGrid` for the gaps."""
    rows, columns, height, width, *colours = images_RCHW.shape
    tops, lefts = places(rows, height, gap, row_group), places(columns, width, gap, column_group)
    sheet = np.ones((tops[-1] + height, lefts[-1] + width, *colours), np.float32)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            sheet[top : top + height, left : left + width] = images_RCHW[row, column]
    return sheet


def ffmpeg() -> str | None:
    """The path of ffmpeg: an installed one, else that of the imageio-ffmpeg package, or None."""
    if (found := shutil.which("ffmpeg")) is None and find_spec("imageio_ffmpeg"):
        import imageio_ffmpeg

        with suppress(RuntimeError):  # a platform that it has no program for
            found = imageio_ffmpeg.get_ffmpeg_exe()
    return found


def mp4(frames_FHW3: Sequence[Pixels], program: str, milliseconds: int) -> bytes:
    """A video of the frames, by ffmpeg, the same from the same ffmpeg. Raises SubprocessError."""
    height, width = frames_FHW3[0].shape[:2]
    with TemporaryDirectory() as folder:
        path = Path(folder, "video.mp4")
        filters = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white,tpad=stop_mode=clone:stop_duration=2"
        written = subprocess.run(
            [
                program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24",
                "-s", f"{width}x{height}", "-r", f"1000/{milliseconds}", "-i", "-",
                "-vf", filters, "-pix_fmt", "yuv420p",  # which takes even sizes
                "-threads", "1", "-fflags", "+bitexact", "-movflags", "+faststart", str(path),
            ],
            input=b"".join(frame.tobytes() for frame in frames_FHW3), capture_output=True, check=False,
        )  # fmt: skip
        if written.returncode:
            said = written.stderr.decode(errors="replace").strip().splitlines()
            raise subprocess.SubprocessError(f"{program}: {said[-1] if said else written.returncode}")
        return path.read_bytes()


def gif(
    frames_FHW3: Iterable[Pixels],
    colours: Sequence[str],
    milliseconds: int,
    hold: int,
    pictured: Floats | None = None,
) -> bytes:
    """An endless animation, its last frame held for `hold` milliseconds.

    All frames share a palette of greys and tints of `colours`: a palette measured on a frame
    would merge the colours that are rare in it, and flicker. Half of it is measured on the images that are
    `pictured` in the frames, where they are in colour, (H, W, 3) in [0, 1].
    """
    white = np.full(3, 255.0)
    measured: Floats = np.empty((0, 3))
    if pictured is not None:
        image = Image.fromarray((255 * pictured.clip(0, 1)).round().astype(np.uint8))
        found = image.quantize(128, Image.Quantize.MEDIANCUT).getpalette() or []
        measured = np.reshape(found, (-1, 3))[:128]
    colours = list(dict.fromkeys(colours))
    tints = max(1, (192 - len(measured)) // max(1, len(colours)))
    strengths_T1 = np.arange(1, tints + 1)[:, None] / tints
    tinted = [white + strengths_T1 * (255 * np.array(to_rgb(colour)) - white) for colour in colours]
    grey_count = 256 - tints * len(colours) - len(measured)
    greys = np.linspace(0, 255, grey_count)[:, None].repeat(3, axis=1)  # the last is white
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, *tinted, measured]).round().astype(np.uint8).tobytes())
    indexed = []
    for frame in frames_FHW3:
        image = Image.fromarray(frame)
        # Pillow finds only nearly the nearest colours: white must stay white.
        indexed.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
        indexed[-1].paste(
            grey_count - 1, mask=Image.fromarray((frame[:, :, 0] & frame[:, :, 1] & frame[:, :, 2]) == 255)
        )
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(indexed) - 1) + [hold],
    )  # fmt: skip
    return buffer.getvalue()
