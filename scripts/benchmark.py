"""How fast vaelab trains beside the usual loop, and what its pictures cost.

    python scripts/benchmark.py [FOLDER]    # FOLDER has the full Fashion-MNIST in torchvision's layout

Each figure is a ratio of two things done in turn in this one process, and the median of several: machines are
shared, and their speed drifts. Without FOLDER the embedded subset is used.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from vaelab.config import Config, DatasetConfig
from vaelab.data import splits
from vaelab.data.splits import Data, Split
from vaelab.models import build
from vaelab.training.fit import TrainingState, train_epoch

ROUNDS = 7
BATCH = 128
STEPS = {"mlp": 150, "conv": 40}
CPU = torch.device("cpu")


class PerImage(Dataset[tuple[Tensor, int]]):
    """What torchvision.datasets.MNIST does for each image: a row of bytes, a PIL image, ToTensor."""

    def __init__(self, split: Split) -> None:
        self.images, self.labels = split.images, split.labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index].numpy())), self.labels[index]


def usual_loop(name: str, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """The training loop of most tutorials, with the same network, loss and optimizer."""
    model = build({"name": name}, (1, 28, 28), seed=0).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    bce = nn.BCEWithLogitsLoss(reduction="sum")
    total = 0.0
    for x, _ in batches:
        mean, log_variance = model.encoder(x).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = (bce(model.decoder(z), x) + kl) / len(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()


def seconds(work: Callable[..., None], *arguments: object) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def beside_the_usual_loop(name: str, data: Data, workers: int) -> list[float]:
    """vaelab's images/s over the usual loop's, a ratio a round."""
    images = min(STEPS[name] * BATCH, len(data.train))
    few = replace(data.train, images=data.train.images[:images], labels=data.train.labels[:images])
    data = replace(data, train=few)
    config = Config(model={"name": name}, batch_size=BATCH)
    ratios = []
    for _ in range(ROUNDS):
        state = TrainingState.fresh(config, data, CPU)
        ours = seconds(train_epoch, state, data, config, lambda _: None)
        loader = DataLoader(PerImage(few), BATCH, shuffle=True, num_workers=workers)
        ratios.append(seconds(usual_loop, name, loader) / ours)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", help="the full set, in torchvision's layout")
    folder = parser.parse_args().folder
    dataset = DatasetConfig(root=folder, source="full") if folder else DatasetConfig(source="embedded")
    data = splits.load(dataset, CPU)
    threads = torch.get_num_threads()
    print(f"{data.description}, batch {BATCH}, {threads} threads, median of {ROUNDS} rounds (min, max)")
    for name in STEPS:
        for workers in (0, 2):
            ratios = beside_the_usual_loop(name, data, workers)
            print(
                f"{name:<5} images/s over a DataLoader + ToTensor loop with {workers} workers: "
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f}, {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
