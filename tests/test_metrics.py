"""Laws of the metrics: exact cases, second opinions from other libraries, and what must grow, shrink or agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from sklearn.datasets import make_blobs
from torch import Tensor, nn
from torch import distributions as D
from torch_fidelity.metric_prc import prc_features_to_metric

from conftest import TINY, fresh, settings
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.metrics import classes, generation
from vaelab.metrics.classes import Labelled
from vaelab.metrics.generation import CLASSIFIERS, feature_network
from vaelab.metrics.latent import kl_parts, uncovered
from vaelab.models import VAE, Gaussian
from vaelab.objectives import Likelihood, Objective
from vaelab.objectives.neg_elbo import NegElbo
from vaelab.objectives.scoring import bound, importance_weighted_bound, scored_images
from vaelab.runs.random_streams import stream
from vaelab.training.examples import linear_path, spherical_path
from vaelab.training.loop import fit
from vaelab.training.state import TrainingState

PIXELS, LATENTS, NOISE = 6, 2, 0.3


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the bound, and the importance-weighted one -----------------------------------------------------------


class LinearPixels(Likelihood):
    """N(x; the decoder's number, 0.3²): with a linear decoder, p(x) is a Gaussian that can be written down."""

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        return D.Normal(parameters, NOISE).log_prob(x).flatten(1).sum(dim=1)

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters

    def sample(self, parameters: Tensor, noise: torch.Generator) -> Tensor:
        return parameters + NOISE * torch.randn(parameters.shape, generator=noise)


class LinearGaussian(VAE):
    """Factor analysis: x = W z + b + noise. Its encoder is the exact posterior with sigma `spread` times too wide."""

    def __init__(self, spread: float) -> None:
        generator = noise(1)
        self_w = torch.linalg.qr(torch.randn(PIXELS, LATENTS, generator=generator))[0] * torch.tensor(
            [1.5, 0.7]
        )
        offset = torch.randn(PIXELS, generator=generator)
        precision_L = 1 + self_w.square().sum(dim=0) / NOISE**2  # the columns of W are orthogonal
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 2 * LATENTS))
        decoder = nn.Sequential(nn.Linear(LATENTS, PIXELS), nn.Unflatten(1, (1, 1, PIXELS)))
        super().__init__((1, 1, PIXELS), LATENTS, encoder, decoder)
        to_mean = self_w.T / NOISE**2 / precision_L[:, None]
        with torch.no_grad():
            encoder[1].weight.copy_(torch.cat([to_mean, torch.zeros(LATENTS, PIXELS)]))  # type: ignore[operator]
            encoder[1].bias.copy_(torch.cat([-to_mean @ offset, (spread**2 / precision_L).log()]))  # type: ignore[operator]
            decoder[0].weight.copy_(self_w)  # type: ignore[operator]
            decoder[0].bias.copy_(offset)  # type: ignore[operator]
        covariance = self_w @ self_w.T + NOISE**2 * torch.eye(PIXELS)
        self.marginal = D.MultivariateNormal(offset.double(), covariance.double())


def linear_gaussian(spread: float) -> tuple[LinearGaussian, Objective, Tensor]:
    model, objective = LinearGaussian(spread), NegElbo(LinearPixels())
    x = model.marginal.sample((40,)).float().view(40, 1, 1, PIXELS)
    return model, objective, x


@pytest.mark.parametrize("samples", [1, 7, 120])
def test_the_bound_is_exact_where_the_posterior_is(samples: int) -> None:
    """Every importance weight is then p(x) itself, for any number of samples."""
    torch.manual_seed(0)
    model, objective, x = linear_gaussian(spread=1)
    found = importance_weighted_bound(model, objective, x, samples, seed=0)
    exact = -model.marginal.log_prob(x.flatten(1).double())
    torch.testing.assert_close(found, exact, rtol=0, atol=2e-4)


def test_importance_weighting_closes_the_gap_of_a_wrong_posterior() -> None:
    torch.manual_seed(0)
    model, objective, x = linear_gaussian(spread=1.6)
    exact = -model.marginal.log_prob(x.flatten(1).double()).mean()
    gaps = [
        (importance_weighted_bound(model, objective, x, samples, seed=3).mean() - exact).item()
        for samples in (1, 10, 100, 3000)
    ]
    assert gaps[0] > 0.2
    assert gaps == sorted(gaps, reverse=True)
    assert abs(gaps[-1]) < 0.005


@pytest.fixture(scope="module")
def trained(data: Data) -> TrainingState:
    config = settings(*TINY, "epochs=15", "model.hidden=[64]")
    fit(state := fresh(config, data), data, config)
    return state


