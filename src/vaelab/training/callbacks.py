"""What happens around the training loop: one class for each task.

Callbacks read the state and don't change what is learned; to stop the training they raise an exception.
"""

import logging
import math
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaelab.config import Config, quote_override
from vaelab.data.splits import Data
from vaelab.models import VAE
from vaelab.runs.environment import device_facts, git_facts, now, process_facts, versions
from vaelab.runs.files import StorageError
from vaelab.runs.folder import RunFolder
from vaelab.runs.logs import progress
from vaelab.runs.signals import Interrupted, Signals
from vaelab.training import checkpoint
from vaelab.training.state import TrainingState, check_finite, is_complete

log = logging.getLogger("vaelab.training")


Bar = Callable[..., Iterable[Any]]
"""Yields items with a progress bar: `bar(items, "drawing figures")`, or with their number as well."""


class Callback:
    """Base class of callbacks and loggers: every method does nothing unless overridden.

    >>> from types import SimpleNamespace
    >>> class Announce(Callback):
    ...     def on_epoch(self, state: TrainingState) -> None:
    ...         print(f"epoch {state.epoch} is done")
    >>> notify([Announce()], "on_epoch", SimpleNamespace(epoch=3))
    epoch 3 is done

    A logger is such a class, registered in `vaelab.training.loggers.loggers`. Interrupted ends the run with
    the status interrupted, any other Exception with the status failed.
    """

    def on_start(self, state: TrainingState) -> None:
        """Called before the first step of a session, which may start in the middle of a run."""

    def on_step(self, state: TrainingState) -> None:
        """Called after every step. Its time counts as training time, except within `state.not_timed()`."""

    def on_epoch(self, state: TrainingState) -> None:
        """Called after every epoch; `state.history[-1]` has its numbers, named as in metrics.csv."""

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        """Called when the session ends, also by an interrupt or an error.

        `facts` is the content of run.json: status, best epoch, data, …
        """


def notify(callbacks: Sequence[Callback], event: str, state: TrainingState, *facts: Any) -> None:
    """Call the method `event` of every callback, in order; `facts` are for on_end."""
    for callback in callbacks:
        getattr(callback, event)(state, *facts)


