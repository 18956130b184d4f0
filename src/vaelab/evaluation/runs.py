"""The runs of a folder, in families that may be compared, of models that differ by more than a seed."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaelab.config import Config, VaelabError, effective, flattened, show
from vaelab.runs.folder import RunFolder, run_folders
from vaelab.training import checkpoint
from vaelab.training.state import Record


@dataclass
class Member:
    """One finished run."""

    folder: RunFolder
    config: Config
    facts: Mapping[str, Any]
    """run.json."""
    rows: list[Record]
    """metrics.csv."""
    last_sha256: str
    """Of the last checkpoint's file."""
    evaluation: dict[str, Any] | None = None
    """metrics.json of the last checkpoint, where it is of these very weights and of the test images."""

    def __post_init__(self) -> None:
        self.read_evaluation()

    def read_evaluation(self) -> None:
        path = self.folder.evaluation("last", "test") / "metrics.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if found["checkpoint"]["sha256"] == self.last_sha256:
            self.evaluation = found

    @property
    def last(self) -> Record:
        """The row of the last epoch: what comparisons are made of."""
        return self.rows[-1]

    @property
    def seconds(self) -> float:
        """Training time of all epochs."""
        return sum(row["seconds"] for row in self.rows)


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
    scored: str
    """val or test: what each epoch was scored on."""

    @property
    def slug(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"\W+", "_", self.title.lower()).strip("_")

    @property
    def kl_off(self) -> list[bool]:
        return [model.kl_off for model in self.models]


@dataclass
class Found:
    """What lies in a folder."""

    families: list[Family] = field(default_factory=list)
    not_finished: dict[str, str] = field(default_factory=dict)
    """By the folder's name, why it is in no table."""
    repeated: dict[str, str] = field(default_factory=dict)
    """By the folder's name, the one that holds the same training and stands for it."""

    @property
    def members(self) -> list[Member]:
        return [member for family in self.families for model in family.models for member in model.members]


def find(folder: Path) -> Found:
    """Every run below a folder."""
    found = Found()
    members: list[Member] = []
    for path in run_folders(folder):
        name = str(path.relative_to(folder))
        try:
            members.append(read(RunFolder(path)))
        except (VaelabError, OSError, ValueError) as reason:
            found.not_finished[name] = str(reason)
    by_family: dict[str, list[Member]] = {}
    seen: dict[str, Member] = {}
    for member in members:
        family = repr(family_of(member))
        same = seen.setdefault(repr((family, settings_of(member.config), member.config.seed)), member)
        if same is member:
            by_family.setdefault(family, []).append(member)
        else:
            found.repeated[member.folder.name] = same.folder.name
    found.families = [make_family(group) for group in by_family.values()]
    return found


def read(folder: RunFolder) -> Member:
    """A finished run; raises VaelabError for any other, with the reason."""
    if not folder.run_json.is_file():
        lines = folder.log.read_text(encoding="utf-8").strip().splitlines()
        raise VaelabError(f"failed before it started: {lines[-1] if lines else 'no reason is known'}")
    facts = folder.read_run_json()
    if facts["status"] != "finished":
        error = f": {facts['error']}" if "error" in facts else ""
        done = f"after epoch {facts['epochs']['done']} of {facts['epochs']['asked']}"
        raise VaelabError(f"{facts['status']} {done}{error}")
    config = checkpoint.config_of(checkpoint.load(folder.last_checkpoint))
    digest = hashlib.sha256(folder.last_checkpoint.read_bytes()).hexdigest()
    return Member(folder, config, facts, folder.read_metrics(), digest)


def family_of(member: Member) -> dict[str, Any]:
    """What must agree for two numbers to stand in one column."""
    data = member.facts["data"]
    return {
        "title": data["description"],
        "images": data["images"],
        "scored": data["scored_each_epoch"],
        "files": data["sha256"],
        "likelihood": member.config.loss.likelihood_name,
    }


def make_family(members: Sequence[Member]) -> Family:
    facts = family_of(members[0])
    by_model: dict[str, list[Member]] = {}
    for member in members:
        by_model.setdefault(repr(settings_of(member.config)), []).append(member)
    groups = sorted(by_model.values(), key=lambda group: order_of(group[0].config))
    configs = [group[0].config for group in groups]
    flat = [dict(flattened(settings_of(config))) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    varying = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    labels = [label_of(config, varying) for config in configs]
    if len(set(labels)) < len(labels):
        labels = [label_of(config, varying, exact=True) for config in configs]
    title = facts["title"]
    if facts["likelihood"] != "bernoulli":
        title += f", {facts['likelihood'].replace('_', ' ')} likelihood"
    return Family(title, list(map(Model, labels, groups)), facts["scored"])


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
        if key in flat and key not in ("kl", "beta", "loss.free_bits")
    ]
    if words and not {"kl", "beta"} & set(varying):
        return ", ".join(words)
    return ", ".join([*words, config.kl_label])
