"""Adam's step size over time, clipped gradients, and an average of the weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelab.config import Config


def learning_rate(config: Config, epoch: float) -> float:
    """Adam's step size, where 2.5 is the middle of the third epoch."""
    optimizer, share = config.optimizer, epoch / config.epochs
    if epoch < optimizer.warmup_epochs:
        return optimizer.lr * epoch / optimizer.warmup_epochs
    if optimizer.schedule == "cosine":
        start = optimizer.warmup_epochs / config.epochs
        return optimizer.lr * 0.5 * (1 + math.cos(math.pi * (share - start) / (1 - start)))
    if optimizer.schedule == "step":
        return optimizer.lr * (1.0 if share < 0.5 else 0.1 if share < 0.75 else 0.01)
    return optimizer.lr


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """In place where it is a tensor, which a CUDA graph reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def clip(parameters: Sequence[nn.Parameter], largest: float) -> tuple[Tensor, Tensor]:
    """Scale the gradient down to a norm of at most `largest`; one that is not finite becomes 0.

    Whether it was above that, and whether it was not finite: 0 or 1, shape () each, on its device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    is_finite = norm.isfinite()
    factor = torch.where(is_finite, (largest / (norm + 1e-6)).clamp(max=1), 0)
    for gradient in gradients:
        gradient.nan_to_num_(0, 0, 0).mul_(factor)
    return (is_finite & (norm > largest)).float(), (~is_finite).float()


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, steps: int) -> None:
    """average · decay + weights · (1 − decay), in place, after so many steps; of batch norm's statistics too.

    At first the decay is smaller, so that the average forgets the weights before the training.
    """
    decay = min(decay, steps / (steps + 10))
    weights = model.state_dict()
    for name, mean in average.state_dict().items():
        if mean.is_floating_point():
            mean.lerp_(weights[name], 1 - decay)
        else:  # how many batches batch norm has seen
            mean.copy_(weights[name])
