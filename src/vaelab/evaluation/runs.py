"""The runs of a folder, grouped into families that may be compared, and models with several seeds."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config, VaelabError, flattened, look_up, show
from vaelab.config.train import KL_SETTINGS, SCHEDULE_ARGUMENTS, name_of, notation
from vaelab.evaluation.sections import MEASURES_VERSION
from vaelab.runs.folder import SPLIT_NAMES, RunFolder, read_metrics_json, run_folders
from vaelab.training import checkpoint
from vaelab.training.identity import effective, has_constant_kl_weight


@dataclass
class Member:
    """One finished run."""

    folder: RunFolder
    config: Config
    facts: Mapping[str, Any]  # run.json
    rows: list[dict[str, float]]  # one per epoch, from the checkpoint: metrics.csv may have been edited
    sha256: str  # of the last checkpoint, from which settings and rows were read
    evaluation: dict[str, Any] | None = None
    """metrics.json of the last checkpoint, if it is of these weights and this version of the metrics."""

    def __post_init__(self) -> None:
        self.read_evaluation()

    def read_evaluation(self, sha256: Mapping[str, str] | None = None) -> None:
        """Read an evaluation: of images with the digests `sha256` if any, else of the run's own images."""
        wanted = [self.sha256, MEASURES_VERSION, self.config.seed, "test"]
        paths = [self.folder.evaluation("last", other_data=each) for each in ("", "full_set", "subset")]
        found = [each for each in map(read_metrics_json, paths) if each]
        keys = ("checkpoint.sha256", "measures", "seed", "data.split")
        found = [each for each in found if [look_up(each, key) for key in keys] == wanted]
        of_these = [each for each in found if each["data"]["sha256"] == sha256]
        self.evaluation = next(iter([*of_these, *found]), None)


@dataclass(frozen=True)
class Model:
    """Runs that differ only in their seed."""

    label: str
    members: Sequence[Member]

    @property
    def config(self) -> Config:
        """The settings of its first run."""
        return self.members[0].config

    @property
    def kl_off(self) -> bool:
        return self.config.kl_off

    @property
    def seeds(self) -> list[int]:
        return [member.config.seed for member in self.members]

    @property
    def inactive(self) -> str:
        """`7 of 10 active`, a mean over seeds after the last epoch; empty if all latent dimensions are."""
        active, dimensions = self.last("active_units").mean(), self.config.model.get("latent_dim")
        few = dimensions is not None and active < dimensions
        return f"{active:.{0 if active.is_integer() else 1}f} of {dimensions} active" if few else ""

    def history(self, key: str) -> NDArray[np.float64]:
        """A number of every seed and epoch, shape (S, E): those epochs that all seeds have."""
        epochs = min(len(member.rows) for member in self.members)
        return np.array([[row[key] for row in member.rows[:epochs]] for member in self.members])

    def last(self, key: str) -> NDArray[np.float64]:
        """A number of every seed's own last epoch, shape (S, 1)."""
        return np.array([[member.rows[-1][key]] for member in self.members])


@dataclass(frozen=True)
class Family:
    """The models that may stand in one table: trained and scored on the same images, by one likelihood."""

    title: str
    """Unique among the families of a comparison, as is `slug`."""
    models: Sequence[Model]
    scored: str  # val or test: what each epoch was scored on
    slug: str = ""
    """The title as the name of a folder."""

    @property
    def members(self) -> list[Member]:
        return [member for model in self.models for member in model.members]

    @property
    def conditional(self) -> bool:
        return self.models[0].config.conditional

    def notation(self, text: str) -> str:
        """p(x|z) and q(z|x) in a text as they are of these models."""
        return notation(text, self.conditional)

    @property
    def objectives(self) -> list[str]:
        """What its models minimise: only losses of one objective compare."""
        return sorted({name_of(model.config.loss.objective) for model in self.models})

    @property
    def losses_differ(self) -> bool:
        """Whether its models differ in what they minimise, and not only in beta."""
        return len({str(model.config.loss) for model in self.models}) > 1

    @property
    def kl_weights(self) -> list[float]:
        """beta of each model, or 0 without KL."""
        return [0.0 if model.kl_off else model.config.beta for model in self.models]

    @property
    def weights_to_draw(self) -> list[float]:
        """KL weights for choosing colours; 1 or 0 if objectives differ, as beta then does in meaning."""
        if len(self.objectives) == 1:
            return self.kl_weights
        return [min(weight, 1.0) and 1.0 for weight in self.kl_weights]


