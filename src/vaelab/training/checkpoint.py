"""Checkpoints: a safetensors file with all tensors of a training, and a JSON text that describes them.

Reading one executes no code and takes no more memory than the file. Files that older versions of vaelab wrote
with `torch.save` (formats 1 and 2, *.pt) can still be read.
"""

import hashlib
import io
import json
from collections import defaultdict
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from safetensors.torch import load as load_tensors
from torch import Tensor
from typing_extensions import Self

from vaelab.config import Config, VaelabError, did_you_mean, flattened, resolve_saved
from vaelab.data.datasets import UnpublishedSpec, published
from vaelab.data.splits import Data
from vaelab.models import VAE, with_weights
from vaelab.objectives import Objective, build_objective
from vaelab.runs.folder import CHECKPOINT_SUFFIXES
from vaelab.training.state import TrainingState

FORMAT = 3
"""Version of the format, incremented when it changes. All versions can be read."""


class CheckpointError(VaelabError):
    """A file is not a usable checkpoint; the message says which other one to give."""


class Unusable(VaelabError):
    """What is wrong with a checkpoint's file, as a clause for the message of CheckpointError."""


Count = Annotated[int, Field(ge=0)]
Tensors = Annotated[dict[str, Tensor], Field(exclude=True)]  # not in the JSON text


class DataFacts(BaseModel):
    """What a run was trained on."""

    name: str
    sha256: dict[str, str]  # of each decompressed file
    complete: bool  # False for the embedded subset
    title: str = ""  # of the data set; this and the next are missing from older versions' checkpoints
    description: str = ""  # the title, with the classes that were kept and the like
    classes: list[str] = []  # of the data set, by number; none without labels


class Checkpoint(BaseModel):
    """The content of a checkpoint: all that is needed to resume a training and to use its model.

    Tensors are on the CPU.
    """

    model_config = ConfigDict(strict=True, frozen=True, arbitrary_types_allowed=True, protected_namespaces=())

    format: Count = FORMAT
    vaelab: str = version("vaelab")  # the version that wrote it
    config: dict[str, Any]  # the resolved settings as plain values; see `config_of`
    data: DataFacts
    image_shape: Annotated[list[Count], Field(min_length=3, max_length=3)]
    epoch: Count  # complete ones
    step: Count  # steps done in the current epoch
    history: list[dict[str, int | FiniteFloat]]
    best_epoch: Count
    device: str
    seconds: FiniteFloat  # training time of the current epoch
    initial_weights: dict[str, Any] = {}  # InitialWeights.facts of their checkpoint; none if random
    param_groups: list[dict[str, Any]]  # Adam's options
    model: Tensors
    trained: Tensors = Field({}, exclude=True)
    """The trained weights, if the model holds their moving average; else empty."""
    objective: Tensors
    trained_objective: Tensors = Field({}, exclude=True)  # as `trained`
    optimizer: Annotated[dict[int, dict[str, Tensor]], Field(exclude=True)]
    """Adam's moments, by the parameter's index."""
    random: Tensors  # the state of each random stream, by its purpose
    step_terms: Annotated[Tensor, Field(exclude=True)]
    """The terms of each step of the current epoch, shape (steps, terms)."""
    sha256: str = Field("", exclude=True)
    """Of the file that it was read from; empty if from none."""

    @model_validator(mode="after")
    def check_agreement(self) -> Self:
        """Raise ValueError unless epoch, step, history and tensors are consistent."""
        if not (
            [row.get("epoch") for row in self.history] == [*range(1, self.epoch + 1)]
            and self.best_epoch <= self.epoch
            and self.step_terms.ndim == 2
            and self.step <= len(self.step_terms)
            and self.random.keys() >= {"latent", "pixels"}
        ):
            raise ValueError("these are inconsistent")
        return self


def known_data(facts: DataFacts) -> DataFacts:
    """Facts with title and classes, which older versions, for published data sets only, left out."""
    if facts.title or (spec := published().get(facts.name)) is None:
        return facts
    more = {"title": spec.title, "description": spec.title, "classes": [*spec.classes]}
    return facts.model_copy(update=more)


