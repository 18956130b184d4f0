"""The runs of a folder, in families that may be compared, of models that differ by more than a seed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vaelab.config import Config, VaelabError, effective, flattened, show
from vaelab.runs.folder import RunFolder, run_folders
from vaelab.training import checkpoint
from vaelab.training.state import Record


@dataclass(frozen=True)
class Member:
    """One finished run."""

    folder: RunFolder
    config: Config
    facts: Mapping[str, Any]
    """run.json."""
    history: list[Record]

    @property
    def last(self) -> Record:
        """The row of the last epoch: what comparisons are made of."""
        return self.history[-1]

    @property
    def seconds(self) -> float:
        """Training time of all epochs."""
        return sum(row["seconds"] for row in self.history)

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """metrics.json of last.safetensors, where it is of these very weights and of the test images."""
        path = self.folder.evaluation("last", "test") / "metrics.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            digest = hashlib.sha256(self.folder.last_checkpoint.read_bytes()).hexdigest()
        except (OSError, ValueError):
            return None
        return found if found["checkpoint"]["sha256"] == digest else None


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


@dataclass(frozen=True)
class Family:
    """The models that may stand in one table: trained and scored on the same images, by one likelihood."""

    title: str
    models: Sequence[Model]
    held_out: str
    """val or test: what each epoch was scored on."""

    @property
    def slug(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"\W+", "_", self.title.lower()).strip("_")


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
        same = seen.setdefault(
            repr((family_of(member), settings_of(member.config), member.config.seed)), member
        )
        if same is not member:
            found.repeated[member.folder.name] = same.folder.name
            continue
        by_family.setdefault(repr(family_of(member)), []).append(member)
    found.families = [make_family(group) for group in by_family.values()]
    return found


def read(folder: RunFolder) -> Member:
    """A finished run; raises VaelabError for any other, with the reason."""
    if not folder.run_json.is_file():
        lines = folder.log.read_text(encoding="utf-8").strip().splitlines()
        raise VaelabError(f"failed before it began: {lines[-1] if lines else 'no reason is known'}")
    facts = folder.read_run_json()
    if facts["status"] != "finished":
        error = f": {facts['error']}" if "error" in facts else ""
        done = f"after epoch {facts['epochs']['done']} of {facts['epochs']['asked']}"
        raise VaelabError(f"{facts['status']} {done}{error}")
    config = checkpoint.config_of(checkpoint.load(folder.last_checkpoint))
    return Member(folder, config, facts, folder.read_metrics())


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
    flat = [dict(flattened(settings_of(group[0].config))) for group in groups]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    varying = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    labels = [label_of(group[0].config, varying) for group in groups]
    if len(set(labels)) < len(labels):
        labels = [label_of(group[0].config, varying, exact=True) for group in groups]
    models = [Model(label, group) for label, group in zip(labels, groups, strict=True)]
    title = facts["title"]
    if facts["likelihood"] != "bernoulli":
        title += f", {facts['likelihood'].replace('_', ' ')} likelihood"
    return Family(title, models, facts["scored"])


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
    others = [key for key in varying if key not in ("kl", "beta", "loss.free_bits") and key in flat]
    words = [
        str(flat[key]) if key == "model.name" else f"{key.split('.')[-1]} {short(flat[key])}"
        for key in others
    ]
    return ", ".join(
        [*words, config.kl_label] if "kl" in varying or "beta" in varying or not words else words
    )
