"""A training step as one CUDA graph: hundreds of kernels, launched without a line of Python between them."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Generator

log = logging.getLogger(__name__)

WARM_UP = 3
"""Calls before the capture: libraries make their plans and workspaces in the first ones, and no graph may."""


class CapturedStep:
    """A step without arguments, recorded once and replayed ever after (PyTorch's notes on CUDA graphs).

    The first calls run as they are; they count as any other. `step` must read all that changes from tensors
    that stay where they are, and draw from `noise` alone. Where it can't be recorded, every call runs so;
    older releases of PyTorch may fail then, if CUDA itself broke the capture off.
    """

    def __init__(self, step: Callable[[], None], noise: dict[str, Generator]) -> None:
        self.step = step
        self.noise = noise
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
        stream = torch.cuda.current_stream()
        states = {purpose: generator.get_state() for purpose, generator in self.noise.items()}
        try:
            for generator in self.noise.values():
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, stream=self.stream):
                self.step()
        except RuntimeError as error:
            log.warning("Training step by step, because no CUDA graph can be made: %s", cause_of(error))
            # What the capture had in hand may still believe in it.
            torch.cuda.set_stream(stream)
            for purpose, state in states.items():
                self.noise[purpose] = Generator(self.noise[purpose].device)
                self.noise[purpose].set_state(state)
            return None
        return graph


def cause_of(error: BaseException) -> BaseException:
    """The first of a chain of errors: a capture ends with one of its own."""
    while error.__context__ is not None:
        error = error.__context__
    return error
