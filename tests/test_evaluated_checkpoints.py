"""Which checkpoint is evaluated, on which images and with which seed; what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vaelab
from evaluation_helpers import (
    NO_FIGURES,
    QUICK,
    SECTIONS,
    assert_refused,
    metrics,
    run_of_three_epochs,
)
from harness import TINY, CommandLine, command_line_of, rewrite, run_folder
from vaelab.cli import api
from vaelab.config import EvaluationConfig, ScoredDataConfig, VaelabError
from vaelab.evaluation.evaluate import evaluated_model
from vaelab.metrics.features import untrained_network


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


def from_nowhere(content: dict[str, Any]) -> None:
    """As if the run's data had been in a folder that no longer exists."""
    content["config"]["dataset"] |= {"source": "auto", "root": "/no/such/folder"}


def test_a_checkpoint_that_has_left_its_run(evaluate: CommandLine, run: Path, tmp_path: Path) -> None:
    """Nothing else is needed: not the run folder, and not the data's old place."""
    (tmp_path / "mail").mkdir()

    def averaged_elsewhere(content: dict[str, Any]) -> None:
        from_nowhere(content)
        content["config"]["optimizer"]["weight_average"] = 0.999

    rewrite(
        run / "checkpoints" / "best.safetensors",
        averaged_elsewhere,
        tmp_path / "mail" / "from_a_friend.safetensors",
    )
    shutil.rmtree(run)
    result = evaluate(
        "checkpoint=mail/from_a_friend.safetensors", *QUICK, "figures=false", "metrics.classes=false"
    )
    assert result.returncode == 0, result.stderr
    assert (
        "WARNING: The run's dataset.root=/no/such/folder has no fashion_mnist: searching the default locations."
        in result.stderr
    )
    assert "WARNING: EMBEDDED SUBSET instead of the full set: Fashion-MNIST is neither in" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["metrics.json"]
    folder = tmp_path / "mail" / "evaluation" / "from_a_friend"
    assert metrics(folder)["data"]["fallback"]
    for name in ("table.txt", "summary.md"):
        assert "The weights are the moving average of the trained ones, decay 0.999." in (
            (folder / name).read_text()
        )


