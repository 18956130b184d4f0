"""Checkpoints: data, not code. Tensors and plain values only, the config inside, moved into place whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vaelab import __version__
from vaelab.config import Config, VaelabError, did_you_mean, resolve
from vaelab.data.splits import Data
from vaelab.run_folder import write_atomically
from vaelab.training.fit import TrainingState

FORMAT = 1
"""Raised when a checkpoint can no longer be read by an older vaelab."""


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


def save(content: dict[str, Any], *paths: Path) -> None:
    """Write one checkpoint under each of `paths`."""
    for path in paths:
        write_atomically(path, lambda file: torch.save(content, file))


def load(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU, without running any code from it.

    Raises CheckpointError for a file that is missing, damaged, of another program or of a newer format.
    """
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.pt")])
        raise CheckpointError(f"There is no checkpoint {path}. {near}".strip())
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for files that are damaged or something else
        raise CheckpointError(
            f"{path} can't be read: it is damaged, or was not written by vaelab. "
            "Type another checkpoint of the run, such as best.pt."
        ) from error
    if not isinstance(content, dict) or not {"format", "config", "model"} <= content.keys():
        raise CheckpointError(f"{path} was not written by vaelab: type a checkpoint of a run folder.")
    if content["format"] > FORMAT:
        raise CheckpointError(
            f"{path} was written by vaelab {content['vaelab']} in a newer format: upgrade vaelab to read it."
        )
    return content


def epoch_of(path: Path) -> int | None:
    """The complete epochs behind a checkpoint, or None where there is no readable one."""
    try:
        return int(load(path)["epoch"])
    except CheckpointError:
        return None


def config_of(content: dict[str, Any]) -> Config:
    """The settings of the run that wrote a checkpoint."""
    return resolve(content["config"], Config)


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
