"""Published numbers, and for which settings they are a reference. In nats per image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vaelab.config import Config
from vaelab.config.train import LossConfig, OptimizerConfig


@dataclass(frozen=True)
class Published:
    """Published numbers of the last epoch, on grey pixels under a Bernoulli likelihood.

    All training images were used, in batches of 128; loss and optimiser were vaelab's defaults.
    """

    source: str
    data: str
    classes: Sequence[str]
    """The numbers of its classes; empty for all."""
    model: Mapping[str, Any]
    epochs: int
    numbers: Mapping[float, Mapping[str, float]]
    """By beta, then by the column of metrics.csv."""

    def is_of(self, config: Config, data: Mapping[str, Any]) -> bool:
        """Whether a run differs in nothing but beta, seed and device; `data` is run.json's."""
        classes = [*data["classes"]]
        return (
            (data["name"], data["complete"]) == (self.data, True)
            and (classes == [*self.classes] if self.classes else len(classes) == 10)
            and {**self.model, **config.model} == self.model  # older runs lack settings that were added since
            and (config.kl, config.precision) == (True, "fp32")
            and (config.epochs, config.batch_size) == (self.epochs, 128)
            and (config.dataset.val_size, config.dataset.binarize) == (0, "none")
            and (config.loss, config.optimizer) == (LossConfig(), OptimizerConfig())
        )


CONV = {"name": "conv", "channels": [32, 64], "kernel": 3, "conditional": False}
MLP = {"name": "mlp", "hidden": [400], "activation": "relu", "conditional": False}

PUBLISHED = (
    Published(
        "a public conv VAE", "fashion_mnist", ("0", "1", "7"), CONV | {"latent_dim": 2}, 20,
        {0.1: {"train/reconstruction": 209.47, "train/kl": 8.76},
         0.5: {"train/reconstruction": 209.79, "train/kl": 6.12},
         1.0: {"train/reconstruction": 210.55, "train/kl": 5.28}},
    ),
    Published(
        "a public conv VAE", "fashion_mnist", (), CONV | {"latent_dim": 16}, 25,
        {1.0: {"train/neg_elbo": 240.46, "test/neg_elbo": 242.31}},
    ),
    Published(
        "PyTorch's examples", "mnist", (), MLP | {"latent_dim": 20}, 10, {1.0: {"test/neg_elbo": 105.59}},
    ),
)  # fmt: skip


LIKELIHOODS = {
    ("mnist", "dynamic"): ["nll, 5,000 samples, 86.76 (Burda et al. 2016: mlp, 50 latent dimensions)",
                           "84.45 (Norouzi et al. 2020: mlp, 40 latent dimensions)"],
    ("fashion_mnist", "dynamic"): [
        "nll, 5,000 samples, 228.70 (Norouzi et al. 2020: mlp, 40 latent dimensions)"
    ],
}  # fmt: skip
"""Published results on the whole test set, Bernoulli likelihood, by data set and `dataset.binarize`."""


def of_test_set(data: str, binarize: str) -> list[str]:
    """What was published for all test images of a data set under a Bernoulli likelihood, with its setting."""
    if binarize != "none":
        return LIKELIHOODS.get((data, binarize), [])
    whole = [each for each in PUBLISHED if each.data == data and not each.classes]
    return [
        f"neg_elbo {each.numbers[1.0]['test/neg_elbo']:.2f} ({each.source}: {each.model['name']}, "
        f"{each.model['latent_dim']} latent dimensions, {each.epochs} epochs)"
        for each in whole
    ]


def published(config: Config, data: Mapping[str, Any], name: str) -> tuple[float, str] | None:
    """The published value for exactly these settings, and its source, or None; `data` is run.json's."""
    for each in PUBLISHED:
        if each.is_of(config, data) and name in (numbers := each.numbers.get(config.beta, {})):
            return numbers[name], each.source
    return None
