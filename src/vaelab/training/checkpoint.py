"""Checkpoints: data, not code. Tensors and plain values only, the config inside, moved into place whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from vaelab import __version__
from vaelab.config import Config, VaelabError, did_you_mean, resolve
from vaelab.data.splits import Data
from vaelab.models import VAE, with_weights
from vaelab.objectives import Objective
from vaelab.runs.folder import RunFolder
from vaelab.training.loop import TrainingState
from vaelab.training.sealed import Unsealed, check_values, seal, unseal

FORMAT = 2
"""Raised when what is written changes. All formats are read: 1 had no digest."""

PARTS: dict[str, type | tuple[type, ...]] = {
    "vaelab": str, "config": dict, "data": dict, "image_shape": list, "model": dict, "objective": dict,
    "optimizer": dict, "epoch": int, "step": int, "sums": torch.Tensor, "noise": dict, "device": str,
    "seconds": (int, float), "history": list, "best_epoch": int, "best_neg_elbo": (int, float),
}  # fmt: skip
"""What every checkpoint has, beside its format."""

MOST_SETTINGS = 10_000
"""Names and values in a config; a usual one has a hundred."""


class CheckpointError(VaelabError):
    """A file is no checkpoint that can be used."""


def content_of(state: TrainingState, config: Config, data: Data) -> dict[str, Any]:
    """All that `restore` and `vaelab.load` need, as tensors and plain values."""
    return {
        "format": FORMAT,
        "vaelab": __version__,
        "config": config.to_dict(),
        "data": {
            "name": data.spec.name,
            "sha256": dict(data.origin.sha256),
            "complete": data.origin.complete,
        },
        "image_shape": list(data.image_shape),
        "model": contiguous(state.model.state_dict()),
        "objective": contiguous(state.objective.state_dict()),
        "optimizer": contiguous(state.optimizer.state_dict()),
        "epoch": state.epoch,
        "step": state.step,
        "sums": state.sums_S3,
        "noise": {purpose: generator.get_state() for purpose, generator in state.noise.items()},
        "device": data.train.images.device.type,
        "seconds": state.seconds,
        "history": state.history,
        "best_epoch": state.best_epoch,
        "best_neg_elbo": state.best_neg_elbo,
    }


def contiguous(value: Any) -> Any:
    """The same with every tensor in its plain layout, whatever layout the model prefers."""
    if isinstance(value, torch.Tensor):
        return value.contiguous()
    return {key: contiguous(each) for key, each in value.items()} if isinstance(value, dict) else value


def save(content: dict[str, Any], folder: RunFolder, *paths: Path) -> None:
    """Write one checkpoint under each of `paths` in a run's folder. Raises StorageError."""
    sealed = seal(content)
    for path in paths:
        folder.write(path, sealed)


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, without running any code from it.

    Raises CheckpointError for a file that is missing, damaged, of another program or of a newer format.
    """
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.pt")])
        raise CheckpointError(f"There is no checkpoint {path}. {near}".strip())
    try:
        return read(path)
    except Unsealed as reason:
        raise CheckpointError(f"{path} {reason}. {instead_of(path)}") from reason


def read(path: Path) -> dict[str, Any]:
    """The same of a file that is there. Raises Unsealed with what is wrong."""
    content, was_sealed = unseal(path)
    version = content.get("format")
    if not isinstance(version, int) or "model" not in content:
        raise Unsealed("was not written by vaelab")
    if version > FORMAT:
        raise Unsealed(
            f"was written by vaelab {content.get('vaelab')} in a newer format: upgrade vaelab to read it"
        )
    if version > 1 and not was_sealed:
        raise Unsealed("is damaged: the digest at its end is gone")
    for part, kind in PARTS.items():
        if not isinstance(content.get(part), kind):
            raise Unsealed(f"is damaged: it has no {part}")
    check_values(content["config"], most=MOST_SETTINGS)
    if not agrees(content):
        raise Unsealed("is damaged: what it says of its epochs doesn't agree")
    try:
        model_of(content)
    except VaelabError as reason:
        raise Unsealed(f"has settings that can't be used: {str(reason).removesuffix('.')}") from reason
    except (RuntimeError, ValueError) as error:
        raise Unsealed("is damaged: its weights don't fit its own settings") from error
    return content


def agrees(content: dict[str, Any]) -> bool:
    """Whether what a checkpoint says of its epochs, steps and data is of one piece."""
    epoch, step, sums, history = content["epoch"], content["step"], content["sums"], content["history"]
    rows = [row for row in history if isinstance(row, dict)]
    numbers = [value for row in rows for value in row.values()]
    return (
        [row.get("epoch") for row in rows] == [*range(1, epoch + 1)]
        and len(rows) == len(history)
        and all(isinstance(value, int | float) and math.isfinite(value) for value in numbers)
        and 0 <= content["best_epoch"] <= epoch
        and sums.ndim == 2
        and 0 <= step <= len(sums)
        and content["noise"].keys() >= {"latent", "pixels"}
        and content["optimizer"].keys() >= {"state", "param_groups"}
        and isinstance(content["data"].get("sha256"), dict)
    )


def instead_of(path: Path) -> str:
    """What to type instead of a checkpoint that can't be used: the newest good one beside it."""
    found = newest_good(path.parent, besides=path)
    if found is None:
        return "There is no good checkpoint beside it: train again, or type another run."
    good, content = found
    step = f", step {content['step']}" if content["step"] else ""
    return f"The newest good one beside it is {good} (epoch {content['epoch']}{step}): type that."


