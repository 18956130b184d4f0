"""Named streams of random numbers, one per purpose, so that drawing a figure never changes the loss curve."""

import hashlib

import torch
from torch import Generator


def stream(seed: int, purpose: str, epoch: int = 0, device: torch.device | str = "cpu") -> Generator:
    """A generator for one seed, purpose ("shuffle", "latent", …) and epoch, independent of all others."""
    return restart(Generator(device), seed, purpose, epoch)


def restart(generator: Generator, seed: int, purpose: str, epoch: int = 0) -> Generator:
    """Reset a generator to the beginning of a named stream, and return it."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
