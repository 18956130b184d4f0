"""Wrong command lines for every command: one line on stderr that says what to type instead, and nothing made.

bad_input.txt has the hand-written ones with their messages; Hypothesis draws others from the schema.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from harness import ONE_EPOCH, command_line_of, environment, once, run_folder, warm
from vaelab import config
from vaelab.cli.arguments import prepare
from vaelab.cli.compose import composing, plain, settings_of
from vaelab.cli.messages import one_line
from vaelab.config import Config, quote_override
from vaelab.runs.environment import memory, pick_device
from vaelab.runs.files import size

HEADER = "# @package _global_\n"
YAML = {
    "experiment/latin": f"{HEADER}# caf\xe9\nbeta: 2\n",
    "experiment/missing": f"{HEADER}beta: ???\n",
    "experiment/nested": f"{HEADER}loss:\n  likelihood: {{name: gaussian, sigma: '???'}}\n",
    "experiment/tiny": f"{HEADER}beta: 1e-400\n",
    "model/missing": "name: mlp\nlatent_dim: ???\n",
}
"""Files of a user's, below mine/: written in Latin-1, which is UTF-8 where all is ASCII."""

TABLE = Path(__file__).with_name("bad_input.txt")


def table() -> Iterator[tuple[str, list[str], str]]:
    """Command, arguments and message of each wrong line."""
    lines = [line for line in TABLE.read_text().splitlines() if line and not line.startswith("#")]
    for line, message in zip(lines[::2], lines[1::2], strict=True):
        command, *arguments = shlex.split(line.removeprefix("$ "))
        yield command, arguments, message


def pattern(message: str) -> str:
    """A regular expression for a whole sentence, or for one line with these parts."""
    if message.endswith("."):
        return re.escape(message)
    return ".*".join(["", *map(re.escape, message.split(" … ")), ""])


def outcomes(command: str, lines: list[list[str]], folder: Path) -> list[dict[str, Any]]:
    env = environment(VAELAB_DATA=str(folder / "data"))
    result = warm().run("several_commands", (json.dumps([[command, *line] for line in lines]),), folder, env)
    assert result.returncode == 0, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.fixture(scope="session")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, an empty folder, and a user's yaml."""

    def make(folder: Path) -> None:
        run_folder(command_line_of("vaelab.train", folder)(*ONE_EPOCH, "hydra.run.dir=run"))
        (folder / "empty").mkdir()
        (folder / "data").mkdir()
        for name, text in YAML.items():
            path = folder / "mine" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode("latin-1"))

    folder, _ = once(tmp_path_factory, "somewhere", make)
    return folder


@pytest.mark.parametrize("command", config.SCHEMAS)
def test_a_wrong_command_line_prints_one_line(somewhere: Path, tmp_path: Path, command: str) -> None:
    wrong = [(arguments, message) for of, arguments, message in table() if of == command]
    assert wrong
    folder = Path(shutil.copytree(somewhere, tmp_path / "here"))
    installed = size(memory(pick_device("auto")) or 0)
    for (arguments, message), found in zip(
        wrong, outcomes(command, [arguments for arguments, _ in wrong], folder), strict=True
    ):
        line = shlex.join(arguments)
        printed = found["stderr"].replace(str(folder), "HERE").replace(installed, "MEMORY")
        assert re.fullmatch(f"vaelab: {pattern(message)}\n", printed), (line, printed)
        assert (found["status"], found["stdout"]) == (1, ""), line
        assert [path for path in found["changed"] if not path.startswith("data")] == [], line


WITHOUT_TORCH = [
    ["model.latent_dim=0"],
    ["model.activation=gelu"],
    ["model=conv", "model.channels=[32,64,128]"],
    ["model.name=vae"],
    ["loss.likelihood=mse"],
    ["logger=wandbb"],
    ["dataset.classes=[shoe]"],
    ["dataset.root=/no/such"],
    ["dataset.binarize=larochelle"],
    ["-m", "model.latent_dim=2,0"],
    ["-m", "seed=1,2", "dataset.root=/no/such"],
]


