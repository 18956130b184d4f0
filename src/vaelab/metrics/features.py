"""Features of images from a small classifier trained on each data set: what FID and its like are measured on.

Shapes: B batch, N images.
"""

import hashlib
import json
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
BATCH = 250  # twice as fast as 1000 on a CPU: what a layer makes stays in its cache


CLASSIFIED = (1, 28, 28)  # the shape of the shipped classifiers' images
SMALLEST = 8  # pixels of an image that three poolings leave something of


class Classifier(nn.Module):
    """Three convolutions, each with batch norm, ReLU and pooling, then 64 features and the classes' logits.

    `scripts/make_classifiers.py` trains it on the full data. Its features are no Inception features: no score
    on them compares with a published FID.
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
    """A trained classifier and what must be said beside each score on its features (`fid_mnist_cnn`)."""

    name: str  # mnist_cnn, fashion_mnist_cnn; of another data set <its name>_cnn
    image_shape: tuple[int, int, int]  # of the images that it takes
    network: Classifier
    test_accuracy: float  # of the classifier on the full test set, between 0 and 1
    sha256: str  # of the file with its weights
    trained_on: str | None = None
    """What `digest_of` said of the images that it was trained on; None of a shipped one."""

    def facts(self) -> dict[str, Any]:
        """For metrics.json."""
        return {"network": self.name, "test_accuracy": self.test_accuracy, "sha256": self.sha256}

    def __call__(self, x_N1HW: Tensor) -> Tensor:
        """Features of images in [0, 1], shape (N, 64), float64."""
        return features_of(self.network, x_N1HW)


def features_of(network: Classifier, x_N1HW: Tensor) -> Tensor:
    """Features of images in [0, 1], shape (N, 64), float64."""
    with torch.no_grad():
        parts = [network.features(batch) for batch in x_N1HW.split(BATCH)]
    return torch.cat(parts).double()


def shipped(dataset: str) -> Path:
    """The file of a data set's classifier in the package, which there may not be."""
    return CLASSIFIERS / f"{dataset}_cnn.safetensors"


def beside(images: Path) -> Path:
    """The file of the classifier of images that are in a folder or in a file: beside it."""
    return images.with_name(f"{images.name}.features.safetensors")


def digest_of(sha256: Mapping[str, str]) -> str:
    """One SHA-256 of those of a data set's files."""
    return hashlib.sha256(repr(sorted(sha256.items())).encode()).hexdigest()


def feature_network(dataset: str, device: torch.device, path: Path | None = None) -> FeatureNetwork:
    """The classifier of a data set in a file, or the shipped one, in eval mode.

    Raises VaelabError where there is none.
    """
    path = shipped(dataset) if path is None else path
    if not path.is_file():
        raise VaelabError(
            f"no classifier for {dataset} ships with vaelab (scripts/make_classifiers.py makes one)"
        )
    try:
        content = path.read_bytes()
        with safetensors.safe_open(path, framework="pt") as file:
            facts = file.metadata()
        channels, height, width = json.loads(facts.get("image_shape", json.dumps(CLASSIFIED)))
        with torch.device("meta"):  # no weights are drawn: the global random state stays as it is
            network = Classifier((channels, height, width), int(facts.get("classes", 10)))
        network.load_state_dict(load(content), assign=True)
        accuracy = float(facts["test_accuracy"])
    except Exception as error:  # of many kinds, for a damaged file and for one of another program
        raise VaelabError(f"{path} is no feature network that scripts/make_classifiers.py wrote") from error
    network.eval().requires_grad_(False)
    for place, layer in enumerate(network.features):
        if isinstance(layer, nn.BatchNorm2d):  # a part of the convolution before it, once it is trained
            convolution = cast(nn.Conv2d, network.features[place - 1])
            network.features[place - 1] = nn.utils.fuse_conv_bn_eval(convolution, layer)
            network.features[place] = nn.Identity()
    network.to(device).to(memory_format=torch.channels_last)
    sha256 = hashlib.sha256(content).hexdigest()
    return FeatureNetwork(
        f"{dataset}_cnn", (channels, height, width), network, accuracy, sha256, facts.get("data")
    )


def untrained_network(seed: int, device: torch.device) -> Classifier:
    """The same network with the random weights that PyTorch starts from: a warning, no measure."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        return Classifier().eval().requires_grad_(False).to(device)
