"""The command line end to end, in subprocesses: whole runs, exact messages, signals, resuming."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

import vaelab
from conftest import TINY, CommandLine, command_line_of, environment, rewrite, run_folder
from vaelab.cli.completion import answer
from vaelab.config import CONF_DIR, SCHEMAS, Config, describe
from vaelab.config.base import GROUPS
from vaelab.evaluation.sections import section_names
from vaelab.training import checkpoint

NO_FIGURES = ("artifacts.every=0", "artifacts.figures=false", "artifacts.gif=false")

FIGURES = {
    "category_variations.png", "dataset_overview.png", "interpolations.png", "latent_evolution.gif",
    "latent_manifold.png", "latent_space.png", "latent_space_plain.png", "loss_curves.png",
}  # fmt: skip


def rows_without_times(folder: Path) -> list[dict[str, str]]:
    """metrics.csv but for the two columns that measure time."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{key: row[key] for key in row if key not in ("images_per_second", "seconds")} for row in rows]


def run_json(folder: Path) -> dict[str, object]:
    facts: dict[str, object] = json.loads((folder / "run.json").read_text())
    return facts


def assert_same_run(left: Path, right: Path) -> None:
    """Bit for bit: the rows, the weights, the optimizer, and every image."""
    assert rows_without_times(left) == rows_without_times(right)
    for name in ("last.safetensors", "best.safetensors"):
        a, b = (checkpoint.load(folder / "checkpoints" / name) for folder in (left, right))
        assert (a.epoch, a.step) == (b.epoch, b.step)
        for part in ("model", "objective"):
            expected = getattr(b, part)
            assert all(torch.equal(value, expected[key]) for key, value in getattr(a, part).items())
        for index, state in a.optimizer.items():
            assert all(torch.equal(state[key], b.optimizer[index][key]) for key in state)
    images = sorted(path.relative_to(left) for path in left.rglob("*.[pg][ni][gf]"))
    assert images == sorted(path.relative_to(right) for path in right.rglob("*.[pg][ni][gf]"))
    for path in images:
        assert (left / path).read_bytes() == (right / path).read_bytes(), path


def assert_packed(folder: Path) -> None:
    """The zip beside a folder holds all of it but the animation's frames."""
    with zipfile.ZipFile(folder.with_name(folder.name + ".zip")) as archive:
        assert archive.testzip() is None
        files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name != "frames"]
        assert sorted(archive.namelist()) == sorted(
            f"{folder.name}/{path.relative_to(folder)}" for path in files
        )


# --- a whole run ------------------------------------------------------------------------------------------


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
    assert {path.name for path in (folder / "figures").iterdir()} == FIGURES
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
    with pytest.raises(
        vaelab.VaelabError, match=r"^Latents have the shape \(N, 2\) in this run, not \(1, 5\)\.$"
    ):
        run.decode(torch.zeros(5))
    with pytest.raises(
        vaelab.VaelabError, match=r"^Images have the shape \(N, 1, 28, 28\), not \(5, 1, 7, 7\)\.$"
    ):
        run.encode(images[:, :, :7, :7])
    with pytest.raises(vaelab.VaelabError, match=r"out of range\.$"):
        run.encode(images * 300)


def test_a_run_is_packed_at_any_time(train: CommandLine, tmp_path: Path) -> None:
    zip_command, evaluate = (
        command_line_of("vaelab.zip", tmp_path),
        command_line_of("vaelab.evaluate", tmp_path),
    )
    folder = tmp_path / run_folder(train(*TINY, "epochs=1", *NO_FIGURES))
    assert zip_command(f"run={folder}").stdout == f"Zip: {folder}.zip\n"
    assert_packed(folder)
    only_the_bound = [f"metrics.{name}=false" for name in section_names() if name != "bound"]
    result = evaluate(f"checkpoint={folder}", "figures=false", *only_the_bound)
    assert result.returncode == 0, result.stderr
    assert (folder / "evaluation" / "best" / "metrics.json").is_file()
    assert_packed(folder)  # refreshed
    sweep = folder.parent
    assert zip_command(f"sweep={sweep}").stdout == f"Zip: {sweep}.zip\n"
    for arguments in ((), (f"run={folder}", f"sweep={sweep}")):
        refused = zip_command(*arguments)
        message = "vaelab: One folder is packed: type run=FOLDER or sweep=FOLDER.\n"
        assert (refused.returncode, refused.stderr) == (1, message)


