"""From plain values to checked settings and back: types, ranges, messages, files."""

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

from harness import REPOSITORY
from vaelab import config
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
    defaults,
    describe,
    overrides_of,
    resolve,
)
from vaelab.config import train as train_settings
from vaelab.config.train import check_names
from vaelab.training.identity import training_digest


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
    "loss.likelihood": "a name, or {name:NAME,ARGUMENT:VALUE}",
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
def test_yes_and_on_mean_true_and_their_opposites_false(word: object, value: bool) -> None:
    assert resolve({"kl": word}, Config).kl is value


def test_numbers_and_paths_are_texts_where_a_text_is_wanted() -> None:
    resolved = resolve({"artifacts": {"watermark": 2026}, "resume": Path("a/b")}, Config)
    assert (resolved.artifacts.watermark, resolved.resume) == ("2026", "a/b")


@pytest.mark.parametrize(
    ("schema", "plain", "said"),
    [
        (Config, {"loss": {"beta": 3}}, "Unknown setting 'loss.beta'. Did you mean 'beta'?"),
        (Config, {"lr": 1}, "Unknown setting 'lr'. Did you mean 'optimizer.lr'?"),
        (Config, {"latent_dim": 1}, "Unknown setting 'latent_dim'. Did you mean 'model.latent_dim'?"),
        (Config, {"optimizer": "sgd"}, "Unknown setting 'optimizer'. Did you mean 'optimizer.lr'?"),
        (Config, {"model": {"latent_dim": 2}}, "model must be a mapping"),
        (CompareConfig, {"sweep": ""}, "sweep must be a folder of runs"),
        (ExploreConfig, {"sweep": "x", "pair": ["a", "a"]}, "pair must be two folders' names"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(
    schema: type[Settings], plain: dict[str, Any], said: str
) -> None:
    assert refusal(schema, plain).startswith(said)


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


# --- files ------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=60, deadline=None, derandomize=True, database=None)
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
        "artifacts.embedding=umap needs a package that is not installed: type pip install 'vaelab[embedding]'."
    )
