"""One training step: forward, loss, backward, Adam.

Shapes: B batch, C channels, H height, W width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vaelab.config import Config
from vaelab.training.cuda_graph import CapturedStep
from vaelab.training.optimization import clip
from vaelab.training.state import TrainingState

TrainStep = Callable[[Tensor, Tensor, float], Tensor]
"""Trains on a batch (B, C, H, W) with labels (B,) and a KL weight; returns the sums of its terms, (T,)."""


def train_step_for(state: TrainingState, config: Config) -> TrainStep:
    """The fastest step for the device: a CUDA graph on CUDA, eager operations elsewhere.

    On CUDA, Python would take longer to launch the kernels than the GPU takes to run them.
    """
    step = EagerStep(state, config)
    return CapturedStep(step, config.batch_size, state) if state.device.type == "cuda" else step


class EagerStep:
    """The step as PyTorch runs it, operation by operation."""

    def __init__(self, state: TrainingState, config: Config) -> None:
        self.state = state
        self.bf16 = config.precision == "bf16"
        self.clip_norm = config.optimizer.clip_norm

    def __call__(self, x_BCHW: Tensor, labels_B: Tensor, kl_weight: float | Tensor) -> Tensor:
        state = self.state
        # Without a cache of casts, which would outlive the capture of a CUDA graph.
        with torch.autocast(state.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
            model = state.model.given(labels_B)
            terms = state.objective(model, x_BCHW, state.noise["latent"], kl_weight)
        state.optimizer.zero_grad()
        terms.loss.mean().backward()
        parts = [terms.parts[name] for name in state.objective.parts]
        found = [term.detach().sum() for term in (terms.reconstruction, terms.kl, terms.loss, *parts)]
        if self.clip_norm:
            counts = clip([*state.model.parameters(), *state.objective.parameters()], self.clip_norm)
            found = [*(torch.where(counts[1] > 0, 0, term) for term in found), *counts]
        state.optimizer.step()
        return torch.stack(found)
