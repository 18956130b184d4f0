"""Measures of the latent space, of classes and of embeddings against independent formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, silhouette_score

from harness import noise
from vaelab.metrics import classes, generation, latent
from vaelab.metrics.classes import Labelled
from vaelab.metrics.latent import embedding, kl_parts, uncovered, uncovered_grid
from vaelab.metrics.resampling import auroc
from vaelab.models import Gaussian
from vaelab.runs.random_streams import stream
from vaelab.training.interpolation import linear_path, spherical_path


def test_mutual_information_is_maximal_for_well_separated_posteriors() -> None:
    mean = 100.0 * torch.arange(50, dtype=torch.float64)[:, None].expand(50, 3)
    q = Gaussian(mean, torch.full((50, 3), -2.0, dtype=torch.float64))
    parts = kl_parts(q, q.sample(noise()).double())
    assert parts.mutual_information.value == pytest.approx(math.log(50))
    assert parts.mutual_information.value + parts.marginal_kl.value == pytest.approx(q.kl().mean().item())


def test_mutual_information_is_zero_for_identical_posteriors() -> None:
    q = Gaussian(torch.full((2000, 2), 0.5), torch.full((2000, 2), -1.0))
    parts = kl_parts(q, q.sample(noise()))
    assert parts.mutual_information.value == pytest.approx(0, abs=1e-9)
    assert parts.marginal_kl.value == pytest.approx(q.kl().mean().item())


def test_an_aggregate_posterior_equal_to_the_prior_has_no_marginal_kl() -> None:
    """Means from N(0, 1 − s²) with sigma s: q(z) is the prior, and I(x; z) is −ln s per dimension."""
    sigma = 0.5
    mean = torch.randn(8000, 1, generator=noise(), dtype=torch.float64) * math.sqrt(1 - sigma**2)
    q = Gaussian(mean, torch.full((8000, 1), 2 * math.log(sigma), dtype=torch.float64))
    parts = kl_parts(q, mean + sigma * torch.randn(8000, 1, generator=noise(1), dtype=torch.float64))
    assert parts.mutual_information.value == pytest.approx(-math.log(sigma), abs=0.03)
    assert parts.marginal_kl.value == pytest.approx(0, abs=0.03)


def test_the_marginal_kl_is_total_correlation_and_dimension_wise_kl() -> None:
    """Aggregate posterior N(0, S) with correlation r: −½ ln(1 − r²) is the total correlation, variances 1."""
    correlation, sigma = 0.8, 0.3
    covariance = torch.tensor([[1, correlation], [correlation, 1]], dtype=torch.float64)
    of_means = torch.linalg.cholesky(covariance - sigma**2 * torch.eye(2))
    mean = torch.randn(6000, 2, generator=noise(), dtype=torch.float64) @ of_means.T
    q = Gaussian(mean, torch.full((6000, 2), 2 * math.log(sigma), dtype=torch.float64))
    parts = kl_parts(q, mean + sigma * torch.randn(6000, 2, generator=noise(1), dtype=torch.float64))
    exact = -0.5 * math.log(1 - correlation**2)
    assert parts.total_correlation.value == pytest.approx(
        exact, abs=4 * parts.total_correlation.standard_error
    )
    assert parts.dimension_wise_kl.value == pytest.approx(0, abs=0.02)
    both = parts.total_correlation.value + parts.dimension_wise_kl.value
    assert both == pytest.approx(parts.marginal_kl.value, abs=0.05)


def test_the_standard_error_of_mutual_information_is_its_spread() -> None:
    found = []
    for seed in range(40):
        mean = torch.randn(400, 1, generator=noise(seed), dtype=torch.float64)
        q = Gaussian(mean, torch.full((400, 1), -2.0, dtype=torch.float64))
        found.append(kl_parts(q, q.sample(noise(1000 + seed)).double()).mutual_information)
    spread = np.std([each.value for each in found], ddof=1)
    assert 0.6 * spread < np.mean([each.standard_error for each in found]) < 1.6 * spread


def test_auroc_agrees_with_scikit_learn() -> None:
    inside, outside = (
        torch.randn(300, generator=noise()).round(decimals=1),
        torch.randn(200, generator=noise(1)) + 1,
    )
    labels = np.repeat([0, 1], [300, 200])
    found = auroc(inside, outside.round(decimals=1))
    theirs = roc_auc_score(labels, torch.cat([inside, outside.round(decimals=1)]))
    assert found.value == pytest.approx(theirs)
    assert 0.01 < found.standard_error < 0.03


def test_kl_parts_are_accurate_for_tiny_sigma_and_distant_means() -> None:
    mean = 1000 + 10 * torch.randn(300, 2, generator=noise(), dtype=torch.float64)
    q = Gaussian(mean, torch.full((300, 2), -16.0, dtype=torch.float64))
    z = mean + math.exp(-8) * torch.randn(300, 2, generator=noise(1), dtype=torch.float64)
    assert kl_parts(q, z).mutual_information.value == pytest.approx(math.log(300), abs=0.01)


@pytest.mark.parametrize("latents", [1, 2, 7])
def test_an_image_covers_95_percent_of_its_own_posterior(latents: int) -> None:
    q = Gaussian(torch.full((1, latents), 3.0), torch.full((1, latents), -1.5))
    z = q.mean + q.sigma * torch.randn(20_000, latents, generator=noise())
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


def test_posteriors_cover_each_other_where_they_are_close() -> None:
    """With their own posterior left out: all of a dense cluster but its outliers, none of scattered ones."""
    crowd = Gaussian(0.1 * torch.randn(500, 2, generator=noise()), torch.zeros(500, 2))
    assert uncovered(crowd, crowd.sample(noise(1)), own=False).double().mean() < 0.05
    few = Gaussian(100 * torch.randn(500, 2, generator=noise()), torch.full((500, 2), -4.0))
    z = few.sample(noise(1))
    assert uncovered(few, z, own=False).double().mean() > 0.95
    assert uncovered(few, z).double().mean() < 0.1


def labelled(features: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled(torch.from_numpy(features).float(), torch.from_numpy(labels).long())


def test_probes_find_the_class_information_and_no_more() -> None:
    points, labels = make_blobs(1200, centers=[[0, 0], [12, 0], [0, 12]], random_state=0)
    shuffled = np.random.default_rng(0).permutation(labels)
    train, scored = labelled(points[:900], labels[:900]), labelled(points[900:], labels[900:])
    nonsense = labelled(points[:900], shuffled[:900]), labelled(points[900:], shuffled[900:])
    assert classes.knn_accuracy(train, scored) == (1, pytest.approx(math.sqrt(302 / 304 * 2 / 304 / 304)))
    assert classes.linear_accuracy(train, scored) == (classes.knn_accuracy(train, scored), True)
    assert classes.knn_accuracy(*nonsense).value < 0.45
    assert classes.linear_accuracy(*nonsense)[0].value < 0.45
    for each, of in ((scored, labels[900:]), (nonsense[1], shuffled[900:])):
        assert classes.silhouette(each).value == pytest.approx(silhouette_score(points[900:], of), abs=1e-4)


def test_principal_components_are_fitted_on_the_training_images_alone() -> None:
    generator = np.random.default_rng(0)
    train = labelled(generator.normal(size=(300, 5)) * [9, 1, 1, 2, 1] + 5, np.zeros(300, int))
    scored = labelled(generator.normal(size=(100, 5)) * [1, 9, 1, 1, 1], np.zeros(100, int))
    projected = classes.principal_components(train, scored, 2)
    expected = PCA(2).fit(train.features.numpy()).transform(scored.features.numpy())
    for column in range(2):  # signs and order are free
        like = np.corrcoef(expected[:, column], projected[1].features.T)[0, 1:]
        assert np.abs(like).max() == pytest.approx(1, abs=1e-4)


# --- features and the distances between sets --------------------------------------------------------------


# --- statistics of images ---------------------------------------------------------------------------------


def test_a_mixture_finds_the_clusters_and_comes_in_random_order() -> None:
    points, _ = make_blobs(3000, centers=[[-20, 0], [20, 0]], random_state=0)
    mixture = generation.fitted_mixture(points, seed=1)
    draws = generation.mixture_draws(mixture, 2000, seed=1)
    left = draws[:, 0] < 0
    assert left.mean() == pytest.approx(0.5, abs=0.05)
    assert left[:100].mean() == pytest.approx(0.5, abs=0.2)
    assert (np.abs(np.abs(draws[:, 0]) - 20) < 6).all()
    assert np.array_equal(draws, generation.mixture_draws(mixture, 2000, seed=1))
    many = generation.fitted_mixture(np.random.default_rng(0).normal(size=(500, 70)), seed=0)
    assert generation.mixture_draws(many, 10, seed=0).shape == (10, 70)


EMBEDDINGS = {
    "umap": ("umap", "UMAP (15 neighbours)"),
    "openTSNE": ("tsne", "t-SNE (openTSNE, perplexity 19)"),
    "sklearn": ("tsne", "t-SNE (scikit-learn, perplexity 19)"),
}


@pytest.mark.parametrize("library", [pytest.param("umap", marks=pytest.mark.slow), "openTSNE", "sklearn"])
def test_embeddings_are_reproducible(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(library)
    if library == "sklearn":
        monkeypatch.setattr(latent, "find_spec", lambda name: None)
    points = torch.randn(60, 5, generator=stream(0, "test"))
    method, words = EMBEDDINGS[library]
    first, second = embedding(points, method, 2**40 + 7), embedding(points, method, 2**40 + 7)
    assert first[1] == words
    assert first[0].shape == (60, 2)
    assert np.isfinite(first[0]).all()
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("share", [0.5, 0.95, 0.999])
def test_a_grid_of_points_is_covered_as_its_points_are(share: float) -> None:
    posterior = Gaussian(torch.randn(50, 2, generator=stream(0, "test")), torch.full((50, 2), -3.0))
    axis = torch.linspace(-4, 4, 21, dtype=torch.float64)
    points = torch.stack([axis.repeat(21), axis.repeat_interleave(21)], dim=1)
    assert torch.equal(
        uncovered_grid(posterior, 4.0, 21, share).flatten(), uncovered(posterior, points, share)
    )
