"""Features from a small classifier trained on each data set, on which FID and related scores are measured.

Shapes: B batch, N images, C channels, H height, W width.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors
import torch
from safetensors.torch import load
from torch import Tensor, nn

from vaelab.config import VaelabError

CLASSIFIERS = Path(__file__).parent / "classifiers"
BATCH = 250  # twice as fast as 1000 on a CPU, whose cache holds the activations


CLASSIFIED = (1, 28, 28)  # the shape of the shipped classifiers' images
SMALLEST = 8  # smallest height and width in pixels, which three poolings reduce to 1


class Classifier(nn.Module):
    """Three convolutions, each with batch norm, ReLU and pooling, then 64 features and class logits.

    `scripts/make_classifiers.py` trains it on the full data. Its features are not those of Inception: no
    score based on them is comparable with a published FID.
    """

    FEATURES = 64

    def __init__(self, image_shape: tuple[int, int, int] = CLASSIFIED, classes: int = 10) -> None:
        super().__init__()
        channels, height, width = image_shape
        layers: list[nn.Module] = []
        for before, after in ((channels, 32), (32, 64), (64, 64)):  # 28 -> 14 -> 7 -> 3 pixels
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        layers += [
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(64 * (height // 8) * (width // 8), self.FEATURES),
            nn.ReLU(),
        ]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(self.FEATURES, classes))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of the classes, shape (B, classes), for images in [0, 1]."""
        return self.head(self.features(x_BCHW))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureNetwork:
    """A trained classifier, and the facts that are reported with each score on its features."""

    name: str  # of its file, ends in _cnn: mnist_cnn, fashion_mnist_cnn
    image_shape: tuple[int, int, int]  # (C, H, W) of its input
    network: Classifier
    test_accuracy: float  # of the classifier on the full test set, between 0 and 1
    sha256: str  # of the file with its weights
    trained_on: str | None = None
    """`digest_of` the images that it was trained on; None for a shipped network."""

    def facts(self) -> dict[str, Any]:
        """Plain values for metrics.json: name, test accuracy and SHA-256."""
        return {"network": self.name, "test_accuracy": self.test_accuracy, "sha256": self.sha256}

    def __call__(self, x_NCHW: Tensor) -> Tensor:
        """Features of images (N, C, H, W) in [0, 1], shape (N, 64), float64."""
        return features_of(self.network, x_NCHW)


def features_of(network: Classifier, x_NCHW: Tensor) -> Tensor:
    """Features of images (N, C, H, W) in [0, 1], shape (N, 64), float64.

    >>> features_of(untrained_network(0, torch.device("cpu")), torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """
    with torch.no_grad():
        parts = [network.features(batch) for batch in x_NCHW.split(BATCH)]
    return torch.cat(parts).double()


def shipped(dataset: str) -> Path:
    """The path of the classifier that ships for a data set; the file need not exist.

    >>> shipped("mnist").name
    'mnist_cnn.safetensors'
    """
    return CLASSIFIERS / f"{dataset}_cnn.safetensors"


def beside(images: Path) -> Path:
    """The path of the classifier for images in a folder or an archive: next to it.

    >>> beside(Path("stamps.npz")).name
    'stamps.npz.features.safetensors'
    """
    return images.with_name(f"{images.name}.features.safetensors")


def digest_of(sha256: Mapping[str, str]) -> str:
    """One SHA-256 for all files of a data set, from the files' own.

    >>> digest_of({"a": "01", "b": "02"}) == digest_of({"b": "02", "a": "01"})
    True
    """
    return hashlib.sha256(repr(sorted(sha256.items())).encode()).hexdigest()


def feature_network(path: Path, device: torch.device) -> FeatureNetwork:
    """Load a classifier from its file, in eval mode. Raises VaelabError if it is not a classifier.

    >>> feature_network(shipped("mnist"), torch.device("cpu"))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 64])
    """
    try:
        content = path.read_bytes()
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata()
        channels, height, width = json.loads(facts.get("image_shape", json.dumps(CLASSIFIED)))
        with torch.device("meta"):  # no weights are drawn: the global random state stays as it is
            network = Classifier((channels, height, width), int(facts.get("classes", 10)))
        network.load_state_dict(load(content), assign=True)
        accuracy = float(facts["test_accuracy"])
    except Exception as error:  # of many types, for damaged files and files of other programs
        raise VaelabError(f"{path} is not a feature network from scripts/make_classifiers.py") from error
    network.eval().requires_grad_(False)
    for place, layer in enumerate(network.features):
        if isinstance(layer, nn.BatchNorm2d):  # folded into the convolution before it
            convolution = cast(nn.Conv2d, network.features[place - 1])
            network.features[place - 1] = nn.utils.fuse_conv_bn_eval(convolution, layer)
            network.features[place] = nn.Identity()
    network.to(device).to(memory_format=torch.channels_last)
    sha256 = hashlib.sha256(content).hexdigest()
    shape = (channels, height, width)
    return FeatureNetwork(name_of(path), shape, network, accuracy, sha256, facts.get("data"))


def name_of(path: Path) -> str:
    """What scores on a feature network are named after: its file, in letters, digits, _ and -.

    >>> name_of(shipped("mnist")), name_of(beside(Path("my stamps.npz")))
    ('mnist_cnn', 'my_stamps_npz_cnn')
    """
    stem = path.name.removesuffix(".safetensors").removesuffix(".features").removesuffix("_cnn")
    return re.sub(r"[^\w-]+", "_", stem or "features") + "_cnn"


def untrained_network(seed: int, device: torch.device) -> Classifier:
    """The same network with PyTorch's random initial weights, to show that an FID on it measures nothing.

    >>> untrained_network(0, torch.device("cpu"))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        return Classifier().eval().requires_grad_(False).to(device)
