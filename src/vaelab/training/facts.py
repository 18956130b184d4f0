"""What run.json says: what was run, on what data and machine, with which versions."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vaelab import __version__
from vaelab.config import CONF_DIR, Config
from vaelab.data.splits import Data
from vaelab.models import VAE

PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "pillow", "hydra-core", "omegaconf")


def facts(config: Config, data: Data, model: VAE, arguments: Sequence[str]) -> dict[str, Any]:
    """The part of run.json that is known before the first step."""
    return {
        "command": command(arguments),
        "working_directory": str(Path.cwd()),
        "objective": config.objective,
        "likelihood": config.loss.likelihood,
        "units": "nats per image: summed over pixels and latent dimensions, averaged over images",
        "model": {
            **config.model,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
        "data": {
            "name": data.spec.name,
            "description": data.description,
            "classes": {str(number): name for number, name in data.class_names.items()},
            "binarize": data.binarize,
            "images": {
                "train": len(data.train),
                "val": len(data.held_out) if data.held_out.name == "val" else 0,
                "test": len(data.test),
            },
            "scored_each_epoch": data.held_out.name,
            **data.origin.to_dict(),
        },
        "device": device_facts(data.train.images.device),
        "versions": {
            "vaelab": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{package: version(package) for package in PACKAGES},
        },
        "git": git_facts(),
    }


def command(arguments: Sequence[str]) -> str:
    """The shell line that does the same."""
    return shlex.join(["python", "-m", "vaelab.train", *arguments])


def override(key: str, value: object) -> str:
    """`key=value` as Hydra reads it back: in quotes where the value has more than plain letters."""
    text = str(value)
    if not re.fullmatch(r"[\w./+:~-]+", text):
        text = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"{key}={text}"


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def device_facts(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"type": "cuda", "name": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return {"type": device.type, "name": processor_name(), "threads": torch.get_num_threads()}


def processor_name() -> str:
    """The CPU's name; Python knows it only on some systems, so Linux is asked itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_facts() -> dict[str, Any] | None:
    """The commit of vaelab's own checkout and whether it has local changes; None for an installed package."""
    checkout = CONF_DIR.parent
    if not (checkout / ".git").exists():
        return None

    def git(*words: str) -> str:
        asked = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "modified": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):  # no git here, or a checkout without a commit
        return None
