"""Checkpoints: one safetensors file with all tensors of a training, and a JSON text that explains them.

Reading one executes nothing and takes no more memory than the file. What older versions of vaelab wrote with
`torch.save` (formats 1 and 2, *.pt) is still read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vaelab import __version__
from vaelab.config import Config, VaelabError, did_you_mean, resolve
from vaelab.models import VAE, with_weights
from vaelab.objectives import Objective, build_objective
from vaelab.runs.folder import CHECKPOINT_SUFFIXES, RunFolder

if TYPE_CHECKING:
    from vaelab.data.splits import Data
    from vaelab.training.state import TrainingState

FORMAT = 3
"""Raised when what is written changes. All formats are read."""

FACTS: dict[str, type | tuple[type, ...]] = {
    "format": int, "vaelab": str, "config": dict, "data": dict, "image_shape": list, "epoch": int,
    "step": int, "history": list, "best_epoch": int, "device": str, "seconds": (int, float),
}  # fmt: skip
"""What the JSON text of a checkpoint says, beside best_neg_elbo and the optimizer's param_groups."""


class CheckpointError(VaelabError):
    """A file is not a checkpoint that can be used."""


class Unusable(VaelabError):
    """The same, as a clause that says what is wrong with the file."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A moment of a training: all that resuming it and using its model take. Tensors are on the CPU."""

    format: int = FORMAT
    vaelab: str = __version__
    """The version that wrote it."""
    config: dict[str, Any]
    """The resolved settings as plain values; see `config_of`."""
    data: dict[str, Any]
    """The data set's `name`, the `sha256` of its files, and whether it was `complete` or the subset."""
    image_shape: list[int]
    model: dict[str, Tensor]
    objective: dict[str, Tensor]
    optimizer: dict[str, Any]
    """As torch.optim.Optimizer.state_dict() has it."""
    random: dict[str, Tensor]
    """The state of each random stream, by its purpose."""
    step_terms: Tensor
    """Reconstruction, KL and loss of each step of the current epoch, shape (steps, 3)."""
    epoch: int
    """Complete epochs."""
    step: int
    """Steps done in the current epoch."""
    history: list[dict[str, float]]
    best_epoch: int
    best_neg_elbo: float
    device: str
    seconds: float
    """Training time of the current epoch."""

    @property
    def progress(self) -> tuple[int, int]:
        return self.epoch, self.step


def content_of(state: TrainingState, config: Config, data: Data) -> Checkpoint:
    """The checkpoint of this moment."""
    return Checkpoint(
        config=config.to_dict(),
        data={
            "name": data.spec.name,
            "sha256": dict(data.origin.sha256),
            "complete": data.origin.complete,
        },
        image_shape=list(data.image_shape),
        model=state.model.state_dict(),
        objective=state.objective.state_dict(),
        optimizer=state.optimizer.state_dict(),
        random={purpose: generator.get_state() for purpose, generator in state.noise.items()},
        step_terms=state.step_terms_S3,
        epoch=state.epoch,
        step=state.step,
        history=state.history,
        best_epoch=state.best_epoch,
        best_neg_elbo=state.best_neg_elbo,
        device=data.train.images.device.type,
        seconds=state.seconds,
    )


# --- writing ----------------------------------------------------------------------------------------------


def save(checkpoint: Checkpoint, folder: RunFolder, *paths: Path) -> None:
    """Write one checkpoint under each of `paths` in a run's folder. Raises StorageError."""
    content = encode(checkpoint)
    for path in paths:
        folder.write(path, content)


def encode(checkpoint: Checkpoint) -> bytes:
    """The file's content: tensors by names like `model.encoder.1.weight`, and what `FACTS` lists as JSON."""
    tensors = {
        **{f"model.{name}": tensor for name, tensor in checkpoint.model.items()},
        **{f"objective.{name}": tensor for name, tensor in checkpoint.objective.items()},
        **{
            f"optimizer.{index}.{name}": tensor
            for index, moments in checkpoint.optimizer["state"].items()
            for name, tensor in moments.items()
        },
        **{f"random.{purpose}": state for purpose, state in checkpoint.random.items()},
        "training.step_terms": checkpoint.step_terms,
    }
    # Each in the plain layout and in memory of its own, whatever the model prefers.
    plain = {name: each.cpu().clone(memory_format=torch.contiguous_format) for name, each in tensors.items()}
    facts = {name: getattr(checkpoint, name) for name in FACTS}
    facts["best_neg_elbo"] = checkpoint.best_neg_elbo if math.isfinite(checkpoint.best_neg_elbo) else None
    facts["param_groups"] = checkpoint.optimizer["param_groups"]
    text = json.dumps(facts, allow_nan=False)
    return safetensors.torch.save(plain, {"json": text, "sha256": digest(text, plain)})


def digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the JSON text and of every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


# --- reading ----------------------------------------------------------------------------------------------


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint. Raises CheckpointError for a missing, damaged, foreign or newer file."""
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in checkpoints_in(path.parent)])
        raise CheckpointError(f"There is no checkpoint {path}. {near}".strip())
    try:
        return read(path)
    except Unusable as reason:
        raise CheckpointError(f"{path} {reason}. {instead_of(path)}") from reason


def read(path: Path) -> Checkpoint:
    """The same for a file that exists. Raises Unusable with what is wrong."""
    checkpoint = converted(path) if path.suffix == ".pt" else decoded(path)
    if not agrees(checkpoint):
        raise Unusable("is damaged: what it says of its epochs doesn't agree")
    try:
        model_of(checkpoint)
    except VaelabError as reason:
        raise Unusable(f"has settings that can't be used: {str(reason).removesuffix('.')}") from reason
    except (RuntimeError, ValueError, TypeError) as error:
        raise Unusable("is damaged: its weights don't fit its own settings") from error
    return checkpoint


def decoded(path: Path) -> Checkpoint:
    """What `encode` wrote. Raises Unusable."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = metadata["json"]
        facts = json.loads(text)
        version = facts["format"]
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise Unusable("can't be read: it is damaged, or was not written by vaelab") from error
    check_version(version, facts)
    if metadata.get("sha256") != digest(text, tensors):
        raise Unusable("is damaged: its SHA-256 is not the one that was written with it")
    parts = by_first_word(tensors)
    try:
        moments = {int(index): each for index, each in by_first_word(parts["optimizer"]).items()}
        return Checkpoint(
            **checked(facts),
            model=parts["model"],
            objective=parts["objective"],
            optimizer={"state": moments, "param_groups": facts["param_groups"]},
            random=parts["random"],
            step_terms=parts["training"]["step_terms"],
        )
    except (ValueError, LookupError) as error:
        raise Unusable("is damaged: its tensors are not those of a checkpoint") from error


def by_first_word(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """`{"model.encoder.bias": x}` as `{"model": {"encoder.bias": x}}`."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def converted(path: Path) -> Checkpoint:
    """A checkpoint of format 1 or 2, which `torch.save` wrote. Raises Unusable."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        check_version(content["format"], content)
        content["config"] = with_old_defaults(content["config"])
        checkpoint = Checkpoint(
            **checked(content),
            model=content["model"],
            objective=content["objective"],
            optimizer=content["optimizer"],
            random=content["noise"],
            step_terms=content["sums"],
        )
    except Unusable:
        raise
    except Exception as error:  # torch.load raises many kinds for what is something else
        raise Unusable("can't be read: it is damaged, or was not written by vaelab") from error
    return checkpoint


def with_old_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """Settings of a format 1 or 2, when conv had no setting for its kernel of 4."""
    model = config["model"]
    return {**config, "model": {"kernel": 4, **model}} if model["name"] == "conv" else config


def check_version(version: object, facts: dict[str, Any]) -> None:
    """Raise Unusable for what is not a number of a known format."""
    if not isinstance(version, int):
        raise Unusable("was not written by vaelab")
    if version > FORMAT:
        raise Unusable(
            f"was written by vaelab {facts.get('vaelab')} in a newer format: upgrade vaelab to read it"
        )


def checked(facts: dict[str, Any]) -> dict[str, Any]:
    """The values of `FACTS`, each of its type, and best_neg_elbo. Raises Unusable."""
    for name, kind in FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise Unusable(f"is damaged: it has no {name}")
    best = facts.get("best_neg_elbo")
    best = best if isinstance(best, int | float) else math.inf
    return {**{name: facts[name] for name in FACTS}, "best_neg_elbo": best}


def agrees(checkpoint: Checkpoint) -> bool:
    """Whether what a checkpoint says of its epochs, steps and data is consistent."""
    epoch, step_terms, history = checkpoint.epoch, checkpoint.step_terms, checkpoint.history
    rows = [row for row in history if isinstance(row, dict)]
    numbers = [value for row in rows for value in row.values()]
    return (
        [row.get("epoch") for row in rows] == [*range(1, epoch + 1)]
        and len(rows) == len(history)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in numbers)
        and 0 <= checkpoint.best_epoch <= epoch
        and step_terms.ndim == 2
        and 0 <= checkpoint.step <= len(step_terms)
        and checkpoint.random.keys() >= {"latent", "pixels"}
        and checkpoint.optimizer.keys() >= {"state", "param_groups"}
        and isinstance(checkpoint.data.get("sha256"), dict)
        and len(checkpoint.image_shape) == 3
    )


