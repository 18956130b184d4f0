"""A model for the explorer: layers as plain values, weights as one array, run by assets/network.js."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.config import VaelabError
from vaelab.models import LOG_VARIANCE_RANGE, VAE
from vaelab.models.conv import ToPixels
from vaelab.models.resnet import ResidualBlock

LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian")
"""Likelihoods whose means network.js computes from the decoder's output."""

LAYERS = (
    nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Flatten,
    nn.Unflatten, nn.GLU, nn.GroupNorm, nn.SiLU, ToPixels, ResidualBlock,
)  # fmt: skip
"""Every layer that network.js can run."""


@dataclass
class Weights:
    """All numbers of the layers, one after the other; a layer has the offset of its own."""

    parts: list[Tensor] = field(default_factory=list)
    count: int = 0

    def add(self, values: Tensor) -> int:
        """Append these numbers; returns their offset."""
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
    pixels, per_class = math.prod(model.image_shape), 0
    x_CHW = torch.linspace(0.2, 0.8, pixels).reshape(model.image_shape)  # none is a label's 0 or 1
    given = x_CHW
    if classes := len(model.classes):
        one_hot_YY = torch.eye(classes)
        given_B = model.with_labels(x_CHW.expand(classes, -1, -1, -1), one_hot_YY)
        given, per_class = given_B[0], (given_B[0].numel() - x_CHW.numel()) // classes
        labels_BN = one_hot_YY.repeat_interleave(per_class, dim=1)
        expected_BN = torch.cat([x_CHW.flatten().expand(classes, -1), labels_BN], dim=1)
        if not torch.equal(given_B.flatten(1), expected_BN):
            raise not_available("this model, with its own with_labels", "only labels after the pixels")
    encoder, decoder = layers(model.encoder, weights), layers(model.decoder, weights)
    if likelihood not in LIKELIHOODS:
        raise not_available(f"the likelihood {likelihood}", f"only {', '.join(LIKELIHOODS)}")
    return {
        "latents": model.latent_dim,
        "likelihood": likelihood,
        "image": list(model.image_shape),
        "input": list(given.shape),
        "classes": list(model.classes),
        "pixelsPerClass": per_class,
        "logVarianceRange": LOG_VARIANCE_RANGE,
        "encoder": encoder,
        "decoder": decoder,
    }


def not_available(what: str, known: str) -> VaelabError:
    return VaelabError(f"The explorer is not available for {what}: the page supports {known}.")


def layers(module: nn.Module, weights: Weights) -> list[dict[str, Any]]:
    """A module as a list of layers: those of a Sequential, whatever is nested in it, or it alone."""
    if isinstance(module, nn.Sequential):
        return [found for each in module for found in layers(each, weights)]
    return [layer(module, weights)]


def layer(module: nn.Module, weights: Weights) -> dict[str, Any]:
    """One layer as plain values. Raises VaelabError for one that network.js can't run."""
    kind = type(module)  # exactly: a subclass may compute something else
    if kind not in LAYERS:
        known = ", ".join(each.__name__ for each in LAYERS)
        raise not_available(f"this model, which has a {kind.__name__} layer", f"only {known}")
    if known := requirement(module):
        raise not_available(f"this model, which has {module}", f"only {known}")
    match module:
        case nn.Linear():
            sizes = {"inputs": module.in_features, "outputs": module.out_features}
            return {"op": "linear", **sizes, **weight_and_bias(module, module.out_features, weights)}
        case nn.Conv2d() | nn.ConvTranspose2d():
            return convolution(module, weights)
        case nn.BatchNorm2d():
            assert module.running_mean is not None
            assert module.running_var is not None
            # As in eval mode: one factor and one summand per channel.
            factor = module.weight / (module.running_var + module.eps).sqrt()
            summand = module.bias - module.running_mean * factor
            return {"op": "affine", "factor": weights.add(factor), "summand": weights.add(summand)}
        case nn.GroupNorm():
            own = {"factor": weights.add(module.weight), "summand": weights.add(module.bias)}
            return {"op": "group_norm", "groups": module.num_groups, "epsilon": module.eps, **own}
        case ResidualBlock():
            return {"op": "residual", "layers": layers(module.body, weights)}
        case nn.Unflatten():
            return {"op": "unflatten", "shape": list(module.unflattened_size)}
    return {"op": kind.__name__.lower()}


def requirement(module: nn.Module) -> str:
    """What network.js supports of a kind of layer, if this one computes something else; else empty."""
    match module:
        case nn.Conv2d() | nn.ConvTranspose2d():
            sizes = (module.kernel_size, module.stride, module.padding, module.output_padding)
            square = all(isinstance(each, tuple) and len({*each}) == 1 for each in sizes)
            if not square or (module.groups, module.dilation, module.padding_mode) != (1, (1, 1), "zeros"):
                return (
                    "convolutions without groups or dilation, padded with zeros, with the same numbers for "
                    "height and width"
                )
        case nn.BatchNorm2d() if not (module.affine and module.track_running_stats):
            return "batch norm with affine=True and track_running_stats=True"
        case nn.GroupNorm(affine=False):
            return "group norm with affine=True"
        case nn.GLU() if module.dim != 1:
            return "GLU with dim=1"
        case nn.Flatten() if (module.start_dim, module.end_dim) != (1, -1):
            return "Flatten with start_dim=1 and end_dim=-1"
        case nn.Unflatten() if module.dim != 1 or min(module.unflattened_size) < 1:
            return "Unflatten with dim=1 and sizes of at least 1"
    return ""


def convolution(module: nn.Conv2d | nn.ConvTranspose2d, weights: Weights) -> dict[str, Any]:
    assert isinstance(module.padding, tuple)
    return {
        "op": "convolution_transposed" if isinstance(module, nn.ConvTranspose2d) else "convolution",
        "inputs": module.in_channels,
        "outputs": module.out_channels,
        "kernel": module.kernel_size[0],
        "stride": module.stride[0],
        "padding": module.padding[0],
        "more": module.output_padding[0],
        **weight_and_bias(module, module.out_channels, weights),
    }


def weight_and_bias(
    module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, outputs: int, weights: Weights
) -> dict[str, int]:
    bias = module.bias if module.bias is not None else torch.zeros(outputs)
    return {"weight": weights.add(module.weight), "bias": weights.add(bias)}