def test_a_wrong_line_does_not_wait_for_torch(tmp_path: Path) -> None:
    script = (
        "import json, sys, vaelab.train as train\n"
        "for line in json.load(sys.stdin):\n"
        "    sys.argv[1:] = line\n"
        "    try: train.main()\n"
        "    except SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(WITHOUT_TORCH), cwd=tmp_path, env=environment(),
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert result.stdout.splitlines() == ["1 False"] * len(WITHOUT_TORCH), result.stderr
    assert len(result.stderr.splitlines()) == len(WITHOUT_TORCH)


def test_what_a_yaml_leaves_open_can_be_typed(somewhere: Path) -> None:
    flags = {"config_dir": str(somewhere / "mine")}
    for line, expected in (
        (["experiment=missing", "beta=3"], 3),
        (["model=missing", "model.latent_dim=5"], 5),
    ):
        with composing("train", flags) as compose:
            found = settings_of(compose(line), Config)
        assert expected in (found.beta, found.model["latent_dim"])


# --- drawn from the schema --------------------------------------------------------------------------------

SCHEMAS = config.SCHEMAS

WORDS = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12)
NUMBERS = st.one_of(st.integers(-(10**6), 10**20), st.floats(allow_nan=True, allow_infinity=True))


def composed(command: str, *overrides: str) -> object:
    schema = SCHEMAS[command]
    arguments = prepare(overrides, command, schema)
    with composing(command) as compose:
        return config.resolve(plain(compose(arguments.overrides)), schema)


def answer(command: str, *overrides: str) -> str | None:
    """The line that a command would print, or None where it accepts the arguments."""
    try:
        composed(command, *overrides)
    except Exception as error:
        return one_line(error, SCHEMAS[command])
    return None


ALL = [
    (command, key)
    for command, schema in SCHEMAS.items()
    for key in [each.key for each in config.describe(schema)]
]


@hypothesis_settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.sampled_from(ALL), st.one_of(NUMBERS, WORDS, st.lists(NUMBERS, max_size=2), st.none(), st.booleans())
)
def test_any_value_is_taken_or_answered_with_setting_value_and_what_is_allowed(
    where: tuple[str, str], value: Any
) -> None:
    command, key = where
    (item,) = (each for each in config.describe(SCHEMAS[command]) if each.key == key)
    said = answer(command, quote_override(key, value))
    if said is None:
        return
    assert "\n" not in said
    assert "Traceback" not in said
    together = (
        "An explorer shows",
        "pair names",
        "checkpoint must",
        "sweep must",
        "run must",
        "from must",
        "loss.warmup_epochs=",
        "dataset.root=",
        "dataset.features=",
    )
    if not said.startswith(together):  # checks of several settings, of required settings, and of folders
        assert said.startswith(f"{key} must be {item.allowed}, got ")


@pytest.mark.parametrize("command", SCHEMAS)
def test_settings_typed_at_their_defaults_are_as_if_not_typed(command: str) -> None:
    defaults = [quote_override(each.key, each.default) for each in config.describe(SCHEMAS[command])]
    if command == "train":
        defaults += ["repeat=null", "experiment=null", "+resume=NULL", "hydra.mode=null"]
    assert answer(command, *defaults) == answer(command)
    if answer(command) is None:
        assert composed(command, *defaults) == composed(command)


def test_no_run_to_resume_or_repeat_leaves_the_folder_alone() -> None:
    line = ["hydra.run.dir=mine", "beta=2"]
    typed = prepare(["resume=null", *line, "repeat=null"], "train", Config)
    assert typed.overrides == prepare(line, "train", Config).overrides == line


def test_a_misspelt_setting_is_unknown_and_the_right_one_is_named() -> None:
    """Each setting without its middle letter: the nearest name is the right one, unless there are several."""
    named = 0
    for command, key in ALL:
        group, dot, name = key.rpartition(".")
        misspelt = group + dot + name[: len(name) // 2] + name[len(name) // 2 + 1 :]
        said = answer(command, f"{misspelt}=1")
        assert said is not None
        assert said.startswith(f"Unknown setting '{misspelt}'. "), said
        named += f"Did you mean '{key}'?" in said
    assert named >= 0.95 * len(ALL), named


TEXTS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)


@hypothesis_settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(TEXTS.filter(str.strip), st.lists(st.one_of(st.integers(0, 9), TEXTS), min_size=1, max_size=3))
def test_what_is_typed_again_means_the_same(watermark: str, classes: list[Any]) -> None:
    """The rule behind repeat=: `override` writes any value so that Hydra reads that very value."""
    resolved = composed(
        "train", quote_override("artifacts.watermark", watermark), quote_override("dataset.classes", classes)
    )
    assert isinstance(resolved, Config)
    assert (resolved.artifacts.watermark, resolved.dataset.classes) == (watermark, classes)


def test_numbers_keep_their_bits_when_they_are_typed_again() -> None:
    for value in (0.1 + 0.2, 1e-5, 5e-324, 123456789.123456789, 1 / 3):
        found = composed("train", quote_override("beta", value))
        assert isinstance(found, Config)
        assert found.beta == value
