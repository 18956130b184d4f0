"""The command line end to end: a whole run folder, help, completion."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import vaelab
from evaluation_helpers import only
from harness import TINY, UNDRAWN, CommandLine, command_line_of, environment, once, run_folder, run_json
from vaelab.cli.completion import answer
from vaelab.config import CONF_DIR, SCHEMAS, describe, show
from vaelab.config.base import GROUPS
from vaelab.evaluation.sections import section_names
from whole_runs import TRAINING_FIGURES, rows_without_times


def assert_packed(folder: Path) -> None:
    """The zip beside a folder holds all of it but the animation's frames."""
    with zipfile.ZipFile(folder.with_name(folder.name + ".zip")) as archive:
        assert archive.testzip() is None
        files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "frames"]
        assert sorted(archive.namelist()) == sorted(
            f"{folder.name}/{path.relative_to(folder)}" for path in files
        )


def test_a_run_leaves_a_complete_folder(train: CommandLine, tmp_path: Path) -> None:
    result = train(*TINY, "model=conv", "beta=0.5", "epochs=3", "artifacts.checkpoint_every=2", "artifacts.zip=true",
                   "artifacts.gif_every_batches=3", "artifacts.watermark=A. Student $x")  # fmt: skip
    folder = run_folder(result)
    assert re.fullmatch(
        r"outputs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-\d{6}_conv_fashion_mnist_beta-0.5", str(folder)
    )
    folder = tmp_path / folder
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "config.yaml", "metrics.csv", "train.log", "checkpoints", "reconstructions", "samples",
        "latent", "figures",
    }  # fmt: skip
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "last.safetensors",
        "best.safetensors",
        "epoch_0002.safetensors",
    }
    epochs = ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]
    for kind in ("reconstructions", "samples", "latent"):
        assert sorted(path.name for path in (folder / kind).glob("*.png")) == epochs
    assert {path.name for path in (folder / "figures").iterdir()} == TRAINING_FIGURES
    for path in [*folder.rglob("*.png"), *folder.rglob("*.gif")]:
        with Image.open(path) as image:
            image.load()
            assert min(image.size) >= 300, path
    with Image.open(folder / "figures" / "latent_evolution.gif") as animation:
        assert animation.n_frames >= 6  # before training, inside two epochs, after three
    assert [row["epoch"] for row in rows_without_times(folder)] == ["1", "2", "3"]
    facts = run_json(folder)
    assert facts["status"] == "finished"
    assert facts["objective"] == "beta_vae"
    assert "beta=0.5" in str(facts["command"])
    assert isinstance(facts["data"], dict)
    assert (facts["data"]["source"], facts["data"]["complete"]) == ("embedded", False)
    assert_packed(folder)
    assert not list(folder.rglob("*.partial"))
    log = (folder / "train.log").read_text().splitlines()
    assert sum("epoch " in line and "neg_elbo" in line for line in log) == 3
    assert "\r" not in result.stderr  # no progress bar in a pipe
    assert result.stderr.count("neg_elbo") == 3

    run = vaelab.load(folder)
    assert run.metrics[-1]["epoch"] == run.epoch
    images = run.sample(5, seed=1)
    assert images.shape == (5, 1, 28, 28)
    assert torch.equal(images, run.sample(5, seed=1))
    assert not torch.equal(images, run.sample(5, seed=2))
    assert run.encode(images).mean.shape == (5, 2)
    assert run.encode((images[:, 0] * 255).to(torch.uint8).numpy()).mean.shape == (5, 2)
    assert run.decode(torch.zeros(3, 2)).shape == run.reconstruct(images[:3]).shape == (3, 1, 28, 28)
    assert run.config.model["name"] == "conv"
    with pytest.raises(vaelab.VaelabError, match=r"shape \(N, 2\) .* got \(1, 5\)"):
        run.decode(torch.zeros(5))
    with pytest.raises(vaelab.VaelabError, match=r"shape \(N, 1, 28, 28\), got \(5, 1, 7, 7\)"):
        run.encode(images[:, :, :7, :7])
    with pytest.raises(vaelab.VaelabError, match=r"out of range\.$"):
        run.encode(images * 300)


def test_a_run_is_packed_at_any_time(trained: Path, tmp_path: Path) -> None:
    zip_command, evaluate = (
        command_line_of("vaelab.zip", tmp_path),
        command_line_of("vaelab.evaluate", tmp_path),
    )
    folder = Path(shutil.copytree(trained, tmp_path / "runs" / "one"))
    assert zip_command(f"run={folder}").stdout == f"Zip: {folder}.zip\n"
    assert_packed(folder)
    result = evaluate(f"checkpoint={folder}", *only("bound"))
    assert result.returncode == 0, result.stderr
    assert (folder / "evaluation" / "best" / "metrics.json").is_file()
    assert_packed(folder)  # refreshed
    sweep = folder.parent
    assert zip_command(f"sweep={sweep}").stdout == f"Zip: {sweep}.zip\n"
    both = zip_command(f"run={folder}", f"sweep={sweep}")
    assert both.stderr.startswith("vaelab: vaelab.zip packs one folder: ")


