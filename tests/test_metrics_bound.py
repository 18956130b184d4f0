"""The ELBO and the importance-weighted bound against exactly solvable models."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as D

from exact_models import linear_gaussian
from harness import TINY, fresh, settings
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.objectives.importance import DEFENSIVE, POSTERIOR, importance_weighted_bound
from vaelab.objectives.likelihoods import likelihoods
from vaelab.objectives.scoring import bound, scored_images
from vaelab.runs.random_streams import stream
from vaelab.training.loop import fit
from vaelab.training.state import TrainingState


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
    """An encoder whose sigma is 50 times too small, as without KL: its samples miss other latents."""
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


def test_the_bound_of_one_image_agrees_with_a_calculation_by_hand(trained: TrainingState, data: Data) -> None:
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


# --- classes ----------------------------------------------------------------------------------------------


# --- features and the distances between sets --------------------------------------------------------------


# --- statistics of images ---------------------------------------------------------------------------------


def test_training_and_evaluation_share_the_bound(trained: TrainingState, data: Data) -> None:
    found = bound(trained.model, trained.objective, data.scored, 42).averages()
    assert found == {key: trained.history[-1][f"val/{key}"] for key in found}