@dataclass
class FoundRuns:
    """The runs of a folder."""

    families: list[Family] = field(default_factory=list)
    not_finished: dict[str, str] = field(default_factory=dict)  # folder: why it is in no table
    repeated: dict[str, str] = field(default_factory=dict)  # folder: the one with the same training

    @property
    def members(self) -> list[Member]:
        return [member for family in self.families for member in family.members]


def find(folder: Path) -> FoundRuns:
    """Every run below a folder."""
    found = FoundRuns()
    families: dict[str, list[Member]] = {}
    seen: dict[str, Member] = {}
    for path in run_folders(folder):
        try:
            member = read(RunFolder(path))
        except (VaelabError, OSError, ValueError) as reason:
            found.not_finished[str(path.relative_to(folder))] = str(reason)
            continue
        family = repr(family_of(member))
        weights = (member.facts.get("initial_weights") or {}).get("sha256")
        training = settings_of(member.config), member.config.seed, weights
        same = seen.setdefault(repr((family, *training)), member)
        if same is member:
            families.setdefault(family, []).append(member)
        else:
            found.repeated[member.folder.name] = same.folder.name
    titles = distinct_titles([members[0] for members in families.values()])
    kinds = {members[0].config.conditional for members in families.values()}
    tell = [CONDITIONAL] if len(kinds) > 1 else []
    found.families = [
        make_family(title, slug, members, tell)
        for title, slug, members in zip(titles, distinct_slugs(titles), families.values(), strict=True)
    ]
    return found


def read(folder: RunFolder) -> Member:
    """A finished run; raises VaelabError for any other, with the reason."""
    if not folder.run_json.is_file():
        lines = folder.log.read_text(encoding="utf-8").strip().splitlines()
        raise VaelabError(f"failed before it started: {lines[-1] if lines else 'reason unknown'}")
    facts = folder.read_run_json()
    if facts["status"] != "finished":
        error = f": {facts['error']}" if "error" in facts else ""
        done = f"after epoch {facts['epochs']['done']} of {facts['epochs']['total']}"
        raise VaelabError(f"{facts['status']} {done}{error}")
    saved = checkpoint.load(folder.last_checkpoint)
    return Member(folder, checkpoint.config_of(saved), facts, saved.history, saved.sha256)


def family_of(member: Member) -> tuple[object, ...]:
    """What must agree for two numbers to stand in one column: −log p(x|y) is not −log p(x)."""
    data = member.facts["data"]
    shared = (repr(data[key]) for key in ("description", "images", "scored_each_epoch", "sha256"))
    return *shared, likelihood_of(member.config), member.config.conditional


def likelihood_of(config: Config) -> tuple[str, str]:
    """Its name and its arguments, `scale 0.1`: with other arguments it is a different likelihood."""
    chosen = config.loss.likelihood
    arguments = {} if isinstance(chosen, str) else {key: chosen[key] for key in sorted({*chosen} - {"name"})}
    return config.loss.likelihood_name, ", ".join(f"{key} {show(value)}" for key, value in arguments.items())


def distinct_titles(firsts: Sequence[Member]) -> list[str]:
    """A title for each family: its data and likelihood, and whatever else distinguishes it from the others.

    `firsts` are the first runs of the families.
    """
    plain = []
    for member in firsts:
        likelihood, arguments = likelihood_of(member.config)
        more = "" if likelihood == "bernoulli" else f", {likelihood.replace('_', ' ')} likelihood"
        given = f" ({arguments})" if arguments else ""
        conditional = ", class-conditional" if member.config.conditional else ""
        plain.append(f"{member.facts['data']['description']}{more}{given}{conditional}")
    details = [details_of(member.facts["data"]) for member in firsts]
    titles = []
    for title, own in zip(plain, details, strict=True):
        alike = [other for its, other in zip(plain, details, strict=True) if its == title]
        differing = [part for part, *others in zip(own, *alike, strict=True) if {*others} != {part}]
        titles.append(", ".join([title, *differing]))
    return titles


def distinct_slugs(titles: Sequence[str]) -> list[str]:
    """The titles as names of folders, numbered where they would be the same."""
    slugs: list[str] = []
    for number, title in enumerate(titles, 1):
        slug = re.sub(r"\W+", "_", title.lower()).strip("_")
        slugs.append(f"{slug}_{number}" if slug in ("", *slugs) else slug)
    return slugs


