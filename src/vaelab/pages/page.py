"""One HTML file from a template, with styles, scripts and images inside: it opens without a network."""

import base64
import gzip
import io
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from vaelab.config import counted
from vaelab.pages.glossary import ARROWS_MEAN, meaning, with_arrow

ASSETS = Path(__file__).with_name("assets")

WIDEST = 900
"""Largest width of an image on a page, in CSS pixels."""


def render(template: str, **values: Any) -> str:
    """A page from a template of pages/assets. Escapes all but markup; a missing name is an error."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {"asset": asset, "data": data_block, "meaning": meaning, "libraries": libraries}
    environment.globals |= {"with_arrow": with_arrow, "arrows_mean": ARROWS_MEAN, "counted": counted}
    return environment.get_template(template).render(**values)


def asset(name: str) -> Markup:
    """A file of pages/assets, unescaped: a style sheet or a script."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def data_block(name: str, value: Any) -> Markup:
    """Plain values for the page's scripts, as JSON in a block that is never executed."""
    text = htmlsafe_json_dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup('<script type="application/json" id="{}">{}</script>').format(name, text)


def packed(content: bytes) -> str:
    """Bytes for a page: gzip, then base64. `unpack` of assets/common.js reads them."""
    return base64.b64encode(gzip.compress(content, compresslevel=4, mtime=0)).decode()


@cache
def libraries() -> dict[str, str]:
    """The chart library of assets/libraries and what it needs, packed, in the order of loading."""
    files = {"d3": "d3-7.9.2.min.js", "plot": "plot-0.6.17.min.js"}
    return {name: packed((ASSETS / "libraries" / file).read_bytes()) for name, file in files.items()}


def chart(
    title: str,
    series: Sequence[Mapping[str, Any]],
    ticks: Sequence[int],
    vertical: Mapping[str, Any] | None = None,
    unit: str = "nats per image",
) -> dict[str, Any]:
    """Named curves from epoch 1 on, for `curvesPlot` of assets/report.js.

    Each of `series` has its name, `values`, the place of its `colour` among the page's, and its `dash`; with
    seeds also the `low` and `high` of a band. `vertical` is the axis: its `domain` and, if it is
    logarithmic, its `ticks`.
    """
    many = ("values", "low", "high")
    finite = [
        {key: [as_json(one) for one in value] if key in many else value for key, value in each.items()}
        for each in series
    ]
    first_last = ", ".join(
        f"{each['name']} from {each['values'][0]:.4g} to {each['values'][-1]:.4g}" for each in series
    )
    low, high = (vertical or {}).get("domain", (-math.inf, math.inf))
    outside = any(each["values"][0] < low or each["values"][0] > high for each in series)
    return {
        "title": title, "unit": unit, "series": finite, "ticks": list(ticks),
        "vertical": dict(vertical or {}), "outside": outside,
        "alt": f"{title}, epochs 1 to {ticks[-1]}: {first_last}",
    }  # fmt: skip


def as_json(value: float) -> float | None:
    """A number for JSON, which has no NaN: None, a gap in the curve, if it is not finite."""
    return round(value, 5) if math.isfinite(value) else None


def image(path: Path) -> dict[str, Any]:
    """A PNG for a page: its name and folder, its data URI, and its size in CSS pixels, WIDEST at most."""
    content = path.read_bytes()
    source, (width, height) = embedded(content)
    shown = min(1.0, WIDEST / width)
    return {
        "stem": path.stem,
        "of": path.parent.name,
        "source": source,
        "width": round(width * shown),
        "height": round(height * shown),
        "plot": is_plot(content),
    }


def is_plot(content: bytes) -> bool:
    """Whether a PNG is a plot, mostly white: on a dark page plots are shown inverted, images are not."""
    with Image.open(io.BytesIO(content)) as image:
        return bool(np.mean(np.asarray(image.convert("L").reduce(4)) > PAPER) > MOSTLY_PAPER)


PAPER, MOSTLY_PAPER = 245, 0.55  # from which grey value a pixel is paper, and which share of a plot is


def embedded(content: bytes) -> tuple[str, tuple[int, int]]:
    """A PNG as a data URI, and its size in pixels."""
    kind = "png"
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "L":  # a latent plot of 310 kB becomes 100 kB in 25 ms; grey images hardly shrink
            file, kind = io.BytesIO(), "webp"
            image.convert("RGB").save(file, "WEBP", quality=80, method=0)
            content = file.getvalue()
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}", image.size


def images(paths: Sequence[Path]) -> list[dict[str, Any]]:
    with ThreadPoolExecutor() as pool:  # encoding the images leaves the interpreter free
        return list(pool.map(image, paths))


def epoch_images(numbered: Sequence[tuple[int, Path]], most: int = 25) -> list[dict[str, Any]]:
    """The images of `most` epochs at most: `[{"epoch": 1, "source": …}, …]`."""
    chosen = subsample(numbered, most)
    shown = images([path for _, path in chosen])
    return [{"epoch": epoch, **each} for (epoch, _), each in zip(chosen, shown, strict=True)]


def subsample(items: Sequence[Any], most: int) -> list[Any]:
    """At most that many, evenly spaced, the first and the last among them."""
    count = min(most, len(items))
    return [items[round(place * (len(items) - 1) / max(1, count - 1))] for place in range(count)]
