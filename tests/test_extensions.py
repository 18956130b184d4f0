"""Extensions from outside the package: each a module of a plugin, as the README shows it, through every command.

The plugin is installed as pip would: modules and the metadata of entry points in a folder on Python's path.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from evaluation_helpers import ROUGH_NLL, only
from harness import UNDRAWN, CommandLine, idx, once, run_folder, run_json
from plugin_helpers import EXTENSIONS, commands, install, write_stripes
from vaelab.config import VaelabError
from vaelab.explorer.network import Weights, network
from vaelab.models import build
from vaelab.objectives import kl_schedules

LOGGED = (
    f"--config-dir={EXTENSIONS / 'conf'}", *UNDRAWN, "epochs=2", "batch_size=64", "artifacts.report=false", "logger=jsonl",
)  # fmt: skip


STRIPES = ("evaluate", "checkpoint=runs/stripes", *ROUGH_NLL, *only("bound", "nll", "samples"))  # fmt: skip
COMMANDS = {
    "residual": (
        "train", *LOGGED, "dataset.source=embedded", "dataset.classes=[1,7]", "dataset.val_size=7500",
        "model=residual", "model.channels=4", "loss.likelihood=pixel_gaussian",
        "loss.schedule={name:staircase,steps:2}", "hydra.run.dir=runs/residual",
    ),
    "stripes": (
        "train", *LOGGED, "dataset=stripes", "dataset.root=data", "dataset.val_size=100", "model.hidden=[32]",
        "loss.objective={name:rae,strength:0.25}", "loss.free_bits=0.5", "hydra.run.dir=runs/stripes",
    ),
    "evaluate residual": tuple(each.replace("stripes", "residual") for each in STRIPES),
    "evaluate stripes": STRIPES,
    "evaluate without pixel_error": (*STRIPES, "metrics.pixel_error=false", "output=off"),
    "compare": ("compare", "sweep=runs", "figures=false", "evaluate=false"),
    "explore residual": ("explore", "run=runs/residual", "images=20"),
    "explore stripes": ("explore", "run=runs/stripes", "images=20"),
    "refused argument": ("train", "loss.schedule={name:staircase,steps:0}", "hydra.run.dir=nothing", "device=cpu"),
    "no images": ("train", *LOGGED, "dataset=stripes", "hydra.run.dir=nothing"),
    "no subset": ("train", *LOGGED, "dataset=stripes", "dataset.source=embedded", "hydra.run.dir=nothing"),
    "misspelt": ("train", "model.name=residul", "hydra.run.dir=nothing"),
    "help of train": ("train", "--help"),
    "help of evaluate": ("evaluate", "--help"),
}  # fmt: skip
"""The commands with plugins, after two runs that use all of them between them."""

Said = dict[str, "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Said]:
    """A folder with the plugin in which COMMANDS were run, and what each of them said."""

    def make(folder: Path) -> Said:
        install(folder)
        write_stripes(folder / "data" / "Stripes" / "raw")
        return dict(zip(COMMANDS, commands(folder, *COMMANDS.values()), strict=True))

    return once(tmp_path_factory, "extensions", make)


@pytest.fixture(scope="session")
def trained(made: tuple[Path, Said]) -> Path:
    for name in ("residual", "stripes"):
        run_folder(made[1][name])
    return made[0]


@pytest.fixture(scope="session")
def said(made: tuple[Path, Said]) -> Said:
    return made[1]


def rows(folder: Path, run: str) -> list[dict[str, float]]:
    with (folder / "runs" / run / "metrics.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def metrics(folder: Path, run: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = json.loads(
        (folder / "runs" / run / "evaluation" / "best" / "metrics.json").read_text()
    )
    return found


@pytest.mark.parametrize("run", ["residual", "stripes"])
def test_a_schedule_sets_the_weight(trained: Path, run: str) -> None:
    """Two epochs, two steps."""
    expected = [0.5, 1] if run == "residual" else [1, 1]
    assert [row["kl_weight"] for row in rows(trained, run)] == pytest.approx(expected)


def test_an_objective_is_what_is_minimised(trained: Path) -> None:
    for row in rows(trained, "stripes"):
        penalty = row["val/loss"] - row["val/reconstruction"]
        assert 0 < penalty < row["val/kl"] / 2  # half of the means' share in the KL
        assert row["val/neg_elbo"] == pytest.approx(row["val/reconstruction"] + row["val/kl"])


def test_an_objective_is_named_and_what_it_does_not_take_is_said(trained: Path) -> None:
    log = (trained / "runs" / "stripes" / "train.log").read_text()
    assert " parameters), rae, bernoulli likelihood on " in log
    assert "loss.free_bits=0.5 has no effect with loss.objective={name:rae,strength:0.25}" in log
    assert run_json(trained / "runs" / "stripes")["objective"] == "rae"
    assert "no effect" not in (trained / "runs" / "residual" / "train.log").read_text()


@pytest.mark.parametrize("run", ["residual", "stripes"])
def test_a_logger_is_called_after_each_epoch(trained: Path, run: str) -> None:
    lines = (trained / "runs" / run / "epochs.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in logged] == [1, 2]
    assert logged[1]["val/neg_elbo"] == pytest.approx(rows(trained, run)[1]["val/neg_elbo"])


def test_evaluate_measures_plugins_and_with_plugins(trained: Path, said: Said) -> None:
    for run in ("residual", "stripes"):
        result = said[f"evaluate {run}"]
        assert result.returncode == 0, result.stderr
        assert "Pixel error" in result.stdout
        error = metrics(trained, run)["numbers"]["pixel_error"]["mse"]["reconstructions"]
        assert 0 < error["value"] < 1
    assert "there is no feature network for Stripes" in said["evaluate stripes"].stdout
    off = said["evaluate without pixel_error"]
    assert off.returncode == 0, off.stderr
    assert "Pixel error" not in off.stdout


def test_compare_takes_runs_of_plugins(trained: Path, said: Said) -> None:
    assert said["compare"].returncode == 0, said["compare"].stderr
    text = (trained / "runs" / "comparison" / "comparison.md").read_text()
    assert re.search(r"^## Fashion-MNIST .*pixel gaussian likelihood", text, re.MULTILINE)
    assert re.search(r"^## Stripes", text, re.MULTILINE)


def test_evaluations_of_the_subset_never_stand_beside_those_of_the_full_set(tmp_path: Path) -> None:
    """A data set with a subset: the first half of each file."""
    install(tmp_path)
    plugin = (tmp_path / "stripes.py").read_text()
    subset = 'subset=__import__("pathlib").Path(__file__).parent / "subset",'
    (tmp_path / "stripes.py").write_text(plugin.replace('urls=("https://example.org/stripes/",),', subset))
    full = tmp_path / "data" / "Stripes" / "raw"
    write_stripes(full)
    (tmp_path / "subset").mkdir()
    lines = []
    for path in full.iterdir():
        dimensions = path.read_bytes()[3]
        array = np.frombuffer(path.read_bytes()[4 + 4 * dimensions :], np.uint8)
        array = array.reshape(-1, *[20, 20][: dimensions - 1])
        content = idx(array[: len(array) // 2])
        (tmp_path / "subset" / path.name).write_bytes(content)
        lines.append(f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")
    (tmp_path / "subset" / "SHA256SUMS").write_text("".join(lines))
    line = ("dataset=stripes", "dataset.root=data", "dataset.val_size=100", "model.hidden=[8]")
    runs = [("train", *LOGGED, *line, f"beta={beta}", f"hydra.run.dir=runs/{run}") for run, beta in (("a", 0.5), ("b", 1))]  # fmt: skip
    last = "checkpoint=runs/a/checkpoints/last.safetensors"
    quick = ("nll_images=2", "importance_samples=2", "figures=false")
    compare = ("compare", "sweep=runs", "figures=false")

    def images(name: str) -> list[int]:
        folders = (tmp_path / "runs" / run / "evaluation" / name for run in "ab")
        found = [folder / "metrics.json" for folder in folders if (folder / "metrics.json").exists()]
        return [json.loads(path.read_text())["data"]["images"] for path in found]

    *trained, evaluated, compared = commands(
        tmp_path, *runs, ("evaluate", last, *quick, "dataset.source=embedded"), compare
    )
    assert all(each.returncode == 0 for each in (*trained, evaluated))
    assert images("last") == [120, 120]
    assert images("last_subset") == [60]
    assert re.search(r"^Evaluated again, .* on other images: a\.$", compared.stdout, re.MULTILINE)
    shutil.rmtree(full)  # what was measured on the full set is kept, as long as all of it is there
    assert "Evaluated again" not in commands(tmp_path, compare)[0].stdout
    assert images("last") == [120, 120]
    (tmp_path / "runs" / "b" / "evaluation" / "last" / "metrics.json").unlink()
    own_images, of_subset = commands(tmp_path, compare, (*compare, "dataset.source=embedded"))
    assert "The runs' own images of Stripes are not on this machine" in own_images.stdout
    assert (images("last_subset"), images("last")) == ([60, 60], [120])  # run b has none of its own images
    assert "Evaluated again" not in of_subset.stdout  # that of run a was kept beside its own images'


def test_explore_shows_what_it_can_and_says_what_it_can_not(said: Said) -> None:
    refused, shown = said["explore residual"], said["explore stripes"]
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(
        "vaelab: The explorer is not available for this model, which has a Residual layer: "
    )
    assert shown.returncode == 0, shown.stderr
    with pytest.raises(
        VaelabError, match=r"^The explorer is not available for the likelihood pixel_gaussian: "
    ):
        network(build({"name": "mlp"}, (1, 28, 28), seed=0), "pixel_gaussian", Weights())


def test_an_argument_that_a_plugin_refuses_is_one_line(said: Said) -> None:
    refused = said["refused argument"]
    (line,) = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert line.startswith("vaelab: loss.schedule={name:staircase,steps:0} can't be used: ")


def test_a_data_set_without_subset_and_network_says_where_it_was_looked_for(said: Said) -> None:
    assert said["no images"].returncode == 1
    (line,) = said["no images"].stderr.splitlines()
    assert re.search(
        r"Stripes is not in \S+/Stripes/raw, and http://127\.0\.0\.1:9/Stripes/train-images-idx3-ubyte\.gz can't be "
        r"reached .*: dataset\.root=FOLDER .* or put train-images-idx3-ubyte\.gz, .* into \S+/Stripes/raw\.$",
        line,
    )
    assert "Stripes has no embedded subset: type dataset.source=auto" in said["no subset"].stderr


def test_plugins_are_named_where_a_name_is_wrong(said: Said) -> None:
    assert "Did you mean 'residual'? Available: conv, mlp, residual," in said["misspelt"].stderr


def test_help_lists_plugins(said: Said) -> None:
    for name in ("pixel_gaussian", "staircase", "jsonl"):
        assert name in said["help of train"].stdout
    assert "metrics.pixel_error" in said["help of evaluate"].stdout


def test_a_plugin_that_fails_is_named_and_no_other_suffers(tmp_path: Path, train: CommandLine) -> None:
    """By an error, or by a name that a class of vaelab has."""
    install(tmp_path)
    (tmp_path / "rae.py").write_text("import no_such_module")
    (tmp_path / "staircase.py").write_text(
        (tmp_path / "staircase.py").read_text().replace('"staircase"', '"linear"')
    )
    result = train(
        *LOGGED[1:-1], "dataset.source=embedded", "epochs=1", "model.hidden=[4]", "dataset.val_size=9000"
    )
    assert result.returncode == 0, result.stderr
    assert "The plugin rae (rae) can't be imported: No module named 'no_such_module'" in result.stderr
    assert "The plugin staircase (staircase) can't be imported: 'linear' (loss.schedule) is " in result.stderr


def test_extensions_are_short() -> None:
    for path in EXTENSIONS.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 30, path


def test_the_example_of_a_schedule_ends_at_the_full_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kl_schedules, "registered", dict(kl_schedules.registered))
    staircase = runpy.run_path(str(EXTENSIONS / "staircase.py"))["Staircase"](epochs=8)
    assert [staircase.weight(epoch) for epoch in (0, 1.9, 2, 7.9, 8)] == [0.25, 0.25, 0.5, 1, 1]
