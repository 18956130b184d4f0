"""A trained model for other programs: ONNX graphs, read back and compared.

Shapes: B batch, N images, C channels, H height, W width, L latent dimensions.
"""

import json
import logging
import warnings
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from vaelab.config import ExportConfig, VaelabError
from vaelab.evaluation.outputs import output_folder
from vaelab.runs import logs as console
from vaelab.runs.environment import importing, versions
from vaelab.runs.files import through_link, write_bytes
from vaelab.training.run import Run, load

TOLERANCE = 1e-4  # between PyTorch's and the exported model's outputs: means, log-variances, pixels


class Part(nn.Module):
    """What is exported of a run: a module with `forward` alone."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.model, self.likelihood = run.model, run.objective.likelihood


class Encoder(Part):
    """image (B, C, H, W), label (B,) of a class-conditional run -> mean, log_variance, (B, L) each."""

    def forward(self, image: Tensor, label: Tensor | None = None) -> tuple[Tensor, ...]:
        posterior = self.model.given(label).encode(image)
        return posterior.mean, posterior.log_variance


class Decoder(Part):
    """latent (B, L), label (B,) likewise -> the expected image, (B, C, H, W), greys from 0 to 1."""

    def forward(self, latent: Tensor, label: Tensor | None = None) -> tuple[Tensor, ...]:
        return (self.likelihood.mean(self.model.given(label).decode(latent)),)


def export(config: ExportConfig) -> dict[Path, float]:
    """Write encoder.onnx and decoder.onnx, for batches of any size: each with its difference from PyTorch.

    Raises VaelabError for a run that can't be loaded, a missing extra, and an inexact export.
    """
    if not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise VaelabError("An export needs additional packages: type pip install 'vaelab[onnx]'.")
    with console.logging_to(console.ProgressBarHandler()):
        run = load(config.run)
    folder = output_folder(config.output, run, "export")
    noise = torch.Generator().manual_seed(0)
    images = torch.rand(32, *run.model.image_shape, generator=noise)
    latents = torch.randn(32, run.model.latent_dim, generator=noise)
    label = {}
    if run.model.classes:
        label["label"] = run.model.class_numbers[torch.arange(32) % len(run.model.classes)]
    graphs = [
        ("encoder", Encoder(run), {"image": images, **label}, ["mean", "log_variance"]),
        ("decoder", Decoder(run), {"latent": latents, **label}, ["image"]),
    ]
    metadata = {
        "config": json.dumps(run.config.to_dict()),
        "epoch": str(run.epoch),
        "trained_on": json.dumps(dict(run.trained_on)),
        "image": f"values from 0 to 1, (batch, {', '.join(map(str, run.model.image_shape))})",
        "vaelab": versions()["vaelab"],
    }
    if run.model.classes:
        metadata["label"] = f"the class, int64, (batch), one of {', '.join(map(str, run.model.classes))}"
    written = {}
    for name, module, inputs, output_names in graphs:
        content = graph(module.eval(), inputs, output_names, metadata)
        path, apart = folder / f"{name}.onnx", difference(module, content, inputs)
        if not apart <= TOLERANCE:
            raise VaelabError(
                f"The {name} in onnxruntime differs from PyTorch by {apart:.2g}: {path} was not written. "
                "Another version of onnx or onnxscript may solve this."
            )
        write_bytes(through_link(path), content)
        written[path] = apart
    return written


def graph(
    module: nn.Module, inputs: dict[str, Tensor], output_names: list[str], metadata: dict[str, str]
) -> bytes:
    """The module as an ONNX file."""
    import onnx

    logger = logging.getLogger("torch.onnx")
    with importing(), torch.no_grad(), ExitStack() as afterwards:
        warnings.simplefilter("ignore")  # the exporter's own, about its inner parts
        afterwards.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.ERROR)
        program = torch.onnx.export(
            module, tuple(inputs.values()), input_names=list(inputs), output_names=output_names, dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},) * len(inputs), verbose=False,
        )  # fmt: skip
    assert program is not None  # it is with dynamo=True
    proto = program.model_proto  # serialised anew at each access
    onnx.helper.set_model_props(proto, metadata)
    return proto.SerializeToString()


def difference(module: nn.Module, content: bytes, inputs: dict[str, Tensor]) -> float:
    """The largest difference between PyTorch and onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: values.numpy() for name, values in inputs.items()})
    with torch.no_grad():
        pairs = zip(module(*inputs.values()), found, strict=True)
    return max(float((each - torch.from_numpy(other)).abs().max()) for each, other in pairs)
