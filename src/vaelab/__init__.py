"""vaelab: variational autoencoders on MNIST-like images, from the command line or from Python.

The functions take the settings of the command line, as strings or as keyword arguments, and return results:

>>> import vaelab
>>> run = vaelab.train("dataset.source=embedded", "artifacts.figures=false", beta=0.5, epochs=1)
>>> run.sample(64, seed=0).shape  # images (N, C, H, W) with values in [0, 1]
torch.Size([64, 1, 28, 28])
>>> same = vaelab.load(run.checkpoint)  # or a run folder, for its best checkpoint

A setting with a dot in its name is given as a string, "model.latent_dim=16", or as
`**{"model.latent_dim": 16}`.

`train` makes one run and `sweep` one for each combination of settings; `load` opens a run; `evaluate`,
`compare`, `sample` and `explore` work on runs. Every function raises `VaelabError` with a message that says
what to change. The commands are modules of the same names. `import vaelab.train` therefore replaces the
function `vaelab.train` with that module; `from vaelab.cli.api import train` always gives the function.
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
    """Import the names in `__all__` on first use; raises AttributeError for others.

    Most of them import torch, which `--help` must not wait for.
    """
    for home, names in LAZY_IMPORTS.items():
        if name in names:
            return getattr(importlib.import_module(home), name)
    raise AttributeError(f"module 'vaelab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
