"""Figures: arrays in, Figure out. No pyplot, so nothing leaks over 100 epochs; no file is written here."""

from matplotlib.figure import Figure

__all__ = ["Figure"]
