"""Laws of the objectives beside the negative ELBO, and of the schedules of the KL's weight."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from exact_models import LinearPixels, linear_gaussian
from harness import noise, settings
from training_helpers import BATCH, terms_of
from vaelab.data.splits import Data
from vaelab.models import Gaussian, build
from vaelab.objectives import Objective, build_objective, kl_weight
from vaelab.objectives.beta_tcvae import decomposed_kl
from vaelab.objectives.iwae import IWAE
from vaelab.objectives.mmd_vae import squared_mmd
from vaelab.objectives.neg_elbo import NegElbo
from vaelab.objectives.scoring import bound

PRESETS = ("capacity", "geco", "beta_tcvae", "mmd_vae", "iwae")


def draws(count: int, latents: int, seed: int = 0) -> Tensor:
    return torch.randn(count, latents, generator=noise(seed))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("preset", PRESETS)
def test_every_objective_has_terms_per_image_and_a_gradient(preset: str, likelihood: str) -> None:
    config = settings(f"loss={preset}", f"loss.likelihood={likelihood}")
    for model in ("mlp", "conv", "resnet"):
        objective, network = build_objective(config), build({"name": model}, (1, 28, 28), seed=0)
        terms = objective(network, BATCH, noise(), kl_weight(config).full)
        assert set(terms.parts) == set(objective.parts)
        for term in (terms.loss, terms.reconstruction, terms.kl, *terms.parts.values()):
            assert term.shape == (len(BATCH),)
            assert term.isfinite().all(), model
        terms.loss.mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters()), model


@pytest.mark.parametrize("preset", ["capacity", "beta_tcvae", "mmd_vae"])
def test_with_the_kl_off_only_the_reconstruction_is_minimised(preset: str) -> None:
    terms = terms_of(f"loss={preset}", "kl=false")
    assert torch.equal(terms.loss, terms.reconstruction)


# --- capacity ---------------------------------------------------------------------------------------------


def test_a_capacity_of_zero_is_the_negative_elbo_weighted_by_gamma() -> None:
    capacity = terms_of("loss=capacity", "loss.objective.nats=0", "beta=3")
    assert torch.equal(capacity.loss, terms_of("beta=3").loss)


def test_capacity_rises_with_the_schedule_while_gamma_stays() -> None:
    config = settings("loss=capacity", "beta=8", "loss.objective.nats=20")
    for epoch, nats in ((0, 0), (2.5, 5), (10, 20), (15, 20)):  # half of the 20 epochs
        terms = terms_of("loss=capacity", "beta=8", "loss.objective.nats=20", weight=kl_weight(config)(epoch))
        torch.testing.assert_close(
            terms.loss - terms.reconstruction, 8 * (terms.kl - nats).abs(), rtol=0, atol=1e-3
        )
        assert terms.parts["capacity"].tolist() == pytest.approx([nats] * len(terms.kl))


# --- β-TCVAE ----------------------------------------------------------------------------------------------


def test_the_three_terms_add_up_to_a_sampled_kl() -> None:
    q = Gaussian(draws(50, 4), 0.5 * draws(50, 4, seed=1))
    z = q.sample(noise(2))
    exact = D.Normal(q.mean, (0.5 * q.log_variance).exp()).log_prob(z) - D.Normal(0.0, 1.0).log_prob(z)
    torch.testing.assert_close(sum(decomposed_kl(q, z)), exact.sum(dim=1))


def test_with_beta_one_tcvae_is_the_negative_elbo_in_expectation() -> None:
    config = settings("loss=beta_tcvae", "beta=1")
    model, objective = build(config.model, (1, 28, 28), seed=0), build_objective(config)
    generator = noise(5)
    gaps = []
    with torch.no_grad():
        for _ in range(400):
            terms = objective(model, BATCH, generator, 1.0)
            gaps.append((terms.loss - terms.neg_elbo).mean().item())
    gap = torch.tensor(gaps)
    assert abs(gap.mean()) < 4 * gap.std() / math.sqrt(len(gap))


def test_the_total_correlation_of_a_gaussian_agrees_with_its_formula() -> None:
    """Posteriors around means that are correlated: q(z) is a Gaussian whose total correlation has a formula."""
    correlation, variance = 0.8, 0.1
    covariance = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    spread = torch.linalg.cholesky(covariance - variance * torch.eye(2))
    mean = draws(3000, 2) @ spread.T
    q = Gaussian(mean, torch.full_like(mean, math.log(variance)))
    information, total_correlation, marginals = (
        part.mean().item() for part in decomposed_kl(q, q.sample(noise(1)))
    )
    assert total_correlation == pytest.approx(-0.5 * math.log(1 - correlation**2), abs=0.05)
    assert marginals == pytest.approx(0, abs=0.05)  # each dimension is N(0, 1)
    entropy = 0.5 * torch.logdet(covariance / variance).item()
    assert information == pytest.approx(entropy, abs=0.1)


def test_only_the_total_correlation_is_weighted() -> None:
    terms = terms_of("loss=beta_tcvae", "beta=6")
    parts = terms.parts
    expected = parts["mutual_information"] + 6 * parts["total_correlation"] + parts["dimension_wise_kl"]
    torch.testing.assert_close(terms.loss - terms.reconstruction, expected, rtol=1e-4, atol=1e-3)


# --- MMD-VAE ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("latents", [1, 2, 10])
def test_the_discrepancy_agrees_with_draws_from_the_prior(latents: int) -> None:
    """The Gaussian integrals against the two-sample estimate (Gretton et al. 2012)."""
    z = 0.5 * draws(400, latents) + 0.7
    prior = draws(20_000, latents, seed=9)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-torch.cdist(a, b).square() / (2 * latents)).exp()

    within = (kernel(z, z).sum() - len(z)) / (len(z) * (len(z) - 1))
    of_prior = kernel(prior[:5000], prior[5000:10_000]).mean()
    expected = within - 2 * kernel(z, prior).mean() + of_prior
    torch.testing.assert_close(squared_mmd(z).mean(), expected, rtol=0, atol=3e-3)


def test_the_discrepancy_is_computed_in_float32_by_networks_in_bfloat16() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = squared_mmd(draws(50, 3))
    assert torch.equal(found, squared_mmd(draws(50, 3)))


def test_the_discrepancy_is_zero_only_at_the_prior() -> None:
    of_prior = [squared_mmd(draws(500, 2, seed)).mean().item() for seed in range(20)]
    assert abs(sum(of_prior)) / 20 < 5e-4  # unbiased
    for other in (draws(500, 2) + 0.5, 0.5 * draws(500, 2), 2 * draws(500, 2)):
        assert squared_mmd(other).mean() > 0.01


# --- IWAE -------------------------------------------------------------------------------------------------


def gradients(
    objective: Objective, model: Any, x: Tensor, generator: torch.Generator, weight: float = 1.0
) -> list[Tensor]:
    terms = objective(model, x, generator, weight)
    return list(torch.autograd.grad(terms.loss.mean(), list(model.parameters())))


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_one_importance_sample_is_the_negative_elbo_bit_for_bit(name: str) -> None:
    model = build({"name": name}, (1, 28, 28), seed=0)
    likelihood = build_objective(settings()).likelihood
    pairs = [(NegElbo(likelihood), IWAE(likelihood)), (NegElbo(likelihood), IWAE(likelihood, dreg=True))]
    for vae, iwae in pairs:
        assert torch.equal(vae(model, BATCH, noise(), 0.7).loss, iwae(model, BATCH, noise(), 0.7).loss)
        both = zip(*(gradients(each, model, BATCH, noise()) for each in (vae, iwae)), strict=True)
        assert all(torch.equal(*pair) for pair in both)


def test_iwae_minimises_minus_the_log_of_the_mean_weight() -> None:
    torch.manual_seed(0)
    model, _, x = linear_gaussian(spread=1.6)
    terms = IWAE(LinearPixels(), importance_samples=6)(model, x, noise(4), 1.0)
    q = model.encode(x)
    posterior = D.Normal(q.mean, (0.5 * q.log_variance).exp())
    z = q.mean + posterior.stddev * torch.randn(6, *q.mean.shape, generator=noise(4))
    log_weight = D.Normal(0.0, 1.0).log_prob(z).sum(dim=2) - posterior.log_prob(z).sum(dim=2)
    log_weight += torch.stack([LinearPixels().log_prob(model.decode(each), x) for each in z])
    torch.testing.assert_close(terms.loss, -(log_weight.exp().mean(dim=0).log()), rtol=1e-4, atol=1e-4)


def test_iwae_is_tight_where_the_posterior_is_exact_and_tighter_with_more_samples() -> None:
    torch.manual_seed(0)
    model, _, x = linear_gaussian(spread=1.0)
    exact = -model.marginal.log_prob(x.flatten(1).double()).float()
    torch.testing.assert_close(IWAE(LinearPixels(), 5)(model, x, noise(), 1.0).loss, exact, rtol=0, atol=1e-3)
    wide, _, x = linear_gaussian(spread=1.6)
    with torch.no_grad():
        bounds = [
            sum(
                IWAE(LinearPixels(), samples)(wide, x, noise(seed), 1.0).loss.mean().item()
                for seed in range(50)
            )
            for samples in (1, 5, 50)
        ]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.parametrize(("samples", "largest"), [(1, 360), (50, 1000), (1500, 1500)])
def test_scoring_decodes_no_more_latents_with_more_samples(
    samples: int, largest: int, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build({"name": "mlp", "hidden": [4]}, (1, 28, 28), seed=0)
    count = 360 if samples < 1500 else 3
    split = replace(data.scored, images=data.scored.images[:count], labels=data.scored.labels[:count])
    decode, latents = model.decode, []
    monkeypatch.setattr(model, "decode", lambda z_BL: latents.append(len(z_BL)) or decode(z_BL))
    bound(model, IWAE(build_objective(settings()).likelihood, samples), split, seed=0)
    assert (sum(latents), max(latents)) == (count * samples, largest)


@pytest.mark.parametrize("weight", [1.0, 0.5, pytest.param(2.0, marks=pytest.mark.slow)])
def test_doubly_reparameterised_gradients_are_the_same_on_average_and_vary_less(weight: float) -> None:
    torch.manual_seed(0)
    model, _, x = linear_gaussian(spread=1.3)
    plain, doubly = IWAE(LinearPixels(), 20), IWAE(LinearPixels(), 20, dreg=True)
    found = [
        torch.stack(
            [
                torch.cat([g.flatten() for g in gradients(each, model, x, noise(seed), weight)])
                for seed in range(150)
            ]
        )
        for each in (plain, doubly)
    ]
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
    torch.testing.assert_close(found[0][:, encoder:], found[1][:, encoder:], rtol=1e-4, atol=1e-4)
    first, second = (each[:, :encoder] for each in found)
    error = (first.var(dim=0) / 150 + second.var(dim=0) / 150).sqrt()
    assert ((first.mean(dim=0) - second.mean(dim=0)).abs() < 5 * error + 1e-5).all()
    if weight == 1:
        assert second.var(dim=0).sum() < 0.5 * first.var(dim=0).sum()


# --- schedules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overrides", "weights"), [
    (("loss.schedule=constant",), [1, 1, 1, 1, 1]),
    (("loss.schedule=linear", "loss.warmup_epochs=2"), [0, 0.5, 1, 1, 1]),
    (("loss.schedule=cosine", "loss.warmup_epochs=2"), [0, 0.5, 1, 1, 1]),
    (("loss.schedule=sigmoid", "loss.warmup_epochs=2"), [0, 0.5, 1, 1, 1]),
    (("loss.schedule=cyclical", "loss.cycles=2"), [0, 1, 0, 1, 1]),
    (("loss.schedule=cyclical", "loss.cycles=1", "loss.ratio=1"), [0, 0.25, 0.5, 0.75, 1]),
    (("loss.schedule=cyclical", "loss.cycles=1", "loss.warmup_epochs=2"), [0, 1, 1, 1, 1]),
])  # fmt: skip
def test_the_kl_weight_follows_its_schedule_and_ends_at_beta(
    overrides: tuple[str, ...], weights: list[float]
) -> None:
    weight = kl_weight(settings("epochs=4", "beta=2", *overrides))
    assert [weight(epoch) for epoch in range(5)] == pytest.approx([2 * each for each in weights], abs=1e-12)


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid"])
def test_a_warmup_only_rises(name: str) -> None:
    weight = kl_weight(settings("epochs=4", f"loss.schedule={name}", "loss.warmup_epochs=3"))
    values = [weight(step / 100) for step in range(401)]
    assert values == sorted(values)
    assert (values[0], values[300]) == (0, 1)
    if name != "linear":  # slow at both ends
        assert weight(0.3) < 0.1 < 0.9 < weight(2.7)