def newest_good(folder: Path, besides: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint of a folder that has come furthest and can be read, and its content."""
    best: tuple[Path, dict[str, Any]] | None = None
    for path in sorted(folder.glob("*.pt")):
        try:
            content = read(path) if path != besides else None
        except (Unsealed, OSError):
            continue
        if content and (best is None or progress(content) > progress(best[1])):
            best = path, content
    return best


def progress(content: dict[str, Any]) -> tuple[int, int]:
    """Epochs and steps behind a checkpoint."""
    return content["epoch"], content["step"]


def epoch_of(path: Path) -> int | None:
    """The complete epochs behind a checkpoint, or None where there is no readable one."""
    try:
        return int(load(path)["epoch"])
    except CheckpointError:
        return None


def config_of(content: dict[str, Any]) -> Config:
    """The settings of the run that wrote a checkpoint."""
    return resolve(content["config"], Config)


def model_of(content: dict[str, Any]) -> tuple[VAE, Objective]:
    """The model and the objective with the weights of a checkpoint, in eval mode, on the CPU.

    Raises ConfigError, ValueError or RuntimeError for weights and settings that don't belong together.
    """
    config = config_of(content)
    channels, height, width = content["image_shape"]
    model = with_weights(config.model, (channels, height, width), content["model"])
    objective = Objective(config)
    objective.load_state_dict(content["objective"])
    return model.eval(), objective


def restore(content: dict[str, Any], state: TrainingState, config: Config, data: Data) -> None:
    """Bring a fresh state to where the checkpoint was written. Raises CheckpointError on other images."""
    if content["data"]["sha256"] != dict(data.origin.sha256):
        subset = data.origin.complete and not content["data"]["complete"]
        advice = "dataset.source=embedded" if subset else "dataset.root=FOLDER, the folder with its data"
        raise CheckpointError(
            f"The run was trained on other images than {data.origin.folder} holds ({data.description}): "
            f"type {advice}."
        )
    state.model.load_state_dict(content["model"])
    state.objective.load_state_dict(content["objective"])
    state.optimizer.load_state_dict(of_this_device(content["optimizer"], state))
    state.epoch = content["epoch"]
    state.history = content["history"]
    state.best_epoch = content["best_epoch"]
    state.best_neg_elbo = content["best_neg_elbo"]
    # Shuffle and noise of another device can't be continued: the epoch under way begins anew there.
    if content["step"] > 0 and content["device"] == state.device.type:
        state.begin_epoch(config.seed)
        state.step = content["step"]
        state.seconds = content["seconds"]
        state.sums_S3.copy_(content["sums"])
        for purpose, generator in state.noise.items():
            generator.set_state(content["noise"][purpose])


def of_this_device(optimizer: dict[str, Any], state: TrainingState) -> dict[str, Any]:
    """An optimizer's state with this device's options: whether a CUDA graph may hold its step."""
    capturable = state.optimizer.defaults["capturable"]
    groups = [{**group, "capturable": capturable} for group in optimizer["param_groups"]]
    return {**optimizer, "param_groups": groups}