def test_the_commands_and_versions_are_listed(train: CommandLine, tmp_path: Path) -> None:
    listed = command_line_of("vaelab", tmp_path)().stdout
    assert all(f"\n  python -m vaelab.{command} " in listed for command in SCHEMAS)
    assert train("--version").stdout == listed.splitlines()[0] + "\n"
    assert listed.startswith(f"vaelab {vaelab.__version__}, Hydra {version('hydra-core')}, PyTorch ")


def test_the_fallback_is_said_and_recorded(train: CommandLine, tmp_path: Path) -> None:
    result = train("epochs=1", "dataset.val_size=9000", *NO_FIGURES)
    folder = tmp_path / run_folder(result)
    assert "WARNING: EMBEDDED SUBSET instead of the full set: Fashion-MNIST is neither in" in result.stderr
    assert "WARNING EMBEDDED SUBSET" in (folder / "train.log").read_text()
    data = run_json(folder)["data"]
    assert isinstance(data, dict)
    assert "can't be reached" in data["fallback"]
    assert not list(folder.rglob("epoch_*.png"))


def test_kl_off_with_beta_says_so_and_names_the_folder(train: CommandLine) -> None:
    result = train(*TINY, "kl=false", "beta=4", "epochs=1", *NO_FIGURES)
    assert str(run_folder(result)).endswith("_mlp_fashion_mnist_recon_only")
    assert ", 1 epoch, on " in result.stderr
    assert "WARNING: beta=4.0 has no effect with kl=false: the KL term is not minimised." in result.stderr


def test_a_users_own_yaml(train: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("# @package _global_\nepochs: 1\nmodel:\n  hidden: [20]\n")
    result = train("--config-dir", "mine", *TINY, "experiment=tiny", *NO_FIGURES)
    config = (tmp_path / run_folder(result) / "config.yaml").read_text()
    assert "- 20" in config
    assert "epochs: 1\n" in config
    (folder / "bad.yaml").write_text("# @package _global_\nepochs: [1\n")
    (folder / "rootless.yaml").write_text("epochs: 1\n")
    (tmp_path / "mine" / "loss").mkdir()
    (tmp_path / "mine" / "loss" / "rootless.yaml").write_text("beta: 2\n")
    begin = "A yaml in {0}/ must begin with the line '# @package _global_'."
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
        assert result.stderr == (
            "vaelab: mine/loss/vae.yaml has the name of a shipped file, which would be taken instead: rename it, to "
            "my_vae.yaml for example, and type loss=my_vae.\n"
        )
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


def test_help_lists_groups_knobs_and_examples_without_torch(tmp_path: Path) -> None:
    script = "import sys, vaelab.train as t; sys.argv = ['train', '--help']\ntry: t.main()\nfinally: print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment()
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("False\n")
    for line in (
        "model: conv, mlp, resnet", "dataset: emnist_digits, emnist_letters, fashion_mnist, images, kmnist, mnist", "loss: beta_tcvae, beta_vae, capacity, geco, iwae, mmd_vae, recon_only, vae",
        "python -m vaelab.train model=conv beta=0.5", "-m beta=0.1,0.5,1 kl=true,false", "resume=outputs/", "repeat=outputs/",
    ):  # fmt: skip
        assert line in result.stdout
    assert re.search(r"beta=1\.0 +weight of the KL term \(a number of at least 0\)\n", result.stdout)
    assert re.search(
        r"optimizer\.lr=0\.001 +Adam's step size, dimensionless \(a number above 0 and below 1\)\n",
        result.stdout,
    )
    assert re.search(r"dataset\.name=fashion_mnist +the data set", result.stdout)
    assert re.search(r"experiment=kl_ablation +What does the KL term do\?", result.stdout)
    unwrapped = " ".join(result.stdout.split())
    for setting in describe(Config):
        if isinstance(setting.default, int | float) and not isinstance(setting.default, bool):
            assert f"{setting.description} ({setting.allowed})" in unwrapped, setting.key
    assert re.search(r"loss\.free_bits=0\.0 +nats per latent dimension", result.stdout)
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines if not line.startswith("experiment: ")) <= 132  # Hydra's


