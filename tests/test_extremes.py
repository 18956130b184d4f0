"""Settings, weights and images at the edge of what is allowed: a result, with finite numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluation_helpers import ROUGH_NLL
from harness import TINY, CommandLine, command_line_of, fresh, settings
from vaelab.data.splits import Data, Split
from vaelab.models import LOG_VARIANCE_RANGE, Gaussian, models
from vaelab.objectives.likelihoods import likelihoods
from vaelab.runs.random_streams import stream
from vaelab.training.examples import ExampleImages
from vaelab.training.latent_axes import NothingToShow
from vaelab.training.loop import fit

EXTREMES = [("dataset.classes=[7]", "dataset.val_size=9900")]
EXTREMES_TOO = [
    ("model=conv", "model.latent_dim=512", "model.channels=[4]"),
    ("batch_size=1", "dataset.val_size=9960"),
    ("optimizer.lr=0.999",),
    ("model.latent_dim=1",),
    ("batch_size=1000000",),
    ("beta=1e30",),
    ("seed=9223372036854775807",),
]


@pytest.mark.parametrize(
    "extreme",
    [*EXTREMES, *(pytest.param(each, marks=pytest.mark.slow) for each in EXTREMES_TOO)],
    ids=" ".join,
)
def test_every_command_gives_a_result_with_extreme_settings(
    train: CommandLine, tmp_path: Path, extreme: tuple[str, ...]
) -> None:
    result = train(
        *TINY, "artifacts.every=0", "artifacts.gif=false", *extreme, "epochs=2", "hydra.run.dir=run"
    )
    assert result.returncode == 0, result.stderr
    # Of the last checkpoint, so that the comparison has its numbers.
    evaluated = ("checkpoint=run/last", *ROUGH_NLL, "figures=false")
    for command, line in (
        ("evaluate", evaluated),
        ("compare", ("sweep=.", "figures=false")),
        ("explore", ("run=run", "images=50")),
    ):
        result = command_line_of(f"vaelab.{command}", tmp_path)(*line)
        assert result.returncode == 0, (command, result.stderr)


@pytest.mark.parametrize(
    ("model", "likelihood", "grey"),
    [
        *(("mlp", likelihood, grey) for likelihood in likelihoods.names() for grey in (0, 255)),
        *((model, "bernoulli", 0) for model in models.names() if model != "mlp"),
    ],
)
def test_images_that_are_all_alike_give_finite_losses_and_a_latent_plot_of_all_points(
    data: Data, model: str, likelihood: str, grey: int
) -> None:
    def alike(split: Split) -> Split:
        return replace(split, images=torch.full_like(split.images, grey))

    constant = replace(data, train=alike(data.train), scored=alike(data.scored), test=alike(data.test))
    small = () if model == "mlp" else ("model.channels=[8,8]",)
    config = settings(
        *TINY, *small, f"model={model}", f"loss.likelihood={likelihood}", "epochs=2", "optimizer.lr=0.01"
    )
    state = fresh(config, constant)
    rows = fit(state, constant, config)
    assert all(map(math.isfinite, rows[-1].values()))
    examples = ExampleImages(config, constant, constant.test, state.model, state.objective)
    means = examples.means()
    for draw in (examples.manifold, examples.traversals):
        with pytest.raises(NothingToShow, match="posterior means of the test images are nearly the same"):
            draw()
    view = examples.view_of([means])
    points_N2 = examples.latent_plot(means, view, "alike", coloured=True).points.get_offsets()
    assert len(points_N2) == len(constant.test)
    assert abs(points_N2).max() < view.limit


def test_log_variances_beyond_floating_point_stay_finite(data: Data) -> None:
    """exp(1000) would be infinite: within the bounds, KL and samples are finite, and so are their gradients."""
    low, high = LOG_VARIANCE_RANGE
    for log_variance in (low, high):
        posterior = Gaussian(torch.zeros(4, 2), torch.full((4, 2), log_variance, requires_grad=True))
        loss = posterior.kl().sum() + posterior.sample(stream(0, "test")).sum()
        loss.backward()
        assert loss.isfinite()
        assert posterior.log_variance.grad is not None
        assert posterior.log_variance.grad.isfinite().all()
    state = fresh(settings(*TINY, "epochs=1"), data)
    with torch.no_grad():
        for parameter in state.model.encoder.parameters():
            parameter.mul_(1e4)
    encoded = state.model.encode(data.test.batch(slice(0, 64), stream(0, "none")))
    assert encoded.log_variance.max() <= high
    assert encoded.log_variance.min() >= low
    assert encoded.kl().isfinite().all()
