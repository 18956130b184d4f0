"""The settings of a training, and what resuming and repeating mean."""

from collections.abc import Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from typing_extensions import Self

from vaelab.config import base
from vaelab.config.base import Allowed, NamesFrom, Settings
from vaelab.config.errors import ConfigError, counted, lacks, look_up, must_be, quote_override, show

MODELS = NamesFrom("models", "vaelab.models")
LIKELIHOODS = NamesFrom("objectives/likelihoods", "vaelab.likelihoods")
KL_SCHEDULES = NamesFrom("objectives/schedules", "vaelab.kl_schedules")
LOGGERS = NamesFrom("training/loggers", "vaelab.loggers")
LONGEST_WATERMARK = 100  # characters
CLASSES = Allowed("a list of class numbers or names, such as [7], or null for all")
Likelihood = Annotated[base.Component, LIKELIHOODS]
KLSchedule = Annotated[base.Component, KL_SCHEDULES]
Logger = Annotated[
    base.Component | list[base.Component],
    Allowed("a name, {name:NAME,ARGUMENT:VALUE}, or a list of them"),
    LOGGERS,
]
DatasetName = Annotated[base.Text, Allowed("a data set's name"), NamesFrom("data/sets", "vaelab.datasets")]
NonNegative = Annotated[float, Field(ge=0), Allowed("a number of at least 0")]


def absolute(path: str) -> str:
    """An absolute path, so that a run can be continued from any folder."""
    return str(Path(path).absolute())


def name_of(component: str | dict[str, Any]) -> str:
    """The name of a component, whatever arguments it has."""
    return component if isinstance(component, str) else str(component["name"])


def check_has_name(model: object) -> object:
    if not isinstance(model, dict) or "name" not in model:
        raise must_be("model", "a mapping with name and the model's settings", model)
    is_conditional(model)
    return model


def notation(text: str, conditional: bool) -> str:
    """A text in which a class-conditional model's distributions are given the class y too."""
    if not conditional:
        return text
    text = text.replace("p(x|z)", "p(x|z, y)").replace("q(z|x)", "q(z|x, y)")
    return text.replace("−log p(x), or on −log p(x|y) given the class", "−log p(x|y)")


def is_conditional(model: Mapping[str, Any]) -> bool:
    """Whether encoder and decoder are given the class. Raises ConfigError for a non-boolean value."""
    if not isinstance(chosen := model.get("conditional", False), bool):
        raise must_be("model.conditional", "true or false", chosen)
    return chosen


SMALLEST, LARGEST = 4, 256  # pixels
SIZES = Allowed(f"a whole number from {SMALLEST} to {LARGEST}, two of them as [HEIGHT,WIDTH], or null")
Side = Annotated[int, Field(ge=SMALLEST, le=LARGEST)]


class DatasetConfig(Settings):
    """Which images, and where they come from."""

    name: DatasetName = Field("fashion_mnist", description="the data set, chosen by dataset=NAME")
    source: base.Source = Field(
        "auto",
        description="where the images come from; auto: dataset.root, the system, a download, or else the "
        "embedded subset; full: never the subset; embedded: always the subset",
    )
    root: Annotated[base.FolderPath, AfterValidator(absolute)] | None = Field(
        None,
        description="folder with the data in torchvision's layout; null: $VAELAB_DATA, else the user's cache "
        "folder; with dataset=images: a folder of images or of one folder per class, or an .npz file",
    )
    classes: Annotated[list[Any] | None, CLASSES] = Field(
        None, min_length=1, description="the classes to keep, such as [0,1,7] or [trouser,sneaker]; null: all"
    )
    val_size: Annotated[int | None, Allowed("a whole number of at least 0, or null")] = Field(
        None,
        ge=0,
        description="number of validation images, the last of the training file; null: a tenth of it, at "
        "most 5,000 (with larochelle the published 10,000); 0: each epoch scores the test set",
    )
    binarize: Literal["none", "dynamic", "static", "larochelle"] = Field(
        "none",
        description="binarisation of the pixels; none: grey values; dynamic: 0/1, drawn anew for each batch; "
        "static: 0/1, drawn once; larochelle: MNIST's published 0/1 pixels",
    )
    image_size: Annotated[Side | Annotated[list[Side], Field(min_length=2, max_length=2)] | None, SIZES] = (
        Field(
            None,
            description="for dataset=images: height and width in pixels, or one number for both; images are "
            "scaled to cover this size and cropped; null: all images must have the same size",
        )
    )
    grayscale: base.Switch | None = Field(
        None,
        description="for dataset=images: convert to grey (true) or colour (false); null: as the first image",
    )
    test_size: Annotated[int | None, Allowed("a whole number of at least 1, or null")] = Field(
        None, ge=1, description="for dataset=images: number of test images, drawn at random; null: a fifth"
    )
    split_seed: base.Seed = Field(
        0, description="for dataset=images: seed for drawing the test images, independent of seed"
    )
    skip_broken: base.Switch = Field(
        False, description="for dataset=images: leave out files that cannot be read, and name them"
    )


