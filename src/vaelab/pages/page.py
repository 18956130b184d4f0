"""One HTML file from a template, with styles, scripts and pictures inside: it opens without a network."""

import base64
import gzip
import io
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

ASSETS = Path(__file__).with_name("assets")

WEBP = {"format": "WEBP", "quality": 80, "method": 0}
"""Lossy, and the quick way: a latent plot of 310 kB becomes 100 kB in 25 ms."""


def render(template: str, **values: Any) -> str:
    """A page. Everything is escaped but what this module marks as markup."""
    page: str = environment().get_template(template).render(**values)
    return page


@cache
def environment() -> Environment:
    """Templates of pages/assets, with autoescaping; a name that is not given is an error."""
    made = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": asset, "data": data_block}
    return made


def asset(name: str) -> Markup:
    """A file of pages/assets as it is: a style sheet or a script of ours."""
    return Markup((ASSETS / name).read_text(encoding="utf-8"))


def data_block(name: str, value: Any) -> Markup:
    """Plain values for the page's scripts, as JSON in a block that is inert whatever is in it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign, code in {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"}.items():
        text = text.replace(sign, code)
    return (
        Markup('<script type="application/json" id="{}">').format(name) + Markup(text) + Markup("</script>")
    )


def packed(content: bytes) -> str:
    """Bytes for a page: gzip, then base64. `unpack` of assets/common.js reads them."""
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


@cache
def plotly() -> str:
    """plotly.js as its Python package ships it, packed: 2.0 MB instead of 4.8."""
    spec = find_spec("plotly")  # found, not imported: that would take half a second
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return packed((Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js").read_bytes())


def picture(path: Path, widest: int = 900) -> dict[str, Any]:
    """A PNG for a page: its data URI and its size in CSS pixels, `widest` at most."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    file = io.BytesIO()
    image.save(file, **WEBP)
    encoded = base64.b64encode(file.getvalue()).decode()
    shown = min(1.0, widest / image.width)
    size = {"width": round(image.width * shown), "height": round(image.height * shown)}
    return {"source": f"data:image/webp;base64,{encoded}", **size}