def checkpoints_in(folder: Path) -> list[Path]:
    """All files of a folder that may be checkpoints."""
    return sorted(path for suffix in CHECKPOINT_SUFFIXES for path in folder.glob(f"*{suffix}"))


def instead_of(path: Path) -> str:
    """What to type instead of a checkpoint that can't be used: the newest good one beside it."""
    best: tuple[Path, Checkpoint] | None = None
    for other in checkpoints_in(path.parent):
        try:
            found = read(other) if other != path else None
        except (Unusable, OSError):
            continue
        if found and (best is None or found.progress > best[1].progress):
            best = other, found
    if best is None:
        return "There is no good checkpoint beside it: train again, or type another run."
    good, found = best
    step = f", step {found.step}" if found.step else ""
    return f"The newest good one beside it is {good} (epoch {found.epoch}{step}): type that."


# --- using ------------------------------------------------------------------------------------------------


def epoch_of(path: Path) -> int | None:
    """The complete epochs behind a checkpoint, or None where there is no readable one."""
    try:
        return load(path).epoch
    except CheckpointError:
        return None


def config_of(checkpoint: Checkpoint) -> Config:
    """The settings of the run that wrote a checkpoint."""
    return resolve(checkpoint.config, Config)


def model_of(checkpoint: Checkpoint) -> tuple[VAE, Objective]:
    """The model and the objective with the weights of a checkpoint, in eval mode, on the CPU.

    Raises ConfigError, ValueError or RuntimeError for weights and settings that don't belong together.
    """
    config = config_of(checkpoint)
    channels, height, width = checkpoint.image_shape
    objective = build_objective(config)
    objective.load_state_dict(checkpoint.objective)
    per_pixel = objective.likelihood.parameters_per_pixel
    model = with_weights(config.model, (channels, height, width), checkpoint.model, per_pixel)
    return model.eval(), objective


def restore(checkpoint: Checkpoint, state: TrainingState, config: Config, data: Data) -> None:
    """Bring a fresh state to where the checkpoint was written. Raises CheckpointError on other images."""
    if checkpoint.data["sha256"] != dict(data.origin.sha256):
        subset = data.origin.complete and not checkpoint.data["complete"]
        advice = "dataset.source=embedded" if subset else "dataset.root=FOLDER, the folder with its data"
        raise CheckpointError(
            f"The run was trained on other images than {data.origin.folder} holds ({data.description}): "
            f"type {advice}."
        )
    state.model.load_state_dict(checkpoint.model)
    state.objective.load_state_dict(checkpoint.objective)
    load_optimizer(state.optimizer, checkpoint.optimizer)
    state.epoch = checkpoint.epoch
    state.history = list(checkpoint.history)
    state.best_epoch = checkpoint.best_epoch
    state.best_neg_elbo = checkpoint.best_neg_elbo
    # Shuffle and noise of another device can't be continued: the current epoch starts again there.
    if checkpoint.step > 0 and checkpoint.device == state.device.type:
        state.begin_epoch(config.seed)
        state.step = checkpoint.step
        state.seconds = checkpoint.seconds
        state.step_terms_S3.copy_(checkpoint.step_terms)
        for purpose, generator in state.noise.items():
            generator.set_state(checkpoint.random[purpose])


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Adam's moments and options, with this device's answer to whether a CUDA graph may hold its step."""
    capturable = optimizer.defaults["capturable"]
    groups = [{**group, "capturable": capturable} for group in saved["param_groups"]]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    # The fused kernel goes through parameters and moments side by side: one layout in memory for both.
    for parameter, moments in optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = torch.empty_like(parameter).copy_(moments[name])
