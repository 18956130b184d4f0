"""vaelab: variational autoencoders on MNIST and Fashion-MNIST, from a shell line to a run folder.

>>> import vaelab
>>> run = vaelab.train("model=conv", beta=0.5, epochs=5)  # the settings of the command line
>>> sweep = vaelab.sweep("beta=0.1,0.5,1", "kl=true,false")  # a run for each combination, compared
>>> run = vaelab.load("outputs/2026-11-21/...")  # its best checkpoint; which="last" for the last
>>> images = run.sample(64, seed=0)  # (64, 1, 28, 28) in [0, 1]
"""

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaelab.cli.api import compare, evaluate, explore, sample, sweep, train
    from vaelab.config import VaelabError
    from vaelab.training.run import Run, load

__version__ = version("vaelab")
__all__ = [
    "Run",
    "VaelabError",
    "__version__",
    "compare",
    "evaluate",
    "explore",
    "load",
    "sample",
    "sweep",
    "train",
]

LAZY_IMPORTS = {
    "vaelab.cli.api": ("compare", "evaluate", "explore", "sample", "sweep", "train"),
    "vaelab.config": ("VaelabError",),
    "vaelab.training.run": ("Run", "load"),
}


def __getattr__(name: str) -> Any:
    """The names above on first use: most import torch, which `--help` must not wait for."""
    for home, names in LAZY_IMPORTS.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'vaelab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
