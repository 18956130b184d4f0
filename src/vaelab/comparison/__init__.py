"""Comparing the runs of a folder: one table, figures on the same axes, and findings in words."""