def test_more_importance_samples_never_loosen_the_bound(trained: TrainingState, data: Data) -> None:
    x = next(scored_images(data.test, seed=0))[:200]
    bounds = [
        importance_weighted_bound(trained.model, trained.objective, x, samples, seed=0).mean().item()
        for samples in (1, 2, 5, 20, 50, 100, 400)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < bounds[0] - 0.5


def test_the_bound_does_not_depend_on_what_is_scored_beside(trained: TrainingState, data: Data) -> None:
    """Nor on when the chunks of samples end: 70 are one chunk of 50 and one of 20."""
    x = next(scored_images(data.test, seed=0))[:60]
    heard: list[int] = []
    all_of_them = importance_weighted_bound(trained.model, trained.objective, x, 70, 0, heard.append)
    some = importance_weighted_bound(trained.model, trained.objective, x[:40], 70, 0)
    torch.testing.assert_close(all_of_them[:40], some, rtol=0, atol=1e-4)
    assert heard == [20, 20, 20]


def test_the_bound_of_one_image_by_hand(trained: TrainingState, data: Data) -> None:
    model, x = trained.model.eval(), next(scored_images(data.test, seed=0))[:1]
    with torch.no_grad():
        q = model.encode(x)
        sigma = (0.5 * q.log_variance).exp()
        eps = torch.randn(50, 20, 2, generator=stream(5, "importance samples"))[:, 0]
        z = q.mean + sigma * eps
        log_p_x = trained.objective.likelihood.log_prob(model.decode(z), x.expand(50, -1, -1, -1))
        log_p_z = D.Normal(0, 1).log_prob(z).sum(dim=1)
        log_q = D.Normal(q.mean, sigma).log_prob(z).sum(dim=1)
    by_hand = math.log(50) - (log_p_x + log_p_z - log_q).double().logsumexp(dim=0)
    found = importance_weighted_bound(model, trained.objective, x, 50, seed=5)
    torch.testing.assert_close(found[0], by_hand, rtol=0, atol=1e-3)


def test_scored_pixels_are_drawn_alike_each_time() -> None:
    drawn = splits.load(settings(*TINY, "dataset.binarize=dynamic").dataset, torch.device("cpu")).test
    first, second, other = (torch.cat(list(scored_images(drawn, seed))) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert set(first.unique().tolist()) == {0.0, 1.0}


# --- the latent space -------------------------------------------------------------------------------------


def test_codes_that_are_far_apart_name_their_image() -> None:
    mean = 100.0 * torch.arange(50, dtype=torch.float64)[:, None].expand(50, 3)
    q = Gaussian(mean, torch.full((50, 3), -2.0, dtype=torch.float64))
    parts = kl_parts(q, q.sample(noise()).double())
    assert parts.mutual_information == pytest.approx(math.log(50))
    assert parts.mutual_information + parts.marginal_kl == pytest.approx(q.kl().mean().item())


def test_codes_that_are_all_alike_say_nothing() -> None:
    q = Gaussian(torch.full((2000, 2), 0.5), torch.full((2000, 2), -1.0))
    parts = kl_parts(q, q.sample(noise()))
    assert parts.mutual_information == pytest.approx(0, abs=1e-9)
    assert parts.marginal_kl == pytest.approx(q.kl().mean().item())


def test_an_aggregate_posterior_equal_to_the_prior() -> None:
    """Means from N(0, 1 − s²) with sigma s: q(z) is the prior, and I(x; z) is −ln s a dimension."""
    sigma = 0.5
    mean = torch.randn(8000, 1, generator=noise(), dtype=torch.float64) * math.sqrt(1 - sigma**2)
    q = Gaussian(mean, torch.full((8000, 1), 2 * math.log(sigma), dtype=torch.float64))
    parts = kl_parts(q, mean + sigma * torch.randn(8000, 1, generator=noise(1), dtype=torch.float64))
    assert parts.mutual_information == pytest.approx(-math.log(sigma), abs=0.03)
    assert parts.marginal_kl == pytest.approx(0, abs=0.03)


def test_kl_parts_hold_where_sigma_is_tiny_and_codes_are_far() -> None:
    mean = 1000 + 10 * torch.randn(300, 2, generator=noise(), dtype=torch.float64)
    q = Gaussian(mean, torch.full((300, 2), -16.0, dtype=torch.float64))
    z = mean + math.exp(-8) * torch.randn(300, 2, generator=noise(1), dtype=torch.float64)
    assert kl_parts(q, z).mutual_information == pytest.approx(math.log(300), abs=0.01)


@pytest.mark.parametrize("latents", [1, 2, 7])
def test_an_image_covers_95_percent_of_its_own_posterior(latents: int) -> None:
    q = Gaussian(torch.full((1, latents), 3.0), torch.full((1, latents), -1.5))
    z = q.mean + (0.5 * q.log_variance).exp() * torch.randn(20_000, latents, generator=noise())
    assert uncovered(q, z).double().mean().item() == pytest.approx(0.05, abs=0.006)
    assert uncovered(q, z + 50).all()


def test_great_circles_keep_lengths_and_straight_lines_do_not() -> None:
    start, end = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 3.0], [2.0, 2.0]])
    share = torch.linspace(0, 1, 5)
    straight, round_about = linear_path(start, end, share), spherical_path(start, end, share)
    for path in (straight, round_about):
        torch.testing.assert_close(path[:, 0], start)
        torch.testing.assert_close(path[:, -1], end)
    torch.testing.assert_close(round_about[0].norm(dim=1), torch.full((5,), 3.0))
    assert straight[0, 2].norm() < 2.2
    torch.testing.assert_close(
        round_about[1], straight[1]
    )  # the ends have one direction: no circle to go round
    angle = math.radians(178)
    wide = spherical_path(
        torch.tensor([[1.0, 0.0]]), 2 * torch.tensor([[math.cos(angle), math.sin(angle)]]), share
    )
    torch.testing.assert_close(wide[0].norm(dim=1), 1 + share)
    opposite = spherical_path(-start, start, share)
    torch.testing.assert_close(opposite, linear_path(-start, start, share))


