"""What the explorer computes is what PyTorch computes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playwright.sync_api import Page

import vaelab
import vaelab.explorer.network
from browsing import CONDITIONAL, EXPLORER, FRAMES, PAIR, RUNS, SINGLE, Watched, z
from vaelab.data.splits import Data
from vaelab.explorer.network import Weights
from vaelab.metrics.latent import uncovered
from vaelab.models import build
from vaelab.objectives import likelihoods
from vaelab.objectives.likelihoods.gaussian import GaussianPixels
from vaelab.pages.page import ASSETS

RUN = "([view, method, inputs]) => inputs.map((each) => window.explorer.views[view].network[method](each))"


def test_the_page_computes_what_pytorch_computes(pages: Path, watched: Watched, data: Data) -> None:
    """At the prior, far from it, and on real images."""
    page = watched.open(pages / PAIR, EXPLORER)
    noise = torch.Generator().manual_seed(1)
    z = torch.cat([torch.randn(5, 3, generator=noise), 24 * torch.rand(15, 3, generator=noise) - 12])
    x = torch.cat([torch.rand(2, 1, 28, 28, generator=noise), data.test.batch(slice(0, 6), noise)])
    for view, run in enumerate(RUNS):
        trained = vaelab.load(pages / run / "checkpoints" / "last.safetensors")
        decoded = page.evaluate(
            f"(given) => ({RUN})(given).map((each) => Array.from(each))", [view, "decode", z.tolist()]
        )
        np.testing.assert_allclose(decoded, trained.decode(z).flatten(1), atol=1e-3)
        encoded = page.evaluate(
            f"(given) => ({RUN})(given).map((each) => [Array.from(each.mean), Array.from(each.logVariance)])",
            [view, "encode", x.flatten(1).tolist()],
        )
        posterior = trained.encode(x)
        np.testing.assert_allclose([mean for mean, _ in encoded], posterior.mean, atol=1e-3)
        np.testing.assert_allclose([log for _, log in encoded], posterior.log_variance, atol=1e-3)


NETWORKS = [
    {"name": "conv"},
    {"name": "resnet", "channels": [16, 12, 32], "blocks": 2},  # groups of one and of eight
    {"name": "mlp", "hidden": [32], "activation": "gated"},
]


@pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: str(settings["name"]))
def test_layers_in_the_page_are_pytorchs(watched: Watched, settings: dict[str, Any]) -> None:
    """With weights and averages that are as far from their first values as trained ones."""
    model = build(settings, (1, 16, 24), seed=0).eval()
    noise = torch.Generator().manual_seed(1)
    for value in (*model.parameters(), *model.buffers()):
        if value.is_floating_point():
            value.data += 0.1 * torch.rand(value.shape, generator=noise)
    weights = Weights()
    spec = vaelab.explorer.network.network(model, "bernoulli", weights)
    x, z = torch.rand(5, 1, 16, 24, generator=noise), 4 * torch.randn(6, 2, generator=noise)
    page = watched.page
    page.add_script_tag(path=ASSETS / "network.js")
    given = [spec, torch.cat(weights.parts).tolist(), x.flatten(1).tolist(), z.tolist()]
    means, decoded = page.evaluate(
        "([network, weights, images, latents]) => {"
        "  const own = new Network({ network }, Float32Array.from(weights));"
        "  return [images.map((each) => Array.from(own.encode(each).mean)),"
        "          latents.map((each) => Array.from(own.decode(each)))];"
        "}",
        given,
    )
    with torch.no_grad():
        np.testing.assert_allclose(means, model.encode(x).mean, atol=1e-3)
        np.testing.assert_allclose(decoded, model.decode(z).sigmoid().flatten(1), atol=1e-3)


def test_a_gate_in_the_page_is_pytorchs_for_images_too(watched: Watched) -> None:
    values = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
    watched.page.add_script_tag(path=ASSETS / "network.js")
    given = [values.flatten().tolist(), list(values.shape)]
    script = "([values, shape]) => LAYERS.glu({}, Float32Array.from(values), shape).map((each) => Array.from(each))"
    gated, shape = watched.page.evaluate(script, given)
    expected = torch.nn.functional.glu(values, dim=0)
    assert shape == list(expected.shape)
    np.testing.assert_allclose(gated, expected.flatten(), atol=1e-6)


def test_the_page_has_every_likelihood(pages: Path, watched: Watched) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
    logits, x = torch.linspace(-30, 30, 601), torch.linspace(0, 1, 601)
    for name in likelihoods.names():
        likelihood = likelihoods.build(name)
        found = page.evaluate("([name, logits]) => logits.map(MEANS[name])", [name, logits.tolist()])
        np.testing.assert_allclose(found, likelihood.mean(logits), atol=1e-5, err_msg=name)
        sigma = likelihood.sigma().item() if isinstance(likelihood, GaussianPixels) else 1
        found = page.evaluate(
            "([name, logits, x, sigma]) => logits.map((logit, place) => LOG_PROBS[name](logit, x[place], sigma))",
            [name, logits.tolist(), x.tolist(), sigma],
        )
        with torch.no_grad():
            wanted = likelihood.log_prob(logits.reshape(-1, 1, 1, 1), x.reshape(-1, 1, 1, 1))
        np.testing.assert_allclose(found, wanted, atol=1e-3, err_msg=name)


def test_a_class_conditional_image_is_scored_given_its_own_class(families: Path, watched: Watched) -> None:
    """Also while another class is given, as when the mouse is over it."""
    run = vaelab.load(families / CONDITIONAL)
    page = watched.open(families / CONDITIONAL / "explorer.html", EXPLORER)
    labels = page.evaluate("given.labels")
    first, other = labels.index(1), labels.index(7)
    page.fill("#number", str(first))
    page.evaluate("document.getElementById('noise-panel').open = true")
    page.fill("#sigma", "0")
    page.evaluate(f"hover({other})")
    page.evaluate(FRAMES)
    assert page.evaluate("Network.given") == 1
    pixels = np.array(page.evaluate(f"Array.from(grey({other}))"), np.float32)
    x = torch.from_numpy(pixels).reshape(1, 1, 28, 28)
    z = torch.tensor([[*page.evaluate("Array.from(window.explorer.views[0].z)")]])
    mean = torch.tensor([[*page.evaluate(f"Array.from(window.explorer.views[0].mean({other}))")]])
    given = torch.tensor([7])

    def nats(at: torch.Tensor) -> float:
        with torch.no_grad():
            return -run.objective.likelihood.log_prob(run.model.given(given).decode(at), x).item()

    said = page.inner_text(".reading")
    assert f"−log p(x|z, y) of the image: {nats(z):.1f} nats here, {nats(mean):.1f} nats at" in said
    assert f"is {nats(mean):.1f} nats at μ" in page.inner_text("#noise")


def test_the_readings_are_pytorchs(pages: Path, watched: Watched, data: Data) -> None:
    """−log p(x|z) and KL of an image, and which prior draws are holes."""
    run = vaelab.load(pages / RUNS[0] / "checkpoints" / "last.safetensors")
    page = watched.open(pages / SINGLE, EXPLORER)
    page.fill("#number", "5")
    page.evaluate(FRAMES)
    x = data.test.images[5].float()[None, None] / 255
    posterior = run.encode(x)
    with torch.no_grad():
        bits = -run.objective.likelihood.log_prob(run.model.decode(posterior.mean), x).item()
    said = page.inner_text(".reading")
    assert f"−log p(x|z) of the image: {bits:.1f} nats" in said
    assert f"KL of its posterior: {posterior.kl().item():.1f} nats" in said
    encoded = run.encode(data.test.images[:200])
    draws = 2 * torch.randn(100, 3, generator=torch.Generator().manual_seed(1))
    holes = page.evaluate("(draws) => draws.map((z) => window.explorer.views[0].isHole(z))", draws.tolist())
    assert holes == uncovered(encoded, draws).tolist()
    assert 0 < sum(holes) < 100


def posterior_mean(pages: Path, run: str, data: Data, image: int) -> Any:
    trained = vaelab.load(pages / run / "checkpoints" / "last.safetensors")
    return trained.encode(data.test.images[image]).mean[0].numpy()


def on_plane(page: Page, image: int, view: int = 0) -> tuple[float, float]:
    """Where an image's point is, in the browser's window."""
    x, y = page.evaluate(
        "([view, image]) => { const own = window.explorer.views[view]; const box = own.canvas.getBoundingClientRect();"
        "  const [x, y] = own.toPixel([own.points[2 * image], own.points[2 * image + 1]]);"
        "  return [box.left + x / own.ratio, box.top + y / own.ratio]; }",
        [view, image],
    )
    return x, y


def test_an_image_sends_each_model_to_its_own_posterior_mean(
    pages: Path, watched: Watched, data: Data
) -> None:
    page = watched.open(pages / PAIR, EXPLORER)
    assert "Fashion-MNIST" in page.title()
    for view, run in enumerate(RUNS):  # already at the start
        np.testing.assert_allclose(z(page, view), posterior_mean(pages, run, data, 0), atol=1e-3)
    page.fill("#number", "7")
    means = [posterior_mean(pages, run, data, 7) for run in RUNS]
    for view in (0, 1):
        np.testing.assert_allclose(z(page, view), means[view], atol=1e-3)
    page.fill("#number", "3")
    page.mouse.click(*on_plane(page, 7, view=1))
    chosen = page.evaluate("window.explorer.state.subject.index")  # 7, or what lies on it
    for view, run in enumerate(RUNS):  # all three dimensions, of which the plane shows two
        np.testing.assert_allclose(z(page, view), posterior_mean(pages, run, data, chosen), atol=1e-3)
    assert not np.allclose(z(page, 0), z(page, 1), atol=1e-2)

    x, y = on_plane(page, chosen, view=1)
    before = [np.array(z(page, view)) for view in (0, 1)]
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y - 30, steps=3)
    page.mouse.up()
    np.testing.assert_array_equal(z(page, 0), before[0])  # a drag moves the point of its own model,
    basis, scale = page.evaluate(
        "[1].map((view) => window.explorer.views[view]).map((own) => [own.basis.map((axis) => Array.from(axis)),"
        " 2 * own.frame.reach / own.canvas.clientWidth])[0]"
    )
    moved, plane = np.array(z(page, 1)) - before[1], np.array(basis)
    np.testing.assert_allclose(plane @ moved, [40 * scale, 30 * scale], atol=12 * scale)  # in the plane
    np.testing.assert_allclose(moved, plane.T @ (plane @ moved), atol=1e-5)

    page.check("#same")
    assert z(page, 0) == z(page, 1)
    page.mouse.click(*on_plane(page, 7, view=0))
    assert z(page, 0) == z(page, 1)


def test_any_two_axes_make_a_plane_in_which_the_point_is_under_the_pointer(
    pages: Path, watched: Watched
) -> None:
    page = watched.open(pages / PAIR, EXPLORER)
    page.select_option("#points", "none")
    for value in ("3", "0", "5"):  # a principal direction, a dimension, another direction
        page.select_option("#up", value)
        page.evaluate(FRAMES)
        bases = page.evaluate(
            "window.explorer.views.map((view) => view.basis.map((axis) => Array.from(axis)))"
        )
        for basis in bases:
            np.testing.assert_allclose(np.array(basis) @ np.array(basis).T, np.eye(2), atol=1e-6)
        box = page.locator(".plane canvas").first.bounding_box()
        assert box is not None
        page.evaluate("window.explorer.state.hidden = new Set([1, 7])")  # a click would take the image there
        page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
        reach, at = page.evaluate(
            "[window.explorer.views[0].frame.reach, window.explorer.views[0].project(window.explorer.views[0].z)]"
        )
        np.testing.assert_allclose(at, np.array([-0.4, 0.4]) * reach, atol=reach / 50)


def test_epochs_are_those_of_their_checkpoints(pages: Path, watched: Watched, data: Data) -> None:
    page = watched.open(pages / PAIR, EXPLORER)
    assert "2 epochs are in this page: 1, 2; their weights and posteriors take" in page.inner_text("main")
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => document.getElementById('epoch-now').textContent === 'epoch 1'")
    page.wait_for_function("() => window.explorer.views.every((view) => view.epoch === 1)")
    for view, run in enumerate(RUNS):
        first = vaelab.load(pages / run, "epoch_0001")
        decoded = page.evaluate(f"Array.from(window.explorer.views[{view}].network.decode([0.3, -1, 2]))")
        np.testing.assert_allclose(decoded, first.decode(torch.tensor([0.3, -1, 2])).flatten(), atol=1e-3)
        np.testing.assert_allclose(z(page, view), first.encode(data.test.images[0]).mean[0], atol=1e-3)


def test_noise_dimensions_interpolation_and_arithmetic_agree_with_numpy(
    pages: Path, watched: Watched
) -> None:
    page = watched.open(pages / SINGLE, EXPLORER)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.wait_for_timeout(400)
    epsilon = page.evaluate("Array.from(window.explorer.state.noise[0])")
    page.fill("#sigma", "0")
    page.evaluate(FRAMES)
    assert "the noise adds 0.0 nats" in page.inner_text("#noise")
    page.fill("#number", "4")  # ε stays
    assert page.evaluate("Array.from(window.explorer.state.noise[0])") == epsilon
    page.click("#draw")
    assert page.evaluate("Array.from(window.explorer.state.noise[0])") != epsilon
    draws = np.array(
        page.evaluate(
            "window.explorer.views[0].noisy(window.explorer.state.subject).map((z) => Array.from(z))"
        )
    )
    mean = page.evaluate("Array.from(window.explorer.views[0].mean(4))")
    np.testing.assert_allclose(draws, np.tile(mean, (8, 1)), atol=1e-6)

    slider = page.locator("#dimensions input").first
    dimension = page.evaluate("dimensions[0].dimension")
    page.locator("#dimensions canvas").first.click(position={"x": 3, "y": 5})  # the first of nine images
    assert z(page)[dimension] == pytest.approx(-3)
    slider.fill("2")
    assert z(page)[dimension] == pytest.approx(2)

    for letter, number in zip("ABC", ("3", "8", "11"), strict=True):
        page.fill("#number", number)
        page.locator(f'#arithmetic-panel [data-set="{letter}"]').click()
    a, b, c = (
        np.array(page.evaluate(f"Array.from(window.explorer.views[0].mean({each}))")) for each in (3, 8, 11)
    )
    page.click("#go")
    np.testing.assert_allclose(z(page), a - b + c, atol=1e-5)
    assert re.search(r"The nearest test image is of class (Trouser|Sneaker)", page.inner_text("#sums"))
    page.fill("#share", "1")
    np.testing.assert_allclose(z(page), b, atol=1e-5)
    assert re.search(r"\d+ on the line and \d+ on the circle are in holes", page.inner_text("#betweens"))

    near = page.evaluate("window.explorer.views[0].nearestImages(window.explorer.views[0].z, 6)")
    means = np.array(page.evaluate("Array.from(window.explorer.views[0].means)")).reshape(-1, 3)
    np.testing.assert_array_equal(near, np.square(means - z(page)).sum(1).argsort(kind="stable")[:6])
    page.locator(".near button").nth(1).click()
    np.testing.assert_allclose(z(page), means[near[1]], atol=1e-6)
