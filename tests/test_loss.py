"""Laws of the objective: closed forms against torch.distributions, bounds that are tight, weights in one place."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import distributions as D
from torch import nn

from harness import settings
from training_helpers import terms_of
from vaelab.config import ConfigError
from vaelab.config.registry import Registry
from vaelab.models import Gaussian, models
from vaelab.objectives import (
    Terms,
    build_objective,
    kl_schedules,
    kl_weight,
    likelihoods,
    objectives,
)
from vaelab.objectives.likelihoods.bernoulli import Bernoulli
from vaelab.objectives.likelihoods.continuous_bernoulli import ContinuousBernoulli
from vaelab.objectives.likelihoods.gaussian import GaussianPixels


def posterior(rows: int = 7, latents: int = 3, seed: int = 0) -> Gaussian:
    noise = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(rows, latents, generator=noise), torch.randn(rows, latents, generator=noise))


def test_kl_agrees_with_torch_distributions() -> None:
    q = posterior()
    expected = D.kl_divergence(D.Normal(q.mean, (0.5 * q.log_variance).exp()), D.Normal(0.0, 1.0)).sum(dim=1)
    torch.testing.assert_close(q.kl(), expected)


def test_kl_is_zero_only_at_the_prior() -> None:
    prior = Gaussian(torch.zeros(1, 4), torch.zeros(1, 4))
    assert prior.kl().item() == 0
    for mean, log_variance in ((0.1, 0.0), (0.0, 0.1), (0.0, -0.1), (-0.1, 0.0)):
        moved = Gaussian(torch.full((1, 4), mean), torch.full((1, 4), log_variance))
        assert (moved.kl_per_dimension() > 0).all()


def test_kl_sums_over_latent_dimensions() -> None:
    one = Gaussian(torch.ones(1, 1), torch.zeros(1, 1))
    many = Gaussian(torch.ones(1, 10), torch.zeros(1, 10))
    assert one.kl().item() == pytest.approx(0.5)
    assert many.kl().item() == pytest.approx(5.0)


def test_bernoulli_scores_the_same_without_gradients() -> None:
    """As in training, and as in double precision, from logits of nearly 0 to saturated ones."""
    noise = torch.Generator().manual_seed(2)
    scale = torch.tensor([0.01, 1.0, 30.0, 3000.0]).view(4, 1, 1, 1)
    logits = scale * torch.randn(4, 1, 28, 28, generator=noise)
    for x in (torch.rand(4, 1, 28, 28, generator=noise), (logits > 0).float()):
        with_gradients = Bernoulli().log_prob(logits, x)
        expected = Bernoulli().log_prob(logits.double(), x.double())
        with torch.no_grad():
            torch.testing.assert_close(Bernoulli().log_prob(logits, x), with_gradients, rtol=2e-6, atol=1e-4)
            torch.testing.assert_close(
                Bernoulli().log_prob(logits, x).double(), expected, rtol=2e-6, atol=1e-4
            )


@pytest.mark.parametrize("name", likelihoods.names())
def test_likelihoods_agree_with_torch_distributions(name: str) -> None:
    noise = torch.Generator().manual_seed(1)
    logits = 4 * torch.randn(5, 1, 6, 6, generator=noise)
    x = torch.rand(5, 1, 6, 6, generator=noise)
    likelihood = likelihoods.build(name)
    reference: D.Distribution
    if name == "bernoulli":
        x = x.round()
        reference = D.Bernoulli(logits=logits)
    elif name == "continuous_bernoulli":
        reference = D.ContinuousBernoulli(logits=logits.double())
    else:
        assert isinstance(likelihood, GaussianPixels)
        with torch.no_grad():
            likelihood.log_variance.fill_(-1.5)
        reference = D.Normal(logits.sigmoid(), math.exp(-0.75))
    expected = reference.log_prob(x).flatten(1).sum(dim=1)
    found = likelihood.log_prob(logits, x)
    assert found.shape == (5,)
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        likelihood.mean(logits).double(), reference.mean.double(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", likelihoods.names())
def test_samples_have_the_mean(name: str) -> None:
    parameters = torch.tensor([-5.0, -0.5, 0.0, 0.05, 2.0, 5.0]).expand(20_000, 6).reshape(20_000, 1, 1, 6)
    likelihood = likelihoods.build(name)
    samples = likelihood.sample(parameters, torch.Generator().manual_seed(0))
    assert samples.shape == parameters.shape
    torch.testing.assert_close(samples.mean(dim=0), likelihood.mean(parameters)[0], rtol=0, atol=0.01)


def test_bernoulli_floor_on_grey_pixels_is_their_entropy() -> None:
    grey = torch.tensor([[0.2, 0.5, 0.9]])
    entropy = D.Bernoulli(grey).entropy().sum()
    best = Bernoulli().log_prob(torch.logit(grey), grey)
    torch.testing.assert_close(best.squeeze(), -entropy)
    assert (Bernoulli().log_prob(torch.logit(grey) + 0.1, grey) < best).all()


def test_continuous_bernoulli_is_a_density() -> None:
    x = torch.linspace(0, 1, 20001, dtype=torch.float64).reshape(-1, 1)
    for logit in (-30.0, -3.0, -0.099, -1e-4, 0.0, 1e-4, 0.101, 3.0, 30.0):
        logits = torch.full_like(x, logit)
        density = ContinuousBernoulli().log_prob(logits, x).exp()
        assert torch.trapezoid(density, x.flatten()).item() == pytest.approx(1, abs=1e-4)


def test_continuous_bernoulli_is_smooth_around_one_half() -> None:
    """Formula and series meet: value, mean and gradient are finite everywhere and continuous at the seam."""
    likelihood = ContinuousBernoulli()
    seam = likelihood.SERIES
    logits = torch.tensor([[-60.0, -seam, -1e-8, 0.0, 1e-8, seam, 60.0]], requires_grad=True)
    value = likelihood.log_normaliser(logits)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    assert likelihood.mean(logits).isfinite().all()
    below, above = (
        torch.tensor([[math.nextafter(seam, towards)]], dtype=torch.float64, requires_grad=True)
        for towards in (0.0, 1.0)
    )
    for function in (likelihood.log_normaliser, likelihood.mean):
        left, right = function(below), function(above)
        torch.testing.assert_close(left, right, rtol=0, atol=1e-9)
        slopes = [torch.autograd.grad(f.sum(), x)[0] for f, x in ((left, below), (right, above))]
        torch.testing.assert_close(*slopes, rtol=0, atol=1e-7)


def test_bound_is_tight_where_the_posterior_is_exact() -> None:
    """x = z + e with z, e ~ N(0, 1): p(x) = N(0, 2) and p(z|x) = N(x/2, 1/2), solved by hand.

    Averaged over z, reconstruction + KL is -log p(x) for that posterior, and larger for any other.
    """
    x = torch.tensor([[-1.3], [0.2], [2.5]], dtype=torch.float64)
    evidence = -D.Normal(0.0, math.sqrt(2)).log_prob(x.squeeze(1))

    def neg_elbo(mean: torch.Tensor, variance: float) -> torch.Tensor:
        q = Gaussian(mean, torch.full_like(mean, math.log(variance)))
        expected_square = (x - mean).square() + variance  # of x - z under q, exactly
        reconstruction = 0.5 * (expected_square + math.log(2 * math.pi)).squeeze(1)
        return Terms(reconstruction, reconstruction, q.kl()).neg_elbo

    torch.testing.assert_close(neg_elbo(x / 2, 0.5), evidence)
    assert (neg_elbo(x / 2 + 0.1, 0.5) > evidence).all()
    assert (neg_elbo(x / 2, 0.6) > evidence).all()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_loss_is_reconstruction_plus_beta_kl(beta: float) -> None:
    terms = terms_of(f"beta={beta}")
    assert terms.loss.shape == terms.reconstruction.shape == terms.kl.shape == (7,)
    torch.testing.assert_close(terms.loss, terms.reconstruction + beta * terms.kl)
    torch.testing.assert_close(terms.neg_elbo, terms.reconstruction + terms.kl)
    assert torch.equal(terms_of(weight=torch.tensor(beta)).loss, terms.loss)


def test_beta_zero_equals_recon_only() -> None:
    for overrides in (("beta=0",), ("kl=false",), ("kl=false", "beta=4"), ("loss=recon_only",)):
        terms = terms_of(*overrides)
        assert torch.equal(terms.loss, terms.reconstruction)
        assert settings(*overrides).objective_name == "recon_only"


def test_kl_weight_warms_up_linearly_step_by_step() -> None:
    weight = kl_weight(settings("beta=2", "loss.warmup_epochs=4"))
    assert [weight(epoch / 2) for epoch in range(11)] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2, 2]
    assert weight.full == 2
    assert kl_weight(settings("beta=2"))(0) == 2
    assert kl_weight(settings("beta=2", "kl=false", "loss.warmup_epochs=4"))(3) == 0


def test_free_bits_remove_the_gradient_of_dimensions_below_them() -> None:
    class Fixed(nn.Module):
        mean = nn.Parameter(torch.tensor([[2.0, 0.1], [2.0, 0.1]]))

        def forward(self, x: torch.Tensor, noise: torch.Generator) -> tuple[torch.Tensor, Gaussian]:
            return torch.zeros_like(x), Gaussian(self.mean, torch.zeros(2, 2))

    objective, model = build_objective(settings("loss.free_bits=0.5")), Fixed()
    terms = objective(model, torch.zeros(2, 1, 1, 1), torch.Generator(), 1.0)
    torch.testing.assert_close(terms.loss - terms.reconstruction, torch.full((2,), 2.0 + 0.5))
    torch.testing.assert_close(terms.kl, torch.full((2,), 2.0 + 0.005))
    (gradient,) = torch.autograd.grad(terms.loss.mean(), model.mean)
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:, 1] == 0).all()


@pytest.mark.parametrize(
    ("build_it", "component", "said"),
    [
        (likelihoods.build, "bernouli", "loss.likelihood 'bernouli'. Did you mean 'bernoulli'?"),
        (kl_schedules.build, "liner", "loss.schedule 'liner'. Did you mean 'linear'?"),
        (likelihoods.build, {"name": "gaussian", "sigma": 1}, "loss.likelihood=gaussian accepts: no settings"),
        (objectives.build, {"name": "geco", "tolerance": "x"}, "loss.objective.tolerance must be a finite number"),
        (objectives.build, {"name": "geco", "tolerance": True}, "loss.objective.tolerance must be a finite number"),
        (objectives.build, {"name": "geco", "tolerance": math.inf}, "loss.objective.tolerance must be a finite number"),
        (objectives.build, {"name": "iwae", "dreg": 1}, "loss.objective.dreg must be true or false"),
        (models.build, {"name": "mlp", "latent_dim": 2.5}, "model.latent_dim must be a whole number"),
        (partial(objectives.build, likelihood=None), {"name": "geco", "tolerance": 0}, "tolerance must not be 0"),
    ],
)  # fmt: skip
def test_wrong_components_say_what_to_type(build_it: Any, component: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        build_it(component)
    assert said in str(error.value)


def test_values_are_checked_against_annotations_that_are_strings() -> None:
    registry: Registry[type] = Registry("model", "vaelab.models", "vaelab.models")

    @registry.register("mine")
    class Mine:
        def __init__(self, width: int = 3, scale: float | None = None) -> None:
            self.width, self.scale = width, scale

    assert registry.build({"name": "mine", "width": 5, "scale": None}).width == 5
    with pytest.raises(ConfigError, match=r"model\.width must be a whole number, got wide"):
        registry.build({"name": "mine", "width": "wide"})


def test_the_loss_in_words_says_weight_schedule_and_free_bits() -> None:
    for overrides, words in (
        ((), "reconstruction + KL"),
        (("beta=0.5",), "reconstruction + 0.5 · KL"),
        (("beta=4", "loss.warmup_epochs=1"), "reconstruction + (0 to 4) · KL"),
        (("loss.free_bits=0.5",), "reconstruction + max(KL, 0.5 per dim.)"),
        (("kl=false", "loss.free_bits=0.5", "loss.warmup_epochs=1"), "reconstruction"),
    ):
        asked = settings(*overrides)
        assert build_objective(asked).formula(kl_weight(asked).in_words(epochs=3, steps=7)) == words