class LossConfig(Settings):
    """What is minimised, in addition to the settings `kl` and `beta`."""

    objective: base.Component = Field("neg_elbo", description="what is minimised, chosen by loss=NAME")
    likelihood: Likelihood = Field("bernoulli", description="distribution p(x|z) of each pixel")
    schedule: KLSchedule = Field("linear", description="how the KL weight reaches beta")
    warmup_epochs: base.Natural = Field(
        0, description="epochs over which the KL weight rises to beta; with cyclical, 0 means all epochs"
    )
    cycles: base.Count = Field(4, description="number of cycles with schedule=cyclical")
    ratio: Annotated[float, Allowed("a number above 0 and up to 1")] = Field(
        0.5, gt=0, le=1, description="share of a cycle in which the weight rises; then it stays at beta"
    )
    importance_samples: base.Count = Field(
        1, description="K, the number of samples of z per image, with loss=iwae"
    )
    free_bits: Annotated[float, Allowed("a number of at least 0, in nats per latent dimension")] = Field(
        0.0,
        ge=0,
        description="nats per latent dimension below which its KL, averaged over the batch, is not minimised",
    )

    @property
    def likelihood_name(self) -> str:
        """`bernoulli`, whatever arguments it has."""
        return name_of(self.likelihood)


class OptimizerConfig(Settings):
    """Adam (Kingma & Ba 2015) with its usual moments."""

    lr: Annotated[float, Allowed("a number above 0 and below 1")] = Field(
        1e-3, gt=0, lt=1, description="learning rate of Adam, dimensionless"
    )
    schedule: Literal["constant", "cosine", "step"] = Field(
        "constant",
        description="schedule of the learning rate: cosine lowers it to 0; step divides it by 10 at 1/2 and "
        "3/4 of the epochs",
    )
    warmup_epochs: base.Natural = Field(
        0, description="epochs over which the learning rate rises linearly to lr"
    )
    clip_norm: Annotated[float, Allowed("a number above 0, or null")] | None = Field(
        None,
        gt=0,
        description="largest norm of the gradient: a longer one is scaled down to it, and one that is not "
        "finite is set to 0; null: no limit",
    )
    weight_average: Annotated[float, Allowed("a number of at least 0 and below 1")] = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay per step of the moving average of the weights that is scored and saved; 0: no "
        "average",
    )


class ArtifactsConfig(Settings):
    """What is drawn and kept. None of it changes the loss curve."""

    every: base.Natural = Field(1, description="epochs between figures; 0: none during training")
    figures: base.Switch = Field(True, description="draw the figures of the finished run")
    report: base.Switch = Field(True, description="write report.html when the run ends")
    gif: base.Switch = Field(True, description="animate the latent space and reconstructions")
    gif_every_batches: base.Natural = Field(
        12,
        description="batches between frames of the animation, doubled until there are at most 64 frames; 0: "
        "one epoch",
    )
    mp4: Annotated[base.Switch | Literal["auto"], Allowed("auto, true or false")] = Field(
        "auto",
        description="also write the animation as a video; auto: if ffmpeg or vaelab[video] is installed",
    )
    embedding: Literal["pca", "tsne", "umap"] = Field(
        "pca",
        description="method for the final latent plot with more than two latent dimensions; the plots of "
        "epochs and the animation always use pca",
    )
    checkpoint_every: base.Natural = Field(
        0, description="epochs between checkpoints that are kept (epoch_0005); 0: only last and best"
    )
    zip: base.Switch = Field(False, description="also pack the run into one zip file beside its folder")
    watermark: Annotated[base.Text, Allowed(f"a text of at most {LONGEST_WATERMARK} characters")] | None = (
        Field(None, max_length=LONGEST_WATERMARK, description="a text in every figure, such as a name")
    )


SCHEDULE_ARGUMENTS = ("warmup_epochs", "cycles", "ratio")
"""Settings of `loss` that schedules of the KL weight may take by name, in addition to `epochs`."""

KL_SETTINGS = ("beta", "loss.free_bits", "loss.schedule", *(f"loss.{name}" for name in SCHEDULE_ARGUMENTS))
"""Settings that have no effect if the KL term is not minimised."""


