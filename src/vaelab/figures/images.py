"""Grids of images, and animations.

Shapes: R rows, C columns, H height, W width, F frames.
"""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from vaelab.figures import Floats, Pixels, style

MARGIN = 0.12  # inches


@style.house_style()
def image_grid(
    images_RCHW: Floats,
    title: str,
    subtitle: str,
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    bottom_label: str = "",
    zoom: int = 3,
    gap: int = 2,
) -> Figure:
    """Grey images in [0, 1] in rows and columns, each pixel `zoom` screen pixels wide, so nothing is blurred.

    `gap` is the white space between images in their own pixels; 0 makes one seamless sheet.
    """
    rows, columns = images_RCHW.shape[:2]
    sheet = tile(images_RCHW, gap)
    inch = zoom / style.DPI
    left = MARGIN + max((style.text_width(label, 8) + 0.08 for label in row_labels), default=0)
    lines = max((label.count("\n") + 1 for label in column_labels), default=0)
    top = style.HEADER + 0.14 * lines
    bottom = 0.2 + (0.06 + 0.15 * len(bottom_label.splitlines()) if bottom_label else 0)
    height, width = sheet.shape[0] * inch, sheet.shape[1] * inch
    content = max(width, style.text_width(bottom_label, 8))
    figure = style.new_figure(left + content + MARGIN, top + height + bottom, title, subtitle)
    if not row_labels:
        left = (figure.get_figwidth() - content) / 2
    axes = style.add_axes(figure, left, bottom, width, height)
    style.show_images(axes, sheet, aspect="auto")
    pitch_H, pitch_W = images_RCHW.shape[2] + gap, images_RCHW.shape[3] + gap
    for row, label in enumerate(row_labels[:rows]):
        y = row * pitch_H + images_RCHW.shape[2] / 2
        axes.text(-2, y, label, ha="right", va="center", fontsize=8)
    for column, label in enumerate(column_labels[:columns]):
        x = column * pitch_W + images_RCHW.shape[3] / 2
        axes.text(x, -2, label, ha="center", va="bottom", fontsize=7.5, linespacing=1.0)
    if bottom_label:
        axes.text(0, sheet.shape[0] + 3, bottom_label, ha="left", va="top", fontsize=8)
    return figure


@style.house_style()
def image_panels(panels: Sequence[tuple[str, Floats]], title: str, subtitle: str, *, zoom: int = 2) -> Figure:
    """Grids of grey images (R, C, H, W) in [0, 1] side by side, all of one size, each under its name."""
    sheets = [(name, tile(images_RCHW, gap=2)) for name, images_RCHW in panels]
    inch, space, caption = zoom / style.DPI, 0.25, 0.25
    tallest = max(len(sheet) for _, sheet in sheets) * inch
    content = sum(sheet.shape[1] * inch + space for _, sheet in sheets) - space
    figure = style.new_figure(content + 2 * MARGIN, style.HEADER + caption + tallest + 0.2, title, subtitle)
    width, height = figure.get_size_inches()
    left, top = (width - content) / 2, height - style.HEADER - caption
    for name, sheet in sheets:
        wide, high = sheet.shape[1] * inch, len(sheet) * inch
        style.show_images(style.add_axes(figure, left, top - high, wide, high), sheet, aspect="auto")
        figure.text((left + wide / 2) / width, (top + 0.07) / height, name, fontsize=10, ha="center")
        left += wide + space
    return figure


def tile(images_RCHW: Floats, gap: int) -> Floats:
    """One white sheet with the images on it, shape (R·(H + gap) − gap, C·(W + gap) − gap)."""
    rows, columns, height, width = images_RCHW.shape
    sheet = np.ones((rows, height + gap, columns, width + gap))
    sheet[:, :height, :, :width] = images_RCHW.transpose(0, 2, 1, 3)
    sheet = sheet.reshape(rows * (height + gap), columns * (width + gap))
    return sheet[: len(sheet) - gap, : sheet.shape[1] - gap]


def gif(frames_FHW3: Iterable[Pixels], colours: Sequence[str], milliseconds: int, hold: int) -> bytes:
    """An endless animation, its last frame held for `hold` milliseconds.

    All frames share a palette of greys and tints of `colours`: a palette measured on a frame
    would merge the colours that are rare in it, and flicker.
    """
    white = np.full(3, 255.0)
    tints = max(1, 192 // max(1, len(colours)))
    strengths_T1 = np.arange(1, tints + 1)[:, None] / tints
    tinted = [white + strengths_T1 * (255 * np.array(to_rgb(colour)) - white) for colour in colours]
    grey_count = 256 - tints * len(colours)
    greys = np.linspace(0, 255, grey_count)[:, None].repeat(3, axis=1)  # the last is white
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([greys, *tinted]).round().astype(np.uint8).tobytes())
    indexed = []
    for frame in frames_FHW3:
        image = Image.fromarray(frame)
        # Pillow finds only nearly the nearest colours: white must stay white.
        indexed.append(image.quantize(palette=palette, dither=Image.Dither.NONE))
        indexed[-1].paste(grey_count - 1, mask=Image.fromarray((frame == 255).all(axis=2)))
    buffer = io.BytesIO()
    indexed[0].save(
        buffer, "GIF", save_all=True, append_images=indexed[1:], loop=0, optimize=False,
        duration=[milliseconds] * (len(indexed) - 1) + [hold],
    )  # fmt: skip
    return buffer.getvalue()