class CheckFinite(Callback):
    """Raises TrainingDiverged once a loss or a weight is not finite.

    It checks at the end of each epoch and, on a CPU, also every 50 steps: on a GPU each check would wait for
    the device.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def on_step(self, state: TrainingState) -> None:
        due = state.device.type == "cpu" and state.step % 50 == 0
        if due or state.step == state.steps_per_epoch:
            check_finite(state, self.config)


class DropTinyMoments(Callback):
    """Every 100 steps, sets Adam's moments below 1e-30 in magnitude to 0.

    Pixels that are nearly always black have vanishing gradients, whose moments decay to denormal numbers.
    These slow a CPU's arithmetic down several times, and are too small next to Adam's epsilon of 1e-8 to
    change a weight.
    """

    def on_step(self, state: TrainingState) -> None:
        if state.total_steps % 100 == 0:
            for moments in state.optimizer.state.values():
                for name in ("exp_avg", "exp_avg_sq"):
                    moments[name].masked_fill_(moments[name].abs() < 1e-30, 0)


class SaveEpochs(Callback):
    """Writes metrics.csv and the checkpoints: last, best, and those of artifacts.checkpoint_every."""

    def __init__(self, config: Config, data: Data, folder: RunFolder) -> None:
        self.config, self.data, self.folder = config, data, folder

    def on_epoch(self, state: TrainingState) -> None:
        self.folder.write_metrics(state.history)
        self.save(state, "last", *self.due(state))

    def due(self, state: TrainingState) -> list[str]:
        """The names, besides last, under which the epoch that has just ended is saved."""
        every = self.config.artifacts.checkpoint_every
        best = ["best"] if state.best_epoch == state.epoch else []
        return best + ([f"epoch_{state.epoch:04d}"] if every and state.epoch % every == 0 else [])

    def save(self, state: TrainingState, *names: str) -> None:
        """Save the current step as one checkpoint under each of `names`."""
        content = checkpoint.encode(checkpoint.content_of(state, self.config, self.data))
        for name in names:
            self.folder.write(self.folder.checkpoint(name), content)


class WriteReport(Callback):
    """Writes report.html, whatever the status; if that fails, the run is complete without it."""

    def __init__(
        self, folder: RunFolder, write: Callable[[RunFolder, Mapping[str, Any]], None], bar: Bar
    ) -> None:
        self.folder, self.write, self.bar = folder, write, bar

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        try:
            for folder in self.bar([self.folder], "writing report.html"):
                self.write(folder, facts)
        except (Interrupted, StorageError):
            raise
        except Exception as error:
            log.warning("report.html was not written: %s", error)


class ProgressBar(Callback):
    """A progress bar over the whole run, in images, with the terms of the last step; none in a pipe."""

    def __init__(self, config: Config, data: Data, place: str = "") -> None:
        """`place` is the place of the run in a sweep, such as `run 2 of 3`."""
        self.config, self.images = config, len(data.train)
        self.before = f"{place}, " if place else ""
        self.bar: tqdm[Any] = tqdm(disable=True)  # until the first step

    def seen(self, state: TrainingState) -> int:
        """Images since the start of the first epoch."""
        return state.epoch * self.images + min(state.step * self.config.batch_size, self.images)

    def on_start(self, state: TrainingState) -> None:
        self.bar = progress(
            total=self.config.epochs * self.images, initial=self.seen(state), unit=" images",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {rate_noinv_fmt}, {remaining} left",
        )  # fmt: skip

    def on_step(self, state: TrainingState) -> None:
        redrawn = self.bar.update(self.seen(state) - self.bar.n)
        if redrawn:  # only then, because reading the terms waits for the device
            images = min(self.config.batch_size, self.images - (state.step - 1) * self.config.batch_size)
            reconstruction, kl, loss = (state.step_terms_ST[state.step - 1, :3] / images).tolist()
            self.bar.set_description_str(
                f"{self.before}epoch {state.epoch + 1}/{self.config.epochs}  loss {loss:.2f}  "
                f"reconstruction {reconstruction:.2f}  KL {kl:.2f} ",
                refresh=False,
            )

    def over(self, items: Iterable[Any], doing: str, total: int | None = None) -> Iterator[Any]:
        """Yields the items of a task after the training, with a progress bar of its own."""
        self.bar.close()
        style = "{desc} |{bar}| {n_fmt}/{total_fmt}, {elapsed}"
        self.bar = progress(items, f"{self.before}{doing}", total, bar_format=style)
        yield from self.bar


class LogEpochs(Callback):
    """Logs a line per epoch: training terms, scored terms, speed.

    All lines go to train.log and to the terminal; if `brief`, only that of the last epoch goes to the
    terminal.
    """

    def __init__(self, config: Config, scored: str, *, brief: bool) -> None:
        self.config, self.scored, self.brief = config, scored, brief
        self.epochs = config.epochs

    def on_epoch(self, state: TrainingState) -> None:
        record = state.history[-1]
        zeroed = record.get("zeroed_gradients", 0)
        log.info(
            f"epoch {record['epoch']:{len(str(self.epochs))}.0f}/{self.epochs}"
            f"  loss {record['train/loss']:.2f}"
            f"  reconstruction {record['train/reconstruction']:.2f}  KL {record['train/kl']:.2f}"
            f"  |  {self.scored} loss {record[f'{self.scored}/loss']:.2f}"
            f"  neg_elbo {record[f'{self.scored}/neg_elbo']:.2f}"
            f"  active units {record['active_units']:.0f}"
            f"  |  {record['images_per_second']:,.0f} images/s"
            + (f"  zeroed gradients {zeroed:.0f}" if zeroed else "")
            + ("  best" if state.best_epoch == state.epoch and state.objective.is_stationary else ""),
            extra={"file_only": self.brief and not is_complete(state, self.config)},
        )


class StopOnSignal(Callback):
    """Raises Interrupted after a step or an epoch if a signal has been received."""

    def __init__(self, config: Config, signals: Signals) -> None:
        self.config, self.signals = config, signals

    def on_step(self, state: TrainingState) -> None:
        if self.signals.received:
            check_finite(state, self.config)  # only a state with finite numbers is saved
        self.signals.check()

    def on_epoch(self, state: TrainingState) -> None:
        self.signals.check()


class RunJson(Callback):
    """Writes run.json: what was run, on which data and machine, with which versions, and how far it got."""

    def __init__(
        self, config: Config, data: Data, folder: RunFolder, state: TrainingState, before: Mapping[str, Any],
        arguments: Sequence[str], sweep: str,
    ) -> None:  # fmt: skip
        """`before` is the content written by an earlier session; `sweep` the sweep's command, if any."""
        self.folder, self.epochs, self.scored = folder, config.epochs, data.scored.name
        line = sweep or command(arguments)
        self.session = {"command": line, "started": now(), "from_epoch": state.epoch, **process_facts()}
        validation = len(data.scored) if self.scored == "val" else 0
        self.sessions = [*before.get("sessions", []), self.session]
        self.setup = {
            "command": before.get("command", line),
            "overrides": before.get("overrides", [*arguments]),
            "repeat": command([quote_override("repeat", folder.path)]),
            "working_directory": str(Path.cwd()),
            "objective": config.objective_name,
            "likelihood": config.loss.likelihood_name,
            "units": "nats per image: summed over pixels and latent dimensions, averaged over images only",
            **({"initial_weights": state.initial_weights} if state.initial_weights else {}),
            "model": {**config.model, "parameters": sum(each.numel() for each in state.model.parameters())},
            "data": {
                "name": data.spec.name,
                "description": data.description,
                "classes": {str(number): name for number, name in data.class_names.items()},
                "binarize": data.binarize,
                "image_shape": list(data.spec.image_shape),
                "images": {"train": len(data.train), "val": validation, "test": len(data.test)},
                "scored_each_epoch": self.scored,
                **({"class_prior": class_prior(state.model, data)} if state.model.classes else {}),
                **asdict(data.origin),
            },
            "device": device_facts(state.device),
            "versions": versions(),
            "git": git_facts(),
        }

    def on_epoch(self, state: TrainingState) -> None:
        self.write(state, "running")  # the status that a killed process leaves

    def write(self, state: TrainingState, status: str, **more: Any) -> dict[str, Any]:
        """Write the file; returns its content."""
        facts = self.content(state, status, **more)
        self.folder.write_run_json(facts)
        return facts

    def content(self, state: TrainingState, status: str, **more: Any) -> dict[str, Any]:
        ended = None if status == "running" else now()
        self.session |= {"ended": ended, "to_epoch": state.epoch, "status": status}
        best = None
        if state.best_epoch:
            row = state.history[state.best_epoch - 1]
            keys = ("epoch", f"{self.scored}/loss", f"{self.scored}/neg_elbo")
            best = {key: row[key] for key in keys}
        return {
            "status": status,
            **more,
            **self.setup,
            "sessions": self.sessions,
            "epochs": {"done": state.epoch, "total": self.epochs},
            "best": best,
            "started": self.sessions[0]["started"],
            "updated": now(),
        }


def class_prior(model: VAE, data: Data) -> dict[str, float]:
    """p(y) of a class-conditional model by the names of the classes: labels are drawn from it."""
    return dict(zip(data.class_names.values(), model.class_prior.tolist(), strict=True))


def best_of(facts: Mapping[str, Any]) -> float:
    """neg_elbo of a run's best epoch on the scored images, from its run.json; inf if there is none."""
    best = facts["best"] or {}
    return next((float(value) for key, value in best.items() if key.endswith("/neg_elbo")), math.inf)


def command(arguments: Sequence[str]) -> str:
    """The shell command of these settings."""
    return shlex.join(["python", "-m", "vaelab.train", *arguments])