def test_the_commands_and_versions_are_listed(train: CommandLine, tmp_path: Path) -> None:
    listed = command_line_of("vaelab", tmp_path)().stdout
    assert all(f"\n  python -m vaelab.{command} " in listed for command in SCHEMAS)
    assert train("--version").stdout == listed.splitlines()[0] + "\n"
    assert listed.startswith(f"vaelab {vaelab.__version__}, Hydra {version('hydra-core')}, PyTorch ")


def test_the_fallback_and_a_beta_without_effect_are_reported_and_recorded(
    train: CommandLine, tmp_path: Path
) -> None:
    result = train("kl=false", "beta=4", "epochs=1", "dataset.val_size=9000", *TINY[1:2], *UNDRAWN)
    assert str(run_folder(result)).endswith("_mlp_fashion_mnist_recon_only")
    assert ", 1 epoch, on " in result.stderr
    assert "WARNING: beta=4.0 has no effect with kl=false: the KL term is not minimised." in result.stderr
    folder = tmp_path / run_folder(result)
    assert "WARNING: EMBEDDED SUBSET instead of the full set: Fashion-MNIST is neither in" in result.stderr
    assert "WARNING EMBEDDED SUBSET" in (folder / "train.log").read_text()
    data = run_json(folder)["data"]
    assert isinstance(data, dict)
    assert "can't be reached" in data["fallback"]
    assert not list(folder.rglob("epoch_*.png"))


