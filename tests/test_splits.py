"""Classes, splits, batches and binarisation."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from vaelab.config import ConfigError, DatasetConfig
from vaelab.data import splits
from vaelab.data.datasets import class_numbers, published
from vaelab.data.splits import Split

pytestmark = pytest.mark.usefixtures("elsewhere")

FASHION = published()["fashion_mnist"]

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (None, list(range(10))),
        ([0, 1, 7], [0, 1, 7]),
        ([7, 0], [0, 7]),
        (["trouser", "sneaker"], [1, 7]),
        (["T-shirt/top"], [0]),
        (["tshirt", "Ankle boot", "bag"], [0, 8, 9]),
    ],
)
def test_classes_are_chosen_by_number_or_name(wanted: list[object] | None, numbers: list[int]) -> None:
    assert class_numbers(FASHION, wanted) == numbers


@pytest.mark.parametrize(
    ("wanted", "problem", "remedy"),
    [
        ([12], "has no class 12", "0 T-shirt/top, 1 Trouser,"),
        (["s"], "s matches several classes", "0 T-shirt/top, 1 Trouser,"),
        ([-1], "has no class -1", "0 T-shirt/top, 1 Trouser,"),
        ([1, "trouser"], "names a class twice: [1,trouser]", "Type each once"),
    ],
)
def test_wrong_classes_say_what_there_is(wanted: list[object], problem: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=rf"^dataset\.classes.* {re.escape(problem)}.* {remedy}"):
        class_numbers(FASHION, wanted)


def test_titles_and_classes_are_on_one_line_each() -> None:
    spec = replace(FASHION, title="Fashion\nMNIST", classes=("T-shirt\t/ top ", *FASHION.classes[1:]))
    assert (spec.title, spec.classes[0]) == ("Fashion MNIST", "T-shirt / top")


def test_classes_of_digits_are_chosen_by_number() -> None:
    assert class_numbers(published()["mnist"], [3, "5"]) == [3, 5]
    with pytest.raises(ConfigError, match=r"MNIST has no class x\. Type a number from 0 to 9"):
        class_numbers(published()["mnist"], ["x"])


def test_validation_images_are_the_last_and_none_is_trained_on() -> None:
    everything = splits.load(DatasetConfig(source="embedded", val_size=0), CPU)
    data = splits.load(DatasetConfig(source="embedded", val_size=1000), CPU)
    assert (len(data.train), len(data.scored), len(data.test)) == (9000, 1000, 2000)
    assert data.scored.name == "val"
    assert torch.equal(torch.cat([data.train.images, data.scored.images]), everything.train.images)
    assert everything.scored is everything.test
    chosen = splits.load(DatasetConfig(source="embedded", val_size=1000, classes=[1, 7]), CPU)
    of_classes = [(split.labels == 1) | (split.labels == 7) for split in (data.train, data.scored)]
    assert torch.equal(chosen.train.images, data.train.images[of_classes[0]])
    assert torch.equal(chosen.scored.images, data.scored.images[of_classes[1]])
    assert set(chosen.train.labels.tolist()) == set(chosen.test.labels.tolist()) == {1, 7}
    assert chosen.description == "Fashion-MNIST (embedded subset; classes Trouser, Sneaker)"


def test_a_tenth_of_the_subset_is_the_validation_set() -> None:
    data = splits.load(DatasetConfig(source="embedded"), CPU)
    assert (len(data.train), len(data.scored), data.scored.name) == (9000, 1000, "val")


def test_a_val_size_that_leaves_no_training_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^dataset\.val_size=10000 .* such as dataset\.val_size=833\.$"):
        splits.load(DatasetConfig(source="embedded", val_size=10_000), CPU)


@pytest.mark.parametrize(
    ("val_size", "without", "remedy"), [(2, "validation", "larger"), (9998, "training", "smaller")]
)
def test_a_split_without_an_image_of_the_classes_is_refused(val_size: int, without: str, remedy: str) -> None:
    said = rf"^dataset\.val_size={val_size} leaves no {without} images .*: type a {remedy} number"
    with pytest.raises(ConfigError, match=said):
        splits.load(DatasetConfig(source="embedded", classes=[7], val_size=val_size), CPU)


def test_batches_are_the_images_over_255() -> None:
    data = splits.load(DatasetConfig(source="embedded"), CPU)
    noise = torch.Generator().manual_seed(0)
    before = noise.get_state()
    x = data.train.batch(torch.tensor([5, 3]), noise)
    assert x.shape == (2, 1, 28, 28)
    assert torch.equal((x * 255).round().to(torch.uint8).squeeze(1), data.train.images[[5, 3]])
    assert torch.equal(before, noise.get_state())
    assert data.train.images.dtype == torch.uint8


def test_static_binarization_is_the_same_for_an_image_in_every_run() -> None:
    base = {"source": "embedded", "binarize": "static"}
    first = splits.load(DatasetConfig(**base), CPU)
    other = splits.load(DatasetConfig(**base, val_size=100, classes=[1]), CPU)
    grey = splits.load(DatasetConfig(source="embedded"), CPU)
    assert torch.equal(
        first.train.images[first.train.labels == 1],
        other.train.images[: len(first.train.images[first.train.labels == 1])],
    )
    assert torch.equal(first.test.images[first.test.labels == 1], other.test.images)
    assert set(first.train.images.unique().tolist()) == {0, 255}
    means = [data.train.images.float().mean().item() for data in (first, grey)]
    assert means[0] == pytest.approx(means[1], rel=0.01)
    assert not torch.equal(first.train.images[:100] > 0, first.test.images[:100] > 0)


def test_dynamic_binarization_draws_anew_from_grey_values() -> None:
    split = Split("train", torch.full((1, 28, 28), 51, dtype=torch.uint8), torch.zeros(1), dynamic=True)
    noise = torch.Generator().manual_seed(0)
    draws = torch.cat([split.batch(slice(0, 1), noise) for _ in range(100)])
    assert set(draws.unique().tolist()) == {0, 1}
    assert not torch.equal(draws[0], draws[1])
    assert draws.mean().item() == pytest.approx(0.2, abs=0.01)
