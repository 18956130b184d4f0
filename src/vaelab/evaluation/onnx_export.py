"""A trained model for other programs: ONNX graphs, read back and compared.

Shapes: B batch, C channels, H height, W width, L latent dimensions.
"""

import json
import logging
import tempfile
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaelab.config import ConfigError, ExportConfig, VaelabError
from vaelab.models import VAE
from vaelab.objectives import Likelihood
from vaelab.runs import logs as console
from vaelab.runs.environment import versions
from vaelab.runs.files import write_bytes, writing
from vaelab.runs.folder import RunFolder
from vaelab.training.run import Run, load

TOLERANCE = 1e-4
"""Largest difference between PyTorch's and the exported model's outputs: means, log-variances, pixels."""

CHECKED = 32
"""Random images, and latents, that both compute."""


@dataclass(frozen=True)
class ExportResult:
    """The files that were written, and the largest difference that was found."""

    paths: list[Path]
    difference: float


def export(config: ExportConfig) -> ExportResult:
    """Write the model of a run for other programs.

    Raises VaelabError for a run that can't be loaded, a missing extra, and an export that computes otherwise.
    """
    if config.format == "safetensors":
        raise ConfigError(
            "format=safetensors is not needed: a checkpoint is a safetensors file itself, "
            "checkpoints/best.safetensors in the run folder."
        )
    with console.logging_to(console.AboveTheBar()):
        run = load(config.run)
        around = RunFolder.around(Path(config.run).expanduser())
        beside = around.path if around is not None else run.checkpoint.parent
        folder = Path(config.output).expanduser() if config.output is not None else beside / "export"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return to_onnx(run, folder)


class Encoder(nn.Module):
    """image (B, C, H, W) -> mean, log_variance, (B, L) each."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.model.encode(image)
        return posterior.mean, posterior.log_variance


class Decoder(nn.Module):
    """latent (B, L) -> the expected image, (B, C, H, W), greys from 0 to 1."""

    def __init__(self, model: VAE, likelihood: Likelihood) -> None:
        super().__init__()
        self.model = model
        self.likelihood = likelihood

    def forward(self, latent: Tensor) -> Tensor:
        return self.likelihood.mean(self.model.decode(latent))


def to_onnx(run: Run, folder: Path) -> ExportResult:
    """encoder.onnx and decoder.onnx, for batches of any size; onnxruntime must compute the same."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise VaelabError("format=onnx needs more packages: type pip install 'vaelab[onnx]'.")
    noise = torch.Generator().manual_seed(0)
    images = torch.rand(CHECKED, *run.model.image_shape, generator=noise)
    latents = torch.randn(CHECKED, run.model.latent_dim, generator=noise)
    graphs = [
        ("encoder", Encoder(run.model), images, "image", ["mean", "log_variance"]),
        ("decoder", Decoder(run.model, run.objective.likelihood), latents, "latent", ["image"]),
    ]
    metadata = {
        "config": json.dumps(run.config.to_dict()),
        "epoch": str(run.epoch),
        "trained_on": json.dumps(dict(run.trained_on)),
        "image": f"grey values from 0 to 1, (batch, {', '.join(map(str, run.model.image_shape))})",
        "vaelab": versions()["vaelab"],
    }
    paths, differences = [], []
    for name, module, inputs, input_name, output_names in graphs:
        content = graph(module.eval(), inputs, input_name, output_names, metadata)
        differences.append(difference(module, content, inputs, input_name))
        path = folder / f"{name}.onnx"
        if not differences[-1] <= TOLERANCE:
            raise VaelabError(
                f"onnxruntime computes other numbers than PyTorch for the {name}, by {differences[-1]:.2g}: "
                f"{path} was not written. Another version of onnx or onnxscript may do better."
            )
        write_bytes(path, content)
        paths.append(path)
    return ExportResult(paths, max(differences))


def graph(
    module: nn.Module, inputs: Tensor, input_name: str, output_names: list[str], facts: dict[str, str]
) -> bytes:
    """The module as an ONNX file."""
    import onnx

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder, torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, about its inner parts
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        path = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module, (inputs,), path, input_names=[input_name], output_names=output_names, dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
        )  # fmt: skip
        made = onnx.load(path)
    onnx.helper.set_model_props(made, facts)
    content: bytes = made.SerializeToString()
    return content


def difference(module: nn.Module, content: bytes, inputs: Tensor, input_name: str) -> float:
    """The largest between what PyTorch and onnxruntime compute."""
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {input_name: inputs.numpy()})
    with torch.no_grad():
        expected = module(inputs)
    pairs = zip(expected if isinstance(expected, tuple) else (expected,), found, strict=True)
    return max(float((each - torch.from_numpy(other)).abs().max()) for each, other in pairs)