def test_a_users_own_yaml_is_composed_or_refused_in_one_line(train: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("# @package _global_\nepochs: 1\nmodel:\n  hidden: [20]\n")
    result = train("--config-dir", "mine", *TINY, "experiment=tiny", *UNDRAWN)
    config = (tmp_path / run_folder(result) / "config.yaml").read_text()
    assert "- 20" in config
    assert "epochs: 1\n" in config
    (folder / "bad.yaml").write_text("# @package _global_\nepochs: [1\n")
    (folder / "rootless.yaml").write_text("epochs: 1\n")
    (tmp_path / "mine" / "loss").mkdir()
    (tmp_path / "mine" / "loss" / "rootless.yaml").write_text("beta: 2\n")
    begin = "in {0}/ must begin with the line '# @package _global_'"
    for choice, message in (
        ("experiment=bad", "bad.yaml, line 3, is not valid YAML: "),
        ("experiment=rootless", begin.format("experiment")),
        ("loss=rootless", begin.format("loss")),
    ):
        result = train("--config-dir", "mine", choice)
        assert result.returncode == 1
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1, result.stderr
    (tmp_path / "mine" / "loss" / "vae.yaml").write_text("# @package _global_\nbeta: 2\n")
    for given in (["--config-dir", "mine"], ["hydra.searchpath=[file://mine]"], ["--config-dir=mine", "-m"]):
        result = train(*given, "loss=vae", *TINY)
        assert result.returncode == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("vaelab: mine/loss/vae.yaml ")
        assert line.endswith("type loss=my_vae.")
    own = train(
        "--config-path", "mine", "--config-name", "experiment/tiny", "--cfg", "job"
    )  # a whole conf/ of one's own
    assert own.returncode == 0, own.stderr
    assert "epochs: 1\n" in own.stdout


# --- completion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", SCHEMAS)
def test_completion_offers_what_a_command_takes(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", f"vaelab-{command} ")
    offered = {line.removesuffix("=") for line in answer("query=bash", SCHEMAS[command]).split()}
    described = {each.key for each in describe(SCHEMAS[command])} - {"dataset.name"}
    of_train = {*GROUPS, "hydra/launcher", "hydra/sweeper", "hydra.sweep.dir"}
    more = (
        {*of_train, *(f"model.{key}" for key in ("latent_dim", "hidden", "activation", "conditional"))}
        if command == "train"
        else set()
    )
    assert offered - {"hydra.run.dir"} == {*described, *more} - {"model.name"}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_python_m(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "own.yaml").touch()
    script = tmp_path / "vaelab-train"  # as pip installs it
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m vaelab.train "$@"\n')
    script.chmod(0o755)
    ask = """
eval "$(./vaelab-train -sc install=bash)"
ask() { COMP_LINE="$1"; COMP_POINT=${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vaelab; echo "${COMPREPLY[*]}"; }
ask "./vaelab-train model=c" ./vaelab-train model = c
ask "./vaelab-train kl=" ./vaelab-train kl =
ask "$0 -m vaelab.train --config-dir mine experiment=o" "$0" -m vaelab.train --config-dir mine experiment = o
ask "$0 -m vaelab.evaluate metrics.n" "$0" -m vaelab.evaluate metrics.n
ask "$0 script.py mod" "$0" script.py mod
"""
    result = subprocess.run(
        ["bash", "-c", ask, sys.executable], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert result.stderr == ""
    assert result.stdout.split("\n") == ["conv", "true false", "own", "metrics.nll=", "", ""]


# --- --help and wrong values ------------------------------------------------------------------------------


@pytest.fixture
def helps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What --help of each command prints, in one process that must not import torch or matplotlib."""
    script = """
import sys
from importlib import import_module
for command in sys.argv[1:]:
    sys.argv = [command, "--help"]
    import_module(f"vaelab.{command}").main()
    print("\\f", end="")
print({"torch", "matplotlib"} & {*sys.modules})
"""

    def make(folder: Path) -> str:
        command = [sys.executable, "-c", script, *SCHEMAS]
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment())
        assert result.returncode == 0, result.stderr
        return result.stdout

    *texts, imported = once(tmp_path_factory, "helps", make)[1].split("\f")
    assert imported == "set()\n"
    return dict(zip(SCHEMAS, texts, strict=True))


def test_help_lists_every_setting_with_its_default_unit_and_range(helps: dict[str, str]) -> None:
    for command, schema in SCHEMAS.items():
        unwrapped = " ".join(helps[command].split())
        for setting in describe(schema):
            listed = f" {setting.key}={show(setting.default)} {setting.description}"
            if setting.default is not None and not isinstance(setting.default, bool):
                listed += f" ({', '.join(setting.choices) or setting.allowed})"
            assert listed in unwrapped, command
        assert max(map(len, helps[command].splitlines())) <= 132


def test_help_of_evaluate_describes_every_section(helps: dict[str, str]) -> None:
    described = dict(re.findall(r"metrics\.(\w+)=\w+ +(\w+)", helps["evaluate"]))
    assert {*described} >= {*section_names()}
    assert [word for word in described.values() if not word.islower()] == ["FID"]


def test_help_lists_groups_studies_and_examples(helps: dict[str, str]) -> None:
    for line in (
        " conv, mlp, resnet\n", " emnist_digits, emnist_letters, fashion_mnist, images, kmnist, mnist\n", " beta_tcvae, beta_vae, capacity, geco, iwae, mmd_vae, recon_only, vae\n",
        "python -m vaelab.train model=conv beta=0.5", "-m beta=0.1,0.5,1 kl=true,false", "resume=outputs/", "repeat=outputs/",
    ):  # fmt: skip
        assert line in helps["train"]
    assert "Settings and their defaults (reconstruction and KL are in nats per image)\n" in helps["train"]


def test_an_output_that_lacks_a_character_ends_no_command(tmp_path: Path) -> None:
    result = command_line_of("vaelab.evaluate", tmp_path)("--help", PYTHONIOENCODING="ascii")
    assert (result.returncode, result.stderr) == (0, "")
    assert "?log p(x)" in result.stdout  # −


def test_help_shows_the_model_that_is_chosen_and_refuses_what_is_wrong(train: CommandLine) -> None:
    ours = train("model=conv", "--help")
    assert ours.returncode == 0
    assert re.search(r"model\.channels=\[32,64\] +output channels of each", ours.stdout)
    assert len(re.findall(r" experiment=\w+ +[A-Z]", ours.stdout)) == len(
        list((CONF_DIR / "experiment").iterdir())
    )
    assert re.search("experiment +annealing, beta_seeds, beta_three_classes, ", ours.stdout)
    wrong = train("bta=3", "--help")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("vaelab: Unknown setting 'bta'. ")


@pytest.mark.hydra
@pytest.mark.parametrize(("command", "shown"), [
    *((command, "hydra") for command in SCHEMAS), ("train", "all"), ("evaluate", "all"),
])  # fmt: skip
def test_hydras_settings_can_be_shown_resolved(command: str, shown: str, tmp_path: Path) -> None:
    """What only a job knows is ???, as Hydra has it."""
    result = command_line_of(f"vaelab.{command}", tmp_path)("--cfg", shown, "--resolve")
    assert result.returncode == 0, result.stderr
    sweep = yaml.safe_load(result.stdout)["hydra"]["sweep"]
    assert sweep["subdir"] == ("." if command == "evaluate" else "???")
