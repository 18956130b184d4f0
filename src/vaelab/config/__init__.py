"""What a user may turn: every setting once, with its type, unit, default and check.

Hydra composes a DictConfig; `resolve` turns it into the dataclasses below, and past that function nothing
knows OmegaConf. The settings of a model are the arguments of its class (see `vaelab.models.build`).
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

# OmegaConf reads annotations at run time, on Python 3.10 too: Optional, List and Dict instead of | and list.
# ruff: noqa: UP006, UP035, UP045

PACKAGE = Path(__file__).parents[1]
CONF_DIR = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parents[1] / "conf"
"""The shipped yaml: inside an installed package, or at the top of a checkout."""


class VaelabError(Exception):
    """Something a user can mend: the message says how, and is shown without a traceback."""


class ConfigError(VaelabError):
    """A setting has a value that can't be used."""


# --- messages ---------------------------------------------------------------------------------------------


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`"Did you mean 'conv'? "`, or nothing where no option is near. Capitals make no difference."""
    by_letters = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word.lower(), by_letters, n=1, cutoff=0.55)
    return f"Did you mean '{by_letters[near[0]]}'? " if near else ""


def unknown(what: str, word: object, options: Iterable[str]) -> ConfigError:
    """The error for a name that is not among `options`."""
    names = sorted(options)
    return ConfigError(
        f"Unknown {what} '{show(word)}'. {did_you_mean(str(word), names)}Available: {', '.join(names)}."
    )


def must_be(key: str, allowed: str, value: object) -> ConfigError:
    """The error for a value outside what a setting allows."""
    return ConfigError(f"{key} must be {allowed}, got {show(value) if str(value).strip() else repr(value)}.")


def show(value: object) -> str:
    """A value as a person would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{show(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(show, value))}]"
    return str(value)


