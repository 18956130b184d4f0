"""Tests that walk the project: imports point down, libraries stay in their packages, the wheel is complete."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from harness import REPOSITORY, TINY, UNDRAWN, CommandLine, environment
from vaelab.runs.environment import versions

SOURCE = REPOSITORY / "src" / "vaelab"

LAYERS = (
    {"config"},
    {"runs", "figures"},
    {"data", "models", "pages"},
    {"objectives", "metrics"},
    {"training"},
    {"evaluation"},
    {"comparison", "explorer"},
    {"cli"},  # and the entry points, and the root package
)
"""From the bottom up. A module imports from its own package and from lower layers, and from nowhere else."""

LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def package(path: Path) -> str:
    """The package of a module; the root package and the entry points belong to cli."""
    first, *rest = path.relative_to(SOURCE).with_suffix("").parts
    return first if rest else "cli"


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path: Path) -> None:
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "vaelab" and len(parts) > 1 and parts[1] != package(path):
            assert LAYER[parts[1]] < LAYER[package(path)], f"{path.name} imports {module}"


def test_text_files_are_utf_8_on_every_system() -> None:
    """Windows reads and writes in a code page of its own unless the encoding is named."""
    unnamed = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called, text = ast.unparse(node.func), ast.unparse(node)
            is_binary = bool(re.search(r"""'[rwxa]?\+?b""", text))
            others = (
                "os.open",
                "Image.open",
                "home.write_text",
                "self.write_text",
                "folder.write_text",
            )  # UTF-8
            is_file = called.rpartition(".")[2] in ("open", "read_text", "write_text")
            if is_file and not is_binary and "encoding=" not in text and not called.endswith(others):
                unnamed.append(f"{path.relative_to(SOURCE)}: {text}")
    assert unnamed == []


def test_libraries_stay_in_their_packages() -> None:
    allowed = {"matplotlib": {"figures"}, "PIL": {"data", "figures", "pages"}, "jinja2": {"pages"}, "torchvision": set(), "torchmetrics": set(),
               "pydantic": {"config", "training"}, "hydra": {"cli"}, "omegaconf": {"cli"}, "sklearn": {"metrics"},
               "safetensors": {"evaluation", "metrics", "training"},
               "onnx": {"evaluation"}, "onnxruntime": {"evaluation"}}  # fmt: skip
    for path in MODULES:
        for library, packages in allowed.items():
            if any(module.split(".")[0] == library for module in imports(path)):
                assert package(path) in packages, f"{path} imports {library}"


def test_figures_use_no_pyplot() -> None:
    for path in MODULES:
        assert not any("pyplot" in module for module in imports(path)), path


def test_every_dependency_says_why() -> None:
    lines = (REPOSITORY / "pyproject.toml").read_text().splitlines()
    start = lines.index("dependencies = [")
    for line in lines[start + 1 : lines.index("]", start)]:
        assert "#" in line, line


def test_only_declared_libraries_are_used() -> None:
    """Of users, who don't install the test extra: what is imported, and whose versions a run records."""
    requirements = [Requirement(line) for line in requires("vaelab") or []]
    declared = {each.name for each in requirements if "test" not in str(each.marker)}
    declared |= {
        "markupsafe",
        "optuna",
        "typing-extensions",
    }  # what jinja2, the sweeper and pydantic take along
    used = set(versions()) - {"vaelab", "python", "platform"}
    of_module = packages_distributions()
    for module in {name.partition(".")[0] for path in MODULES for name in imports(path)}:
        if module != "vaelab" and module not in sys.stdlib_module_names:
            used |= {
                name.lower().replace("_", "-") for name in of_module.get(module, [])[:1]
            }  # umap isn't here
    assert used <= declared


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it, which twine finds correct."""
    folder = tmp_path_factory.mktemp("built")
    build = ["build", "--no-isolation", "--outdir", str(folder), str(REPOSITORY)]
    check = ["twine", "check", "--strict", str(folder / "*")]
    for command in (build, check):
        result = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


def test_the_wheel_has_every_yaml_and_every_data_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    conf = REPOSITORY / "conf"
    expected = {f"vaelab/conf/{path.relative_to(conf)}" for path in files_below(conf)}
    expected |= {f"vaelab/{path.relative_to(SOURCE)}" for path in files_below(SOURCE)}
    assert expected <= names
    assert [name for name in names - expected if ".dist-info/" not in name] == []
    licences = [path.relative_to(REPOSITORY) for path in files_below(SOURCE) if "LICENSE" in path.name]
    assert len(licences) == 5
    for path in (Path("LICENSE"), *licences):
        assert any(name.endswith(f".dist-info/licenses/{path}") for name in names), path


def test_the_source_distribution_has_what_development_needs(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    folders = ("conf", "outputs/examples", "scripts", "src", "tests")
    expected = {path for folder in folders for path in files_below(REPOSITORY / folder)}
    expected |= {
        REPOSITORY / name for name in ("README.md", "LICENSE", "pyproject.toml", ".pre-commit-config.yaml")
    }
    assert {str(path.relative_to(REPOSITORY)) for path in expected} <= names


def test_the_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    """Unpacked before everything else on the path, so that its conf/ and its subset are the ones used."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    script = "import sys, vaelab.config, vaelab.train; print(vaelab.config.CONF_DIR); sys.modules['vaelab.train'].main()"
    line = [*TINY, *UNDRAWN, "model.hidden=[16]", "epochs=1", "artifacts.report=true"]
    result = subprocess.run(
        [sys.executable, "-c", script, *line],
        capture_output=True, text=True, cwd=tmp_path / "empty", timeout=240,
        env=environment(PYTHONPATH=str(tmp_path / "site")),
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(tmp_path / "site" / "vaelab" / "conf"))
    assert {path.name for path in (tmp_path / "empty").rglob("*.*")} >= {"best.safetensors", "report.html"}


def test_the_installed_script_is_the_module(train: CommandLine, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "vaelab-train"), "--cfg", "job"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert result.stdout == train("--cfg", "job").stdout != ""
