"""A training step as one CUDA graph: hundreds of kernels, launched without Python in between."""

import logging
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from vaelab.training.state import TrainingState

log = logging.getLogger(__name__)

WARM_UP = 3
"""Calls before the capture, in which libraries allocate workspaces; that is not possible during a capture."""


class CapturedStep:
    """A train step that is captured once and then replayed (PyTorch's notes on CUDA graphs).

    Batch, labels and KL weight are copied to the memory that the graph reads. The first calls and batches of
    another size run without the graph, and so do all calls if the step can't be captured.
    """

    def __init__(
        self, step: Callable[[Tensor, Tensor, Tensor], Tensor], batch_size: int, state: TrainingState
    ) -> None:
        self.step, self.noise = step, state.noise
        self.x_BCHW = torch.zeros(batch_size, *state.model.image_shape, device=state.device)
        self.labels_B = torch.zeros(batch_size, dtype=torch.uint8, device=state.device)
        self.kl_weight = torch.zeros((), device=state.device)
        self.terms_T = torch.zeros_like(state.step_terms_ST[0])
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x_BCHW: Tensor, labels_B: Tensor, kl_weight: float) -> Tensor:
        self.kl_weight.fill_(kl_weight)
        if x_BCHW.shape != self.x_BCHW.shape:
            return self.step(x_BCHW, labels_B, self.kl_weight)
        self.x_BCHW.copy_(x_BCHW)
        self.labels_B.copy_(labels_B)
        if self.calls == WARM_UP:
            self.graph = self.recorded()
        self.calls += 1
        if self.graph is not None:
            self.graph.replay()
            return self.terms_T
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.run()
        torch.cuda.current_stream().wait_stream(self.stream)
        return self.terms_T

    def run(self) -> None:
        """The step on what was copied."""
        self.terms_T.copy_(self.step(self.x_BCHW, self.labels_B, self.kl_weight))

    def recorded(self) -> torch.cuda.CUDAGraph | None:
        """The captured step, not yet replayed; None if it can't be captured."""
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        states = {purpose: generator.get_state() for purpose, generator in self.noise.items()}
        try:
            for generator in self.noise.values():
                graph.register_generator_state(generator)
            with torch.cuda.graph(graph, stream=self.stream):
                self.run()
        except RuntimeError as error:
            cause = error.__context__ or error  # a capture ends with an error of its own
            log.warning(
                "Training without a CUDA graph, which is slower: the step can't be captured (%s)", cause
            )
            # The generators stay registered with the failed capture: new ones in the same state.
            torch.cuda.set_stream(stream)
            for purpose, state in states.items():
                self.noise[purpose] = Generator(self.noise[purpose].device)
                self.noise[purpose].set_state(state)
            return None
        return graph
