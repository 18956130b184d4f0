"""Measures of samples and images against independent implementations."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from harness import noise, settings
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.metrics import generation, images
from vaelab.metrics.features import feature_network, shipped
from vaelab.metrics.resampling import Score
from vaelab.objectives.scoring import scored_images


@pytest.mark.parametrize(("name", "least"), [("mnist", 0.990), ("fashion_mnist", 0.915)])
def test_the_shipped_classifiers_know_their_data(name: str, least: float) -> None:
    network = feature_network(shipped(name), torch.device("cpu"))
    assert network.test_accuracy >= least
    assert shipped(name).stat().st_size < 1_000_000
    test = splits.load(
        settings(f"dataset={name}", "dataset.source=embedded").dataset, torch.device("cpu")
    ).test
    with torch.no_grad():
        guesses = network.network(torch.cat(list(scored_images(test, 0)))).argmax(dim=1)
    accuracy = (guesses == test.labels).double().mean().item()
    assert accuracy == pytest.approx(
        network.test_accuracy,
        abs=4 * math.sqrt(network.test_accuracy * (1 - network.test_accuracy) / len(test)),
    )
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 64)


def fid(real: Tensor, other: Tensor, seed: int = 0) -> Score:
    moments = (generation.replicated_moments(each, seed + part) for part, each in enumerate((real, other)))
    return generation.fid(*moments)


def test_fid_is_the_formula() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(400, 8)) @ generator.normal(size=(8, 8))
    b = generator.normal(size=(300, 8)) @ generator.normal(size=(8, 8)) + 0.5
    roots = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * roots)
    assert fid(torch.from_numpy(a), torch.from_numpy(b)).value == pytest.approx(expected, rel=1e-6)
    assert fid(torch.from_numpy(a), torch.from_numpy(a)).value == pytest.approx(0, abs=1e-6)


def test_fid_and_kid_agree_with_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.kid import KernelInceptionDistance

    a, b = (torch.randn(1500, 16, generator=noise(seed), dtype=torch.float64) + seed / 10 for seed in (1, 3))
    theirs = FrechetInceptionDistance(Given(16)).set_dtype(torch.float64)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    assert fid(a, b).value == pytest.approx(theirs.compute().item(), rel=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features
        theirs = KernelInceptionDistance(Given(16), subsets=200, subset_size=750)
    theirs.update(a, real=True)
    theirs.update(b, real=False)
    found = generation.kid(a, b)
    assert found.value == pytest.approx(theirs.compute()[0].item(), abs=found.standard_error)


class Given(nn.Module):
    """Stands where torchmetrics expects a network: what it is given are features already."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.num_features = count

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_standard_errors_are_the_spread_of_new_images(apart: float) -> None:
    """Of 60 pairs of sets, the standard deviation of each score. For equal sets the bootstrap is too careful."""
    scores: dict[str, list[Score]] = {}
    for seed in range(60):
        a, b = torch.randn(2, 200, 6, generator=noise(seed))
        real, other = generation.Manifold.around(a), generation.Manifold.around(b + apart)
        found = generation.manifold_scores(real, other, seed) | {
            "fid": fid(a, b + apart, seed), "kid": generation.kid(a, b + apart),
            "diversity": images.diversity(b.view(200, 1, 2, 3)),
        }  # fmt: skip
        for name, score in found.items():
            scores.setdefault(name, []).append(score)
    for name, each in scores.items():
        spread = np.std([score.value for score in each], ddof=1)
        claimed = np.mean([score.standard_error for score in each])
        assert 0.7 * spread < claimed < (1.4 if apart else 2.8) * spread, (name, spread, claimed)


def manifold_scores(real: Tensor, other: Tensor) -> dict[str, float]:
    manifolds = (generation.Manifold.around(each) for each in (real, other))
    return {name: score.value for name, score in generation.manifold_scores(*manifolds, seed=0).items()}


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    real = torch.randn(700, 5, generator=noise(), dtype=torch.float64)
    for other in (
        real[:300] * 0.3,
        real * 2 + 1,
        torch.randn(500, 5, generator=noise(1), dtype=torch.float64),
    ):
        theirs = prc_features_to_metric(
            other, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
        )
        found = manifold_scores(real, other)
        assert found["precision"] == pytest.approx(theirs["precision"], abs=0.005)
        assert found["recall"] == pytest.approx(theirs["recall"], abs=0.005)


