"""The machine: which device, which versions, which commit, what time."""

import os
import platform
import re
import socket
import subprocess
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vaelab.config import CONF_DIR, ConfigError


def pick_device(name: str) -> torch.device:
    """The device to train on, made CUDA's current one; raises ConfigError for one that isn't there."""
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if present else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= present:
        has = f"has {present} CUDA device(s)" if present else "has no CUDA device that PyTorch can use"
        raise ConfigError(f"device={name}, but this machine {has}: type device=cpu, or leave device=auto.")
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # streams and graphs are made on the current one
    return device


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def set_deterministic(wanted: bool) -> None:
    """Whether CUDA computes by bitwise reproducible algorithms; the CPU's always are."""
    if wanted == torch.are_deterministic_algorithms_enabled():
        return  # setting it again would import PyTorch's compiler
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # PyTorch's notes on reproducibility
        torch.backends.cudnn.benchmark = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(wanted)


def device_facts(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    cpuinfo = Path("/proc/cpuinfo")  # elsewhere Python knows the processor's name
    found = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    name = found[1] if found else platform.processor() or platform.machine()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads()}


def memory(device: torch.device) -> int | None:
    """Bytes of memory that the device has in all, or None where the system doesn't say."""
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
    packages = ("torch", "torchvision", "numpy", "matplotlib", "pillow", "hydra-core", "omegaconf")
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
