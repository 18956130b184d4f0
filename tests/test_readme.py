"""The READMEs: what they name exists, their code is that of files, and every command and the Python code of the main one run."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vaelab
from harness import ONE_EPOCH, REPOSITORY, command_line_of, environment, once
from vaelab.cli import api

READMES = [REPOSITORY / each for each in ("README.md", "conf/README.md", "scripts/README.md", "tests/extensions/README.md")]  # fmt: skip
README = READMES[0].read_text()
EXTENSIONS = REPOSITORY / "tests" / "extensions"
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
ELSEWHERE = ("export run=RUN", "train -m beta=0.1,0.5,1 kl=true,false")
"""Commands that take long, and that the tests of exports and of sweeps run."""
NAMES = {each: " ".join(each).strip() for each in COMMANDS}


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param(*each, id=name, marks=[pytest.mark.slow] if name in ELSEWHERE else [])
        for each, name in NAMES.items()
    ],
)
def test_every_command_runs(
    command: str, arguments: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    def train(folder: Path) -> None:
        quick = [*ONE_EPOCH, "model.hidden=[8]"]
        line = [*quick, "hydra.callbacks.compare.enabled=false", f"hydra.sweep.dir={SWEEP}", "beta=0.5,1"]
        for more in (["-m", *line], [*quick, f"hydra.run.dir={RUN}"]):
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
        short = [each for each in ONE_EPOCH if each.partition("=")[0] not in own]
        given += short if "repeat" not in own else ["epochs=1"]
        given += ["model.hidden=[8]"] if "model" not in own and "repeat" not in own else []
        compare = [f"hydra.callbacks.compare.{each}" for each in MORE["compare"]]
        given += compare if "-m" in given or "experiment" in own else []
    result = command_line_of(f"vaelab.{command}", tmp_path)(*given, *MORE.get(command, []))
    assert result.returncode == 0, result.stderr


def test_the_python_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With settings that make each call quick, and with the run in the folder that the code then loads."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (loaded,) = re.findall(r'vaelab\.load\("(.*?)"\)', code)
    quick = [each for each in ONE_EPOCH if not each.startswith("epochs=")]

    def trained(*overrides: str, **settings: Any) -> Any:
        return api.train(*overrides, *quick, f"hydra.run.dir={loaded}", **settings | {"epochs": 1})

    def swept(*overrides: str, **settings: Any) -> Any:
        compared = [f"hydra.callbacks.compare.{each}" for each in MORE["compare"]]
        return api.sweep(*overrides, *quick, "model.hidden=[8]", *compared, epochs=1, **settings)

    functions = {"load": vaelab.load, "train": trained, "sweep": swept}
    for name, more in MORE.items():
        function = getattr(api, name)
        functions[name] = lambda what, function=function, more=more: function(what, *more)
    names = {"vaelab": SimpleNamespace(**functions)}
    imported, _, rest = code.partition("\n")
    assert imported == "import vaelab"
    exec(rest, names)
    run, images, posterior = (names[each] for each in ("run", "images", "posterior"))
    assert str(run.checkpoint.parents[1]) == loaded
    assert images.shape == (64, 1, 28, 28)
    assert posterior.mean.shape == posterior.log_variance.shape == (64, 2)
    assert len(names["sweep"].runs) == 4  # without KL, beta has no effect
    assert len(names["sweep"].comparison.table) == 4
