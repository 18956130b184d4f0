"""Figures: arrays in, Figure out. No pyplot, so nothing leaks over 100 epochs; no file is written here."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ["Figure", "Floats", "Labels", "Pixels"]

Floats = NDArray[np.floating]
Labels = NDArray[np.integer]
Pixels = NDArray[np.uint8]
"""Pixels of a drawn figure: red, green and blue, shape (height, width, 3)."""