def content_of(state: TrainingState, config: Config, data: Data) -> Checkpoint:
    optimizer, origin = state.optimizer.state_dict(), data.origin
    model, objective = state.evaluated
    return Checkpoint(
        config=config.to_dict(),
        data=DataFacts(
            name=data.spec.name,
            sha256=dict(origin.sha256),
            complete=origin.complete,
            title=data.spec.title,
            description=data.description,
            classes=[*data.spec.classes],
        ),
        image_shape=list(data.spec.image_shape),
        epoch=state.epoch,
        step=state.step,
        history=state.history,
        best_epoch=state.best_epoch,
        device=state.device.type,
        seconds=state.seconds,
        initial_weights=state.initial_weights,
        param_groups=[{**group, "lr": float(group["lr"])} for group in optimizer["param_groups"]],
        model=model.state_dict(),
        trained=state.model.state_dict() if state.average else {},
        objective=objective.state_dict(),
        trained_objective=state.objective.state_dict() if state.average else {},
        optimizer=optimizer["state"],
        random={purpose: generator.get_state() for purpose, generator in state.noise.items()},
        step_terms=state.step_terms_ST,
    )


def encode(checkpoint: Checkpoint) -> bytes:
    """The file's content."""
    parts = {
        "model": checkpoint.model, "objective": checkpoint.objective, "optimizer": checkpoint.optimizer,
        "trained": checkpoint.trained, "trained_objective": checkpoint.trained_objective,
        "random": checkpoint.random,
        "training": {"step_terms": checkpoint.step_terms},
    }  # fmt: skip
    # Each tensor in the plain layout and in memory of its own, whatever the model prefers.
    layout = torch.contiguous_format
    tensors = {name: each.cpu().clone(memory_format=layout) for name, each in flattened(parts)}
    text = json.dumps(checkpoint.model_dump(), allow_nan=False)
    return safetensors.torch.save(tensors, {"json": text, "sha256": digest(text, tensors)})


def digest(text: str, tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the JSON text and of every tensor's name, type, shape and bytes."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def load(path: Path) -> Checkpoint:
    """Read and check a checkpoint. Raises CheckpointError for a missing, damaged, foreign or newer file."""
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in checkpoints_in(path.parent)])
        raise CheckpointError(
            f"There is no checkpoint {path}. {near}Type the path of another checkpoint or run folder."
        )
    try:
        return read(path)
    except Unusable as reason:
        raise CheckpointError(f"{path} {reason}. {instead_of(path)}") from reason


def read(path: Path) -> Checkpoint:
    """Load a checkpoint from a file that exists. Raises Unusable with what is wrong."""
    try:
        file = path.read_bytes()  # once, because a training may replace the file at any moment
        content = content_of_pt(file) if path.suffix == ".pt" else content_of_file(file)
        content["sha256"] = hashlib.sha256(file).hexdigest()
        newer = content["format"] > FORMAT
    except Exception as error:  # torch.load raises many kinds for what is something else
        raise Unusable("can't be read: it is damaged, or was not written by vaelab") from error
    if newer:
        raise Unusable(
            f"was written by vaelab {content.get('vaelab')} in a newer format: upgrade vaelab to read it"
        )
    try:
        checkpoint = Checkpoint.model_validate(content)
        model_of(checkpoint)
    except VaelabError as reason:
        raise Unusable(f"has settings that can't be used: {str(reason).removesuffix('.')}") from reason
    except (RuntimeError, ValueError, TypeError) as error:
        raise Unusable("is damaged: its metadata and tensors are inconsistent") from error
    return checkpoint


def content_of_file(file: bytes) -> dict[str, Any]:
    """The fields of a checkpoint, not validated yet. Raises errors of many types for a damaged file."""
    # Copies, because a tensor's place in memory may decide how its arithmetic is rounded.
    tensors = {name: tensor.clone() for name, tensor in sorted(load_tensors(file).items())}
    header = file[8 : 8 + int.from_bytes(file[:8], "little")]  # the format: its size, then JSON
    metadata = json.loads(header)["__metadata__"]
    if metadata["sha256"] != digest(metadata["json"], tensors):
        raise ValueError("The SHA-256 is not the one that was written with it.")
    parts = by_first_word(tensors)
    return {
        **json.loads(metadata["json"]), "model": parts["model"], "trained": parts["trained"],
        "objective": parts["objective"], "trained_objective": parts["trained_objective"],
        "optimizer": {int(index): each for index, each in by_first_word(parts["optimizer"]).items()},
        "random": parts["random"], "step_terms": parts["training"].get("step_terms"),
    }  # fmt: skip


