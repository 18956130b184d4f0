"""A model for the page: layers as plain values, weights as one array. assets/network.js runs them."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.config import VaelabError
from vaelab.models import LOG_VARIANCE_RANGE, VAE

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
"""Those whose means network.js computes from the decoder's output."""


class Weights:
    """All numbers of the layers, one after the other; a layer says where its own begin."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.count = 0

    def add(self, values: Tensor) -> int:
        """Where these numbers begin."""
        self.parts.append(values.detach().float().flatten().cpu())
        self.count += values.numel()
        return self.count - values.numel()

    def to_bytes(self) -> bytes:
        """Little-endian float32, as the page's typed arrays read them."""
        return torch.cat(self.parts).numpy().astype("<f4").tobytes()


def network(model: VAE, likelihood: str, weights: Weights) -> dict[str, Any]:
    """Encoder and decoder as lists of layers. Raises VaelabError for what the page can't run."""
    if type(model).encode is not VAE.encode or type(model).decode is not VAE.decode:
        raise not_available(
            "this model, with its own encode or decode", "only an encoder and a decoder of layers"
        )
    encoder, decoder = (
        [layer(module, weights) for module in flat(part)] for part in (model.encoder, model.decoder)
    )
    if likelihood not in LIKELIHOODS:
        raise not_available(f"the likelihood {likelihood}", f"only {', '.join(LIKELIHOODS)}")
    return {
        "latents": model.latent_dim,
        "likelihood": likelihood,
        "image": list(model.image_shape),
        "logVarianceRange": LOG_VARIANCE_RANGE,
        "encoder": encoder,
        "decoder": decoder,
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
    return weights.add(module.bias if module.bias is not None else torch.zeros(outputs))


def linear(module: nn.Linear, weights: Weights) -> dict[str, Any]:
    return {
        "op": "linear",
        "inputs": module.in_features,
        "outputs": module.out_features,
        "weight": weights.add(module.weight),
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
        "weight": weights.add(module.weight),
        "bias": bias_of(module, module.out_channels, weights),
    }


def batch_norm(module: nn.BatchNorm2d, weights: Weights) -> dict[str, Any]:
    """With the running statistics, as in eval mode: one factor and one summand a channel."""
    assert module.running_mean is not None
    assert module.running_var is not None
    factor = module.weight / (module.running_var + module.eps).sqrt()
    return {
        "op": "affine",
        "factor": weights.add(factor),
        "summand": weights.add(module.bias - module.running_mean * factor),
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
