"""The READMEs: what they name exists, their code is that of files, and every command of the main one runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from harness import REPOSITORY, TINY, command_line_of, once

READMES = [REPOSITORY / each for each in ("README.md", "conf/README.md", "scripts/README.md", "tests/extensions/README.md")]  # fmt: skip
README = READMES[0].read_text()
EXTENSIONS = REPOSITORY / "tests" / "extensions"
QUICK = [*TINY, "epochs=1", "artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false"]
RUN, SWEEP = "outputs/2026-11-21/07-12-...", "outputs/multirun/2026-11-21/07-12-..."
"""What `RUN` and `SWEEP` stand for in the README."""
MORE = {
    "evaluate": [
        "nll_images=2",
        "importance_samples=2",
        "figures=false",
        "metrics.samples=false",
        "metrics.ood=false",
    ],
    "compare": ["figures=false", "evaluate=false"],
    "explore": ["images=20"],
}
"""Settings that make a command of the README quick."""


@pytest.mark.parametrize("path", READMES, ids=lambda path: str(path.parent.name))
def test_what_is_named_exists(path: Path) -> None:
    text = path.read_text()
    named = {REPOSITORY / each for each in re.findall(r"`((?:src|conf|scripts|tests)/[\w./-]*)`", text)}
    linked = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text)
    assert named or linked
    for each in (*named, *(path.parent / link for link in linked)):
        assert "NAME" in str(each) or each.exists(), each
    for link, anchor in re.findall(r"\]\(([^):]*)#([\w-]+)\)", text):
        headings = re.findall(r"^#+ (.*)$", (path.parent / link if link else path).read_text(), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings], anchor


def test_extensions_are_shown_as_they_are() -> None:
    files = {
        str(path.relative_to(EXTENSIONS)): path.read_text()
        for suffix in ("*.py", "*.yaml")
        for path in EXTENSIONS.rglob(suffix)
    }
    text = READMES[-1].read_text()
    shown = re.findall(r"<!-- tests/extensions/(\S+) -->\n+```\w+\n(.*?)```\n", text, re.DOTALL)
    assert dict(shown) == files
    assert len(shown) == len(files)


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 12 * 1024


COMMANDS = re.findall(r"^python -m vaelab\.(\w+) ([^#\n]*)", README, re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "arguments"), COMMANDS, ids=[" ".join(each).strip() for each in COMMANDS]
)
def test_every_command_runs(
    command: str, arguments: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    def train(folder: Path) -> None:
        line = [*QUICK, "hydra.callbacks.compare.enabled=false", f"hydra.sweep.dir={SWEEP}", "beta=0.5,1"]
        for more in (["-m", *line], [*QUICK, f"hydra.run.dir={RUN}"]):
            result = command_line_of("vaelab.train", folder)(*more)
            assert result.returncode == 0, result.stderr

    home, _ = once(tmp_path_factory, "readme", train)
    arguments = arguments.replace("RUN", f"{home}/{RUN}").replace("SWEEP", f"{home}/{SWEEP}")
    given = shlex.split(arguments)
    own = {each.partition("=")[0] for each in given}
    if "resume" in own:
        shutil.copytree(given[0].partition("=")[2], tmp_path / "copy")  # the others read the run meanwhile
        given = ["resume=copy", "epochs=2"]
    elif command == "train":
        short = [each for each in QUICK if each.partition("=")[0] not in own]
        given += short if "repeat" not in own else ["epochs=1"]
        given += ["hydra.callbacks.compare.evaluate=false"] if "-m" in given or "experiment" in own else []
    result = command_line_of(f"vaelab.{command}", tmp_path)(*given, *MORE.get(command, []))
    assert result.returncode == 0, result.stderr
