"""The scripts, in a copy of the checkout whose environments are made already: no network, nothing installed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness import REPOSITORY, TINY, UNDRAWN, environment

PRE_COMMIT = REPOSITORY / ".pre-commit-config.yaml"
REAL = f'exec {sys.executable} "$@"'
SHOWN = 'echo "$@"'
"""What an environment's interpreter does: it runs, or shows what it would run."""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    shutil.copytree(REPOSITORY / "scripts", folder / "scripts")
    for name in ("pyproject.toml", PRE_COMMIT.name):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def script(checkout: Path, interpreter: str, name: str, *arguments: str) -> str:
    """What a script prints."""
    for stamp in (".venv/.vaelab", ".venv/.vaelab-test", ".venv-oldest/.complete"):
        python = checkout / Path(stamp).parent / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f"#!/bin/sh\n{interpreter}\n")
        python.chmod(0o755)
        shutil.copy(checkout / "pyproject.toml", checkout / stamp)
    command = ["bash", str(checkout / "scripts" / name), *arguments]
    env = environment(PYTHON=sys.executable, VAELAB_DATA=str(checkout / "no-data"))
    result = subprocess.run(command, capture_output=True, text=True, cwd=checkout, env=env)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_quickstart_trains_a_conv_vae_and_prints_what_to_open(checkout: Path) -> None:
    short = [*TINY, *UNDRAWN, "epochs=1", "artifacts.report=true", "hydra.run.dir=run"]
    printed = script(checkout, REAL, "quickstart.sh", *short)
    settings = (checkout / "run" / "config.yaml").read_text()
    assert "name: conv\n" in settings
    assert "beta: 0.5\n" in settings
    assert "report.html" in printed
    assert (checkout / "run" / "report.html").exists()


def test_the_test_script_checks_and_passes_arguments_to_pytest(checkout: Path) -> None:
    checks = ["-m ruff check .", "-m ruff format --check .", "-m mypy"]
    assert script(checkout, SHOWN, "test.sh", "-k", "resume").splitlines() == [*checks, "-m pytest -k resume"]
    assert script(checkout, SHOWN, "test.sh", "--oldest", "-x").splitlines() == ["-m pytest -x"]


def test_pre_commit_runs_the_checks_of_the_test_script(checkout: Path) -> None:
    (repository,) = yaml.safe_load(PRE_COMMIT.read_text())["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in repository["hooks"]]
    *checks, _ = script(checkout, SHOWN, "test.sh").splitlines()
    assert [f"-m {hook}" for hook in hooks] == [
        each.removesuffix(" .").removesuffix(" --check") for each in checks
    ]


def test_pre_commit_accepts_its_configuration_and_installs_the_hook(checkout: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    env = environment(PRE_COMMIT_HOME=str(checkout / "cache"), PYTHONWARNINGS=None)
    for command in (["validate-config", PRE_COMMIT.name], ["install"]):
        line = [sys.executable, "-m", "pre_commit", *command]
        result = subprocess.run(line, cwd=checkout, env=env, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "pre-commit" in (checkout / ".git" / "hooks" / "pre-commit").read_text()


@pytest.mark.slow
def test_the_benchmark_writes_each_round(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/benchmark.py", "--parts", "start", "--rounds", "1"]
    env = environment(PYTHONWARNINGS=None)
    subprocess.run([*command, "--json", str(tmp_path / "rounds.json")], cwd=REPOSITORY, env=env, check=True)
    figures = json.loads((tmp_path / "rounds.json").read_text())["figures"]
    assert {each["part"] for each in figures} == {"start"}
    assert all(len(each["rounds"]) == 1 and each["median"] > 0 for each in figures)
