"""GECO: its multiplier finds the tolerance and settles."""

from __future__ import annotations

import pytest
import torch

from exact_models import LinearPixels, linear_gaussian
from harness import noise, settings
from training_helpers import BATCH
from vaelab.data import splits
from vaelab.models import build
from vaelab.objectives import Terms, build_objective
from vaelab.objectives.geco import GECO, LARGEST, SMALLEST
from vaelab.objectives.neg_elbo import NegElbo


def test_the_multiplier_grows_while_images_are_reconstructed_worse_than_the_tolerance() -> None:
    model = build({"name": "mlp"}, (1, 28, 28), seed=0).train()
    for tolerance, grows in ((500.0, True), (600.0, False)):  # a new model's reconstruction is near 543 nats
        objective = GECO(build_objective(settings()).likelihood, tolerance)
        multipliers = [objective(model, BATCH, noise(), 1.0).parts["multiplier"][0].item() for _ in range(4)]
        assert multipliers[0] == 1
        assert sorted(multipliers, reverse=not grows) == multipliers
        assert len({*multipliers}) == 4
        last = objective.multiplier.item()
        model.eval()
        objective(model, BATCH, noise(), 1.0)  # scoring validation images moves nothing
        model.train()
        assert objective.multiplier.item() == last


def test_geco_finds_the_tolerance() -> None:
    """A tolerance one nat above what the exact posterior reaches."""
    torch.manual_seed(0)
    model, _, x = linear_gaussian(spread=1.0)
    tolerance = NegElbo(LinearPixels())(model, x, noise(), 1.0).reconstruction.mean().item() + 1.0
    objective = GECO(LinearPixels(), tolerance)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    generator, found = noise(1), []
    for _ in range(3000):
        terms: Terms = objective(model, x, generator, 1.0)
        optimizer.zero_grad()
        terms.loss.mean().backward()
        optimizer.step()
        found.append(terms.reconstruction.mean().item())
    assert sum(found[-1000:]) / 1000 == pytest.approx(tolerance, abs=0.1)
    assert SMALLEST < objective.multiplier < LARGEST


def test_geco_settles_on_real_images() -> None:
    """With the default rate; λ starts rising, because a new model's reconstruction is far above the tolerance."""
    model = build({"name": "mlp", "hidden": [64]}, (1, 28, 28), seed=0).train()
    objective = GECO(build_objective(settings()).likelihood, tolerance=280)
    images = splits.load(settings("dataset.source=embedded").dataset, torch.device("cpu")).train
    optimizer, generator, found = torch.optim.Adam(model.parameters(), lr=1e-3), noise(1), []
    for _ in range(1200):
        x = images.batch(torch.randint(len(images), (64,), generator=generator), generator)
        terms = objective(model, x, generator, 1.0)
        optimizer.zero_grad()
        terms.loss.mean().backward()
        optimizer.step()
        found.append((terms.reconstruction.mean().item(), objective.multiplier.item()))
    reconstruction, multiplier = torch.tensor(found[-300:]).T
    assert max(each for _, each in found) < LARGEST
    assert reconstruction.mean() == pytest.approx(280, abs=3)
    assert multiplier.max() < 3 * multiplier.min()
    assert multiplier.min() > 2 * SMALLEST
