"""One contract for every registered model; a new file in models/ is picked up without an entry elsewhere."""

from __future__ import annotations

import pytest
import torch

from harness import settings
from vaelab.config import ConfigError
from vaelab.models import Gaussian, build, models

SHAPE = (1, 28, 28)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("latent_dim", [1, 2, 17])
def test_every_model_gives_the_documented_shapes_and_a_gradient_to_every_parameter(
    name: str, latent_dim: int
) -> None:
    model = build(settings(f"model={name}").model | {"latent_dim": latent_dim}, SHAPE, seed=0)
    noise = torch.Generator().manual_seed(0)
    x = torch.rand(5, *SHAPE)
    logits, posterior = model(x, noise)
    assert logits.shape == x.shape
    assert posterior.mean.shape == posterior.log_variance.shape == (5, latent_dim)
    assert model.decode(torch.zeros(3, latent_dim)).shape == (3, *SHAPE)
    loss = logits.square().sum() + posterior.mean.sum() + posterior.log_variance.sum()
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", models.names())
def test_decoders_give_as_many_parameters_per_pixel_as_the_likelihood_takes(name: str) -> None:
    model = build({"name": name}, (3, 28, 28), seed=0, parameters_per_pixel=2)
    parameters, _ = model(torch.rand(5, 3, 28, 28), torch.Generator().manual_seed(0))
    assert parameters.shape == (5, 6, 28, 28)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
def test_every_kernel_halves_the_image_exactly(kernel: int) -> None:
    model = build({"name": "conv", "kernel": kernel}, SHAPE, seed=0)
    first, _, _, second, *_ = model.encoder.children()
    assert first.weight.shape == (32, 1, kernel, kernel)
    assert first(torch.rand(2, *SHAPE)).shape == (2, 32, 14, 14)
    assert second(torch.rand(2, 32, 14, 14)).shape == (2, 64, 7, 7)
    assert model.decode(torch.zeros(2, 2)).shape == (2, *SHAPE)


def test_conv_is_the_published_network() -> None:
    """1 -> 32 -> 64 with kernel 3 on the way in, 64 -> 32 -> 1 with kernel 4 on the way out."""
    shapes = [
        tuple(p.shape) for p in build(settings("model=conv").model, SHAPE, 0).parameters() if p.ndim > 1
    ]
    inwards = [(32, 1, 3, 3), (64, 32, 3, 3), (4, 3136)]
    assert shapes == [*inwards, (3136, 2), (64, 32, 4, 4), (32, 1, 4, 4)]


@pytest.mark.parametrize("name", models.names())
def test_a_batch_of_one_equals_a_row_of_a_batch(name: str) -> None:
    model = build({"name": name}, SHAPE, seed=0).eval()
    x = torch.rand(6, *SHAPE)
    together = model.encode(x)
    alone = model.encode(x[2:3])
    torch.testing.assert_close(alone.mean[0], together.mean[2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        model.decode(together.mean[2:3])[0], model.decode(together.mean)[2], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", models.names())
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build({"name": name}, SHAPE, seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    for left, right in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(left, right)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_default_mlp_has_the_documented_sizes() -> None:
    shapes = [tuple(p.shape) for p in build({"name": "mlp"}, SHAPE, 0).parameters() if p.ndim == 2]
    assert shapes == [(400, 784), (4, 400), (400, 2), (784, 400)]


def test_a_gated_layer_multiplies_half_of_its_outputs_by_the_sigmoid_of_the_others() -> None:
    model = build({"name": "mlp", "hidden": [30, 20], "activation": "gated"}, SHAPE, 0)
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(60, 784), (40, 30), (4, 20), (40, 2), (60, 20), (784, 30)]
    first, x = model.decoder[0], torch.randn(5, 2)
    hidden, gate = first(x).chunk(2, dim=1)
    torch.testing.assert_close(model.decoder[1](first(x)), hidden * gate.sigmoid())


def test_posterior_samples_have_its_moments() -> None:
    posterior = Gaussian(torch.full((40_000, 1), 1.5), torch.full((40_000, 1), -1.0))
    z = posterior.sample(torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.var().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.02)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_log_variances_that_overflow_stay_finite(extreme: float) -> None:
    model = build({"name": "mlp"}, SHAPE, seed=0)
    last = model.encoder[-1]
    with torch.no_grad():
        last.bias[2:] = extreme
    logits, posterior = model(torch.rand(3, *SHAPE), torch.Generator().manual_seed(0))
    assert posterior.log_variance.exp().isfinite().all()
    assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"name": "mlp", "widht": 3},
            "Unknown setting 'model.widht'. model=mlp accepts: latent_dim, hidden,",
        ),
        (
            {"name": "mlp", "hiden": [3]},
            "Did you mean 'model.hidden'? model=mlp accepts: latent_dim, hidden,",
        ),
        ({"name": "mlp", "latent_dim": 0}, "model.latent_dim must be a whole number of at least 1"),
        ({"name": "mlp", "latent_dim": True}, "model.latent_dim must be a whole number of at least 1"),
        (
            {"name": "mlp", "hidden": []},
            "model.hidden must be a list of whole numbers of at least 1, such as [400]",
        ),
        ({"name": "mlp", "activation": "rleu"}, "model.activation 'rleu'. Did you mean 'relu'?"),
        ({"name": "mlp", "parameters_per_pixel": 2}, "Unknown setting 'model.parameters_per_pixel'"),
        ({"name": "conv", "kernel": 0}, "model.kernel must be a whole number of at least 1"),
        ({"name": "conv", "channels": [8, 8, 8]}, "type fewer channels, such as [8,8]"),
    ],
)
def test_wrong_settings_say_what_to_type(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        build(settings, SHAPE, seed=0)
    assert said in str(error.value)
