"""The machine: which device, which versions, which commit, what time."""

import os
import platform
import random
import re
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vaelab.config import CONF_DIR, ConfigError, counted

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


def pick_device(name: str) -> torch.device:
    """The device to train on, set as CUDA's current one; raises ConfigError if it isn't available."""
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if present else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= present:
        has = "has no CUDA device that PyTorch can use"
        if present:
            has = f"has only {counted(present, 'CUDA device')}, numbered from cuda:0"
        raise ConfigError(f"device={name}, but this machine {has}: type device=cpu, or leave device=auto.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            "device=mps, but this machine has no Apple GPU that PyTorch can use: type device=cpu, or leave "
            "device=auto."
        )
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs are made on the current one
    return device


def doubled(x: torch.Tensor) -> torch.Tensor:
    """A float64 copy, on the same device if it supports float64, and else (MPS) on the CPU."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@contextmanager
def importing() -> Iterator[None]:
    """Within the context, libraries are imported; warning filters, variables and `random` are restored."""
    state, variables = random.getstate(), {*os.environ}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            random.setstate(state)
            for name in {*os.environ} - variables:
                if not name.startswith("KMP_"):  # scikit-learn's: OpenMP reads them later
                    del os.environ[name]


@contextmanager
def torch_settings_kept() -> Iterator[None]:
    """Within the context, PyTorch's global settings may change; they are then restored."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark, filled = torch.backends.cudnn.benchmark, torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    workspace = os.environ.get(WORKSPACE)
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else 0
    flushes = bool(torch.tensor(1e-40) / 2 == 0)
    try:
        yield
    finally:
        set_deterministic(deterministic, warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        if torch.cuda.is_initialized():
            torch.cuda.set_device(device)
        torch.set_flush_denormal(flushes)


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def set_deterministic(wanted: bool, warn_only: bool = False) -> None:
    """Set whether CUDA uses deterministic algorithms; those of the CPU always are."""
    if wanted == torch.are_deterministic_algorithms_enabled():
        return  # setting it again would import PyTorch's compiler
    if wanted:
        os.environ.setdefault(WORKSPACE, ":4096:8")  # PyTorch's notes on reproducibility
        torch.backends.cudnn.benchmark = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(wanted, warn_only=warn_only)


def device_facts(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    cpuinfo = Path("/proc/cpuinfo")  # elsewhere Python knows the processor's name
    said = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    found = re.search(r"model name\s*: (.+)", said)
    name = found[1] if found else platform.processor() or platform.machine()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def memory(device: torch.device) -> int | None:
    """The device's total memory in bytes, or None if the system doesn't say."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    known = hasattr(os, "sysconf")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if known else None


def process_facts() -> dict[str, Any]:
    """Which process of which machine this is, and in which job of a cluster."""
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": socket.gethostname(), "process": os.getpid(), **({"slurm_job": job} if job else {})}


def versions() -> dict[str, str]:
    """Versions of vaelab, Python, the system, and the libraries that numbers and figures depend on."""
    packages = ("torch", "numpy", "matplotlib", "pillow", "hydra-core", "omegaconf")
    system = {"python": platform.python_version(), "platform": platform.platform()}
    return {"vaelab": version("vaelab"), **system, **{package: version(package) for package in packages}}


def git_facts() -> dict[str, Any] | None:
    """The commit of vaelab's own checkout and whether it has local changes; None for an installed package."""
    checkout = CONF_DIR.parent
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-c", f"safe.directory={checkout}", "status", "--branch", "--porcelain=2"]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):  # no git here
        return None
    commit, *lines = done.stdout.splitlines()
    changed = any(not line.startswith("#") for line in lines)
    return {"commit": commit.removeprefix("# branch.oid "), "modified": changed}
