"""A training step as one CUDA graph: hundreds of kernels, launched without a line of Python between them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

import torch
from torch import Generator

log = logging.getLogger(__name__)

WARM_UP = 3
"""Calls before the capture: libraries make their plans and workspaces in the first ones, and no graph may."""


class CapturedStep:
    """A step without arguments, recorded once and replayed ever after (PyTorch's notes on CUDA graphs).

    The first calls run as they are; they count as any other. `step` must read all that changes from tensors
    that stay where they are, and draw from `noise` alone. Where it can't be recorded, every call runs so.
    """

    def __init__(self, step: Callable[[], None], noise: Iterable[Generator]) -> None:
        self.step = step
        self.noise = tuple(noise)
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self.calls == WARM_UP:
            self.graph = self.recorded()
        self.calls += 1
        if self.graph is not None:
            self.graph.replay()
            return
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step()
        torch.cuda.current_stream().wait_stream(self.stream)

    def recorded(self) -> torch.cuda.CUDAGraph | None:
        """The step as a graph, which has not run yet; None where that is impossible."""
        graph = torch.cuda.CUDAGraph()
        try:
            for generator in self.noise:
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, stream=self.stream):
                self.step()
        except RuntimeError as reason:
            log.warning("Training step by step, because no CUDA graph can be made: %s", reason)
            return None
        return graph