class Config(Settings):
    """The settings of vaelab.train."""

    beta: NonNegative = Field(1.0, description="weight of the KL term")
    kl: base.Switch = Field(True, description="whether the KL term is minimised")
    epochs: Annotated[int, Allowed("a whole number from 1 to 1,000,000")] = Field(
        20, ge=1, le=1_000_000, description="passes over the training images"
    )
    batch_size: base.Count = Field(128, description="images per step")
    early_stopping: base.Natural = Field(
        0,
        description="the training ends after this many epochs at the full KL weight without a lower "
        "validation loss; 0: never",
    )
    seed: base.Seed = Field(42, description="seed of all random streams")
    device: base.Device = Field(
        "auto", description="device to train on; auto: CUDA if available, else cpu; mps: an Apple GPU"
    )
    deterministic: base.Switch = Field(
        False, description="whether results are bitwise reproducible on CUDA too, which is slower"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="number format of the network's arithmetic; the loss is computed in fp32"
    )
    logger: Logger = Field("none", description="additional logger, or a list: [tensorboard,wandb]")
    resume: Annotated[base.AnyPath, Allowed("a run folder, a checkpoint")] | None = Field(
        None, description="run folder or checkpoint to continue"
    )
    initial_weights: Annotated[base.RunPath, AfterValidator(absolute)] | None = Field(
        None,
        description="run folder (its last checkpoint) or checkpoint whose weights the training starts with; "
        "null: random weights",
    )
    model: Annotated[dict[str, Any], BeforeValidator(check_has_name)] = Field(
        {"name": "mlp", "latent_dim": 2}
    )
    dataset: DatasetConfig = DatasetConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    artifacts: ArtifactsConfig = ArtifactsConfig()

    @model_validator(mode="after")
    def check_loggers(self) -> Self:
        names = [name_of(each) for each in self.loggers]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"logger names {twice} twice: type each logger once.")
        return self

    @model_validator(mode="after")
    def check_warmup(self) -> Self:
        if self.optimizer.warmup_epochs >= self.epochs:
            raise ConfigError(
                f"optimizer.warmup_epochs={self.optimizer.warmup_epochs} leaves no epoch at optimizer.lr: "
                f"type a number smaller than epochs={self.epochs}, or more epochs."
            )
        if self.early_stopping and self.dataset.val_size == 0:
            raise ConfigError(
                "early_stopping with dataset.val_size=0 would select by the test images: type "
                "dataset.val_size=5000, or early_stopping=0."
            )
        return self

    @property
    def loggers(self) -> list[str | dict[str, Any]]:
        """The chosen loggers, one component each."""
        chosen = self.logger
        return chosen if isinstance(chosen, list) else [chosen]

    @property
    def kl_off(self) -> bool:
        """Whether only the reconstruction is minimised."""
        return not self.kl or self.beta == 0

    @property
    def kl_label(self) -> str:
        """`beta 0.5` or `KL off`, for titles and tables."""
        return "KL off" if self.kl_off else f"beta {short(self.beta)}"

    @property
    def objective_label(self) -> str:
        """The `kl_label`, with the objective where it is not the negative ELBO: `iwae (K = 5), beta 1`."""
        if (name := name_of(self.loss.objective)) == "neg_elbo":
            return self.kl_label
        samples = f" (K = {self.loss.importance_samples})" if name == "iwae" else ""
        return f"{name}{samples}, {self.kl_label}"

    @property
    def objective_name(self) -> str:
        """The objective's name; for the negative ELBO recon_only, vae or beta_vae, by `kl` and `beta`."""
        if (name := name_of(self.loss.objective)) != "neg_elbo":
            return name
        return "recon_only" if self.kl_off else "vae" if self.beta == 1 else "beta_vae"

    @property
    def conditional(self) -> bool:
        """Whether encoder and decoder are given the class."""
        return is_conditional(self.model)

    def notation(self, text: str) -> str:
        """p(x|z) and q(z|x) in a text as they are of this model."""
        return notation(text, self.conditional)

    @property
    def model_label(self) -> str:
        """`mlp`, or `mlp, class-conditional`."""
        return f"{self.model['name']}{', class-conditional' if self.conditional else ''}"

    def label(self, latents: int | None) -> str:
        """`mlp, 2 latent dimensions, beta 1`; without the number for a plugin's model that has none."""
        size = [] if latents is None else [counted(latents, "latent dimension")]
        return ", ".join([self.model_label, *size, self.objective_label])

    def without_effect(self) -> list[str]:
        """A sentence for each setting that has no effect in combination with the others."""
        idle = []
        if self.dataset.source == "embedded" and self.dataset.root is not None:
            idle.append(
                "dataset.root has no effect with dataset.source=embedded: the subset is in the package."
            )
        latents, embedding = self.model.get("latent_dim"), self.artifacts.embedding
        if embedding != "pca" and isinstance(latents, int) and latents <= 2:
            cause = f"has no effect with model.latent_dim={latents}: the latent plot shows all dimensions."
            idle.append(f"artifacts.embedding={embedding} {cause}")
        if self.kl_off:
            plain, untouched = self.to_dict(), Config().to_dict()
            cause = "kl=false" if not self.kl else "beta=0"
            idle += [
                f"{key}={show(value)} has no effect with {cause}: the KL term is not minimised."
                for key in KL_SETTINGS
                if (value := look_up(plain, key)) != look_up(untouched, key)
                and not cause.startswith(f"{key}=")
            ]
        return idle


