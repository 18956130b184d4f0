"""Laws of the metrics: exact cases, second opinions from other libraries, and what must grow, shrink or agree."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, silhouette_score
from torch import Tensor, nn
from torch import distributions as D
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from conftest import TINY, fresh, settings
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.metrics import classes, generation, images, latent
from vaelab.metrics.classes import Labelled
from vaelab.metrics.features import CLASSIFIERS, feature_network
from vaelab.metrics.latent import embedding, kl_parts, uncovered, uncovered_grid
from vaelab.metrics.resampling import Score, auroc
from vaelab.models import VAE, Gaussian
from vaelab.objectives import Likelihood, Objective
from vaelab.objectives.importance import DEFENSIVE, POSTERIOR, importance_weighted_bound
from vaelab.objectives.likelihoods import likelihoods
from vaelab.objectives.neg_elbo import NegElbo
from vaelab.objectives.scoring import bound, scored_images
from vaelab.runs.random_streams import stream
from vaelab.training.interpolation import linear_path, spherical_path
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
    torch.testing.assert_close(found.nll, exact, rtol=0, atol=2e-4)
    torch.testing.assert_close(
        found.effective_samples, torch.full((40,), float(samples)).double(), rtol=1e-3, atol=0
    )


def test_importance_weighting_closes_the_gap_of_a_wrong_posterior() -> None:
    torch.manual_seed(0)
    model, objective, x = linear_gaussian(spread=1.6)
    exact = -model.marginal.log_prob(x.flatten(1).double()).mean()
    gaps = [
        (importance_weighted_bound(model, objective, x, samples, seed=3).nll.mean() - exact).item()
        for samples in (1, 10, 100, 3000)
    ]
    assert gaps[0] > 0.2
    assert gaps == sorted(gaps, reverse=True)
    assert abs(gaps[-1]) < 0.005


def test_a_mixture_of_scales_finds_what_a_sharp_posterior_misses() -> None:
    """An encoder whose sigma is 50 times too small, as without KL: its own samples see no other latents."""
    torch.manual_seed(0)
    model, objective, x = linear_gaussian(spread=0.02)
    exact = -model.marginal.log_prob(x.flatten(1).double()).mean()
    narrow, wide = (
        importance_weighted_bound(model, objective, x, 1000, 3, proposal)
        for proposal in (POSTERIOR, DEFENSIVE)
    )
    assert (narrow.nll.mean() - exact).item() > 1
    assert abs(wide.nll.mean() - exact).item() < 0.05
    assert wide.effective_samples.median() > 30


@pytest.mark.parametrize("samples", [1, 5, 20, 50, 130])
def test_the_weights_of_a_mixture_are_unbiased(samples: int) -> None:
    """With an exact posterior, E[p(x, z) / r(z|x)] is p(x), however many samples each component has."""
    torch.manual_seed(0)
    model, objective, x = linear_gaussian(spread=1)
    exact = -model.marginal.log_prob(x.flatten(1).double())
    ratios = torch.stack(
        [
            (exact - importance_weighted_bound(model, objective, x, samples, seed, DEFENSIVE).nll).exp()
            for seed in range(60)
        ]
    ).flatten()
    error = ratios.std().item() / math.sqrt(len(ratios))
    assert ratios.mean().item() == pytest.approx(1, abs=max(4 * error, 1e-3))


@pytest.mark.parametrize("name", ["gaussian", "continuous_bernoulli"])
def test_the_masses_of_all_grey_values_add_up_to_one(name: str) -> None:
    likelihood = likelihoods.build(name)
    parameters = torch.tensor([-3174, -20, -1, -1e-3, 0, 0.4, 7, 800]).view(8, 1, 1, 1)
    grey = [torch.full((8, 1, 1, 1), value / 255) for value in range(256)]
    log_mass = torch.stack([likelihood.log_mass(parameters, x) for x in grey]).double()
    torch.testing.assert_close(log_mass.logsumexp(dim=0), torch.zeros(8).double(), rtol=0, atol=5e-5)
    of_density = likelihood.log_prob(parameters[2:6], grey[100][2:6]) - math.log(255)
    torch.testing.assert_close(log_mass[100, 2:6].float(), of_density, rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def trained(data: Data) -> TrainingState:
    config = settings(*TINY, "epochs=15", "model.hidden=[64]")
    fit(state := fresh(config, data), data, config)
    return state


def test_more_importance_samples_never_loosen_the_bound(trained: TrainingState, data: Data) -> None:
    x = next(scored_images(data.test, seed=0))[:200]
    bounds = [
        importance_weighted_bound(trained.model, trained.objective, x, samples, seed=0).nll.mean().item()
        for samples in (1, 2, 5, 20, 50, 100, 400)
    ]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < bounds[0] - 0.5


def test_the_bound_does_not_depend_on_what_is_scored_beside(trained: TrainingState, data: Data) -> None:
    """Nor on when the chunks of samples end: 70 are one chunk of 50 and one of 20."""
    x = next(scored_images(data.test, seed=0))[:60]
    heard: list[int] = []
    all_of_them = importance_weighted_bound(trained.model, trained.objective, x, 70, 0, done=heard.append)
    some = importance_weighted_bound(trained.model, trained.objective, x[:40], 70, 0)
    torch.testing.assert_close(all_of_them.nll[:40], some.nll, rtol=0, atol=1e-4)
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
    torch.testing.assert_close(found.nll[0], by_hand, rtol=0, atol=1e-3)


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
    assert parts.mutual_information.value == pytest.approx(math.log(50))
    assert parts.mutual_information.value + parts.marginal_kl.value == pytest.approx(q.kl().mean().item())


def test_codes_that_are_all_alike_say_nothing() -> None:
    q = Gaussian(torch.full((2000, 2), 0.5), torch.full((2000, 2), -1.0))
    parts = kl_parts(q, q.sample(noise()))
    assert parts.mutual_information.value == pytest.approx(0, abs=1e-9)
    assert parts.marginal_kl.value == pytest.approx(q.kl().mean().item())


def test_an_aggregate_posterior_equal_to_the_prior() -> None:
    """Means from N(0, 1 − s²) with sigma s: q(z) is the prior, and I(x; z) is −ln s a dimension."""
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


def test_kl_parts_hold_where_sigma_is_tiny_and_codes_are_far() -> None:
    mean = 1000 + 10 * torch.randn(300, 2, generator=noise(), dtype=torch.float64)
    q = Gaussian(mean, torch.full((300, 2), -16.0, dtype=torch.float64))
    z = mean + math.exp(-8) * torch.randn(300, 2, generator=noise(1), dtype=torch.float64)
    assert kl_parts(q, z).mutual_information.value == pytest.approx(math.log(300), abs=0.01)


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


def labelled(features: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled(torch.from_numpy(features).float(), torch.from_numpy(labels).long())


def test_probes_know_what_is_there_and_no_more() -> None:
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
        a, b = torch.randn(2, 400, 6, generator=noise(seed))
        real, other = generation.Manifold.around(a), generation.Manifold.around(b + apart)
        found = generation.manifold_scores(real, other, seed) | {
            "fid": fid(a, b + apart, seed), "kid": generation.kid(a, b + apart),
            "diversity": images.diversity(b.view(400, 1, 2, 3)),
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


def test_density_and_coverage_by_hand() -> None:
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


def test_narrow_samples_are_precise_and_wide_ones_recall() -> None:
    real = torch.randn(800, 4, generator=noise(), dtype=torch.float64)
    narrow, wide = (
        manifold_scores(real, scale * torch.randn(800, 4, generator=noise(1), dtype=torch.float64))
        for scale in (0.1, 4)
    )
    assert narrow["precision"] > 0.95 > 0.2 > narrow["recall"]
    assert narrow["coverage"] < 0.1 < wide["coverage"]
    assert wide["precision"] < 0.3 < wide["recall"]


def test_generated_noise_is_far_from_the_floor(data: Data) -> None:
    full = splits.load(settings("dataset.source=embedded").dataset, torch.device("cpu"))
    network = feature_network("fashion_mnist", torch.device("cpu"))
    test, train = (next(scored_images(split, 0)) for split in (full.test, full.train))
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


def test_training_and_evaluation_share_the_bound(trained: TrainingState, data: Data) -> None:
    found = bound(trained.model, trained.objective, data.scored, 42).averages()
    assert found == {key: trained.history[-1][f"val/{key}"] for key in found}


EMBEDDINGS = {
    "umap": ("umap", "UMAP (15 neighbours)"),
    "openTSNE": ("tsne", "t-SNE (openTSNE, perplexity 19)"),
    "sklearn": ("tsne", "t-SNE (scikit-learn, perplexity 19)"),
}


@pytest.mark.parametrize("library", [pytest.param("umap", marks=pytest.mark.slow), "openTSNE", "sklearn"])
def test_embeddings_repeat_themselves(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_grid_of_points_is_covered_as_its_points_are() -> None:
    posterior = Gaussian(torch.randn(50, 2, generator=stream(0, "test")), torch.full((50, 2), -3.0))
    axis = torch.linspace(-4, 4, 21, dtype=torch.float64)
    points = torch.stack([axis.repeat(21), axis.repeat_interleave(21)], dim=1)
    assert torch.equal(uncovered_grid(posterior, 4.0, 21).flatten(), uncovered(posterior, points))
