"""PyTorch's Adam without what only torch.compile needs of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def undecorated(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a decorator of PyTorch's wraps, or the function itself where there is none."""
    inner: Callable[..., Any] = getattr(function, "__wrapped__", function)
    return inner


class Adam(torch.optim.Adam):
    """The same arithmetic, but its first step doesn't import torch._dynamo, which takes more than a second.

    PyTorch decorates these methods so that torch.compile leaves them alone.
    """

    add_param_group = undecorated(Optimizer.add_param_group)
    state_dict = undecorated(Optimizer.state_dict)
    step = torch.no_grad()(undecorated(torch.optim.Adam.step))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients, whatever the argument; PyTorch's takes 2 % of a small model's step for this."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """PyTorch's, and each moment laid out in memory as its parameter: the fused kernel relies on it."""
        undecorated(Optimizer.load_state_dict)(self, state_dict)
        for parameter, state in self.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.empty_like(parameter).copy_(state[name])
