"""Runs on images of one's own: trained, evaluated, compared and explored."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelab
from evaluation_helpers import ROUGH_NLL, only
from harness import REPOSITORY, UNDRAWN, command_line_of, once, run_folder, run_json


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on scikit-learn's digits as a folder, and on patches of a photograph, without labels."""

    def make(where: Path) -> None:
        from sklearn.datasets import load_digits, load_sample_image

        digits = load_digits()
        for number, (image, label) in enumerate(zip(digits.images[:400], digits.target, strict=False)):
            path = where / "digits" / str(label) / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(image / 16 * 255).astype(np.uint8)).save(path)
        photograph = load_sample_image("flower.jpg")
        places = np.random.default_rng(0).integers(0, 400, (150, 2))
        np.savez(
            where / "patches.npz", images=np.stack([photograph[y : y + 16, x : x + 16] for y, x in places])
        )
        train = command_line_of("vaelab.train", where)
        short = ("epochs=1", "artifacts.mp4=false", "device=cpu")
        data = ("dataset=images", "dataset.root=digits")
        run_folder(
            train(*data, "model=conv", "model.channels=[8]", *UNDRAWN, *short, "hydra.run.dir=runs/digits")
        )
        data = ("dataset=images", "dataset.root=patches.npz")
        run_folder(
            train(
                *data,
                "model.hidden=[32]",
                "artifacts.gif_every_batches=0",
                *short,
                "hydra.run.dir=runs/patches",
            )
        )

    found, _ = once(tmp_path_factory, "images", make)
    return found


def command(name: str, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    result = command_line_of(f"vaelab.{name}", where)(*arguments)
    assert "Traceback" not in result.stderr
    return result


def test_a_run_on_colour_images_without_labels_draws_all_but_what_needs_labels(
    trained: Path, tmp_path: Path
) -> None:
    """Every figure that can be is drawn, in colour; what needs labels is said."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    run = tmp_path / "runs" / "patches"
    facts = run_json(run)["data"]
    assert (facts["image_shape"], facts["classes"], facts["source"]) == ([3, 16, 16], {}, "own")
    figures = {path.name for path in (run / "figures").iterdir()}
    assert {
        "dataset_overview.png",
        "latent_space.png",
        "interpolations.png",
        "latent_evolution.gif",
    } <= figures
    assert not figures & {"category_variations.png", "latent_space_plain.png"}
    for path in (run / "figures" / "dataset_overview.png", run / "reconstructions" / "epoch_0001.png"):
        with Image.open(path) as image:
            assert np.ptp(np.asarray(image).astype(int), axis=2).max() > 50
    result = command("evaluate", tmp_path, "checkpoint=runs/patches", *ROUGH_NLL)
    assert result.returncode == 0, result.stderr
    assert "classes: the images have no labels" in result.stdout
    assert "there is no feature network for patches; without labels, none" in result.stdout.replace(
        "\n  ", " "
    )
    result = command("explore", tmp_path, "run=runs/patches")
    assert result.stderr.startswith(
        "vaelab: The explorer shows grey images of at most 64 × 64 pixels, but those"
    )
    result = command("sample", tmp_path, "run=runs/patches", "count=5", "output=samples")
    assert result.returncode == 0, result.stderr


def test_a_classifier_is_found_beside_the_data(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "digits", tmp_path / "digits")
    shutil.copytree(trained / "runs" / "digits", tmp_path / "digits_run")
    moved = f"dataset.root={tmp_path / 'digits'}"

    def make(epochs: int) -> subprocess.CompletedProcess[str]:
        script = command_line_of("make_classifiers", REPOSITORY / "scripts")
        return script("dataset=images", moved, f"--epochs={epochs}")

    barely = make(1)
    assert "that is not clearly better than always predicting the most frequent class" in barely.stderr
    assert not (tmp_path / "digits.features.safetensors").exists()
    made = make(12)
    assert made.returncode == 0, made.stderr
    line = (*only("samples"), "checkpoint=digits_run", moved)
    result = command("evaluate", tmp_path, *line)
    assert result.returncode == 0, result.stderr
    saved = json.loads((tmp_path / "digits_run" / "evaluation" / "best" / "metrics.json").read_text())
    assert "fid_digits_cnn" in saved["numbers"]["samples"]
    accuracy = float(made.stdout.partition("test accuracy ")[2].split()[0])
    assert f"test accuracy {accuracy:.2%}".replace("%", " %") in result.stdout.replace("\n  ", " ")
    # Other images: those of the run are refused.
    next((tmp_path / "digits" / "3").iterdir()).unlink()
    result = command("evaluate", tmp_path, *line)
    assert "are not those that the run was trained on, so some of its training images could" in result.stderr


def test_a_sweep_over_copies_of_the_same_images_trains_once(trained: Path, tmp_path: Path) -> None:
    for name in ("digits", "copy"):
        shutil.copytree(trained / "digits", tmp_path / name)
    line = (
        "-m", "dataset=images", "dataset.root=digits,copy", "model.hidden=[8]", "epochs=1", *UNDRAWN,
        "hydra.callbacks.compare.enabled=false", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    result = command("train", tmp_path, *line)
    assert result.returncode == 0, result.stderr
    assert "is the same training as" in result.stderr
    assert len([*(tmp_path / "sweep").glob("*/run.json")]) == 1
    next((tmp_path / "digits" / "3").iterdir()).unlink()
    result = command("train", tmp_path, *line)
    assert "holds a run on other images than" in result.stderr


def test_a_run_keeps_the_classes_of_images_that_are_gone(tmp_path: Path) -> None:
    """Also where numbers are names: label 1 is the first class, and no position."""
    noise = np.random.default_rng(0)
    labels = np.arange(60) % 3 + 1
    images = (noise.random((60, 8, 8)) * 80 * labels[:, None, None]).astype(np.uint8)
    np.savez(tmp_path / "three.npz", images=images, labels=labels)
    line = (
        "dataset=images",
        "dataset.root=three.npz",
        "model.conditional=true",
        "model.hidden=[8]",
        "epochs=2",
    )
    result = command_line_of("vaelab.train", tmp_path)(*line, *UNDRAWN, "hydra.run.dir=run")
    assert result.returncode == 0, result.stderr
    (tmp_path / "three.npz").unlink()
    run = vaelab.load(tmp_path / "run")
    assert run.trained_on["classes"] == ["1", "2", "3"]
    assert run.class_numbers([1, 2, 3], 3).tolist() == [0, 1, 2]
    assert run.class_numbers(np.array([3, 1]), 2).tolist() == [2, 0]
    result = command_line_of("vaelab.sample", tmp_path)("run=run", "count=3", "format=npz", "class=3")
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "run" / "samples" / "best_seed-0_class-3_3.npz") as archive:
        assert [archive["class_names"][number] for number in archive["labels"]] == ["3"] * 3
        expected = run.sample(3, seed=0, labels=3)
    assert (tmp_path / "run" / "samples").is_dir()
    assert torch.equal(expected, run.sample(3, seed=0, labels="3"))
