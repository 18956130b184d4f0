"""Features of images from a small trained classifier of each data set: what FID and its like are measured on.

Shapes: B batch, N images.
"""

import hashlib
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


CLASSIFIED = (1, 28, 28)  # the shape of its images


class Classifier(nn.Module):
    """Three convolutions, each with batch norm, ReLU and pooling, then 64 features and the classes' logits.

    `scripts/make_classifiers.py` trains it on the full data. Its features are no Inception features: no score
    on them compares with a published FID.
    """

    FEATURES = 64

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((1, 32), (32, 64), (64, 64)):  # 28 -> 14 -> 7 -> 3 pixels
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 3 * 3, self.FEATURES), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(self.FEATURES, 10))

    def forward(self, x_B1HW: Tensor) -> Tensor:
        """Logits of the ten classes, shape (B, 10), for images in [0, 1]."""
        return self.head(self.features(x_B1HW))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureNetwork:
    """A trained classifier and what must be said beside each score on its features (`fid_mnist_cnn`)."""

    name: str  # mnist_cnn or fashion_mnist_cnn
    network: Classifier
    test_accuracy: float  # of the classifier on the full test set, between 0 and 1
    sha256: str  # of the file with its weights

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


def feature_network(dataset: str, device: torch.device) -> FeatureNetwork:
    """The shipped classifier of a data set, in eval mode.

    Raises VaelabError for a data set that none was trained for.
    """
    path = CLASSIFIERS / f"{dataset}_cnn.safetensors"
    if not path.is_file():
        raise VaelabError(
            f"no classifier for {dataset} ships with vaelab (scripts/make_classifiers.py makes one)"
        )
    content = path.read_bytes()
    with safetensors.safe_open(path, framework="pt") as file:
        facts = file.metadata()
    with torch.device("meta"):  # no weights are drawn: the global random state stays as it is
        network = Classifier()
    network.load_state_dict(load(content), assign=True)
    network.eval().requires_grad_(False)
    for place, layer in enumerate(network.features):
        if isinstance(layer, nn.BatchNorm2d):  # a part of the convolution before it, once it is trained
            convolution = cast(nn.Conv2d, network.features[place - 1])
            network.features[place - 1] = nn.utils.fuse_conv_bn_eval(convolution, layer)
            network.features[place] = nn.Identity()
    network.to(device).to(memory_format=torch.channels_last)
    sha256 = hashlib.sha256(content).hexdigest()
    return FeatureNetwork(path.stem, network, float(facts["test_accuracy"]), sha256)


def untrained_network(seed: int, device: torch.device) -> Classifier:
    """The same network with the random weights that PyTorch starts from: a warning, no measure."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone
        return Classifier().eval().requires_grad_(False).to(device)
