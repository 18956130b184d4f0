"""Links between the pages of a run and of a comparison: relative, and only to files that are there."""

import os
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from vaelab.runs.files import write_bytes

BEGIN, END = "<!--pages-->", "<!--/pages-->"
"""Around the links in every page (assets/base.html.j2)."""

ABOVE = 3  # folders above a run's in which its comparison may be


def links(page: Path) -> list[tuple[str, str]]:
    """Names and relative addresses of the other pages that belong to this one."""
    folder = page.absolute().parent
    of_run = (folder / "run.json").is_file()
    own = "Report of the run" if of_run else "Report of the comparison"
    candidates = [(own, folder / "report.html"), ("Explorer", folder / "explorer.html")]
    if of_run:
        compared = [above / "comparison" / "report.html" for above in [*folder.parents][:ABOVE]]
        candidates += [("Comparison", path) for path in compared if path.is_file()][:1]
    others = [(name, path) for name, path in candidates if path.is_file() and path != page.absolute()]
    return [(name, relative(path, folder)) for name, path in others]


def relative(path: Path, folder: Path) -> str:
    """An address for a link, with / on every system."""
    return quote(Path(os.path.relpath(path, folder)).as_posix())


def linked(text: str, page: Path) -> str:
    """A page's text with the links to what is there now."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        return text
    items = "".join(Markup('<a href="{}">{}</a>').format(address, name) for name, address in links(page))
    return f"{before}{begin}{items}{end}{after}"


def refresh(folder: Path) -> None:
    """Give the pages of a run or a comparison the links to what is there now."""
    for page in (folder / "report.html", folder / "explorer.html"):
        if page.is_file() and (now := linked(text := page.read_text(encoding="utf-8"), page)) != text:
            write_bytes(page, now.encode())
