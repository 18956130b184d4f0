"""Class-conditional models: networks, objectives, bounds and runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Generator

import vaelab
from conditional_helpers import CLASSES, SHAPE, TRAIN, conditional, conditional_run
from harness import command_line_of, fresh, run_folder, run_json, settings
from vaelab.config import ConfigError, EvaluationConfig, VaelabError, show
from vaelab.data.splits import Data
from vaelab.evaluation.evaluate import Evaluation, evaluated_model
from vaelab.figures import style
from vaelab.models import build, evaluating, models
from vaelab.objectives import build_objective, objectives
from vaelab.objectives.importance import importance_weighted_bound, log_importance_weights
from vaelab.objectives.scoring import bound
from vaelab.training.loop import fit


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return conditional_run(tmp_path_factory)


@pytest.mark.parametrize("name", models.names())
def test_encoder_and_decoder_are_given_the_class_of_each_row(name: str) -> None:
    model, labels, noise = conditional(name), torch.tensor([9, 1, 7, 1]), Generator().manual_seed(0)
    x, z_KBL = torch.rand(4, *SHAPE, generator=noise), torch.randn(3, 4, 2, generator=noise)
    together, given = model.given(labels), [model.given(labels[[row]]) for row in range(4)]
    alone = torch.cat([each.encode(x[[row]]).mean for row, each in enumerate(given)])
    torch.testing.assert_close(together.encode(x).mean, alone, rtol=1e-4, atol=1e-5)
    # K samples of B images: the labels again and again, as the latents are.
    decoded = together.decode(z_KBL.flatten(0, 1)).unflatten(0, (3, 4))
    for row, each in enumerate(given):
        torch.testing.assert_close(decoded[:, row], each.decode(z_KBL[:, row]), rtol=1e-4, atol=1e-4)
    other = model.given(labels.roll(1))
    assert not torch.allclose(other.encode(x).mean, alone)
    assert not torch.allclose(other.decode(z_KBL[0]), together.decode(z_KBL[0]))
    with pytest.raises(VaelabError, match="class-conditional"):
        model.encode(x)
    plain = build({"name": name, "conditional": False}, SHAPE, seed=0, classes=CLASSES)
    assert plain.given(labels) is plain
    assert plain.state_dict().keys() == build({"name": name}, SHAPE, seed=0).state_dict().keys()


def test_a_model_without_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.conditional=true needs images with labels"):
        build({"name": "mlp", "conditional": True}, SHAPE, seed=0)


def test_labels_are_drawn_from_the_shares_of_the_training_images(data: Data) -> None:
    model = fresh(settings(*TRAIN), data).model
    assert model.classes == (1, 7)
    share = (data.train.labels == 1).float().mean()
    torch.testing.assert_close(model.class_prior, torch.stack([share, 1 - share]))
    drawn = model.draw_labels(4000, Generator().manual_seed(0))
    assert {*drawn.tolist()} == {1, 7}
    assert abs((drawn == 1).float().mean() - share) < 0.03


# --- objectives and bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", objectives.names())
def test_every_objective_trains_it_as_it_is(name: str) -> None:
    arguments = {"geco": {"tolerance": 100.0}}.get(name, {})
    config = settings(f"loss.objective={show({'name': name, **arguments})}", "loss.importance_samples=2")
    model, objective = conditional("mlp").train(), build_objective(config)
    x, labels = torch.rand(8, *SHAPE), torch.tensor(CLASSES)[torch.arange(8) % 3]
    found = [
        objective(model.given(each), x, Generator().manual_seed(1), 1.0).loss.mean()
        for each in (labels, labels.roll(1))
    ]
    assert found[0] != found[1]
    found[0].backward()
    assert all(each.grad is not None and each.grad.any() for each in model.parameters())


def test_importance_weights_are_of_each_images_own_class() -> None:
    """20 images of 50 samples are decoded in parts of 250, which end within the images."""
    model, objective = conditional("mlp"), build_objective(settings())
    noise, labels = Generator().manual_seed(2), torch.tensor(CLASSES)[torch.arange(20) % 3]
    x, eps_KBL = torch.rand(20, *SHAPE, generator=noise), torch.randn(50, 20, 2, generator=noise)
    with evaluating(model):
        posterior = model.given(labels).encode(x)
        whole = log_importance_weights(model, objective, x, posterior, eps_KBL, labels_B=labels)
        for row in (0, 7, 19):
            index = slice(row, row + 1)
            own = type(posterior)(posterior.mean[index], posterior.log_variance[index])
            alone = log_importance_weights(
                model, objective, x[index], own, eps_KBL[:, index], labels_B=labels[index]
            )
            torch.testing.assert_close(whole[..., index], alone, rtol=1e-5, atol=1e-2)


def test_the_bound_and_its_importance_weighted_form_are_given_the_labels(data: Data) -> None:
    config = settings(*TRAIN)
    state = fresh(config, data)
    fit(state, data, config)
    split = data.scored
    scored = bound(state.model, state.objective, split, seed=1).terms.neg_elbo
    x, labels = split.batch(slice(0, 200), Generator()), split.labels[:200]
    found = importance_weighted_bound(state.model, state.objective, x, 60, 1, labels_N=labels)
    assert found.nll.mean() < scored[:200].mean()
    swapped = importance_weighted_bound(state.model, state.objective, x, 60, 1, labels_N=8 - labels)
    assert (swapped.nll > found.nll).double().mean() > 0.95  # a sneaker is no likely trouser


# --- runs -------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_one_that_never_stopped(trained: Path, tmp_path: Path) -> None:
    command = command_line_of("vaelab.train", tmp_path)
    half = run_folder(command(*TRAIN, "epochs=1", "artifacts.every=0", "hydra.run.dir=half"))
    run_folder(command(f"resume={half}", "epochs=2"))
    whole, resumed = (vaelab.load(folder, "last") for folder in (trained, tmp_path / half))
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name


def test_a_run_takes_names_numbers_and_one_label_each(trained: Path, data: Data) -> None:
    run = vaelab.load(trained)
    x, labels = data.test.batch(slice(0, 4), Generator()), data.test.labels[:4]
    assert "class-conditional" in repr(run)
    assert torch.equal(run.encode(x, labels).mean, run.encode(x, labels.tolist()).mean)
    mixed = run.encode(x, ["trouser", 7, "Sneaker", "trous"]).mean
    assert torch.equal(mixed, run.encode(x, torch.tensor([1, 7, 7, 1])).mean)
    z = torch.randn(3, 2)
    assert torch.equal(run.decode(z, "trouser"), run.decode(z, [1, 1, 1]))
    assert not torch.allclose(run.decode(z, "trouser"), run.decode(z, "sneaker"))
    assert torch.equal(run.reconstruct(x, labels), run.decode(run.encode(x, labels).mean, labels))
    path = run.interpolate(x[0], x[1], steps=3, labels=labels[:2])
    torch.testing.assert_close(path[:1], run.reconstruct(x[:1], labels[:1]))
    trousers = run.sample(5, labels="trouser")
    assert torch.equal(trousers, run.sample(100, labels=[1] * 100)[:5])
    drawn = next(run.label_draws(0))[:5]
    torch.testing.assert_close(run.sample(5), run.sample(5, labels=drawn))
    for wrong, message in (
        (None, r"class-conditional \(model.conditional=true\): give it the class, labels=NAME"),
        (
            "sandal",
            r"labels: the run was not trained on sandal\. Give a class that it was trained on: trouser, sneaker",
        ),
        ("hat", r"labels: Fashion-MNIST has no class hat"),
        ([1, 7], r"labels: 2 classes for 3 images"),
    ):
        with pytest.raises(VaelabError, match=f"(?i){message}"):
            run.decode(z, wrong)


def test_figures_have_a_row_for_each_class_of_the_same_latents(trained: Path) -> None:
    run = vaelab.load(trained)
    examples = run.plot.examples
    rows = examples.sample_rows()
    for row, label in enumerate((1, 7)):
        np.testing.assert_allclose(rows[row], run.decode(examples.prior_ZL[:10], label)[:, 0], atol=1e-5)
    figure = run.plot.samples()
    assert {"Trouser", "Sneaker"} <= {text.get_text() for text in figure.texts}
    given = [style.pixels(run.plot.manifold(label)) for label in (None, "trouser", "sneaker")]
    assert np.array_equal(given[0], given[1])
    assert not np.array_equal(given[0], given[2])


def test_an_evaluation_says_what_its_bounds_are_of(trained: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(
        checkpoint=str(trained), output=str(tmp_path / "out"), importance_samples=20, nll_images=60,
        figures=False, metrics={"samples": False, "images": False, "latent": False},
    )  # fmt: skip
    run = vaelab.load(trained)
    result = Evaluation(evaluated_model(run, config, {})).run()
    numbers = result.numbers
    labels = evaluated_model(run, config, {}).split.labels
    log_prior = run.model.class_prior[(labels == 7).long()].double().log()
    for section, name, images in (("bound", "neg_elbo", len(labels)), ("nll", "nll", 60)):
        found = {key: row["model"]["value"] for key, row in numbers[section].items()}
        difference = found[f"{name} - log p(y)"] - found[name]
        assert difference == pytest.approx(-log_prior[:images].mean().item(), abs=1e-6)
    assert "−log p(x|y), which are not comparable" in " ".join(result.text.split())
    most = f"{labels.bincount().max() / len(labels):.3f}"
    assert f"most frequent class would reach {most}" in " ".join(result.text.split())
    assert "Published" not in result.text
    everywhere = [
        result.text,
        (tmp_path / "out" / "summary.md").read_text(),
        json.dumps(result.content),
        result._repr_html_(),
    ]
    everywhere += [
        run._repr_html_(),
        run.metrics._repr_html_(),
        run.plot.loss().axes[1].get_title(loc="left"),
    ]
    for text in everywhere:
        assert ("p(x|z)" in text, "q(z|x)" in text, "p(x|y) given the class" in text) == (False, False, False)
    assert all("p(x|z, y)" in text for text in [*everywhere[:2], *everywhere[3:]])
    assert result.content["not_measured"]["ood"].startswith(
        "the model needs a class, which images of another"
    )


def test_the_shares_of_the_classes_are_recorded(trained: Path) -> None:
    recorded = run_json(trained)["data"]["class_prior"]
    assert recorded.keys() == {"Trouser", "Sneaker"}
    np.testing.assert_allclose([*recorded.values()], vaelab.load(trained).model.class_prior, atol=1e-6)
