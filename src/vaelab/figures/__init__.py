"""Figures: arrays in, Figure out. No pyplot, which would keep every figure; no file is written here."""

import os
import sys
from contextlib import suppress

import numpy as np

if "MPLBACKEND" in os.environ and "matplotlib" not in sys.modules:
    # matplotlib can't be imported where this names a backend that isn't installed, as a notebook's may be
    # for its shell lines. No figure needs one; but a notebook that has one keeps it.
    backend = os.environ.pop("MPLBACKEND")
    import matplotlib as mpl

    os.environ["MPLBACKEND"] = backend
    with suppress(ValueError):
        mpl.rcParams["backend"] = backend
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["Figure", "Floats", "Labels", "Pixels"]

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Pixels = NDArray[np.uint8]
"""Pixels of a drawn figure: red, green and blue, shape (height, width, 3)."""
