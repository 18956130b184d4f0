"""The READMEs: what they name exists, their code is that of files, and every command and the Python code of the main one run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import vaelab
from harness import ONE_EPOCH, REPOSITORY, command_line_of, environment, once
from vaelab.cli import api
from vaelab.config import CONF_DIR

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


RUN_OF = {"checkpoint": "RUN", "repeat": "RUN", "run": "RUN", "sweep": "SWEEP"}
"""What other placeholders, FOLDER and …, stand for after a setting."""

LIMITS = {"epochs": 1, "importance_samples": 2, "loss.importance_samples": 2, "loss.warmup_epochs": 0}
"""Settings of a command that are made smaller, and how large they may be."""


def commands_in(text: str) -> Iterator[tuple[str, str]]:
    """What is typed after `python -m vaelab.`, in code blocks and in backticks."""
    joined = re.sub(r"\s*\\\n\s*", " ", text)
    for command, arguments in re.findall(r"(?:^|`)python -m vaelab\.(\w+) ([^#\n`]+)", joined, re.MULTILINE):
        named = re.sub(
            r"(\w+)=(?:FOLDER|…)", lambda found: f"{found[1]}={RUN_OF.get(found[1], 'FOLDER')}", arguments
        )
        if named != "…" and "NAME" not in named:
            yield command, named.strip()


def expected_numbers() -> Iterator[tuple[str, str]]:
    """The commands in the first column of the table; … is the first word of the one before."""
    _, _, section = README.partition("| command: `python -m vaelab.train …`")
    before = ""
    for continued, arguments in re.findall(r"^\| (… )?`([^`]+)`", section.partition("\n\n")[0], re.MULTILINE):
        before = f"{before.split()[0]} {arguments}" if continued else arguments
        yield "train", before


STUDIES = [("train", f"experiment={each}") for each in re.findall(r"^\| `(\w+)` \| [^|]*\? ?[^|]*\|$", READMES[1].read_text(), re.MULTILINE)]  # fmt: skip
BLOCK = [each for each in commands_in(READMES[2].read_text()) if "hydra.run.dir=" in each[1] or "initial_weights=" in each[1]]  # fmt: skip
"""Commands that continue each other's training."""
IN_THE_BLOCK = {re.sub(r" hydra\.run\.dir=\w+", "", arguments) for _, arguments in BLOCK}
COMMANDS = [
    each
    for each in dict.fromkeys(
        [
            *(each for path in READMES[:3] for each in commands_in(path.read_text())),
            *expected_numbers(),
            *STUDIES,
        ]
    )
    if each not in BLOCK and each[1] not in IN_THE_BLOCK
]
SLOW = {
    "evaluate checkpoint=RUN", "evaluate checkpoint=RUN/last", "export run=RUN", "train repeat=RUN",
    *(" ".join(each) for each in COMMANDS if each[1].startswith(("-m", "experiment=")) and "kl_ablation" not in each[1]),
}  # fmt: skip
"""Commands that take long, and whose kind other commands or the tests of exports and of sweeps run."""


def shortened(command: str, arguments: str) -> list[str]:
    """The same command with few epochs, samples and images."""
    given = []
    for each in shlex.split(arguments):
        key, _, value = each.partition("=")
        given.append(f"{key}={min(int(value), LIMITS[key])}" if key in LIMITS else each)
    own = {each.partition("=")[0] for each in given}
    more = MORE.get(command, [])
    if command == "train" and "repeat" in own:
        more = ["epochs=1"]
    elif command == "train":
        more = ["dataset.classes=[1,7]", *ONE_EPOCH]  # by number, for digits too
        if "dataset=images" in given:
            more = [each for each in ONE_EPOCH if not each.startswith("dataset.")]
        if "experiment" in own:
            more = ["loss.warmup_epochs=0", "seed=1", *more]  # the study's own may be larger
        if "-m" in given or "experiment" in own:
            more = [*more, *(f"hydra.callbacks.compare.{each}" for each in MORE["compare"])]
    for each in more:
        if each.partition("=")[0] not in own:
            given.append(each)
            own.add(each.partition("=")[0])
    return given


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with RUN, SWEEP, a class-conditional run and a folder of images, which commands read."""

    def make(folder: Path) -> None:
        quick = [*ONE_EPOCH, "model.hidden=[8]"]
        line = [*quick, "hydra.callbacks.compare.enabled=false", f"hydra.sweep.dir={SWEEP}", "kl=true,false"]
        conditional = [*quick, "model.conditional=true", "hydra.run.dir=conditional"]
        for more in (["-m", *line], [*quick, f"hydra.run.dir={RUN}"], conditional):
            result = command_line_of("vaelab.train", folder)(*more)
            assert result.returncode == 0, result.stderr
        for number in range(40):
            path = folder / "images" / ("light" if number % 2 else "dark") / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), 5 * number).save(path)

    return once(tmp_path_factory, "readme", make)[0]


def in_place(arguments: str, home: Path) -> str:
    run = "conditional" if "class=" in arguments else RUN
    for name, path in {"RUN": run, "SWEEP": SWEEP, "FOLDER": "images"}.items():
        arguments = re.sub(rf"=({name})\b", f"={home}/{path}", arguments)
    return arguments


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        pytest.param(*each, id=name, marks=[pytest.mark.slow] if name in SLOW else [])
        for each in COMMANDS
        for name in [" ".join(each)]
    ],
)
def test_every_command_runs(command: str, arguments: str, home: Path, tmp_path: Path) -> None:
    given = shortened(command, in_place(arguments, home))
    if arguments.startswith("resume="):
        shutil.copytree(home / RUN, tmp_path / "copy")  # the others read the run meanwhile
        given = ["resume=copy", "epochs=2"]
    result = command_line_of(f"vaelab.{command}", tmp_path)(*given)
    assert result.returncode == 0, result.stderr


def test_every_training_that_continues_another_runs(tmp_path: Path) -> None:
    assert len(BLOCK) == 5
    for command, arguments in BLOCK:
        result = command_line_of(f"vaelab.{command}", tmp_path)(*shortened(command, arguments))
        assert result.returncode == 0, result.stderr


def test_the_commands_of_expected_numbers_are_found() -> None:
    found = [arguments for _, arguments in expected_numbers()]
    assert len(found) == 6
    assert found[-1] == "experiment=gated dataset=fashion_mnist epochs=300"
    assert {("train", f"experiment={path.stem}") for path in (CONF_DIR / "experiment").iterdir()} == {
        *STUDIES
    }


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