RENAMED = {"kl_schedule": "schedule", "kl_warmup_epochs": "warmup_epochs"}
"""Settings of `loss` under the names that version 0.1 had for them."""


def resolve_saved(plain: Mapping[str, Any]) -> Config:
    """The settings of a run as plain values, which an older version may have written. Raises ConfigError."""
    values = dict(plain)
    if isinstance(loss := values.get("loss"), Mapping):
        values["loss"] = {RENAMED.get(key, key): value for key, value in loss.items()}
    if mark := look_up(values, "artifacts.watermark"):  # older versions took one of any length
        values["artifacts"] = {**values["artifacts"], "watermark": str(mark)[:LONGEST_WATERMARK]}
    return base.resolve(values, Config)


def check_names(config: Config) -> None:
    """Raise ConfigError for an unknown name, before PyTorch, which takes seconds, is imported."""
    MODELS.check("model", name_of(config.model))
    LIKELIHOODS.check("loss.likelihood", name_of(config.loss.likelihood))
    KL_SCHEDULES.check("loss.schedule", name_of(config.loss.schedule))
    for each in config.loggers:
        LOGGERS.check("logger", name_of(each), besides="none")
    if config.artifacts.embedding == "umap" and find_spec("umap") is None:
        raise lacks("artifacts.embedding=umap", "embedding")


def folder_ending(kl: object, beta: object, objective: object = "neg_elbo") -> str:
    """`beta-0.5`, `recon_only` or `geco_beta-1`: the end of a folder's name, before these are checked."""
    name = objective.get("name") if isinstance(objective, Mapping) else objective
    before = "" if name == "neg_elbo" else f"{name}_"
    weighs = base.parse_bool(kl) is True and isinstance(beta, int | float) and beta != 0
    return before + (f"beta-{short(beta)}" if weighs else "recon_only")


def short(number: object) -> str:
    """A number without a needless .0."""
    return str(number).removesuffix(".0")


MAY_CHANGE = (
    "epochs", "early_stopping", "device", "deterministic", "logger", "dataset.root", "dataset.source",
    "artifacts",
)  # fmt: skip
"""Settings that may be given together with `resume`: none of them changes the numbers of an epoch."""


def may_change(key: str) -> bool:
    return key in MAY_CHANGE or key.partition(".")[0] in MAY_CHANGE


GROUP_SETTINGS = {"model": ["model.name"], "dataset": ["dataset.name"], "loss": ["kl", "beta"]}
"""The settings that a choice in a group stands for when it is given together with `resume`."""


def continued(saved: Config, given: Config, keys: Iterable[str]) -> Config:
    """The settings of a run that is continued: its own, with the permitted changes from `given`.

    `keys` are the settings on the command line. Raises ConfigError for one that would change the training.
    """
    before, after = saved.to_dict(), given.to_dict()
    for key in keys:
        if key == "resume" or key.startswith("hydra"):
            continue
        if key == "experiment":
            raise ConfigError("A resumed run already has its settings: leave experiment= out.")
        if may_change(key):
            group, _, name = key.rpartition(".")
            (look_up(before, group) if group else before)[name] = look_up(after, key)
            continue
        for changed in GROUP_SETTINGS.get(key, [key]):
            value = look_up(before, changed)
            if value != look_up(after, changed):
                raise ConfigError(
                    f"{key} can't change when a run is resumed (its {changed} is {show(value)}): leave it "
                    f"out, or start a new run. These may change: {', '.join(MAY_CHANGE)}."
                )
    return base.resolve(before, Config)


def overrides_of(config: Config, keys: Collection[str]) -> list[str]:
    """The overrides that repeat these settings, without the `keys` that are given anew."""
    left_out = {"resume", "dataset.name", *keys, *(GROUP_SETTINGS["loss"] if "loss" in keys else ())}
    plain = config.to_dict()
    values = {"model": config.model["name"], "dataset": config.dataset.name}
    values |= {setting.key: look_up(plain, setting.key) for setting in base.describe(Config)}
    if "model" not in keys:
        values |= {f"model.{key}": value for key, value in config.model.items() if key != "name"}
    return [quote_override(key, value) for key, value in values.items() if key not in left_out]
