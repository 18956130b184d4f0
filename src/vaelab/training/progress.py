"""What a person sees while it trains: one bar over the run, silent in a pipe, and one line an epoch."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from vaelab.training.loop import Record, TrainingState


class Bar:
    """The progress bar of a run, in images; shows the terms of the last step."""

    def __init__(self, state: TrainingState, epochs: int, batch_size: int, images: int) -> None:
        self.batch_size = batch_size
        self.images = images
        self.epochs = epochs
        self.bar: tqdm[Any] = tqdm(
            total=epochs * images,
            initial=self.seen(state),
            unit=" images",
            disable=None,  # silent unless stderr is a terminal
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt}, {remaining} left",
        )

    def seen(self, state: TrainingState) -> int:
        """Images since the first epoch began."""
        return state.epoch * self.images + min(state.step * self.batch_size, self.images)

    def update(self, state: TrainingState) -> None:
        redrawn = self.bar.update(self.seen(state) - self.bar.n)
        if redrawn:  # only then, because reading the terms waits for the device
            images = min(self.batch_size, self.images - (state.step - 1) * self.batch_size)
            reconstruction, kl, loss = (state.sums_S3[state.step - 1] / images).tolist()
            self.bar.set_description_str(
                f"epoch {state.epoch + 1}/{self.epochs}  loss {loss:.2f}  "
                f"reconstruction {reconstruction:.2f}  KL {kl:.2f} ",
                refresh=False,
            )

    def say(self, doing: str) -> None:
        self.bar.set_description_str(doing)

    def close(self) -> None:
        self.bar.close()


def epoch_line(record: Record, epochs: int, held_out: str, best: bool) -> str:
    """One line for the log: what was learned, how the held-out images score, how fast."""
    width = len(str(epochs))
    return (
        f"epoch {record['epoch']:{width}.0f}/{epochs}"
        f"  loss {record['train/loss']:.2f}"
        f"  reconstruction {record['train/reconstruction']:.2f}  KL {record['train/kl']:.2f}"
        f"  |  {held_out} neg_elbo {record[f'{held_out}/neg_elbo']:.2f}"
        f"  active units {record['active_units']:.0f}"
        f"  |  {record['images_per_second']:,.0f} images/s" + ("  best" if best else "")
    )
