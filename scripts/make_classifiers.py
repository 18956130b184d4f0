"""Train the classifiers whose features FID, KID, precision and recall are measured on; write their weights.

    python scripts/make_classifiers.py dataset=images dataset.root=FOLDER    # images of your own, with labels
    python scripts/make_classifiers.py dataset=kmnist dataset.root=FOLDER    # or any other data set
    python scripts/make_classifiers.py --shipped FOLDER    # those in the package; FOLDER has both full sets

The settings are those of `dataset` in vaelab.train: give what the runs were given. The file is written
beside the data, where vaelab.evaluate finds it, or to --output, for dataset.features=FILE of vaelab.evaluate.
It names the SHA-256 of the data and the test accuracy.

Each takes minutes on a CPU. The last epoch is kept and nothing is chosen by the test set, so that the test
accuracy written beside the weights is unbiased.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Generator, Tensor

from vaelab.cli.compose import composing, settings_of
from vaelab.config import Config, DatasetConfig, VaelabError
from vaelab.data import splits
from vaelab.data.splits import Data
from vaelab.metrics.features import BATCH, SMALLEST, Classifier, beside, digest_of, shipped
from vaelab.runs.files import write_atomically
from vaelab.runs.random_streams import stream

EPOCHS = {"mnist": 6, "fashion_mnist": 15}
STEPS = 7000
"""For a data set that is not named there: about as many as Fashion-MNIST takes, in at most 100 epochs."""
BATCH_SIZE = 128
LEAST_ACCURACY = {"mnist": 0.990, "fashion_mnist": 0.915}
MIRRORED = {"fashion_mnist"}
"""Data whose images may be flipped from left to right; a flipped digit is not a digit."""

CPU = torch.device("cpu")


def augmented(x_BCHW: Tensor, mirror: bool, noise: Generator) -> Tensor:
    """Each image shifted by up to 2 pixels, and half of them flipped where that makes sense."""
    count, _, height, width = x_BCHW.shape
    padded = F.pad(x_BCHW, (2, 2, 2, 2))
    top, left = torch.randint(0, 5, (2, count, 1, 1), generator=noise)
    rows = top + torch.arange(height).view(1, -1, 1)
    columns = left + torch.arange(width).view(1, 1, -1)
    shifted = padded.movedim(1, 3)[torch.arange(count).view(-1, 1, 1), rows, columns].movedim(3, 1)
    flip = torch.rand(count, 1, 1, 1, generator=noise) < (0.5 if mirror else 0.0)
    return torch.where(flip, shifted.flip(3), shifted)


def trained(data: Data, mirror: bool, epochs: int | None = None) -> Classifier:
    torch.manual_seed(0)
    network = Classifier(data.spec.image_shape, len(data.spec.classes))
    per_epoch = -(-len(data.train) // BATCH_SIZE)
    epochs = epochs or EPOCHS.get(data.spec.name) or min(100, -(-STEPS // per_epoch))
    steps = epochs * per_epoch
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
            f"{data.spec.title}: epoch {epoch}/{epochs}, cross-entropy {total / len(data.train):.4f}",
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
    parser.add_argument("settings", nargs="*", help="dataset=… dataset.root=…")
    parser.add_argument("--output", type=Path, help="the file to write; by default beside the data")
    parser.add_argument(
        "--epochs",
        type=int,
        help="by default 6 for mnist, 15 for fashion_mnist, else about 7,000 steps in at most 100 epochs",
    )
    parser.add_argument("--shipped", metavar="FOLDER", help="both full data sets in torchvision's layout")
    arguments = parser.parse_args()
    try:
        if arguments.shipped:
            for name in LEAST_ACCURACY:
                config = DatasetConfig(name=name, source="full", root=arguments.shipped, val_size=0)
                make(config, shipped(name))
        else:
            with composing("train") as compose:
                if others := [each for each in arguments.settings if not each.startswith("dataset")]:
                    raise VaelabError(f"{others[0]} is not a dataset setting: leave it out.")
                config = settings_of(compose(arguments.settings), Config).dataset
            config = config.replace(val_size=0, binarize="none", classes=None)
            make(config, arguments.output, arguments.epochs)
    except VaelabError as error:
        sys.exit(f"make_classifiers: {error}")


def make(config: DatasetConfig, path: Path | None, epochs: int | None = None) -> None:
    """Train the classifier of a data set and write it. Raises VaelabError."""
    data = splits.load(config, CPU)
    name = data.spec.title
    path = beside(Path(data.origin.folder)) if path is None else path
    if len(data.spec.classes) < 2:
        raise VaelabError(f"{name} has no labels of at least two classes, which a classifier is trained on.")
    if min(data.spec.image_shape[1:]) < SMALLEST:
        raise VaelabError(f"The network takes images of at least {SMALLEST} × {SMALLEST} pixels.")
    if not data.origin.complete:
        raise VaelabError(
            f"{name}: the embedded subset is too small: type dataset.root=FOLDER with all of it."
        )
    network = trained(data, mirror=data.spec.name in MIRRORED, epochs=epochs)
    reached = accuracy(network, data)
    most = data.test.labels.long().bincount().max().item() / len(data.test)
    print(
        f"{name}: test accuracy {reached:.4f} on {len(data.test):,} images, of which {most:.4f} are of the "
        "most frequent class"
    )
    if (least := LEAST_ACCURACY.get(data.spec.name, 0)) > reached:
        raise VaelabError(f"{name}: a test accuracy of at least {least} was expected; nothing is written.")
    if reached - most < 3 * math.sqrt(most * (1 - most) / len(data.test)):
        raise VaelabError(
            f"{name}: that is not clearly better than always predicting the most frequent class; nothing is "
            "written. Train for more --epochs, or on more images."
        )
    facts = {"test_accuracy": f"{reached:.4f}", "trained_on": f"all {len(data.train)} training images"}
    if path != shipped(data.spec.name):
        facts |= {
            "data": digest_of(data.origin.sha256),
            "image_shape": json.dumps(data.spec.image_shape),
            "classes": str(len(data.spec.classes)),
        }
    write(path, save(network.state_dict(), metadata=facts))
    print(f"{path}: {path.stat().st_size:,} bytes")


def write(path: Path, content: bytes) -> None:
    write_atomically(path, lambda file: file.write(content))


if __name__ == "__main__":
    main()
