"""The runs of a folder, in families that may be compared, of models that differ by more than a seed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config, VaelabError, effective, flattened, show
from vaelab.config.train import KL_SETTINGS
from vaelab.runs.folder import RunFolder, run_folders
from vaelab.training import checkpoint


@dataclass
class Member:
    """One finished run."""

    folder: RunFolder
    config: Config
    facts: Mapping[str, Any]  # run.json
    rows: list[dict[str, float]]  # metrics.csv
    evaluation: dict[str, Any] | None = None
    """metrics.json of the last checkpoint, where it is of these very weights and of the test images."""

    def __post_init__(self) -> None:
        self.read_evaluation()

    def read_evaluation(self) -> None:
        found = read_metrics_json(self.folder.evaluation("last", "test"))
        digest = hashlib.sha256(self.folder.last_checkpoint.read_bytes()).hexdigest()
        if found is not None and found["checkpoint"]["sha256"] == digest:
            self.evaluation = found


@dataclass(frozen=True)
class Model:
    """The runs that differ in nothing but their seed."""

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

    def history(self, key: str) -> NDArray[np.float64]:
        """A column of metrics.csv for every seed and epoch, shape (S, E)."""
        epochs = min(len(member.rows) for member in self.members)
        return np.array([[row[key] for row in member.rows[:epochs]] for member in self.members])


@dataclass(frozen=True)
class Family:
    """The models that may stand in one table: trained and scored on the same images, by one likelihood."""

    title: str
    models: Sequence[Model]
    scored: str  # val or test: what each epoch was scored on

    @property
    def slug(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"\W+", "_", self.title.lower()).strip("_")

    @property
    def kl_off(self) -> list[bool]:
        return [model.kl_off for model in self.models]


@dataclass
class FoundRuns:
    """The runs of a folder."""

    families: list[Family] = field(default_factory=list)
    not_finished: dict[str, str] = field(default_factory=dict)  # folder: why it is in no table
    repeated: dict[str, str] = field(default_factory=dict)  # folder: the one with the same training

    @property
    def members(self) -> list[Member]:
        return [member for family in self.families for model in family.models for member in model.members]


def read_metrics_json(folder: Path) -> dict[str, Any] | None:
    """What an evaluation has written into a folder; None where there is nothing, or a damaged file."""
    with suppress(OSError, ValueError):
        return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return None


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
        same = seen.setdefault(repr((family, settings_of(member.config), member.config.seed)), member)
        if same is member:
            families.setdefault(family, []).append(member)
        else:
            found.repeated[member.folder.name] = same.folder.name
    found.families = [make_family(members) for members in families.values()]
    return found


def read(folder: RunFolder) -> Member:
    """A finished run; raises VaelabError for any other, with the reason."""
    if not folder.run_json.is_file():
        lines = folder.log.read_text(encoding="utf-8").strip().splitlines()
        raise VaelabError(f"failed before it started: {lines[-1] if lines else 'no reason is known'}")
    facts = folder.read_run_json()
    if facts["status"] != "finished":
        error = f": {facts['error']}" if "error" in facts else ""
        done = f"after epoch {facts['epochs']['done']} of {facts['epochs']['total']}"
        raise VaelabError(f"{facts['status']} {done}{error}")
    config = checkpoint.config_of(checkpoint.load(folder.last_checkpoint))
    return Member(folder, config, facts, folder.read_metrics())


def family_of(member: Member) -> tuple[object, ...]:
    """What must agree for two numbers to stand in one column."""
    data = member.facts["data"]
    shared = (data[key] for key in ("description", "images", "scored_each_epoch", "sha256"))
    return *shared, member.config.loss.likelihood_name


def make_family(members: Sequence[Member]) -> Family:
    """The models of runs whose `family_of` agrees, in the order of tables."""
    by_model: dict[str, list[Member]] = {}
    for member in members:
        by_model.setdefault(repr(settings_of(member.config)), []).append(member)
    groups = sorted(by_model.values(), key=lambda group: order_of(group[0].config))
    configs = [group[0].config for group in groups]
    flat = [dict(flattened(settings_of(config))) for config in configs]
    keys = dict.fromkeys(chain.from_iterable(flat))
    varying = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    labels = [label_of(config, varying) for config in configs]
    if len(set(labels)) < len(labels):
        labels = [label_of(config, varying, exact=True) for config in configs]
    data, likelihood = members[0].facts["data"], configs[0].loss.likelihood_name
    title = data["description"]
    if likelihood != "bernoulli":
        title += f", {likelihood.replace('_', ' ')} likelihood"
    return Family(title, list(map(Model, labels, groups)), data["scored_each_epoch"])


def settings_of(config: Config) -> dict[str, Any]:
    """What makes a model: all that has an effect on its numbers, but for the seed."""
    plain = effective(config)
    for key in ("seed", "artifacts"):
        del plain[key]
    del plain["dataset"]["source"]
    return plain


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
    words = [
        str(flat[key]) if key == "model.name" else f"{key.split('.')[-1]} {short(flat[key])}"
        for key in varying
        if key in flat and key not in ("kl", "beta") and not (config.kl_off and key in KL_SETTINGS)
    ]
    if words and not {"kl", "beta"} & set(varying):
        return ", ".join(words)
    return ", ".join([*words, config.kl_label])
