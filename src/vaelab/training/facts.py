"""What run.json says: what was run, on what data and machine, with which versions."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelab.config import Config, quote_override
from vaelab.data.splits import Data
from vaelab.models import VAE
from vaelab.runs.environment import device_facts, git_facts, versions


def facts(config: Config, data: Data, model: VAE, folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The part of run.json that is known before the first step."""
    return {
        "command": command(arguments),
        "repeat": command([quote_override("repeat", folder)]),
        "working_directory": str(Path.cwd()),
        "objective": config.objective,
        "likelihood": config.loss.likelihood_name,
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
        "versions": versions(),
        "git": git_facts(),
    }


def command(arguments: Sequence[str]) -> str:
    """The shell line that does the same."""
    return shlex.join(["python", "-m", "vaelab.train", *arguments])