def override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it back."""
    return f"{key}={typed(value)}"


def typed(value: object) -> str:
    """A value as Hydra reads it back: texts in quotes where they have more than plain letters."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(typed, value))}]"
    if value is None or isinstance(value, bool | int | float):
        return show(value)
    text = str(value)
    if not re.fullmatch(r"[\w./+:-]+", text, re.ASCII) or reads_otherwise(text):
        # Hydra takes backslashes as they are, but before a quote, where each is written twice.
        text = re.sub(r"(\\*)('|\Z)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
        text = f"'{without_references(text)}'"
    return text


def without_references(text: str) -> str:
    """A text whose `${` refers to nothing when OmegaConf reads it."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", text)


def reads_otherwise(text: str) -> bool:
    """Whether a text without quotes would be taken for something else."""
    if text.lower() in ("null", "true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- checks that settings and model arguments share -------------------------------------------------------


def is_count(value: object, at_least: int = 1) -> bool:
    """A whole number of at least `at_least`; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= at_least


def check_count(key: str, value: object) -> None:
    """Refuse anything but a whole number of at least 1."""
    if not is_count(value):
        raise must_be(key, "a whole number of at least 1", value)


def check_counts(key: str, values: object, example: str) -> None:
    """Refuse anything but a list of one or more whole numbers of at least 1."""
    if not isinstance(values, (list, tuple)) or not values or not all(map(is_count, values)):
        raise must_be(key, f"a list of whole numbers of at least 1, such as {example}", values)


# --- the schema -------------------------------------------------------------------------------------------


def setting(
    default: Any, meaning: str, allowed: str, check: Callable[[Any], bool], choices: Sequence[str] = ()
) -> Any:
    """A field of the schema. `meaning` carries the unit; `allowed` completes "… must be …"."""
    metadata = {"meaning": meaning, "allowed": allowed, "check": check, "choices": choices}
    return field(default=default, metadata=metadata)


def choice(default: str, meaning: str, *options: str) -> Any:
    """A field that takes one of a few words."""
    allowed = " or ".join([", ".join(options[:-1]), options[-1]])
    return setting(default, meaning, allowed, options.__contains__, options)


def at_least_0(value: float) -> bool:
    return 0 <= value < math.inf


def optional_text(value: str | None) -> bool:
    return value is None or bool(value.strip())


def anything(value: object) -> bool:
    """The check of a setting whose type says all."""
    return True


def is_seed(value: object) -> bool:
    return is_count(value, at_least=0) and cast(int, value) < 2**63


def is_device(device: str) -> bool:
    return device in ("auto", "cpu", "cuda") or device.removeprefix("cuda:").isdecimal()


MOST_EPOCHS = 1_000_000
"""A number beyond is a slip of the finger."""

SEED = "a whole number of at least 0 and below 2**63"
DEVICES = "auto, cpu, cuda or cuda:N"


class Checked:
    """Runs every setting's check when a config is made."""

    GROUP = ""

    def __post_init__(self) -> None:
        for setting in fields(cast(Any, self)):
            value = getattr(self, setting.name)
            if "check" in setting.metadata and not setting.metadata["check"](value):
                raise must_be(self.GROUP + setting.name, setting.metadata["allowed"], value)


@dataclass(kw_only=True)
class DatasetConfig(Checked):
    """Which images, and where they come from."""

    GROUP = "dataset."

    name: str = field(default="fashion_mnist")
    source: str = choice(
        "auto",
        "root, system, download, then the subset; full never takes it",
        "auto", "full", "embedded",
    )  # fmt: skip
    root: Optional[str] = setting(
        None,
        "the data in torchvision's layout; null: $VAELAB_DATA, else the user's cache folder",
        "a folder's path or null",
        optional_text,
    )
    classes: Optional[List[Any]] = setting(
        None,
        "the classes to keep, such as [0,1,7] or [trouser,sneaker]; null: all",
        "a list of class numbers or names, such as [7], or null for all",
        lambda classes: classes is None or len(classes) > 0,
    )
    val_size: int = setting(
        5000,
        "last images of the training file, held out; 0: each epoch scores the test set",
        "a whole number of at least 0",
        lambda size: is_count(size, at_least=0),
    )
    binarize: str = choice(
        "none",
        "grey pixels, or 0/1 pixels drawn each time or once",
        "none", "dynamic", "static",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is not None:  # absolute, so that a run can be continued from any folder
            self.root = str(Path(self.root).expanduser().absolute())


@dataclass(kw_only=True)
class LossConfig(Checked):
    """What is minimised, beside the two knobs of the KL term."""

    GROUP = "loss."

    likelihood: str = choice(
        "bernoulli", "p(x|z) of a pixel", "bernoulli", "continuous_bernoulli", "gaussian"
    )
    kl_warmup_epochs: int = setting(
        0,
        "epochs over which the KL's weight rises linearly from 0 to beta",
        "a whole number of at least 0",
        lambda epochs: is_count(epochs, at_least=0),
    )
    free_bits: float = setting(
        0.0,
        "nats per latent dimension below which the KL is not pushed (batch mean)",
        "a number of at least 0, in nats per latent dimension",
        at_least_0,
    )


@dataclass(kw_only=True)
class OptimizerConfig(Checked):
    """Adam (Kingma & Ba 2015) with its usual moments."""

    GROUP = "optimizer."

    lr: float = setting(1e-3, "Adam's step size", "a number above 0 and below 1", lambda lr: 0 < lr < 1)


@dataclass(kw_only=True)
class ArtifactsConfig(Checked):
    """What is drawn and kept. None of it moves the loss curve."""

    GROUP = "artifacts."

    every: int = setting(
        1,
        "epochs between pictures; 0: none while training",
        "a whole number of at least 0",
        lambda epochs: is_count(epochs, at_least=0),
    )
    figures: bool = setting(True, "draw the figures of the finished run", "true or false", anything)
    report: bool = setting(True, "write report.html when the run ends", "true or false", anything)
    gif: bool = setting(True, "make the film of the latent space", "true or false", anything)
    gif_every_batches: int = setting(
        50,
        "batches between frames of the film in the first two epochs; 0: only one frame an epoch",
        "a whole number of at least 0",
        lambda batches: is_count(batches, at_least=0),
    )
    checkpoint_every: int = setting(
        0,
        "epochs between checkpoints that are kept for good (epoch_0005.pt); 0: only last.pt and best.pt",
        "a whole number of at least 0",
        lambda epochs: is_count(epochs, at_least=0),
    )
    zip: bool = setting(False, "leave the run as one zip file beside its folder", "true or false", anything)
    watermark: Optional[str] = setting(
        None, "a name that signs every figure", "a short text or null", optional_text
    )


@dataclass(kw_only=True)
class Config(Checked):
    """Everything a training run is told."""

    beta: float = setting(1.0, "weight of the KL term", "a number of at least 0", at_least_0)
    kl: bool = setting(True, "whether the KL term is minimised at all", "true or false", anything)
    epochs: int = setting(
        20,
        "passes over the training images",
        f"a whole number from 1 to {MOST_EPOCHS:,}",
        lambda epochs: is_count(epochs) and epochs <= MOST_EPOCHS,
    )
    batch_size: int = setting(128, "images a step", "a whole number of at least 1", is_count)
    seed: int = setting(42, "start of every random stream", SEED, is_seed)
    device: str = setting("auto", "auto takes CUDA where there is one", DEVICES, is_device)
    deterministic: bool = setting(
        False, "on CUDA too the same bits for the same seed, at some speed", "true or false", anything
    )
    precision: str = choice("fp32", "arithmetic of the network; the loss is always fp32", "fp32", "bf16")
    logger: str = choice("none", "what else is told about each epoch", "none", "tensorboard")
    resume: Optional[str] = setting(
        None, "run folder or checkpoint to continue", "a run folder, a checkpoint or null", optional_text
    )
    model: Dict[str, Any] = field(default_factory=lambda: {"name": "mlp", "latent_dim": 2})
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    artifacts: ArtifactsConfig = field(default_factory=ArtifactsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.kl_warmup_epochs >= self.epochs:
            raise ConfigError(
                f"loss.kl_warmup_epochs={self.loss.kl_warmup_epochs} leaves no epoch at the full KL weight: "
                f"type fewer than epochs={self.epochs}, or more epochs."
            )

    @property
    def objective(self) -> str:
        """recon_only, vae or beta_vae: derived, so that it can't contradict `kl` and `beta`."""
        if not self.kl or self.beta == 0:
            return "recon_only"
        return "vae" if self.beta == 1 else "beta_vae"

    @property
    def kl_label(self) -> str:
        """TMP"""
        return "KL off" if self.objective == "recon_only" else f"beta {self.beta:g}"

    def without_effect(self) -> list[str]:
        """A sentence for each setting that changes nothing beside the others."""
        settings = {
            "beta": (self.beta != 1, self.beta),
            "loss.free_bits": (self.loss.free_bits > 0, self.loss.free_bits),
            "loss.kl_warmup_epochs": (self.loss.kl_warmup_epochs > 0, self.loss.kl_warmup_epochs),
        }
        idle = []
        if self.dataset.source == "embedded" and self.dataset.root is not None:
            idle.append("dataset.root has no effect with dataset.source=embedded: it is in the package.")
        if self.objective != "recon_only":
            return idle
        cause = "kl=false" if not self.kl else "beta=0"
        return idle + [
            f"{key}={show(value)} has no effect with {cause}: the KL term is not minimised."
            for key, (is_set, value) in settings.items()
            if is_set and not cause.startswith(f"{key}=")
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as they are saved in checkpoints and config.yaml."""
        return asdict(self)


# --- the schema of an evaluation --------------------------------------------------------------------------


@dataclass(kw_only=True)
class EvaluatedDataConfig(Checked):
    """Where an evaluation takes its images from; which ones they are, the checkpoint says."""

    GROUP = "dataset."

    source: Optional[str] = setting(
        None,
        "auto, full or embedded; null: as the run",
        "auto, full, embedded or null",
        (None, "auto", "full", "embedded").__contains__,
    )
    root: Optional[str] = setting(
        None, "the data in torchvision's layout; null: as the run", "a folder's path or null", optional_text
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.root is not None and not Path(self.root).expanduser().is_dir():
            raise ConfigError(
                f"dataset.root={self.root} is no folder: type one with the data, or make it for a download."
            )


@dataclass(kw_only=True)
class MetricsConfig(Checked):
    """What is measured."""

    GROUP = "metrics."

    bound: bool = setting(
        True, "reconstruction, KL and neg_elbo on the whole split", "true or false", anything
    )
    nll: bool = setting(True, "the importance-weighted bound on -log p(x)", "true or false", anything)
    latent: bool = setting(
        True, "whether the latent space is used, and fits the prior", "true or false", anything
    )
    classes: bool = setting(True, "whether the latent space knows the classes", "true or false", anything)
    samples: bool = setting(True, "FID, KID, precision and recall of samples", "true or false", anything)
    images: bool = setting(True, "sharpness, diversity, PSNR and SSIM", "true or false", anything)
    frozen_latent: bool = setting(
        True, "diversity of samples near the prior's mean", "true or false", anything
    )


@dataclass(kw_only=True)
class EvaluationConfig(Checked):
    """Everything an evaluation is told."""

    checkpoint: Optional[str] = setting(
        None,
        "a checkpoint, or a run folder for its best.pt",
        "a run folder or a checkpoint, such as outputs/2026-11-21/...",
        lambda path: path is not None and bool(path.strip()),
    )
    output: Optional[str] = setting(
        None,
        "folder to write into; null: evaluation/ in the run folder",
        "a folder's path or null",
        optional_text,
    )
    split: str = choice("test", "the images that are scored", "test", "val", "train")
    seed: Optional[int] = setting(
        None,
        "start of every random stream; null: the run's, with which training's own numbers come out again",
        f"{SEED} or null",
        lambda seed: seed is None or is_seed(seed),
    )
    device: str = setting("auto", "auto takes CUDA where there is one", DEVICES, is_device)
    importance_samples: int = setting(
        500, "K of nll, posterior samples an image", "a whole number of at least 1", is_count
    )
    nll_images: Optional[int] = setting(
        1000,
        "the first images of the split, for nll; null: all",
        "a whole number of at least 1, or null for all",
        lambda images: images is None or is_count(images),
    )
    figures: bool = setting(True, "draw the figures", "true or false", anything)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    dataset: EvaluatedDataConfig = field(default_factory=EvaluatedDataConfig)


@dataclass(kw_only=True)
class CompareConfig(Checked):
    """Everything a comparison is told."""

    sweep: Optional[str] = setting(
        None,
        "a folder with runs in it, such as a sweep's",
        "a folder of runs, such as outputs/multirun/2026-11-21/...",
        lambda path: path is not None and bool(path.strip()),
    )
    evaluate: bool = setting(True, "measure what no evaluation has measured yet", "true or false", anything)
    figures: bool = setting(True, "draw the figures", "true or false", anything)
    device: str = setting("auto", "auto takes CUDA where there is one", DEVICES, is_device)
    dataset: EvaluatedDataConfig = field(default_factory=EvaluatedDataConfig)


@dataclass(kw_only=True)
class ExploreConfig(Checked):
    """Everything an explorer is told."""

    run: Optional[str] = setting(
        None, "a run folder, for its best.pt, or a checkpoint", "a run folder or a checkpoint", optional_text
    )
    sweep: Optional[str] = setting(
        None, "a folder of runs, two of which are put side by side", "a folder of runs", optional_text
    )
    pair: Optional[List[str]] = setting(
        None,
        "which two of the sweep, by their folders' names; null: KL off beside the beta nearest to 1",
        "two folders' names, such as [0_kl-false,1_kl-true], or null",
        lambda names: names is None or (len(names) == 2 and names[0] != names[1]),
    )
    output: Optional[str] = setting(
        None,
        "the file to write; null: explorer.html in the run folder",
        "a file's path or null",
        optional_text,
    )
    images: int = setting(
        2000, "test images in the page, the first ones", "a whole number of at least 1", is_count
    )
    dataset: EvaluatedDataConfig = field(default_factory=EvaluatedDataConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.run is None) == (self.sweep is None):
            raise ConfigError(
                "An explorer shows one run or two of a sweep: type either run=outputs/2026-11-21/... "
                "or sweep=outputs/multirun/2026-11-21/..."
            )
        if self.pair is not None and self.sweep is None:
            raise ConfigError("pair names two runs of a sweep: type sweep=FOLDER beside it.")


@dataclass(kw_only=True)
class ExportConfig(Checked):
    """Everything an export is told."""

    run: Optional[str] = setting(
        None,
        "a run folder, for its best.pt, or a checkpoint",
        "a run folder or a checkpoint, such as outputs/2026-11-21/...",
        lambda path: path is not None and bool(path.strip()),
    )
    format: str = choice("onnx", "graphs that compute, or weights", "onnx", "safetensors")
    output: Optional[str] = setting(
        None,
        "folder to write into; null: export/ in the run folder",
        "a folder's path or null",
        optional_text,
    )


Schema = TypeVar("Schema", bound=Checked)


def resolve(composed: DictConfig | Mapping[str, Any], schema: type[Schema]) -> Schema:
    """Typed, checked settings out of what Hydra composed or a checkpoint saved.

    Raises ConfigError for a key that nothing reads, a wrong type or a value outside its range.
    """
    try:
        plain = composed
        if isinstance(composed, DictConfig):
            plain = cast(Mapping[str, Any], OmegaConf.to_container(composed, resolve=True))
        merged = OmegaConf.merge(OmegaConf.structured(schema), literal(plain))
        return cast(Schema, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise explain(error, schema) from error


def literal(value: Any) -> Any:
    """Plain values in which `${` is two characters, and refers to nothing."""
    if isinstance(value, Mapping):
        return {key: literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [literal(item) for item in value]
    return without_references(value) if isinstance(value, str) else value


def effective(config: Config) -> dict[str, Any]:
    """What decides a training's numbers and pictures: plain values, those without effect at their defaults.

    Two settings with the same effective values are one training.
    """
    plain = config.to_dict()
    for key in ("device", "deterministic", "logger", "resume"):
        del plain[key]
    del plain["dataset"]["root"]  # wherever the files lie, they are checked to be the same
    if config.objective == "recon_only":
        plain |= {"kl": False, "beta": 0.0}
        plain["loss"] |= {"free_bits": 0.0}
    return plain


MAY_CHANGE = ("epochs", "device", "deterministic", "logger", "dataset.root", "dataset.source", "artifacts")
"""What may be typed beside `resume`: none of it changes the numbers of an epoch."""

GROUP_SETTINGS = {"model": ["model.name"], "dataset": ["dataset.name"], "loss": ["kl", "beta"]}
"""What the choice in a group stands for when it is typed beside `resume`."""


def continued(saved: Config, asked: Config, typed: Iterable[str]) -> Config:
    """The settings of a run that goes on: its own, changed by what was typed where that may change.

    `typed` are the keys on the command line. Raises ConfigError for one that would make it another run.
    """
    before, after = saved.to_dict(), asked.to_dict()
    for key in typed:
        if key == "resume" or key.startswith("hydra"):
            continue
        if key == "experiment":
            raise ConfigError("A run that is resumed has its settings already: leave experiment= out.")
        if key.split(".")[0] in MAY_CHANGE or key in MAY_CHANGE:
            *path, name = key.split(".")
            target, source = before, after
            for step in path:
                target, source = target[step], source[step]
            target[name] = source[name]
            continue
        for changed in GROUP_SETTINGS.get(key, [key]):
            value = look_up(before, changed)
            if value != look_up(after, changed):
                raise ConfigError(
                    f"{key} can't change when a run is resumed ({changed} is {show(value)} there): leave it "
                    f"out, or start a new run. What may change: {', '.join(MAY_CHANGE)}."
                )
    return resolve(before, Config)


def look_up(plain: Mapping[str, Any], key: str) -> Any:
    """The value under a dotted key, or None."""
    value: Any = plain
    for step in key.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def flattened(plain: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as (dotted key, value), as they are typed."""
    for key, value in plain.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def to_yaml(config: Config) -> str:
    """config.yaml's text: resolved, plain values, which `resolve` and Hydra read back."""
    return OmegaConf.to_yaml(OmegaConf.create(config.to_dict()))


def read_yaml(path: Path) -> dict[str, Any]:
    """Plain values of a yaml of ours: a config.yaml, or a file of conf/."""
    return cast(Dict[str, Any], OmegaConf.to_container(OmegaConf.load(path)))


def settings(schema: type[Checked], group: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting as (dotted key, dataclass field), in the order of the schema."""
    for setting in fields(cast(Any, schema)):
        factory = setting.default_factory
        if factory is not MISSING and is_dataclass(factory):
            yield from settings(cast("type[Checked]", factory), f"{setting.name}.")
        elif "meaning" in setting.metadata:
            yield group + setting.name, setting


def explain(error: OmegaConfBaseException, schema: type[Checked]) -> ConfigError:
    """OmegaConf's complaint about a key or a value, as one sentence that says what to type instead."""
    key = str(error.full_key or error.key)
    known = dict(settings(schema))
    if isinstance(error, InterpolationKeyError | InterpolationResolutionError):
        return ConfigError(
            f"{str(error.msg).splitlines()[0]}: ${{NAME}} stands for the value of another setting, which has "
            "to be there; type \\${NAME} in quotes for these very letters."
        )
    if key in known:
        return must_be(key, known[key].metadata["allowed"], error.value if error.value else given(error))
    if key.startswith("hydra.") and isinstance(error, ValidationError):
        return ConfigError(f"{key}: {str(error.msg).splitlines()[0]}.")
    if key.startswith("hydra."):
        return ConfigError(f"Unknown setting '{key}'. {hydras(error, key)}")
    candidates = list(known)
    if schema is Config:
        siblings = error.parent_node if key.startswith("model.") else all_model_settings()
        candidates += [f"model.{name}" for name in siblings or () if name != "name"]
        candidates += ["model", "dataset", "loss", "experiment"]
    group, _, last = key.rpartition(".")
    # The same name elsewhere, then a like one in the same place, then any like one.
    elsewhere = [name for name in candidates if name.rpartition(".")[2].lower() == last.lower()]
    nearby = [name for name in candidates if name.rpartition(".")[0] == group]
    hint = f"Did you mean '{elsewhere[0]}'? " if elsewhere else did_you_mean(key, nearby)
    return ConfigError(
        f"Unknown setting '{key}'. {hint or did_you_mean(key, candidates)}--help lists all settings."
    )


def all_model_settings() -> list[str]:
    """The settings of every shipped model, each once."""
    return [*dict.fromkeys(key for path in CONF_DIR.glob("model/*.yaml") for key in read_yaml(path))]


def hydras(error: OmegaConfBaseException, key: str) -> str:
    """Where the settings of Hydra's parts are listed."""
    part = key.removeprefix("hydra.").rpartition(".")[0]
    near = did_you_mean(key, [f"{key.rpartition('.')[0]}.{sibling}" for sibling in error.parent_node or ()])
    files = {"launcher": "conf/hydra/launcher/", "sweeper": "conf/hydra/sweeper/"}
    where = files.get(part.split(".")[0])
    return f"{near}{f'What can be set is in {where}.' if where else '--hydra-help says more.'}"


def given(error: OmegaConfBaseException) -> str:
    """The value that OmegaConf quotes in its message: `Value 'abc' of type 'str' could not be …`."""
    if "not Optional" in str(error.msg):
        return "null"
    quoted = str(error.msg).split("'")
    return quoted[1] if len(quoted) > 2 else "something else"
