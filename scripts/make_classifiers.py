"""Train the classifiers whose features FID, KID, precision and recall are measured on; write their weights.

    python scripts/make_classifiers.py FOLDER    # FOLDER has both full data sets in torchvision's layout

Each takes minutes on a CPU. The last epoch is kept and nothing is chosen by the test set, so that the test
accuracy written beside the weights is an honest one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Generator, Tensor

from vaelab.config import DatasetConfig
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.metrics.generation import BATCH, CLASSIFIERS, Classifier
from vaelab.runs.files import write_atomically
from vaelab.runs.random_streams import stream

EPOCHS = {"mnist": 6, "fashion_mnist": 15}
BATCH_SIZE = 128
LEAST_ACCURACY = {"mnist": 0.990, "fashion_mnist": 0.915}
MIRRORED = {"fashion_mnist"}
"""Data whose images may be flipped from left to right; a flipped digit is none."""

CPU = torch.device("cpu")


def augmented(x_B1HW: Tensor, mirror: bool, noise: Generator) -> Tensor:
    """Each image shifted by up to 2 pixels, and half of them flipped where that makes sense."""
    count, _, height, width = x_B1HW.shape
    padded = F.pad(x_B1HW, (2, 2, 2, 2))
    top, left = torch.randint(0, 5, (2, count, 1, 1), generator=noise)
    rows = top + torch.arange(height).view(1, -1, 1)
    columns = left + torch.arange(width).view(1, 1, -1)
    shifted = padded[torch.arange(count).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)
    flip = torch.rand(count, 1, 1, 1, generator=noise) < (0.5 if mirror else 0.0)
    return torch.where(flip, shifted.flip(3), shifted)


def trained(data: Data, mirror: bool) -> Classifier:
    torch.manual_seed(0)
    network = Classifier()
    epochs = EPOCHS[data.spec.name]
    steps = epochs * -(-len(data.train) // BATCH_SIZE)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(1, epochs + 1):
        noise = stream(0, "classifier", epoch)
        total = 0.0
        for index in torch.randperm(len(data.train), generator=noise).split(BATCH_SIZE):
            x = augmented(data.train.batch(index, noise), mirror, noise)
            loss = F.cross_entropy(network(x), data.train.labels[index].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(index)
        print(
            f"{data.spec.name}: epoch {epoch}/{epochs}, cross-entropy {total / len(data.train):.4f}",
            flush=True,
        )
    return network.eval()


def accuracy(network: Classifier, data: Data) -> float:
    noise = stream(0, "none is drawn")
    images = data.test.batch(slice(None), noise)
    with torch.no_grad():
        guesses = torch.cat([network(batch).argmax(dim=1) for batch in images.split(BATCH)])
    return (guesses == data.test.labels).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="has both full data sets in torchvision's layout")
    parser.add_argument("dataset", nargs="*", default=list(LEAST_ACCURACY), help=", ".join(LEAST_ACCURACY))
    arguments = parser.parse_args()
    for name in arguments.dataset:
        config = DatasetConfig(name=name, source="full", root=arguments.folder, val_size=0)
        data = splits.load(config, CPU)
        network = trained(data, mirror=name in MIRRORED)
        reached = accuracy(network, data)
        print(f"{name}: test accuracy {reached:.4f} on {len(data.test):,} images")
        if reached < LEAST_ACCURACY[name]:
            sys.exit(f"{name}: at least {LEAST_ACCURACY[name]} was expected; nothing is written.")
        facts = {"test_accuracy": f"{reached:.4f}", "trained_on": f"all {len(data.train)} training images"}
        path = CLASSIFIERS / f"{name}_cnn.safetensors"
        write(path, save(network.state_dict(), metadata=facts))
        print(f"{path}: {path.stat().st_size:,} bytes")


def write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


if __name__ == "__main__":
    main()