def by_first_word(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """`{"model.encoder.bias": x}` as `{"model": {"encoder.bias": x}}`."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def content_of_pt(file: bytes) -> dict[str, Any]:
    """Load a checkpoint of format 1 or 2, which `torch.save` wrote."""
    content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    if content["config"]["model"]["name"] == "conv":  # whose kernel was not yet a setting
        content["config"]["model"].setdefault("kernel", 4)
    return content | {
        "param_groups": content["optimizer"]["param_groups"],
        "optimizer": content["optimizer"]["state"],
        "random": content["noise"],
        "step_terms": content["sums"],
    }


def checkpoints_in(folder: Path) -> list[Path]:
    """All files of a folder that may be checkpoints."""
    return sorted(path for suffix in CHECKPOINT_SUFFIXES for path in folder.glob(f"*{suffix}"))


def instead_of(path: Path) -> str:
    """A sentence that says what to give instead of an unusable checkpoint: the newest good one next to it."""
    good: list[tuple[int, int, Path]] = []
    for other in checkpoints_in(path.parent):
        with suppress(Unusable, OSError):
            if other != path:
                found = read(other)
                good.append((found.epoch, found.step, other))
    if not good:
        return "There is no good checkpoint in the same folder: train again, or type another run."
    epoch, step, other = max(good, key=lambda each: each[:2])
    moment = f"epoch {epoch}, step {step}" if step else f"epoch {epoch}"
    return f"The newest good one in the same folder is {other} ({moment}): type that path."


def config_of(checkpoint: Checkpoint) -> Config:
    """The settings of the run that wrote a checkpoint."""
    return resolve_saved(checkpoint.config)


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
    """Copy a checkpoint's state into a new training state. Raises CheckpointError for other images."""
    if checkpoint.data.sha256 != dict(data.origin.sha256):
        known = not isinstance(data.spec, UnpublishedSpec)
        subset = known and data.origin.complete and not checkpoint.data.complete
        advice = "dataset.source=embedded" if subset else "dataset.root=FOLDER, the folder with its data"
        raise CheckpointError(
            f"The run was trained on images other than those in {data.origin.folder} ({data.description}): "
            f"type {advice}."
        )
    state.model.load_state_dict(checkpoint.trained or checkpoint.model)
    state.objective.load_state_dict(checkpoint.trained_objective or checkpoint.objective)
    if state.average:
        model, objective = state.average
        model.load_state_dict(checkpoint.model)
        objective.load_state_dict(checkpoint.objective)
    # Adam's options; these two depend on the device: whether a CUDA graph may hold its step.
    defaults = state.optimizer.defaults
    own = {key: defaults[key] for key in ("capturable", "lr")}
    groups = [{**group, **own} for group in checkpoint.param_groups]
    state.optimizer.load_state_dict({"state": checkpoint.optimizer, "param_groups": groups})
    # The fused kernel goes through parameters and moments side by side: one layout in memory for both.
    for parameter, moments in state.optimizer.state.items():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = torch.empty_like(parameter).copy_(moments[name])
    state.epoch = checkpoint.epoch
    state.history = list(checkpoint.history)
    state.best_epoch = checkpoint.best_epoch
    state.initial_weights = checkpoint.initial_weights
    # The random streams of another device can't be continued: the epoch is repeated from its first step.
    if checkpoint.step > 0 and checkpoint.device == state.device.type:
        state.begin_epoch(config.seed)
        state.step = checkpoint.step
        state.seconds = checkpoint.seconds
        state.step_terms_ST.copy_(checkpoint.step_terms)
        for purpose, generator in state.noise.items():
            generator.set_state(checkpoint.random[purpose])
