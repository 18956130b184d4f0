"""Settings: every shipped yaml composes and resolves, presets yield to what is given, messages are exact."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conftest import REPOSITORY, settings
from vaelab import config, models
from vaelab.config import (
    CONF_DIR,
    SCHEMAS,
    CompareConfig,
    Config,
    ConfigError,
    EvaluationConfig,
    ExploreConfig,
    ExportConfig,
    SampleConfig,
    Settings,
    continued,
    defaults,
    describe,
    effective,
    overrides_of,
    resolve,
)
from vaelab.config import train as train_settings
from vaelab.config.train import check_names, training_digest
from vaelab.data.datasets import datasets
from vaelab.models import build
from vaelab.objectives import likelihoods, not_taken

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
    assert settings("kl=false", "beta=4", "loss.free_bits=0.1").without_effect() == [
        "beta=4.0 has no effect with kl=false: the KL term is not minimised.",
        "loss.free_bits=0.1 has no effect with kl=false: the KL term is not minimised.",
    ]
    assert settings("beta=0", "loss.warmup_epochs=3").without_effect() == [
        "loss.warmup_epochs=3 has no effect with beta=0: the KL term is not minimised."
    ]
    assert settings("artifacts.embedding=tsne").without_effect() == [
        "artifacts.embedding=tsne has no effect with model.latent_dim=2: the latent plot shows all dimensions."
    ]
    assert settings("artifacts.embedding=tsne", "model.latent_dim=3").without_effect() == []
    assert len(settings("kl=false", "epochs=1", "loss.warmup_epochs=1").without_effect()) == 1
    assert settings("kl=false").without_effect() == settings("beta=4").without_effect() == []
    assert not_taken(settings("loss.warmup_epochs=3", "loss.free_bits=0.1")) == []


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
        settings("loss.warmup_epochs=20")
    assert str(error.value) == (
        "loss.warmup_epochs=20 leaves no epoch at the full KL weight: type fewer than epochs=20, or more epochs."
    )


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
    ("overrides", "message"),
    [
        (("beta=1",), "beta can't change when a run is resumed (beta is 0.5 there)"),
        (("loss=recon_only",), "loss can't change when a run is resumed (kl is true there)"),
        (("model=mlp",), "model can't change when a run is resumed (model.name is conv there)"),
        (("model.latent_dim=3",), "model.latent_dim can't change when a run is resumed (model.latent_dim is 2 there)"),
        (("dataset=mnist",), "dataset can't change when a run is resumed (dataset.name is fashion_mnist there)"),
        (("seed=1",), "seed can't change when a run is resumed (seed is 42 there)"),
    ],
)  # fmt: skip
def test_resume_refuses_what_would_make_another_run(overrides: tuple[str, ...], message: str) -> None:
    saved = settings("model=conv", "beta=0.5")
    with pytest.raises(ConfigError) as error:
        continued(saved, settings(*overrides), [override.split("=")[0] for override in overrides])
    assert str(error.value).startswith(message)
    assert str(error.value).endswith(
        "What may change: epochs, early_stopping, device, deterministic, logger, dataset.root, dataset.source, artifacts."
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


# --- plain values to settings -----------------------------------------------------------------------------


def refusal(schema: type[Settings], plain: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        resolve(plain, schema)
    return str(error.value)


ALLOWED = {
    "beta": "a number of at least 0",
    "optimizer.lr": "a number above 0 and below 1",
    "epochs": "a whole number from 1 to 1,000,000",
    "kl": "true or false",
    "precision": "fp32 or bf16",
    "dataset.source": "auto, full or embedded",
    "dataset.root": "a folder's path or null",
    "resume": "a run folder, a checkpoint or null",
    "loss.likelihood": "a name, or {name:NAME} with arguments beside it",
}


def test_what_is_allowed_follows_from_type_and_range() -> None:
    allowed = {setting.key: setting.allowed for setting in describe(Config)}
    assert {key: allowed[key] for key in ALLOWED} == ALLOWED
    of_data = {setting.key: setting for setting in describe(EvaluationConfig)}["dataset.source"]
    assert of_data.allowed == "auto, full, embedded or null"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("beta", -1, "-1.0"),
        ("beta", True, "true"),
        ("beta", float("inf"), "inf"),
        ("beta", "1", "'1'"),
        ("beta", None, "null"),
        ("kl", 2, "2"),
        ("kl", 1.0, "1.0"),
        ("kl", "y", "y"),
        ("epochs", 2.0, "2.0"),
        ("epochs", True, "true"),
        ("epochs", "3", "'3'"),
        ("epochs", 10**20, "100000000000000000000"),
        ("precision", 16, "16"),
        ("resume", " ", "' '"),
        ("resume", ["a"], "[a]"),
        ("loss.likelihood", {"sigma": 1}, "{sigma:1}"),
        ("loss.likelihood", 3, "3"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: Any, shown: str) -> None:
    group, _, name = key.rpartition(".")
    plain = {group: {name: value}} if group else {name: value}
    allowed = {setting.key: setting.allowed for setting in describe(Config)}[key]
    assert refusal(Config, plain) == f"{key} must be {allowed}, got {shown}."


@pytest.mark.parametrize(
    ("word", "value"),
    [(True, True), ("yes", True), ("On", True), (1, True), ("1", True), ("FALSE", False), ("off", False), (0, False)],
)  # fmt: skip
def test_words_that_mean_true_or_false(word: object, value: bool) -> None:
    assert resolve({"kl": word}, Config).kl is value


def test_numbers_and_paths_are_texts_where_a_text_is_wanted() -> None:
    resolved = resolve({"artifacts": {"watermark": 2026}, "resume": Path("a/b")}, Config)
    assert (resolved.artifacts.watermark, resolved.resume) == ("2026", "a/b")


@pytest.mark.parametrize(
    ("schema", "plain", "message"),
    [
        (Config, {"epohcs": 3}, "Unknown setting 'epohcs'. Did you mean 'epochs'? --help lists all settings."),
        (Config, {"loss": {"beta": 3}}, "Unknown setting 'loss.beta'. Did you mean 'beta'? --help lists all settings."),
        (Config, {"lr": 1}, "Unknown setting 'lr'. Did you mean 'optimizer.lr'? --help lists all settings."),
        (Config, {"latent_dim": 1}, "Unknown setting 'latent_dim'. Did you mean 'model.latent_dim'? --help lists all settings."),
        (Config, {"optimizer": "sgd"}, "Unknown setting 'optimizer'. Did you mean 'optimizer.lr'? --help lists all settings."),
        (Config, {"model": "conv"}, "model must be a mapping with name and the model's settings, got conv."),
        (Config, {"model": {"latent_dim": 2}}, "model must be a mapping with name and the model's settings, got {latent_dim:2}."),
        (EvaluationConfig, {}, "checkpoint must be a run folder or a checkpoint, such as outputs/2026-11-21/..., got null."),
        (EvaluationConfig, {"checkpoint": "x", "metrics": {"nll": "maybe"}}, "metrics.nll must be true or false, got maybe."),
        (CompareConfig, {"sweep": ""}, "sweep must be a folder of runs, such as outputs/multirun/2026-11-21/..., got ''."),
        (ExploreConfig, {"sweep": "x", "pair": ["a", "a"]}, "pair must be two folders' names, such as [0_kl-false,1_kl-true], or null, got [a,a]."),
        (ExportConfig, {"run": "x", "format": "tf"}, "format must be onnx or safetensors, got tf."),
        (SampleConfig, {"run": "x", "count": 0}, "count must be a whole number from 1 to 100,000, got 0."),
    ],
)  # fmt: skip
def test_messages(schema: type[Settings], plain: dict[str, Any], message: str) -> None:
    assert refusal(schema, plain) == message


@pytest.mark.parametrize(
    "schema", [Config, EvaluationConfig, CompareConfig, ExploreConfig, ExportConfig, SampleConfig]
)
def test_defaults_resolve_but_for_what_has_to_be_given(schema: type[Settings]) -> None:
    plain = defaults(schema)
    needed = {name for name in ("checkpoint", "sweep", "run") if name in plain and plain[name] is None}
    given = plain | dict.fromkeys(sorted(needed)[:1], "somewhere")
    resolved = resolve(given, schema)
    assert resolved.to_dict() == given
    assert resolved.replace() == resolved


def test_a_component_is_a_name_or_a_name_with_arguments() -> None:
    alone = resolve({"loss": {"likelihood": {"name": "gaussian"}}}, Config)
    assert alone.loss.likelihood == "gaussian"
    more = resolve({"loss": {"likelihood": {"name": "gaussian", "sigma": 0.5}}}, Config)
    assert (more.loss.likelihood, more.loss.likelihood_name) == (
        {"name": "gaussian", "sigma": 0.5},
        "gaussian",
    )
    assert training_digest(alone) != training_digest(more)
    assert "'loss.likelihood={name:gaussian,sigma:0.5}'" in map(repr, overrides_of(more, ()))


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


# --- files ------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.floats(0, allow_infinity=False),
    st.one_of(st.text(min_size=1), st.sampled_from(["1e-3", "1e5", "12:30", "yes", "null", "~", "0x1f"])),
)
@example(0.0, "a\x85b\u2028")
def test_every_number_and_text_comes_back_from_yaml(tmp_path_factory: Any, beta: float, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    plain = Config().to_dict() | {"beta": beta, "model": {"name": text}}
    path.write_text(yaml.dump(plain, Dumper=config.base.Dumper, allow_unicode=True), encoding="utf-8")
    assert config.read_yaml(path) == plain


def test_a_number_with_an_exponent_is_one(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("a: 1e-3\nb: 5E+4\nc: 1e3x\nd: 2.5\n")
    assert config.read_yaml(tmp_path / "mine.yaml") == {"a": 1e-3, "b": 5e4, "c": "1e3x", "d": 2.5}


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_schema_for_editors_is_in_step(command: str) -> None:
    made = runpy.run_path(str(REPOSITORY / "scripts" / "make_schemas.py"))["json_schema"](command)
    shipped = (CONF_DIR / f"{command}.schema.json").read_text()
    assert json.loads(shipped) == json.loads(made), "run scripts/make_schemas.py"
    assert "required" not in made
    assert {"defaults", "hydra"} < json.loads(made)["properties"].keys()


def test_an_embedding_that_is_not_installed_is_said_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_settings, "find_spec", lambda name: None)
    check_names(resolve({"artifacts": {"embedding": "tsne"}}, Config))
    with pytest.raises(ConfigError) as refused:
        check_names(resolve({"artifacts": {"embedding": "umap"}}, Config))
    assert str(refused.value) == (
        "artifacts.embedding=umap needs an additional package: type pip install 'vaelab[embedding]'."
    )