def details_of(data: Mapping[str, Any]) -> list[str]:
    """What two families of equal descriptions may differ in."""
    split, images = data["scored_each_epoch"], data["images"]
    files = hashlib.sha256(repr(sorted(data["sha256"].items())).encode()).hexdigest()[:8]
    return [
        f"{images['train']:,} training images",
        f"scored on {images[split]:,} {SPLIT_NAMES[split]} images",
        f"{images['test']:,} test images",
        f"files {files}",
    ]


OBJECTIVE, CONDITIONAL = "loss.objective", "model.conditional"


def make_family(title: str, slug: str, members: Sequence[Member], tell: Sequence[str] = ()) -> Family:
    """The models of runs whose `family_of` agrees, in the order of tables.

    `tell` are settings that their names have, whether or not the family's models differ in them.
    """
    by_model: dict[str, list[Member]] = {}
    for member in members:
        by_model.setdefault(repr(settings_of(member.config)), []).append(member)
    groups = sorted(by_model.values(), key=lambda group: order_of(group[0].config))
    configs = [group[0].config for group in groups]
    varying = [*tell, *differing(configs)]
    labels = [label_of(config, varying) for config in configs]
    if len(set(labels)) < len(labels):
        labels = [label_of(config, varying, exact=True) for config in configs]
    return Family(
        title, list(map(Model, labels, groups)), members[0].facts["data"]["scored_each_epoch"], slug
    )


def differing(configs: Sequence[Config]) -> list[str]:
    """The settings that tell models apart: `loss.objective`, whatever arguments it has, and dotted keys."""
    flat = [dict(flattened(settings_of(config))) for config in configs]
    names = [name_of(config.loss.objective) for config in configs]
    varying = [OBJECTIVE] if len({*names}) > 1 else []
    for key in dict.fromkeys(chain.from_iterable(flat)):
        # An objective has settings of its own: what others have there doesn't tell models apart.
        alike = names if key.startswith("loss.") else [""] * len(names)
        values = {(name, repr(settings.get(key))) for name, settings in zip(alike, flat, strict=True)}
        if len(values) > len({*alike}) and key != f"{OBJECTIVE}.name":
            varying.append(key)
    return varying


def settings_of(config: Config) -> dict[str, Any]:
    """The settings that define a model: all that affect its numbers, except the seed."""
    plain = effective(config)
    for key in ("seed", "artifacts"):
        del plain[key]
    del plain["dataset"]["source"]
    return plain


def source_of(path: str | None) -> str:
    """`weights of RUN/last`, without the folders above, or `random weights`."""
    parts = [part for part in Path(path).parts if part != "checkpoints"] if path else []
    return f"weights of {'/'.join(parts[-2:])}" if parts else "random weights"


def order_of(config: Config) -> tuple[str, int, bool, float, str]:
    """Models by network and size, KL off before the betas."""
    model = config.model
    on = not config.kl_off
    return str(model["name"]), int(model.get("latent_dim", 0)), on, config.beta if on else 0.0, repr(model)


def label_of(config: Config, varying: Sequence[str], exact: bool = False) -> str:
    """`beta 0.5`, or what else the models of a family differ in."""

    def short(value: object) -> str:
        return f"{value:.4g}" if isinstance(value, float) and not exact else show(value)

    flat = dict(flattened(settings_of(config)))
    own_words = {
        OBJECTIVE: config.objective_name,  # whatever arguments it has
        CONDITIONAL: "class-conditional" if config.conditional else "unconditional",
        "model.name": str(config.model["name"]),
        "initial_weights": source_of(config.initial_weights),
    }
    flat |= own_words
    if "loss.schedule" in varying and has_constant_kl_weight(config):
        own_words["loss.schedule"] = "schedule constant"
        varying = [key for key in varying if key.removeprefix("loss.") not in SCHEDULE_ARGUMENTS]
    words = [
        own_words.get(key) or f"{key.split('.')[-1]} {short(flat[key])}"
        for key in varying
        if key in flat and key not in ("kl", "beta") and not (config.kl_off and key in KL_SETTINGS)
    ]
    if words and not {"kl", "beta"} & set(varying):
        return ", ".join(words)
    return ", ".join([*words, config.kl_label])