def test_density_and_coverage_agree_with_a_calculation_by_hand() -> None:
    """As in the paper: balls to the fifth neighbour of real images."""
    real, other = torch.randn(2, 300, 3, generator=noise())
    between = torch.cdist(other, real)
    radii = torch.cdist(real, real).sort(dim=1).values[:, 5]
    found = manifold_scores(real, other)
    assert found["density"] == pytest.approx(
        (between <= radii).float().sum(dim=1).mean().item() / 5, abs=0.01
    )
    assert found["coverage"] == pytest.approx(
        (between.min(dim=0).values <= radii).float().mean().item(), abs=0.01
    )


def test_narrow_samples_have_precision_and_wide_ones_recall() -> None:
    real = torch.randn(800, 4, generator=noise(), dtype=torch.float64)
    narrow, wide = (
        manifold_scores(real, scale * torch.randn(800, 4, generator=noise(1), dtype=torch.float64))
        for scale in (0.1, 4)
    )
    assert narrow["precision"] > 0.95 > 0.2 > narrow["recall"]
    assert narrow["coverage"] < 0.1 < wide["coverage"]
    assert wide["precision"] < 0.3 < wide["recall"]


def test_noise_images_are_far_from_real_ones(data: Data) -> None:
    full = splits.load(settings("dataset.source=embedded").dataset, torch.device("cpu"))
    network = feature_network(shipped("fashion_mnist"), torch.device("cpu"))
    test, train = (next(scored_images(split, 0))[:500] for split in (full.test, full.train))
    real, floor = network(test), network(train)
    static = network(torch.rand(test.shape, generator=noise()))
    blurred = network(torch.from_numpy(gaussian_filter(test.numpy(), (0, 0, 1.5, 1.5))))
    scores = [fid(real, other).value for other in (floor, blurred, static)]
    assert scores[0] < 0.2 * scores[1] < 0.2 * scores[2]


# --- statistics of images ---------------------------------------------------------------------------------


def test_sharpness_is_the_variance_of_the_laplacian(data: Data) -> None:
    x = next(scored_images(data.test, 0))[:30]
    padded = np.pad(x[:, 0], ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    by_hand = sum(
        padded[:, row : row + 28, column : column + 28] for row, column in ((2, 1), (0, 1), (1, 2), (1, 0))
    )
    expected = (by_hand - 4 * x[:, 0].numpy()).var(axis=(1, 2))
    np.testing.assert_allclose(images.sharpness(x), expected, rtol=1e-4)
    blurred = torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, 1, 1)))
    assert images.sharpness(blurred).mean() < 0.3 * images.sharpness(x).mean()


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    x = torch.zeros(3, 1, 2, 2)
    x[1, 0, 0, 0], x[2, 0, 1, 1] = 3, 4
    assert images.diversity(x).value == pytest.approx((3 + 4 + 5) / 3)
    assert images.diversity(torch.ones(4, 1, 2, 2)) == (0, 0)


def test_ssim_and_psnr_agree_with_scikit_image(data: Data) -> None:
    x = next(scored_images(data.test, 0))[:20]
    y = (x + 0.1 * torch.randn(x.shape, generator=noise())).clamp(0, 1)
    theirs = [
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
        )
        for a, b in zip(x[:, 0].double().numpy(), y[:, 0].double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(images.ssim(x, y), theirs, atol=1e-4)
    assert images.ssim(x, x).min() == pytest.approx(1)
    expected = [
        peak_signal_noise_ratio(a, b, data_range=1.0) for a, b in zip(x.numpy(), y.numpy(), strict=True)
    ]
    np.testing.assert_allclose(images.psnr(x, y), expected, rtol=1e-4)
