"""Class-conditional runs in the commands: samples, reconstructions, exports, comparisons."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import vaelab
from conditional_helpers import SHAPE, conditional, conditional_run
from harness import command_line_of
from vaelab.cli import api
from vaelab.config import ExportConfig, InterpolateConfig, ReconstructConfig, SampleConfig, VaelabError
from vaelab.data.datasets import letters_and_digits
from vaelab.evaluation import samples
from vaelab.evaluation.exports import export
from vaelab.evaluation.interpolations import interpolate
from vaelab.evaluation.reconstructions import reconstruct
from vaelab.evaluation.samples import write_samples
from vaelab.explorer.network import Weights, network
from vaelab.training.run import AT_ONCE


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conditional_run(tmp_path_factory)


def test_samples_are_of_the_given_class_of_all_or_of_drawn_ones(trained: Path, tmp_path: Path) -> None:
    run = vaelab.load(trained)
    for given, output in ((["class=all"], "all.npz"), (["class=trous"], "one.npz"), ([], "drawn.npz")):
        if output == "all.npz":
            sample = command_line_of("vaelab.sample", tmp_path)
            result = sample(f"run={trained}", "count=69", "format=npz", f"output={output}", *given)
            assert result.returncode == 0, result.stderr
        else:
            more = dict(each.split("=") for each in given)
            config = SampleConfig(
                run=str(trained), count=69, format="npz", output=str(tmp_path / output), **more
            )
            write_samples(config)
        with np.load(tmp_path / output) as archive:
            images, latents, labels = archive["images"], archive["latents"], archive["labels"]
        expected = run.decode(latents, labels)
        assert np.abs(expected[:, 0].numpy() * 255 - images).max() < 0.51
        if output == "all.npz":  # rounded up to as many of each
            assert labels.tolist() == [1, 7] * 35
            assert np.array_equal(latents[::2], latents[1::2])
        elif output == "one.npz":
            assert {*labels.tolist()} == {1}
        else:
            assert {*labels.tolist()} == {1, 7}
    config = SampleConfig(
        run=str(trained), count=3, format="png", output=str(tmp_path / "files"), **{"class": 7}
    )
    write_samples(config)
    names = [path.name for path in sorted((tmp_path / "files").glob("*.png"))]
    assert names == [f"{number:05d}_class-sneaker.png" for number in range(3)]


@pytest.mark.parametrize("given", [None, "all", 7])
def test_names_of_files_need_no_latents(
    trained: Path, monkeypatch: pytest.MonkeyPatch, given: int | str | None
) -> None:
    """A mixture takes its time: it is fitted only for images that are drawn."""
    run = vaelab.load(trained)
    config = SampleConfig(run=str(trained), count=2 * AT_ONCE + 2, format="png", **{"class": given})
    labels = torch.cat([labels_B for _, labels_B, _ in samples.batches(run, config)])[: config.count]
    monkeypatch.setattr(samples, "latents", None)
    names = run.trained_on["classes"]
    expected = [f"_class-{letters_and_digits(names[label])}" for label in labels]
    assert samples.endings(run, config) == expected


def test_python_and_the_shell_mean_the_same_class(trained: Path) -> None:
    """By name, its beginning or number; what is no class of the run is refused."""
    run = vaelab.load(trained)
    given = run.sample(3, seed=1, labels="sneaker")
    for named in ("Sneaker", "snea", 7, 7.0, np.array(7), torch.tensor([7, 7, 7]), ["sneaker"] * 3):
        assert torch.equal(run.sample(3, seed=1, labels=named), given)
    for named in ("Sneaker", "snea", 7):
        assert torch.equal(api.sample(run, count=3, seed=1, **{"class": named}), given)
    assert torch.equal(api.sample(run, "class=sneaker", "count=3", seed=1), given)
    for wrong, message in (
        (
            "pullover",
            "class: the run was not trained on Pullover. Give a class that it was trained on: Trouser, ",
        ),
        (12, "class: Fashion-MNIST has no class 12"),
    ):
        with pytest.raises(VaelabError, match=message):
            api.sample(run, count=2, **{"class": wrong})
    with pytest.raises(VaelabError, match=r"labels: Fashion-MNIST has no class 7\.5"):
        run.sample(2, labels=7.5)


def test_reconstructions_and_interpolations_take_test_images_own_classes(
    trained: Path, tmp_path: Path
) -> None:
    given: dict[str, dict[str, str]] = {"own": {}, "trouser": {"class": "trouser"}, "sneaker": {"class": "sneaker"}}  # fmt: skip
    values = {}
    for name, more in given.items():
        config = {"run": str(trained), "images": [0, 1, 2, 3], "output": str(tmp_path / name), **more}
        (_, table), _ = reconstruct(ReconstructConfig.model_validate(config))
        values[name] = [float(line.split(",")[4]) for line in table.read_text().splitlines()[1:]]
    labels = vaelab.load(trained).plot.examples.data.test.labels[:4].tolist()
    assert values["own"] == [
        values["trouser" if label == 1 else "sneaker"][k] for k, label in enumerate(labels)
    ]
    assert values["trouser"] != values["sneaker"]
    ends = {"from": labels.index(1), "to": labels.index(7)}
    found = {}
    for name, more in given.items():
        config = {"run": str(trained), "npz": True, "steps": 3, "output": str(tmp_path / "between" / name), **ends, **more}  # fmt: skip
        interpolate(InterpolateConfig.model_validate(config))
        (path,) = (tmp_path / "between" / name).glob("*.npz")
        with np.load(path) as archive:
            found[name] = archive["images"]
    assert np.array_equal(found["own"], found["trouser"])
    assert not np.array_equal(found["own"], found["sneaker"])


def test_a_wrong_class_is_one_line(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (28, 28), 255).save(tmp_path / "white.png")
    result = command_line_of("vaelab.sample", tmp_path)(f"run={trained}", "class=sandal", "output=out")
    assert result.returncode == 1
    assert re.match("vaelab: class: .* not trained on Sandal.* Trouser, ", result.stderr.splitlines()[-1])
    result = command_line_of("vaelab.reconstruct", tmp_path)(
        f"run={trained}", "images=a.npy.png", "output=out"
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("vaelab: a.npy.png does not exist")
    monkeypatch.chdir(tmp_path)
    needed = r"model\.conditional=true.*class=NAME"
    given: dict[str, Any] = {"run": str(trained), "output": "out"}
    with pytest.raises(VaelabError, match=r"class: .* no class hat\. Type .* 0 T-shirt/top, "):
        write_samples(SampleConfig.model_validate({**given, "class": "hat"}))
    with pytest.raises(VaelabError, match=needed):
        reconstruct(ReconstructConfig(**given, images=["white.png"]))
    with pytest.raises(VaelabError, match=needed):
        interpolate(InterpolateConfig.model_validate({**given, "from": "white.png", "to": 0}))
    assert not (tmp_path / "out").exists()


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((50, 8, 8), np.uint8))
    command = ("dataset=images", "dataset.root=mine.npz", "model.conditional=true")
    result = command_line_of("vaelab.train", tmp_path)(*command)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("vaelab: model.conditional=true needs images with labels")
    assert line.endswith("type model.conditional=false.")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]


@pytest.mark.filterwarnings("default")  # those of PyTorch's exporter
def test_onnx_takes_the_label_as_a_second_input(trained: Path, tmp_path: Path) -> None:
    export(ExportConfig(run=str(trained), output=str(tmp_path / "out")))
    run, x, labels = vaelab.load(trained), torch.rand(3, *SHAPE), torch.tensor([7, 1, 7])
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / "out" / f"{name}.onnx") for name in ("encoder", "decoder")
    )
    mean, _ = encoder.run(None, {"image": x.numpy(), "label": labels.numpy()})
    np.testing.assert_allclose(mean, run.encode(x, labels).mean, atol=1e-4)
    (image,) = decoder.run(None, {"latent": mean, "label": labels.numpy()})
    np.testing.assert_allclose(image, run.decode(mean, labels), atol=1e-4)


def test_bounds_given_the_class_stand_in_a_table_of_their_own(families: Path) -> None:
    text = (families / "comparison" / "comparison.md").read_text()
    title = "Fashion-MNIST (embedded subset; classes Trouser, Sneaker)"
    assert [line for line in text.splitlines() if line.startswith(f"## {title}")] == [
        f"## {title}", f"## {title}, class-conditional",
    ]  # fmt: skip
    assert "Class-conditional runs have separate tables" in text
    plain, given = (part.partition("\n## ")[0] for part in text.replace("\\|", "|").split(f"## {title}")[1:])
    for of, wanted, never in (
        (plain, ("−log p(x|z), ", "KL(q(z|x) ‖"), ", y)"),
        (given, ("−log p(x|z, y), ", "KL(q(z|x, y) ‖"), "q(z|x) "),
    ):
        assert all(each in of for each in wanted)
        assert never not in of
    for each in ("an upper bound on −log p(x), for any beta", "an upper bound on −log p(x|y), for any beta"):
        assert each in text


def test_a_model_that_places_labels_elsewhere_has_no_explorer() -> None:
    class Elsewhere(type(conditional("mlp"))):  # type: ignore[misc]
        def with_labels(self, x_BCHW: torch.Tensor, one_hot_BY: torch.Tensor) -> torch.Tensor:
            return torch.cat([one_hot_BY, x_BCHW.flatten(1)], dim=1)

    model = conditional("mlp")
    assert network(model, "bernoulli", Weights())["input"] == [784 + 3]
    assert network(conditional("conv"), "bernoulli", Weights())["input"] == [1 + 3, 28, 28]
    model.__class__ = Elsewhere
    with pytest.raises(VaelabError, match="its own with_labels"):
        network(model, "bernoulli", Weights())
