"""Evaluating: from a checkpoint to numbers with their units and sample sizes, and to figures."""
