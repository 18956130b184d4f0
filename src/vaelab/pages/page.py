"""One HTML file from a template, with styles, scripts and images inside: it opens without a network."""

import base64
import gzip
import io
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from PIL import Image

from vaelab.config import counted
from vaelab.pages.glossary import ARROWS_MEAN, meaning, with_arrow

ASSETS = Path(__file__).with_name("assets")


def render(template: str, **values: Any) -> str:
    """A page from a template of pages/assets. Escapes all but markup; a missing name is an error."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {"asset": asset, "data": data_block, "meaning": meaning}
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
def plotly() -> str:
    """plotly.js as its Python package ships it, packed: 2.0 MB instead of 4.8."""
    path = distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    return packed(Path(str(path)).read_bytes())  # located, not imported: importing takes half a second


def chart(
    title: str, curves: Mapping[str, Sequence[float]], looks: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Named curves from epoch 1 on for plotly.js, in nats per image; hovering shows all values of an epoch.

    `meta` in a look names the curve's colours as assets/common.js reads them.
    """
    traces = [
        {
            "type": "scatter", "name": name, "hovertemplate": "%{y:.2f}",
            "x": list(range(1, len(values) + 1)),
            "y": [value if math.isfinite(value) else None for value in values],  # JSON has no NaN: a gap
            **look,
        }
        for (name, values), look in zip(curves.items(), looks, strict=False)
    ]  # fmt: skip
    axes = {"xaxis": {"title": {"text": "epoch"}}, "yaxis": {"title": {"text": "nats per image"}}}
    return {"title": title, "data": traces, "layout": {**axes, "hovermode": "x unified"}}


def image(path: Path, widest: int = 900) -> dict[str, Any]:
    """A PNG for a page: its name and folder, its data URI, and its size in CSS pixels, `widest` at most."""
    source, (width, height) = embedded(path.read_bytes())
    shown = min(1.0, widest / width)
    return {
        "name": path.stem.replace("_", " "),
        "of": path.parent.name,
        "source": source,
        "width": round(width * shown),
        "height": round(height * shown),
    }


def embedded(content: bytes) -> tuple[str, tuple[int, int]]:
    """A PNG as a data URI, and its size in pixels."""
    kind = "png"
    with Image.open(io.BytesIO(content)) as image:
        if image.mode != "L":  # a latent plot of 310 kB becomes 100 kB in 25 ms; grey images hardly shrink
            file, kind = io.BytesIO(), "webp"
            image.convert("RGB").save(file, "WEBP", quality=80, method=0)
            content = file.getvalue()
        return f"data:image/{kind};base64,{base64.b64encode(content).decode()}", image.size


def images(paths: Sequence[Path], widest: int = 900) -> list[dict[str, Any]]:
    with ThreadPoolExecutor() as pool:  # encoding the images leaves the interpreter free
        return list(pool.map(partial(image, widest=widest), paths))


def epoch_images(
    numbered: Sequence[tuple[int, Path]], most: int = 25, widest: int = 900
) -> list[dict[str, Any]]:
    """The images of `most` epochs at most: `[{"epoch": 1, "source": …}, …]`."""
    chosen = subsample(numbered, most)
    shown = images([path for _, path in chosen], widest)
    return [{"epoch": epoch, **each} for (epoch, _), each in zip(chosen, shown, strict=True)]


def subsample(items: Sequence[Any], most: int) -> list[Any]:
    """At most that many, evenly spaced, the first and the last among them."""
    count = min(most, len(items))
    return [items[round(place * (len(items) - 1) / max(1, count - 1))] for place in range(count)]
