"""Metrics: pure functions from tensors to numbers; nothing here opens a file."""
