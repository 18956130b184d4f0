"""Made-up families of runs."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from vaelab.config import Config
from vaelab.evaluation.runs import Family, Model

NOISE = {"val/neg_elbo": (280, 0.4), "val/reconstruction": (275, 0.4), "fid": (50, 4)}
"""Mean and standard deviation over seeds of some numbers."""


def family_of(
    noise: np.random.Generator, models: int, seeds: int, same_seeds: bool = True, network: str = "mnist_cnn"
) -> Family:
    """Models whose numbers are all draws from one distribution. The first two are without KL."""

    def member(k: int, seed: int) -> Any:
        def normal(name: str) -> float:
            return float(noise.normal(*NOISE[name]))

        def fid() -> dict[str, float]:
            return {"value": normal("fid")}

        return SimpleNamespace(
            config=Config(seed=seed if same_seeds else 100 * k + seed, kl=k >= 2),
            facts={"data": {"name": "mnist", "binarize": "none", "classes": [], "complete": True}},
            rows=[{name: normal(name) for name in ("val/neg_elbo", "val/reconstruction")}],
            evaluation={
                "numbers": {
                    "classes": {  # shares of 400 images: in steps
                        "knn_accuracy": {"posterior means": {"value": noise.binomial(400, 0.8) / 400}},
                        "silhouette": {"posterior means": {"value": float(noise.normal(0.1, 0.01))}},
                    },
                    "images": {
                        "sharpness_ratio": {"prior samples": {"value": float(noise.normal(0.6, 0.02))}},
                        "diversity_ratio": {"prior samples": {"value": float(noise.normal(0.7, 0.02))}},
                    },
                    "latent": {"prior_not_covered": {"model": {"value": noise.binomial(1000, 0.3) / 1000}}},
                    "samples": {
                        f"fid_{network}": {"prior samples": fid(), "mixture samples": fid()},
                        "features": {"network": network},
                    },
                }
            },
        )

    return Family(
        "MNIST",
        [Model(f"model {k}", [member(k, seed) for seed in range(seeds)]) for k in range(models)],
        "val",
    )
