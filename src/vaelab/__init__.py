"""vaelab: variational autoencoders on MNIST and Fashion-MNIST, from a shell line to a run folder.

>>> import vaelab
>>> run = vaelab.load("outputs/2026-11-21/...")  # or a checkpoint
>>> images = run.sample(64, seed=0)  # (64, 1, 28, 28) in [0, 1]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vaelab.config import VaelabError
    from vaelab.training.run import Run, load

__version__ = "0.1.0"
__all__ = ["Run", "VaelabError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The names above on first use: `run` imports torch, which `--help` must not wait for."""
    if name in ("Run", "load"):
        from vaelab.training import run

        return getattr(run, name)
    if name == "VaelabError":
        from vaelab.config import VaelabError

        return VaelabError
    raise AttributeError(f"module 'vaelab' has no attribute {name!r}")