def test_codes_cover_each_other_where_they_lie_close() -> None:
    """With their own image left out: all of a crowd but its outliers, and none of a scattered few."""
    crowd = Gaussian(0.1 * torch.randn(500, 2, generator=noise()), torch.zeros(500, 2))
    assert uncovered(crowd, crowd.sample(noise(1)), own=False).double().mean() < 0.05
    few = Gaussian(100 * torch.randn(500, 2, generator=noise()), torch.full((500, 2), -4.0))
    z = few.sample(noise(1))
    assert uncovered(few, z, own=False).double().mean() > 0.95
    assert uncovered(few, z).double().mean() < 0.1


# --- classes ----------------------------------------------------------------------------------------------


def test_probes_know_what_is_there_and_no_more() -> None:
    points, labels = make_blobs(1200, centers=[[0, 0], [12, 0], [0, 12]], random_state=0)
    train, scored = Labelled(points[:900], labels[:900]), Labelled(points[900:], labels[900:])
    shuffled = np.random.default_rng(0).permutation(labels)
    nonsense = Labelled(points[:900], shuffled[:900]), Labelled(points[900:], shuffled[900:])
    for accuracy in (classes.knn_accuracy, classes.linear_accuracy):
        assert accuracy(train, scored) == 1
        assert accuracy(*nonsense) < 0.45
    assert classes.silhouette(scored) > 0.7
    assert abs(classes.silhouette(nonsense[1])) < 0.05


def test_principal_components_are_fitted_on_the_training_images_alone() -> None:
    generator = np.random.default_rng(0)
    train = Labelled(generator.normal(size=(300, 5)) * [9, 1, 1, 1, 1], np.zeros(300, int))
    scored = Labelled(generator.normal(size=(100, 5)) * [1, 9, 1, 1, 1], np.zeros(100, int))
    projected = classes.principal_components(train, scored, 1, seed=0)
    assert np.corrcoef(projected[1].features[:, 0], scored.features[:, 0])[0, 1] ** 2 > 0.95


# --- features and the distances between sets --------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("mnist", 0.990), ("fashion_mnist", 0.915)])
def test_the_shipped_classifiers_know_their_data(name: str, least: float) -> None:
    network = feature_network(name, torch.device("cpu"))
    assert network.test_accuracy >= least
    assert (CLASSIFIERS / f"{name}_cnn.safetensors").stat().st_size < 1_000_000
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


def test_fid_is_the_formula() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(400, 8)) @ generator.normal(size=(8, 8))
    b = generator.normal(size=(300, 8)) @ generator.normal(size=(8, 8)) + 0.5
    roots = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * roots)
    assert generation.fid(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-6)
    assert generation.fid(torch.from_numpy(a), torch.from_numpy(a)) == pytest.approx(0, abs=1e-6)


