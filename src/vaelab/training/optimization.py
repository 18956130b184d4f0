"""The learning rate over time, gradient clipping, and the moving average of the weights."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vaelab.config import Config


def learning_rate(config: Config, epoch: float) -> float:
    """Adam's learning rate at a time in epochs, where 2.5 is the middle of the third epoch."""
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
    """Set the learning rate, in place if it is a tensor, because a CUDA graph reads that."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def clip(parameters: Sequence[nn.Parameter], largest: float) -> tuple[Tensor, Tensor]:
    """Scale the gradient down to a norm of at most `largest`; a gradient that is not finite is set to 0.

    Returns whether it was larger, and whether it was not finite: 0 or 1, shape () each, on the gradient's
    device.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    is_finite = norm.isfinite()
    factor = torch.where(is_finite, (largest / (norm + 1e-6)).clamp(max=1), 0)
    for gradient in gradients:
        gradient.nan_to_num_(0, 0, 0).mul_(factor)
    return (is_finite & (norm > largest)).float(), (~is_finite).float()


@torch.no_grad()
def update_averages(
    averages: tuple[nn.Module, nn.Module], trained: tuple[nn.Module, nn.Module], decay: float, steps: int
) -> None:
    """Set average to average · decay + weights · (1 − decay), in place, for model and objective.

    Batch norm's statistics in the model are averaged too; the objective's buffers, which are not weights, are
    copied. `steps` is the number of steps so far: at first the decay is smaller, so that the average forgets
    the initial weights.
    """
    decay = min(decay, steps / (steps + 10))
    model, _ = trained
    for average, module in zip(averages, trained, strict=True):
        weights, parameters = module.state_dict(), dict(module.named_parameters())
        for name, mean in average.state_dict().items():
            if mean.is_floating_point() and (module is model or name in parameters):
                mean.lerp_(weights[name], 1 - decay)
            else:  # how many batches batch norm has seen, for example
                mean.copy_(weights[name])
