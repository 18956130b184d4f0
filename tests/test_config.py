"""What conf/ holds, what a command line composes to, and what a resumed run takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import settings
from vaelab import config
from vaelab.config import (
    CONF_DIR,
    Config,
    ConfigError,
    continued,
    overrides_of,
    resolve,
)
from vaelab.data.datasets import datasets
from vaelab.evaluation.runs import label_of
from vaelab.models import build, models
from vaelab.objectives import kl_schedules, kl_weight, likelihoods, without_use
from vaelab.objectives.schedules import WarmUp
from vaelab.training.identity import effective, training_digest

CHOICES = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF_DIR.glob("*/*.yaml") if path.parent.name != "hydra"
)


def test_groups_are_those_of_the_design() -> None:
    assert {choice.split("=")[0] for choice in CHOICES} == {"model", "dataset", "loss", "experiment"}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_yaml_composes_and_resolves(choice: str) -> None:
    resolved = settings(choice)
    build(resolved.model, (1, 28, 28), resolved.seed)
    assert resolve(resolved.to_dict(), Config) == resolved


@pytest.mark.parametrize("path", sorted((CONF_DIR / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_says_in_its_first_line_what_it_asks(path: Path) -> None:
    package, question = path.read_text().splitlines()[:2]
    assert package == "# @package _global_"
    assert question.startswith("# ")
    assert "?" in question


def test_registries_and_yaml_agree() -> None:
    def stems(group: str) -> list[str]:
        return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))

    assert stems("model") == models.names()
    assert stems("dataset") == datasets.names()
    for name in likelihoods.names():
        assert settings(f"loss.likelihood={name}").loss.likelihood == name


def test_defaults_are_those_of_the_design() -> None:
    asked = settings()
    assert asked.model == {
        "name": "mlp",
        "latent_dim": 2,
        "hidden": [400],
        "activation": "relu",
        "conditional": False,
    }
    assert asked.dataset.name == "fashion_mnist"
    assert (asked.objective_name, asked.beta, asked.kl) == ("vae", 1.0, True)
    assert (asked.epochs, asked.batch_size, asked.optimizer.lr, asked.seed) == (20, 128, 1e-3, 42)
    assert (asked.device, asked.dataset.val_size) == ("auto", None)


@pytest.mark.parametrize(
    ("overrides", "kl", "beta", "objective"),
    [
        ((), True, 1, "vae"),
        (("loss=beta_vae",), True, 4, "beta_vae"),
        (("loss=recon_only",), False, 1, "recon_only"),
        (("loss=beta_vae", "beta=2"), True, 2, "beta_vae"),
        (("beta=2", "loss=beta_vae"), True, 2, "beta_vae"),
        (("loss=beta_vae", "beta=1"), True, 1, "vae"),
        (("loss=recon_only", "kl=true"), True, 1, "vae"),
        (("beta=0",), True, 0, "recon_only"),
        (("kl=false", "beta=4"), False, 4, "recon_only"),
    ],
)
def test_what_is_typed_wins_and_the_objective_follows(
    overrides: tuple[str, ...], kl: bool, beta: float, objective: str
) -> None:
    asked = settings(*overrides)
    assert (asked.kl, asked.beta, asked.objective_name) == (kl, beta, objective)


def test_nothing_typed_is_ignored_without_a_word() -> None:
    for typed, without in (
        (("kl=false", "beta=4", "loss.free_bits=0.1"), ["beta=4.0 with kl=false", "loss.free_bits=0.1 with kl=false"]),
        (("beta=0", "loss.warmup_epochs=3"), ["loss.warmup_epochs=3 with beta=0"]),
        (("artifacts.embedding=tsne",), ["artifacts.embedding=tsne with model.latent_dim=2"]),
        (("artifacts.embedding=tsne", "model.latent_dim=3"), []),
    ):  # fmt: skip
        said = [each.split(":")[0] for each in settings(*typed).without_effect()]
        assert said == [each.replace(" with ", " has no effect with ") for each in without]
    assert len(settings("kl=false", "epochs=1", "loss.warmup_epochs=1").without_effect()) == 1
    assert settings("kl=false").without_effect() == settings("beta=4").without_effect() == []
    assert without_use(settings("loss.warmup_epochs=3", "loss.free_bits=0.1")) == []
    (said,) = without_use(settings("loss.schedule=sigmoid"))
    assert said.startswith("loss.schedule=sigmoid has no effect with loss.warmup_epochs=0: ")


def test_what_only_a_preset_has_set_is_not_reported() -> None:
    """`loss=capacity` sets the number of cycles of its own schedule."""
    assert without_use(settings("loss=capacity", "loss.schedule=linear")) == []
    assert without_use(settings("loss.objective=capacity")) == []
    (said,) = without_use(settings("loss=capacity", "loss.schedule=linear", "loss.cycles=2"))
    assert said.startswith("loss.cycles=2 has no effect with loss.schedule=linear")


class Quadratic(WarmUp):
    def rise(self, share: float) -> float:
        return share**2


class Halved:
    """What a schedule must have, and no more."""

    def weight(self, epoch: float) -> float:
        return 0.5


def test_a_schedule_from_elsewhere_is_treated_as_one_of_vaelab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kl_schedules.registered, "quadratic", Quadratic)
    full, rising = (
        settings("loss.schedule=quadratic"),
        settings("loss.schedule=quadratic", "loss.warmup_epochs=3"),
    )
    assert (kl_weight(full).is_constant, kl_weight(rising).is_constant) == (True, False)
    assert training_digest(full) == training_digest(settings()) != training_digest(rising)
    assert label_of(full, ["loss.schedule"]) == "schedule constant"
    assert without_use(full)[0].startswith("loss.schedule=quadratic has no effect with loss.warmup_epochs=0")
    monkeypatch.setitem(kl_schedules.registered, "quadratic", Halved)
    assert not kl_weight(full).is_constant
    monkeypatch.delitem(kl_schedules.registered, "quadratic")  # as for a run whose plugin is missing
    assert training_digest(full) != training_digest(settings())


def test_an_objective_that_is_not_the_default_is_named() -> None:
    for off in ("kl=true", "kl=false"):
        asked = settings("loss.objective={name:rae,strength:0.25}", off)
        assert asked.objective_name == "rae"


def test_yaml_reads_back_as_the_same_settings(tmp_path: Path) -> None:
    resolved = settings(
        "model=conv", "optimizer.lr=1e-5", "dataset.classes=[0,Trouser]", "artifacts.watermark=A: B"
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(resolved))
    assert resolve(config.read_yaml(path), Config) == resolved


def test_warmup_must_end() -> None:
    with pytest.raises(ConfigError) as error:
        kl_weight(settings("loss.warmup_epochs=20"))
    assert str(error.value) == (
        "loss.warmup_epochs=20 leaves no epoch at the full KL weight: type a number smaller than epochs=20, or more epochs."
    )
    for ignored in ("loss.schedule=constant", "kl=false"):
        kl_weight(settings("loss.warmup_epochs=20", ignored))


def test_where_data_and_device_are_makes_no_other_training() -> None:
    resolved = effective(settings("beta=2"))
    assert effective(settings("beta=2", "dataset.root=/elsewhere", "device=cpu")) == resolved
    assert effective(settings("beta=2", "dataset.source=embedded")) != resolved


def test_root_becomes_absolute() -> None:
    root = settings("dataset.root=../somewhere").dataset.root
    assert root is not None
    assert Path(root).is_absolute()


def test_resume_takes_what_may_change() -> None:
    saved = settings("model=conv", "model.latent_dim=16", "beta=0.5", "epochs=3")
    resolved = settings(
        "resume=x", "epochs=9", "artifacts.gif=false", "device=cpu", "dataset.root=/elsewhere"
    )
    keys = ["resume", "epochs", "artifacts.gif", "device", "dataset.root"]
    result = continued(saved, resolved, keys)
    assert (result.epochs, result.artifacts.gif, result.device) == (9, False, "cpu")
    assert result.dataset.root == "/elsewhere"
    assert (result.model, result.beta) == (saved.model, 0.5)
    for agreeing in ("beta=0.5", "model=conv", "dataset=fashion_mnist", "seed=42"):
        assert continued(saved, settings(agreeing), ["resume", agreeing.split("=")[0]]) == saved
    with pytest.raises(ConfigError, match="leave experiment= out"):
        continued(saved, saved, ["resume", "experiment"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("beta=1", "its beta is 0.5"),
        ("loss=recon_only", "its kl is true"),
        ("model=mlp", "its model.name is conv"),
        ("model.latent_dim=3", "its model.latent_dim is 2"),
        ("dataset=mnist", "its dataset.name is fashion_mnist"),
        ("seed=1", "its seed is 42"),
    ],
)
def test_resume_refuses_what_would_make_another_run(override: str, value: str) -> None:
    saved, key = settings("model=conv", "beta=0.5"), override.split("=")[0]
    with pytest.raises(ConfigError) as error:
        continued(saved, settings(override), [key])
    assert str(error.value) == (
        f"{key} can't change when a run is resumed ({value}): leave it out, or start a new run. These may change: "
        "epochs, early_stopping, device, deterministic, logger, dataset.root, dataset.source, artifacts."
    )


def test_old_settings_load_with_the_defaults_of_new_ones() -> None:
    """A checkpoint from before a setting existed."""
    plain = settings().to_dict()
    del plain["precision"], plain["loss"]["free_bits"]
    assert resolve(plain, Config) == Config(model=settings().model)


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.glob("checkpoints/*.json")), ids=lambda path: path.stem
)
def test_settings_of_old_checkpoints_resolve(path: Path) -> None:
    saved = json.loads(path.read_text())
    plain = saved.get("config", saved)
    assert resolve(plain, Config).beta == plain["beta"]


# --- names, digests, repetition ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "label", "ending"),
    [
        (("beta=0.5",), "beta 0.5", "beta-0.5"),
        (("beta=1",), "beta 1", "beta-1"),
        (("beta=1e-5",), "beta 1e-05", "beta-1e-05"),
        (("beta=0",), "KL off", "recon_only"),
        (("beta=4", "kl=false"), "KL off", "recon_only"),
        (("beta=4", "kl=off"), "KL off", "recon_only"),
        (("loss=geco",), "geco, beta 1", "geco_beta-1"),
        (("loss=geco", "kl=false"), "geco, KL off", "geco_recon_only"),
        (("loss=iwae",), "iwae (K = 5), beta 1", "iwae_beta-1"),
        (("loss=mmd_vae",), "mmd_vae, beta 500", "mmd_vae_beta-500"),
    ],
)
def test_objective_and_kl_have_one_name_everywhere(
    overrides: tuple[str, ...], label: str, ending: str
) -> None:
    asked = settings(*overrides)
    objective = asked.loss.objective
    assert (asked.objective_label, config.folder_ending(asked.kl, asked.beta, objective)) == (label, ending)
    assert asked.kl_off is label.endswith("KL off")
    if objective == "neg_elbo":
        assert asked.kl_label == label
        assert asked.kl_off is (asked.objective_name == "recon_only")


def test_the_same_training_has_the_same_digest() -> None:
    digest = training_digest(settings())
    assert len(digest) == 64
    assert training_digest(settings("device=cpu", "logger=tensorboard", "dataset.root=/elsewhere")) == digest
    assert training_digest(settings("beta=1.0", "model.latent_dim=2")) == digest
    assert training_digest(settings("beta=2")) != digest
    for full in (
        ["loss.schedule=cosine"],
        ["loss.schedule=constant", "loss.warmup_epochs=3", "loss.cycles=2"],
    ):
        assert training_digest(settings(*full)) == digest
    for rising in (["loss.schedule=cyclical"], ["loss.schedule=cosine", "loss.warmup_epochs=3"]):
        assert training_digest(settings(*rising)) != digest
    ignored = ["beta=0", "beta=4", "loss.free_bits=1", "loss.warmup_epochs=3", "loss.schedule=cyclical"]
    off = {
        training_digest(settings(*each)) for each in (("beta=0",), *(("kl=false", one) for one in ignored))
    }
    assert len(off) == 1


def test_a_repeated_training_has_the_same_settings() -> None:
    resolved = settings(
        "model=conv", "model.channels=[8,16]", "beta=0.3", "dataset.classes=[0,Trouser]", "artifacts.watermark='a, b'"
    )  # fmt: skip
    assert settings(*overrides_of(resolved, ())) == resolved
    assert settings(*overrides_of(resolved, {"beta"}), "beta=2") == resolved.replace(beta=2)
    without_loss = overrides_of(resolved, {"loss"})
    assert settings(*without_loss, "loss=recon_only") == resolved.replace(kl=False, beta=1)
