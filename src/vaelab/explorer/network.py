"""A model for the page: layers as plain values, weights in 16 or 20 bits. assets/network.js runs them.

Shapes: R rows, the first axis of a weight; L latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelab.config import VaelabError
from vaelab.models import VAE
from vaelab.models.vae import LOG_VARIANCE_RANGE

LEVELS = 32767
"""Of a weight, either side of 0; a row shares a scale: off by 1.5e-5 of its largest weight at most."""

FINE = 16 * LEVELS
"""The same for the decoder, with four bits more: far from the prior its sums are large."""

EXACT = 65536
"""Weights up to which a layer keeps them as they are: those next to the latents, which can be large."""

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
"""Those whose means network.js computes from the decoder's output."""


@dataclass
class Weights:
    """What the layers' offsets point into."""

    fine: bool = False
    """Whether what is added now has four bits more."""
    quantised: list[Tensor] = field(default_factory=list)
    low: list[Tensor] = field(default_factory=list)
    """The four lowest bits of fine weights."""
    exact: list[Tensor] = field(default_factory=list)

    def add(self, weight: Tensor) -> dict[str, int]:
        """A weight of shape (R, …): where it begins, among the exact ones if it is small."""
        if weight.numel() <= EXACT:
            return {"exact": self.add_exact(weight)}
        return self.add_quantised(weight)

    def add_quantised(self, weight: Tensor) -> dict[str, int]:
        """Where its integers, the low bits of fine ones, and its R scales begin."""
        rows = weight.detach().double().flatten(1)
        scale = rows.abs().amax(dim=1).clamp(min=1e-30) / (FINE if self.fine else LEVELS)
        integers = (rows / scale[:, None]).round().to(torch.int32)
        described = {"weight": count(self.quantised), "scale": self.add_exact(scale)}
        if self.fine:
            described["low"] = count(self.low)
            self.low.append(integers & 15)
            integers >>= 4
        self.quantised.append(integers)
        return described

    def add_exact(self, values: Tensor) -> int:
        """Numbers that stay as they are: where they begin."""
        place = count(self.exact)
        self.exact.append(values.detach().float().flatten())
        return place

    def to_bytes(self) -> dict[str, bytes]:
        """Little-endian int16, pairs of four bits, and float32, as the page's typed arrays read them."""
        integers, low, exact = (
            torch.cat([torch.zeros(0), *(each.flatten() for each in parts)]).cpu().numpy()
            for parts in (self.quantised, self.low, self.exact)
        )
        pairs = np.pad(low, (0, len(low) % 2)).astype(np.uint8)
        return {
            "integers": integers.astype("<i2").tobytes(),
            "low": (pairs[::2] | pairs[1::2] << 4).tobytes(),
            "exact": exact.astype("<f4").tobytes(),
        }


def count(tensors: Sequence[Tensor]) -> int:
    return sum(each.numel() for each in tensors)


def network(model: VAE, likelihood: str, weights: Weights) -> dict[str, Any]:
    """Encoder and decoder as lists of layers. Raises VaelabError for what the page can't run."""
    encoder, decoder = (getattr(model, part, None) for part in ("encoder", "decoder"))
    if likelihood not in LIKELIHOODS:
        raise not_available(f"the likelihood {likelihood}", f"only {', '.join(LIKELIHOODS)}")
    if not isinstance(encoder, nn.Module) or not isinstance(decoder, nn.Module):
        raise not_available("a model without the layers `encoder` and `decoder`", "only a sequence of layers")
    described = [layer(module, weights) for module in flat(encoder)]
    weights.fine = True
    return {
        "latents": model.latent_dim,
        "likelihood": likelihood,
        "image": list(model.image_shape),
        "logVarianceRange": LOG_VARIANCE_RANGE,
        "encoder": described,
        "decoder": [layer(module, weights) for module in flat(decoder)],
    }


def not_available(what: str, known: str) -> VaelabError:
    return VaelabError(f"The explorer is not available for {what}: the page computes {known}.")


def flat(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of nested sequences, in order."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from flat(child)
    else:
        yield module


def layer(module: nn.Module, weights: Weights) -> dict[str, Any]:
    """One layer as plain values."""
    for kind, describe in LAYERS.items():
        if type(module) is kind:
            return describe(module, weights)
    known = ", ".join(kind.__name__ for kind in LAYERS)
    raise not_available(f"this model, which has a {type(module).__name__} layer", f"only {known}")


def bias_of(module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int, weights: Weights) -> int:
    return weights.add_exact(module.bias if module.bias is not None else torch.zeros(outputs))


def linear(module: nn.Linear, weights: Weights) -> dict[str, Any]:
    return {
        "op": "linear",
        "inputs": module.in_features,
        "outputs": module.out_features,
        **weights.add(module.weight),
        "bias": bias_of(module, module.out_features, weights),
    }


def convolution(module: nn.Conv2d | nn.ConvTranspose2d, weights: Weights) -> dict[str, Any]:
    if module.groups != 1 or module.dilation != (1, 1) or module.padding_mode != "zeros":
        raise not_available("this model", "convolutions without groups or dilation, padded by zeros")
    assert isinstance(module.padding, tuple)
    (kernel, _), (stride, _), (padding, _) = module.kernel_size, module.stride, module.padding
    transposed = isinstance(module, nn.ConvTranspose2d)
    return {
        "op": "convolution_transposed" if transposed else "convolution",
        "inputs": module.in_channels,
        "outputs": module.out_channels,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "more": module.output_padding[0] if isinstance(module, nn.ConvTranspose2d) else 0,
        **weights.add(module.weight),
        "bias": bias_of(module, module.out_channels, weights),
    }


def batch_norm(module: nn.BatchNorm2d, weights: Weights) -> dict[str, Any]:
    """With the running statistics, as in eval mode: one factor and one summand a channel."""
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = module.weight / (module.running_var + module.eps).sqrt()
    return {
        "op": "affine",
        "factor": weights.add_exact(factor),
        "summand": weights.add_exact(module.bias - module.running_mean * factor),
    }


def without_weights(**values: Any) -> Callable[[Any, Weights], dict[str, Any]]:
    return lambda module, weights: values


LAYERS: dict[type[nn.Module], Callable[[Any, Weights], dict[str, Any]]] = {
    nn.Linear: linear,
    nn.Conv2d: convolution,
    nn.ConvTranspose2d: convolution,
    nn.BatchNorm2d: batch_norm,
    nn.ReLU: without_weights(op="relu"),
    nn.Tanh: without_weights(op="tanh"),
    nn.Sigmoid: without_weights(op="sigmoid"),
    nn.Flatten: without_weights(op="flatten"),
    nn.Unflatten: lambda module, weights: {"op": "unflatten", "shape": list(module.unflattened_size)},
}
"""Every layer that network.js can run."""
