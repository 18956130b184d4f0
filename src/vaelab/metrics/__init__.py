"""Metrics: pure functions from tensors to numbers. Only `features` reads a file: its network."""