def test_other_images_than_the_runs_own_are_reported(evaluate: CommandLine, run: Path) -> None:

    def of_the_full_set(content: dict[str, Any]) -> None:
        content["data"]["sha256"]["train-images-idx3-ubyte"] = "0" * 64
        content["data"]["complete"] = True

    rewrite(run / "checkpoints" / "best.safetensors", of_the_full_set)
    assert_refused(
        evaluate("checkpoint=run", "split=val"),
        "split=val of Fashion-MNIST (embedded subset; classes Trouser, Sneaker) has different images from those of the "
        "run, which was trained on the full set: type split=test.",
    )
    result = evaluate(
        "checkpoint=run", "figures=false", *[f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    )
    assert result.returncode == 0, result.stderr
    assert (
        "WARNING: The run was trained on the full set and is evaluated on Fashion-MNIST (embedded subset"
        in result.stderr
    )
    assert metrics(run / "evaluation" / "best_subset")["data"]["trained_on_the_same_files"] is False


def test_several_checkpoints_one_after_the_other(evaluate: CommandLine, run: Path) -> None:
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate(
        "-m",
        "checkpoint=run/checkpoints/last.safetensors,nowhere.safetensors,run",
        *bound_only,
        "figures=false",
    )
    assert result.returncode == 1
    assert (
        "vaelab: There is no checkpoint nowhere.safetensors." in result.stderr
        or "nowhere.safetensors does not exist" in result.stderr
    )
    assert (
        result.stderr.splitlines()[-1]
        == "vaelab: These jobs failed (see above): checkpoint=nowhere.safetensors."
    )
    assert result.stdout.count("Evaluation folder: ") == 2


def test_the_last_model_by_name(
    train: CommandLine, evaluate: CommandLine, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RUN/last, RUN/best and RUN/epoch_0001 wherever a run or a checkpoint is given; also from older files."""
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("-m", "checkpoint=run/last,run/epoch_0001", *bound_only, "figures=false")
    assert result.returncode == 0, result.stderr
    for name, epoch in (("last", 3), ("epoch_0001", 1)):
        folder = run / "evaluation" / name
        assert metrics(folder)["checkpoint"] == {
            "file": f"{name}.safetensors", "epoch": epoch,
            "sha256": hashlib.sha256((run / "checkpoints" / f"{name}.safetensors").read_bytes()).hexdigest(),
        }  # fmt: skip
        assert (
            (folder / "table.txt")
            .read_text()
            .startswith(f"mlp, 2 latent dimensions, beta 1, bernoulli · {name}, epoch {epoch} · ")
        )
        assert (folder / "summary.md").read_text().startswith(f"# run: {name}, epoch {epoch}\n")
    monkeypatch.chdir(run.parent)
    last = vaelab.load("run", which="last")
    assert (last.epoch, last.moment) == (3, "last, epoch 3")
    assert vaelab.load("run/best").epoch == vaelab.load("run").epoch == vaelab.load("run", "best").epoch
    with pytest.raises(
        VaelabError,
        match=r"^run/lats does not exist\. Did you mean 'last'\? Its checkpoints: run/best, run/epoch",
    ):
        vaelab.load("run", which="lats")
    for path in ("run/last", "run/checkpoints/last.safetensors"):
        with pytest.raises(
            VaelabError, match=r"last\.safetensors is itself a checkpoint: give which=best with"
        ):
            vaelab.load(path, which="best")
    assert torch.equal(api.sample("run/last", 4), last.sample(4))
    page = api.explore("run/last", images=10, output="page.html")
    assert '"run: last, epoch 3"' in page.path.read_text()
    assert (repr(page), Path(page)) == ("<Explorer: page.html>", page.path)
    resumed = train("resume=run/epoch_0001", "epochs=2")
    assert "Going back to epoch 1" in resumed.stderr
    assert json.loads((run / "run.json").read_text())["epochs"] == {"done": 2, "total": 2}


def test_an_untrained_network_shows_that_its_fid_means_nothing(evaluate: CommandLine, run: Path) -> None:
    only = [f"metrics.{name}=false" for name in SECTIONS if name != "samples"]
    result = evaluate("checkpoint=run", "metrics.fid_untrained=true", *only, "figures=false")
    assert result.returncode == 0, result.stderr
    found = metrics(run / "evaluation" / "best")["numbers"]
    trained, random = found["samples"]["fid_fashion_mnist_cnn"], found["fid_untrained"]["fid_untrained"]
    assert trained.keys() == random.keys()
    for of, number in random.items():
        assert 0 <= number["value"] < trained[of]["value"] / 100, of
    assert "Never report it" in result.stdout
    again = [untrained_network(seed, torch.device("cpu")).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])
    assert not torch.equal(again[0]["head.1.weight"], again[2]["head.1.weight"])


# --- interruptions ----------------------------------------------------------------------------------------


# --- what it refuses --------------------------------------------------------------------------------------


def test_a_path_that_is_not_a_checkpoint_is_refused_and_nothing_is_written(
    evaluate: CommandLine, run: Path, tmp_path: Path
) -> None:
    for name in (
        "best.safetensors",
        "last.safetensors",
        "epoch_0001.safetensors",
        "epoch_0002.safetensors",
        "epoch_0003.safetensors",
    ):
        (run / "checkpoints" / name).unlink()
    (tmp_path / "empty").mkdir()
    for path, message in (
        ("run", "There is no checkpoint run/checkpoints/best.safetensors."),
        ("nowhere", "nowhere does not exist. Type the path of a run folder or of a checkpoint in it."),
        ("empty", "empty is neither a run folder nor a file in one (there is no run.json): type a folder that vaelab.train has created."),
    ):  # fmt: skip
        assert_refused(evaluate(f"checkpoint={path}"), message)
    assert not list(tmp_path.rglob("evaluation"))


def test_a_folder_of_data_that_is_not_there(evaluate: CommandLine, run: Path) -> None:
    assert_refused(
        evaluate("checkpoint=run", "dataset.source=full", "dataset.root=/no/such/folder"),
        "dataset.root=/no/such/folder is not a directory: type one with the data, or create it for a download.",
    )
    assert not (run / "evaluation").exists()


# --- the words --------------------------------------------------------------------------------------------


# --- strange but legal ------------------------------------------------------------------------------------


def test_binarised_runs_find_their_grey_images_where_the_others_were_found(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path
) -> None:
    """The run's own folder was deleted, and another source is given."""
    run_folder(train(*TINY, *NO_FIGURES, "dataset.binarize=static", "epochs=1", "hydra.run.dir=run"))
    rewrite(tmp_path / "run" / "checkpoints" / "best.safetensors", from_nowhere)
    result = evaluate("checkpoint=run", *QUICK, "figures=false", "dataset.source=embedded")
    assert result.returncode == 0, result.stderr
    assert list(metrics(tmp_path / "run" / "evaluation" / "best")["numbers"]) == list(SECTIONS)
    loaded: dict[str, Any] = {}
    config = EvaluationConfig(checkpoint="any", dataset=ScoredDataConfig(source="embedded"))
    one, other = (evaluated_model(vaelab.load(tmp_path / "run"), config, loaded) for _ in range(2))
    assert one.grey_data is other.grey_data, "read once for several runs"


def test_too_few_images_are_reported_and_not_a_failure(
    train: CommandLine, evaluate: CommandLine, tmp_path: Path
) -> None:
    few = ("dataset.source=embedded", "dataset.classes=[1,7]", "dataset.val_size=9980", "batch_size=2")
    run_folder(train(*few, *NO_FIGURES, "epochs=1", "hydra.run.dir=run"))
    result = evaluate("checkpoint=run", *QUICK)
    assert result.returncode == 0, result.stderr
    assert metrics(tmp_path / "run" / "evaluation" / "best")["not_measured"] == {
        "classes": "requires 10 training images, of at least two classes",
        "samples": "3 images are too few for the covariance of 64 features: more training images and more scored images are required",
    }
    assert "samples_mixture.png: requires 64 samples, but only 3 are drawn for so few images" in result.stdout


def test_the_seed_of_an_evaluation_is_reported_everywhere(evaluate: CommandLine, run: Path) -> None:
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "seed=7", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    assert "trained with seed 42, evaluated with seed 7" in " ".join(result.stdout.splitlines()[:2])
    assert "1 posterior sample per image · seed 7" in result.stdout
    assert metrics(run / "evaluation" / "best_seed-7")["seed"] == 7
    assert not (run / "evaluation" / "best").exists()
    several = evaluate("checkpoint=run", "-m", "seed=7,8,42", "split=test,val", "figures=false", *bound_only)
    assert several.returncode == 0, several.stderr
    folders = ("best", "best_seed-7", "best_seed-8", "best_val", "best_val_seed-7", "best_val_seed-8")
    assert sorted(path.name for path in (run / "evaluation").iterdir()) == sorted(folders)
    assert {metrics(run / "evaluation" / name)["seed"] for name in folders[:3]} == {7, 8, 42}


def test_output_never_replaces_a_link_by_a_file(evaluate: CommandLine, run: Path, tmp_path: Path) -> None:
    """Of the folder or of a file in it: what is written goes where the link leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "kept.json").write_text("{}")
    (tmp_path / "real" / "metrics.json").symlink_to("../kept.json")
    (tmp_path / "page.html").write_text("")
    (tmp_path / "link.html").symlink_to("page.html")
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "output=folder", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    explored = command_line_of("vaelab.explore", tmp_path)("run=run", "output=link.html")
    assert explored.returncode == 0, explored.stderr
    assert json.loads((tmp_path / "kept.json").read_text())["status"] == "finished"
    assert (tmp_path / "page.html").stat().st_size > 0
    assert (tmp_path / "real" / "table.txt").is_file()
    for link in ("folder", "real/metrics.json", "link.html"):
        assert (tmp_path / link).is_symlink()


def test_an_output_that_can_not_be_written_is_noticed_first(evaluate: CommandLine, run: Path) -> None:
    (run.parent / "afile").write_text("")
    assert_refused(
        evaluate("checkpoint=run", "output=afile"),
        "afile can't be created (it, or a folder above it, is a file): type output=FOLDER.",
    )


def test_a_run_with_more_validation_images_than_the_subset_has(evaluate: CommandLine, run: Path) -> None:
    rewrite(
        run / "checkpoints" / "best.safetensors",
        lambda content: content["config"]["dataset"].update(val_size=50_000),
    )
    bound_only = [f"metrics.{name}=false" for name in SECTIONS if name != "bound"]
    result = evaluate("checkpoint=run", "figures=false", *bound_only)
    assert result.returncode == 0, result.stderr
    assert metrics(run / "evaluation" / "best")["data"]["images"] == 403