def test_a_wrong_value_is_one_line(train: CommandLine, tmp_path: Path) -> None:
    """In a process of its own; bad_input.txt has many more."""
    result = train("beta=-1")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "vaelab: beta must be a number of at least 0, got -1.0.\n"
    assert not list(tmp_path.rglob("outputs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there(train: CommandLine) -> None:
    result = train(*TINY, "device=cuda")
    assert result.returncode == 1
    assert result.stderr == (
        "vaelab: device=cuda, but this machine has no CUDA device that PyTorch can use: "
        "type device=cpu, or leave device=auto.\n"
    )


# --- interruptions ----------------------------------------------------------------------------------------

LONGER = (*TINY, "epochs=4", "batch_size=16", "artifacts.gif_every_batches=10")


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vaelab.train", *arguments], cwd=tmp_path, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(folder: Path, name: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (folder / name).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_second_run_in_the_same_folder_is_refused(train: CommandLine, tmp_path: Path) -> None:
    folder = tmp_path / run_folder(train(*TINY, *NO_FIGURES, "epochs=1", "hydra.run.dir=a b"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = train(*TINY, *NO_FIGURES, "epochs=1", "hydra.run.dir=a b")
    assert result.returncode == 1
    assert result.stderr == (
        "vaelab: a b already holds a run: type resume='a b' to continue it, or another hydra.run.dir for a new one.\n"
    )
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_going_back_to_an_earlier_checkpoint(train: CommandLine, tmp_path: Path) -> None:
    """What came later goes, and the end is that of a run that had never gone there."""
    command = (*TINY, "artifacts.checkpoint_every=1", "optimizer.lr=0.01")
    long = tmp_path / run_folder(train(*command, "epochs=4", "hydra.run.dir=long"))
    short = tmp_path / run_folder(train(*command, "epochs=3", "hydra.run.dir=short"))
    result = train("resume=long/checkpoints/epoch_0002.safetensors", "epochs=3")
    assert run_folder(result) == Path("long")
    assert "Going back to epoch 2: the files of later epochs are removed" in result.stderr
    assert_same_run(long, short)
    assert run_json(long)["best"] == run_json(short)["best"]


def test_ctrl_c_ends_at_the_next_step(tmp_path: Path) -> None:
    process = start(tmp_path, *LONGER, "epochs=1000", "hydra.run.dir=run")
    wait_for(tmp_path / "run", "checkpoints/last.safetensors", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert "Interrupted (SIGINT) after epoch" in stderr
    assert "Traceback" not in stderr


@pytest.mark.hydra
def test_extending_a_finished_run_equals_a_longer_one(train: CommandLine, tmp_path: Path) -> None:
    command = (*TINY, "batch_size=16", "artifacts.gif_every_batches=1")  # frames further apart in the longer
    long = tmp_path / run_folder(train(*command, "epochs=3", "hydra.run.dir=long"))
    extended = tmp_path / run_folder(train(*command, "epochs=1", "hydra.run.dir=extended"))
    again = train("resume=extended")
    assert again.returncode == 1
    assert again.stderr == "vaelab: The run is finished: type a larger number than epochs=1 to extend it.\n"
    refused = train("resume=extended", "beta=2")
    assert refused.returncode == 1
    assert refused.stderr.startswith("vaelab: beta can't change when a run is resumed (beta is 1.0 there)")
    (
        extended / "checkpoints" / "best.safetensors"
    ).unlink()  # as if killed after last.safetensors was written and before best.safetensors
    run_folder(train("resume=extended/checkpoints/last.safetensors", "epochs=3"))
    assert_same_run(long, extended)
    sessions = run_json(extended)["sessions"]
    assert isinstance(sessions, list)
    assert [(each["from_epoch"], each["to_epoch"]) for each in sessions] == [(0, 1), (1, 3)]


def test_a_diverging_run_is_marked_and_names_the_last_good_weights(
    train: CommandLine, tmp_path: Path
) -> None:
    """The KL's weight rises to a number that fp32 doesn't have, which it reaches in the second epoch."""
    rising = ("beta=6e38", "loss.warmup_epochs=2", "epochs=3")
    result = train(*TINY, *NO_FIGURES, *rising, "optimizer.lr=1e-9", "hydra.run.dir=run")
    assert result.returncode == 1
    assert re.fullmatch(
        r"vaelab: The loss is not finite in epoch 2, step \d+ \(reconstruction \d+\.\d, kl \S+, kl weight \S+e\+38\)\. "
        r"The last good weights are in run/checkpoints/last\.safetensors\. Lowering beta is the usual remedy\.",
        result.stderr.splitlines()[-1],
    )
    assert result.stderr.count("not finite") == 1
    facts = run_json(tmp_path / "run")
    assert facts["status"] == "failed"
    assert "not finite" in str(facts["error"])


def test_diverging_in_the_first_epoch_names_no_weights(train: CommandLine) -> None:
    result = train(*TINY, *NO_FIGURES, "beta=1e39")
    assert result.returncode == 1
    assert "kl weight 1e+39). No epoch was complete yet. Lowering beta is" in result.stderr


def test_few_images_of_a_class_still_make_every_figure(train: CommandLine, tmp_path: Path) -> None:
    """But for the manifold of a latent space in which all images are nearly the same."""
    result = train(
        "dataset.source=embedded", "dataset.classes=[7]", "dataset.val_size=9970", "epochs=1", "batch_size=2",
        "artifacts.mp4=false",
    )  # fmt: skip
    drawn = {path.name for path in (tmp_path / run_folder(result) / "figures").iterdir()}
    assert drawn == FIGURES - {"latent_manifold.png"}
    assert (
        "latent_manifold.png is left out: the posterior means of the test images are nearly" in result.stderr
    )


def test_an_interruption_never_saves_broken_weights(tmp_path: Path) -> None:
    """Weights that turn NaN between two looks at the loss, then SIGTERM: a failure, and last.safetensors stays good."""
    script = f"""
import math, os, signal, torch
from vaelab.train import main
from vaelab.training.callbacks import StopOnSignal
before = StopOnSignal.on_step
def on_step(self, state):
    if state.step == 3:
        with torch.no_grad():
            next(state.model.parameters()).fill_(math.nan)
        os.kill(os.getpid(), signal.SIGTERM)
    before(self, state)
StopOnSignal.on_step = on_step
import sys; sys.argv[1:] = {[*TINY, *NO_FIGURES, "hydra.run.dir=run"]!r}
main()
"""
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "The loss is not finite in epoch 1, step 3" in result.stderr
    assert run_json(tmp_path / "run")["status"] == "failed"
    weights = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors").model
    assert all(weight.isfinite().all() for weight in weights.values())


def test_data_that_changed_under_a_run_is_refused(train: CommandLine, tmp_path: Path) -> None:
    run_folder(train(*TINY, "epochs=1", "hydra.run.dir=run", *NO_FIGURES))
    path = tmp_path / "run" / "checkpoints" / "last.safetensors"
    rewrite(path, lambda content: content["data"]["sha256"].update({"train-images-idx3-ubyte": "0" * 64}))
    result = train("resume=run", "epochs=2")
    assert result.returncode == 1
    assert "trained on other images" in result.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="no such signal here")
def test_what_a_launcher_does_at_its_signal_happens_when_all_is_saved(tmp_path: Path) -> None:
    """As submitit does before a time limit: its handler of SIGUSR2 puts the job back into the queue and exits."""
    (tmp_path / "job.py").write_text(
        f"""
import signal, sys
signal.signal(signal.SIGUSR2, lambda *_: (print("queued again"), sys.exit(3)))
sys.argv[1:] = {[*TINY, *NO_FIGURES, "epochs=500", "hydra.run.dir=run"]!r}
from vaelab.train import main
main()
"""
    )
    process = subprocess.Popen(
        [sys.executable, "job.py"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "run" / "metrics.csv").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR2)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (3, "queued again\n"), err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (facts["status"], facts["signal"]) == ("interrupted", "SIGUSR2")
    saved = checkpoint.load(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert saved.epoch == facts["epochs"]["done"]


def test_help_shows_the_model_that_is_chosen_and_refuses_what_is_wrong(train: CommandLine) -> None:
    ours = train("model=conv", "--help")
    assert ours.returncode == 0
    assert re.search(r"model\.channels=\[32,64\] +output channels of each", ours.stdout)
    assert len(re.findall(r" experiment=\w+ +[A-Z]", ours.stdout)) == len(
        list((CONF_DIR / "experiment").iterdir())
    )
    assert "experiment: annealing, beta_seeds, beta_three_classes, " in ours.stdout
    wrong = train("bta=3", "--help")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "vaelab: Unknown setting 'bta'. Did you mean 'beta'? --help lists all settings.\n"


@pytest.mark.hydra
@pytest.mark.parametrize("shown", ["hydra", "all"])
@pytest.mark.parametrize("command", SCHEMAS)
def test_hydras_settings_can_be_shown_resolved(command: str, shown: str, tmp_path: Path) -> None:
    """What only a job knows is ???, as Hydra has it."""
    result = command_line_of(f"vaelab.{command}", tmp_path)("--cfg", shown, "--resolve")
    assert result.returncode == 0, result.stderr
    sweep = yaml.safe_load(result.stdout)["hydra"]["sweep"]
    assert sweep["subdir"] == ("." if command == "evaluate" else "???")
