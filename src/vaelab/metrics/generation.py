"""How good generated images are: distances between sets of features, and statistics of the images themselves.

Features are those of a small trained classifier of each data set.

Shapes: B batch, N and M images of two sets, D features of each, H height, W width, L latent dimensions.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from scipy.ndimage import laplace
from scipy.spatial.distance import pdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances_chunked
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from vaelab.config import VaelabError

# torchmetrics pulls torchvision, which takes seconds: it is imported where it is needed, so an evaluation
# that is refused, or measures the bound alone, doesn't wait for it.

CLASSIFIERS = Path(__file__).parent / "classifiers"
BATCH = 250  # twice as fast as 1000 on a CPU: what a layer makes stays in its cache
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
NEIGHBOURS = 3  # of precision and recall, as in the paper
PAIRED = 2000  # images whose pairwise distances are averaged: two million pairs
COMPONENTS = 10
FULL_COVARIANCE_UP_TO = 64  # latent dimensions; beyond, the components of a mixture have diagonal covariances


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
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
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
        with torch.no_grad():
            parts = [self.network.features(batch) for batch in x_N1HW.split(BATCH)]
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
    network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    sha256 = hashlib.sha256(content).hexdigest()
    return FeatureNetwork(path.stem, network, float(facts["test_accuracy"]), sha256)


class Features(nn.Identity):
    """The network for torchmetrics: its input are features already, which it returns."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count


def fid(real_ND: Tensor, other_MD: Tensor) -> float:
    """Squared Fréchet distance of Gaussians fitted to both sets (Heusel et al. 2017), by torchmetrics.

    It falls with the number of images: compare scores of equally many only.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(Features(real_ND.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(real_ND.cpu(), real=True)
    metric.update(other_MD.cpu(), real=False)
    return max(0.0, float(metric.compute()))


def kid(real_ND: Tensor, other_MD: Tensor, seed: int) -> float:
    """Kernel distance between two sets of features (Bińkowski et al. 2018), unbiased, by torchmetrics.

    The mean over 100 pairs of random subsets of up to 1,000 features. The spread of the subsets, which share
    their images, is no standard error.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET_SIZE, len(real_ND), len(other_MD))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features: so do we
        metric = KernelInceptionDistance(Features(real_ND.shape[1]), subsets=KID_SUBSETS, subset_size=size)
    metric.update(real_ND.cpu(), real=True)
    metric.update(other_MD.cpu(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, _ = metric.compute()
    return float(mean)


@dataclass(frozen=True, slots=True, eq=False)
class Manifold:
    """The union of balls around features, each reaching to the third-nearest other one."""

    features: NDArray[np.floating]  # (N, D)
    radius: NDArray[np.floating]  # (N,)

    @classmethod
    def around(cls, features_ND: Tensor) -> Manifold:
        features = features_ND.cpu().numpy()
        neighbours = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(features)
        return cls(features, neighbours.kneighbors()[0][:, -1])  # of each point, itself left out


def precision_recall(real: Manifold, other: Manifold) -> tuple[float, float]:
    """Shares of the one set that are on the other's manifold (Kynkäänniemi et al. 2019).

    Precision: generated images on the real manifold. Recall: real images on the generated manifold.
    """
    precise = []
    recalled = np.zeros(len(real.features), bool)
    start = 0
    for rows in pairwise_distances_chunked(other.features, real.features):
        precise.append((rows <= real.radius).any(axis=1))
        recalled |= (rows <= other.radius[start : start + len(rows), None]).any(axis=0)
        start += len(rows)
    return float(np.concatenate(precise).mean()), float(recalled.mean())


def sharpness(images_NHW: NDArray[np.floating]) -> float:
    """Mean over images of the variance of the Laplacian (Pech-Pacheco et al. 2000), grey values in [0, 1]."""
    return float(np.mean([laplace(image).var() for image in images_NHW]))


def diversity(images_NHW: NDArray[np.floating]) -> float:
    """Mean L2 distance between pairs of the first 2,000 images, grey values in [0, 1]."""
    return float(pdist(images_NHW[:PAIRED].reshape(min(PAIRED, len(images_NHW)), -1)).mean())


def psnr_ssim(x_N1HW: Tensor, y_N1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Peak signal-to-noise ratio (dB) and structural similarity (Wang et al. 2004) of pairs, (N,) each."""
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    psnr_N = peak_signal_noise_ratio(y_N1HW, x_N1HW, data_range=1.0, reduction="none", dim=(1, 2, 3))
    ssim: Any = [
        structural_similarity_index_measure(y, x, data_range=1.0, reduction="none")
        for x, y in zip(x_N1HW.split(1000), y_N1HW.split(1000), strict=True)
    ]
    return psnr_N, torch.cat(ssim)


def mixture_draws(z_NL: NDArray[np.floating], count: int, seed: int) -> NDArray[np.float32]:
    """Draws from 10 Gaussians fitted to latents (Ghosh et al. 2020), shape (count, L), in random order."""
    covariance = "full" if z_NL.shape[1] <= FULL_COVARIANCE_UP_TO else "diag"
    mixture = GaussianMixture(min(COMPONENTS, len(z_NL)), covariance_type=covariance, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        draws, _ = mixture.fit(z_NL).sample(count)
    return np.random.default_rng(seed).permutation(draws).astype(np.float32)
