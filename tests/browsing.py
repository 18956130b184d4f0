"""What the tests of pages share: the runs that they show, and a browser that notes what pages should not do."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, Page, sync_playwright

from harness import TABLE_ONLY, TINY, command_line_of

REPORTED = [setting for setting in TINY if "report" not in setting]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
RUNS = ("0_beta-1_model.hidden-32", "1_beta-1_model.hidden-48")
FAILED = "2_beta-1e+39_model.hidden-32"
SINGLE = f"{RUNS[0]}/explorer.html"
PAIR = "comparison/explorer.html"
CONDITIONAL = "3_dataset-fashion_mnist_model.conditional-true"

READY = "html[data-ready]"
EXPLORER = '#explorer[aria-busy="false"]'
FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def make_pages(folder: Path) -> None:
    """A sweep of two runs with images and two that fail, its comparison, and two explorers."""
    result = command_line_of("vaelab.train", folder)(
        "-m", *REPORTED, "epochs=2", "optimizer.lr=0.005", "artifacts.checkpoint_every=1", "beta=1,1e39", "model.hidden=[32],[48]", "artifacts.gif=false",
        "artifacts.figures=false", "model.latent_dim=3", f'artifacts.watermark="{HOSTILE}"',
        *TABLE_ONLY, "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert result.returncode == 1, result.stderr  # an absurd beta diverges
    explore = command_line_of("vaelab.explore", folder)
    explored = explore("sweep=sweep", f"pair=[{','.join(RUNS)}]", "images=200")
    assert explored.returncode == 0, explored.stderr
    assert re.fullmatch(
        r"Explorer: sweep/comparison/explorer.html \(\d\.\d MB\)\. Open it in a browser\.\n", explored.stdout
    )
    explored = explore(f"run=sweep/{RUNS[0]}/last", "images=200", "epochs=0")
    assert explored.returncode == 0, explored.stderr


def make_families(folder: Path) -> None:
    """Four runs that don't compare, the explorer of a class-conditional one with one latent, then a comparison."""
    result = command_line_of("vaelab.train", folder)(
        "-m", *REPORTED, "dataset.classes=[1,7]", "epochs=1", "model.latent_dim=1", "model.hidden=[32]", "artifacts.gif=false",
        "artifacts.figures=false", "dataset=mnist,fashion_mnist", "model.conditional=false,true",
        "hydra.callbacks.compare.enabled=false", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    explored = command_line_of("vaelab.explore", folder)(f"run=sweep/{CONDITIONAL}", "images=200", "epochs=0")
    assert explored.returncode == 0, explored.stderr
    compared = command_line_of("vaelab.compare", folder)("sweep=sweep", "evaluate=false", "figures=false")
    assert compared.returncode == 0, compared.stderr


# --- the browser ------------------------------------------------------------------------------------------


@contextmanager
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here: Debian's package is chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Watched:
    """A page with all that it should not have done."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message) or dialog.dismiss())  # type: ignore[func-returns-value]
        self.page.on("request", self.note_request)

    def note_request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "about:")):
            self.complaints.append(request.url)

    def open(self, path: Path, ready: str) -> Page:
        self.page.goto(path.absolute().as_uri())
        self.page.wait_for_selector(ready, timeout=60_000)
        return self.page

    def reset(self, width: int) -> None:
        """An empty page of the usual size, as at first."""
        self.page.goto("about:blank")
        self.page.emulate_media(media="null")
        self.page.set_viewport_size({"width": width, "height": 800})
        self.complaints.clear()


class Looks:
    """One page for each look, which all tests of a process open in turn: a context of its own for each costs more."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.of = cache(self.make)

    def make(self, look: str) -> Watched:
        scheme = "dark" if look == "dark" else "light"
        context = self.browser.new_context(color_scheme=scheme, has_touch=look == "phone")
        return Watched(context.new_page())

    @contextmanager
    def opened(self, look: str) -> Iterator[Watched]:
        watched = self.of(look)
        watched.reset(390 if look == "phone" else 1200)
        yield watched
        assert watched.complaints == []


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def violations(page: Page, *rules: str) -> list[str]:
    """What axe finds, by all rules or by these: of each rule that is broken its name, and where."""
    page.evaluate(AXE_SCRIPT)
    found = page.evaluate("(only) => axe.run(only.length ? { runOnly: only } : {})", [*rules])["violations"]
    return [f"{each['id']}: {[node['html'][:120] for node in each['nodes']][:5]}" for each in found]


# --- the explorer -----------------------------------------------------------------------------------------


def z(page: Page, view: int = 0) -> list[float]:
    page.evaluate(FRAMES)
    return page.evaluate(f"Array.from(window.explorer.views[{view}].z)")  # type: ignore[no-any-return]


def seen(page: Page) -> Any:
    """The image that is looked at."""
    return np.array(page.evaluate("Array.from(window.explorer.state.subject.pixels)")).reshape(28, 28)


def box_and_mass(ink: Any) -> tuple[int, int, Any]:
    rows, columns = np.nonzero(ink.max(1) > 0.05)[0], np.nonzero(ink.max(0) > 0.05)[0]
    places = np.indices(ink.shape).reshape(2, -1)
    return np.ptp(rows) + 1, np.ptp(columns) + 1, (places * ink.flatten()).sum(1) / ink.sum()