def test_kid_is_unbiased_and_repeats() -> None:
    a, b = torch.randn(2, 1500, 16, generator=noise(), dtype=torch.float64)
    assert abs(generation.kid(a, b, seed=1)) < 0.01
    assert generation.kid(a, b, seed=1) == generation.kid(a, b, seed=1) != generation.kid(a, b, seed=2)
    assert generation.kid(a, b + 1, seed=1) > 1


def precision_recall(real: Tensor, other: Tensor) -> tuple[float, float]:
    return generation.precision_recall(generation.Manifold.around(real), generation.Manifold.around(other))


def test_precision_and_recall_agree_with_torch_fidelity() -> None:
    real = torch.randn(700, 5, generator=noise(), dtype=torch.float64)
    for other in (
        real[:300] * 0.3,
        real * 2 + 1,
        torch.randn(500, 5, generator=noise(1), dtype=torch.float64),
    ):
        theirs = prc_features_to_metric(
            other, real, prc_neighborhood=3, prc_batch_size=1000, save_cpu_ram=False, verbose=False
        )
        found = precision_recall(real, other)
        assert found == pytest.approx((theirs["precision"], theirs["recall"]), abs=0.005)


def test_narrow_samples_are_precise_and_wide_ones_recall() -> None:
    real = torch.randn(800, 4, generator=noise(), dtype=torch.float64)
    narrow = precision_recall(real, 0.1 * torch.randn(800, 4, generator=noise(1), dtype=torch.float64))
    wide = precision_recall(real, 4 * torch.randn(800, 4, generator=noise(1), dtype=torch.float64))
    assert narrow[0] > 0.95 > 0.2 > narrow[1]
    assert wide[0] < 0.3 < wide[1]


def test_generated_noise_is_far_from_the_floor(data: Data) -> None:
    full = splits.load(settings("dataset.source=embedded").dataset, torch.device("cpu"))
    network = feature_network("fashion_mnist", torch.device("cpu"))
    test, train = (next(scored_images(split, 0)) for split in (full.test, full.train))
    real, floor = network(test), network(train)
    static = network(torch.rand(test.shape, generator=noise()))
    blurred = network(torch.from_numpy(gaussian_filter(test.numpy(), (0, 0, 1.5, 1.5))))
    scores = [generation.fid(real, other) for other in (floor, blurred, static)]
    assert scores[0] < 0.2 * scores[1] < 0.2 * scores[2]


# --- statistics of images ---------------------------------------------------------------------------------


def test_sharpness_is_the_variance_of_the_laplacian(data: Data) -> None:
    images = data.test.images[:30].numpy() / 255
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    by_hand = (
        padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 4 * images
    )
    assert generation.sharpness(images) == pytest.approx(by_hand.var(axis=(1, 2)).mean())
    assert generation.sharpness(gaussian_filter(images, (0, 1, 1))) < 0.3 * generation.sharpness(images)


def test_diversity_is_the_mean_distance_of_pairs() -> None:
    images = np.zeros((3, 2, 2))
    images[1, 0, 0], images[2, 1, 1] = 3, 4
    assert generation.diversity(images) == pytest.approx((3 + 4 + 5) / 3)
    assert generation.diversity(np.ones((4, 2, 2))) == 0


def test_psnr_and_ssim_of_known_pairs(data: Data) -> None:
    x = next(scored_images(data.test, 0))[:5]
    psnr, ssim = generation.psnr_ssim(x, (x - 0.1).abs())
    torch.testing.assert_close(psnr, torch.full((5,), 20.0), rtol=0, atol=0.6)
    assert generation.psnr_ssim(x, x)[1].min() == pytest.approx(1)
    assert (ssim < 1).all()


def test_a_mixture_finds_the_clusters_and_comes_in_random_order() -> None:
    points, _ = make_blobs(3000, centers=[[-20, 0], [20, 0]], random_state=0)
    draws = generation.mixture_draws(points, 2000, seed=1)
    left = draws[:, 0] < 0
    assert left.mean() == pytest.approx(0.5, abs=0.05)
    assert left[:100].mean() == pytest.approx(0.5, abs=0.2)
    assert (np.abs(np.abs(draws[:, 0]) - 20) < 6).all()
    assert np.array_equal(draws, generation.mixture_draws(points, 2000, seed=1))
    assert generation.mixture_draws(np.random.default_rng(0).normal(size=(500, 70)), 10, seed=0).shape == (
        10,
        70,
    )


def test_training_and_evaluation_share_the_bound(trained: TrainingState, data: Data) -> None:
    found = bound(trained.model, trained.objective, data.scored, 42).averages()
    assert found == {key: trained.history[-1][f"val/{key}"] for key in found}
