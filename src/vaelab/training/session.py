"""One session of training: from settings to a run folder that needs no explanation."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaelab.config import (
    Config,
    ConfigError,
    VaelabError,
    continued,
    effective,
    quote_override,
    to_yaml,
    unknown,
)
from vaelab.data import splits
from vaelab.data.datasets import spec_of
from vaelab.pages.run_report import write_run_report
from vaelab.runs import files
from vaelab.runs import logs as console
from vaelab.runs.environment import now, pick_device, process_facts, repeat_every_bit
from vaelab.runs.files import StorageError
from vaelab.runs.folder import RunFolder
from vaelab.runs.signals import Interrupted, Signals
from vaelab.training import checkpoint, progress
from vaelab.training.facts import command, facts
from vaelab.training.loop import TrainingDiverged, TrainingState, check_finite, check_room, fit
from vaelab.training.snapshots import Snapshots
from vaelab.training.tensorboard import Board

log = logging.getLogger(__name__)

FILE_ONLY = {"file_only": True}
"""For log records that the terminal sees anyway, because they are raised."""


@dataclass(frozen=True)
class Outcome:
    """How a session ended; one that failed raises instead."""

    folder: RunFolder
    neg_elbo: float
    """Of the best epoch on the held-out images (the test images where val_size is 0), in nats per image."""
    interrupted_by: int = 0
    """The signal that ended it early, or 0."""


def train(config: Config, folder: RunFolder, arguments: Sequence[str]) -> Outcome:
    """Train from the start in a new folder.

    `arguments` are recorded as what was typed. Raises VaelabError for settings or data that can't be used,
    before anything is written, and when the training diverges.
    """
    with files.held(folder.path), console.logging_to(console.AboveTheBar()):
        if folder.run_json.exists():
            raise ConfigError(
                f"{folder.path} already holds a run: type {quote_override('resume', folder.path)} to go on "
                "with it, or another hydra.run.dir for a new one."
            )
        if folder.holds_epochs():
            raise ConfigError(
                f"{folder.path} holds what a run has left, but no run.json: type another folder."
            )
        return Session(config, folder, arguments).run()


def sweep_job(config: Config, folder: RunFolder, arguments: Sequence[str]) -> Outcome:
    """Train what is missing in a job's folder: all of it, what a failure or a kill left undone, or nothing.

    Raises VaelabError as `train` does, and where the folder holds a run with other settings.
    """
    # A sweep is packed as a whole when it ends.
    config = config.replace(artifacts=config.artifacts.replace(zip=False))
    if not folder.run_json.exists():
        return train(config, folder, arguments)
    with files.held(folder.path), console.logging_to(console.AboveTheBar()):
        content = checkpoint.load(folder.last_checkpoint)
        if effective(checkpoint.config_of(content)) != effective(config):
            raise ConfigError(
                f"{folder.path} holds a run with other settings: type those, or another hydra.sweep.dir."
            )
        facts = folder.read_run_json()
        if facts["status"] == "finished":
            log.info("%s is finished already", folder.path)
            return Outcome(folder, best_of(facts))
        log.info("%s is not finished (%s): going on", folder.path, facts["status"])
        return Session(config, folder, arguments, content).run()


def best_of(facts: Mapping[str, Any]) -> float:
    """neg_elbo of a finished run's best checkpoint, out of its run.json."""
    (neg_elbo,) = (value for key, value in facts["best"].items() if key.endswith("/neg_elbo"))
    return float(neg_elbo)


def resume(asked: Config, typed: Sequence[str], arguments: Sequence[str]) -> Outcome:
    """Go on in the folder of the run or checkpoint that `asked.resume` names, with that run's settings.

    Of what else is `typed` (keys, as on the command line), only what can't change the numbers may differ.
    Raises VaelabError as `train` does.
    """
    assert asked.resume is not None
    folder = RunFolder.holding(asked.resume)
    path = Path(asked.resume).expanduser()
    with files.held(folder.path), console.logging_to(console.AboveTheBar()):
        content = checkpoint.load(path if path.is_file() else folder.last_checkpoint)
        config = continued(checkpoint.config_of(content), asked, typed)
        done = content.epoch
        if config.epochs < done or (config.epochs == done and content.step > 0):
            raise ConfigError(
                f"epochs={config.epochs}, but the run has done {done} already: "
                f"type epochs={done + 1} or more."
            )
        if config.epochs == done and folder.read_run_json()["status"] == "finished":
            raise ConfigError(f"The run is finished: type a larger number than epochs={done} to extend it.")
        return Session(config, folder, arguments, content).run()


class Session:
    """The caller of the loop: logs, saves and draws what `fit` yields. Making one writes nothing yet."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        arguments: Sequence[str],
        resumed: checkpoint.Checkpoint | None = None,
    ) -> None:
        device = pick_device(config.device)
        repeat_every_bit(config.deterministic and device.type == "cuda")
        if config.logger not in ("none", "tensorboard"):
            raise unknown("logger", config.logger, ("none", "tensorboard"))
        self.config = config
        self.folder = folder
        check_room(
            config, spec_of(config.dataset.name).image_shape, device
        )  # quicker refused than data found
        self.data = splits.load(config.dataset, device)
        self.state = TrainingState.fresh(config, self.data, device)
        before: dict[str, Any] = {}
        self.resumed = resumed is not None
        if resumed is not None:
            checkpoint.restore(resumed, self.state, config, self.data)
            before = folder.read_run_json()
        self.signals = Signals()
        self.started = time.monotonic()
        self.bar = progress.Bar(self.state, config.epochs, config.batch_size, len(self.data.train))
        self.snapshots = Snapshots(config, self.data, folder, self.state.model, self.state.objective)
        self.board = Board(folder, self.state.epoch) if config.logger == "tensorboard" else None
        self.this_session: dict[str, Any] = {
            "command": command(arguments), "started": now(), "from_epoch": self.state.epoch,
            **process_facts(),
        }  # fmt: skip
        self.facts = facts(config, self.data, self.state.model, folder.path, arguments)
        self.facts["command"] = before.get("command", self.facts["command"])
        self.facts["sessions"] = [*before.get("sessions", []), self.this_session]

    def run(self) -> Outcome:
        """Train to the end, to a signal or to an error; run.json says which."""
        self.folder.remove_leftovers()
        with console.logging_to(console.log_file(self.folder.log)), self.signals:
            try:
                try:
                    self.begin()
                    self.train_epochs()
                    self.signals.at_once = True  # files appear whole or not at all: any moment is a good one
                    self.signals.check()
                    self.finish()
                except (Interrupted, KeyboardInterrupt) as interruption:
                    self.signals.at_once = False
                    return self.interrupted(interruption)
            except (
                KeyboardInterrupt,
                SystemExit,
            ):  # a second signal, while what the first one asked for was done
                raise
            except TrainingDiverged as error:
                raise self.failed(self.diverged(error)) from error
            except StorageError as error:
                raise self.failed(self.not_stored(error)) from error
            except BaseException as error:
                self.failed(error)
                raise
            finally:
                self.bar.close()
        return Outcome(self.folder, self.neg_elbo)

    def begin(self) -> None:
        # A new run's checkpoint comes before its run.json: then whatever is a run can be resumed.
        if not self.resumed:
            self.save(self.folder.checkpoint("last"))
        self.folder.write_run_json(self.run_json("running"))
        self.folder.write_text(self.folder.config_yaml, to_yaml(self.config))
        self.announce()
        if self.resumed:
            self.go_back()

    def finish(self) -> None:
        """What a run has when its epochs are done. run.json commits it: killed before, it is done anew."""
        self.snapshots.finish(self.state, self.drawing)
        if self.board is not None:
            self.board.finish(self.snapshots.examples, self.state.epoch)
        log.info("Finished after %.0f s", time.monotonic() - self.started)
        finished = self.run_json("finished")
        self.report(finished)
        if self.config.artifacts.zip:
            self.bar.say(f"packing {self.folder.zip.name}")
            self.folder.write_zip(finished)
        self.folder.write_run_json(finished)

    def save(self, *paths: Path) -> None:
        checkpoint.save(checkpoint.content_of(self.state, self.config, self.data), self.folder, *paths)

    def go_back(self) -> None:
        """Bring the folder to where the state is: a killed process, or later epochs, had gone further."""
        state, folder = self.state, self.folder
        # Before anything is removed: who is killed from here on comes back to this state, and does it again.
        self.save(folder.checkpoint("last"))
        if folder.remove_after(state.epoch, state.total_steps):
            log.warning("Going back to epoch %d: the files of later epochs are removed", state.epoch)
        if state.history:
            folder.write_metrics(state.history)
        else:  # killed between the first epoch's row and its checkpoint
            folder.metrics_csv.unlink(missing_ok=True)
        if state.history and state.step == 0:
            best = state.best_epoch
            self.restore_best()
            self.save(*self.due_checkpoints())
            if state.best_epoch != best:
                self.save(folder.checkpoint("last"))

    def restore_best(self) -> None:
        """Where the best checkpoint is gone or later: the right one if it was kept, else this epoch."""
        best, here = self.state.best_epoch, self.state.epoch
        if best == here or checkpoint.epoch_of(self.folder.best_checkpoint) == best:
            return
        kept = self.folder.epoch_checkpoint(best)
        if checkpoint.epoch_of(kept) == best:
            checkpoint.save(checkpoint.load(kept), self.folder, self.folder.checkpoint("best"))
        else:
            log.warning("The best checkpoint, of epoch %d, is gone: epoch %d stands in", best, here)
            self.state.choose(here, self.data.held_out.name)

    def due_checkpoints(self) -> list[Path]:
        """What the epoch that has just ended is saved as, beside last."""
        epoch, every = self.state.epoch, self.config.artifacts.checkpoint_every
        best = [self.folder.checkpoint("best")] if self.state.best_epoch == epoch else []
        return best + ([self.folder.checkpoint(f"epoch_{epoch:04d}")] if every and epoch % every == 0 else [])

    def train_epochs(self) -> None:
        """The loop, and after each epoch its pictures, its row, its checkpoints: last commits it."""
        if self.state.total_steps == 0:
            self.snapshots.after_step(self.state)
        for record in fit(self.state, self.data, self.config, self.after_step):
            best = self.state.best_epoch == self.state.epoch
            log.info("%s", progress.epoch_line(record, self.config.epochs, self.data.held_out.name, best))
            self.snapshots.after_epoch(self.state)
            self.folder.write_metrics(self.state.history)
            self.save(self.folder.checkpoint("last"), *self.due_checkpoints())
            self.folder.write_run_json(self.run_json("running"))
            if self.board is not None:
                self.board.after_epoch(record)
            self.signals.check()

    def after_step(self, state: TrainingState) -> None:
        self.bar.update(state)
        self.snapshots.after_step(state)
        if self.signals.received:
            check_finite(state, self.config)  # what is saved now must be worth going on from
        self.signals.check()

    def drawing(self, name: str) -> None:
        self.signals.check()
        self.bar.say(f"drawing {name}")

    # --- what is said -------------------------------------------------------------------------------------

    @property
    def neg_elbo(self) -> float:
        """neg_elbo of the best epoch on the images that each epoch is scored on."""
        rows = [row for row in self.state.history if row["epoch"] == self.state.best_epoch]
        return rows[0][f"{self.data.held_out.name}/neg_elbo"] if rows else float("inf")

    def announce(self) -> None:
        data, config = self.data, self.config
        scored = (
            f"{len(data.held_out):,} held out"
            if data.held_out.name == "val"
            else "test set scored each epoch"
        )
        log.info(
            "%s on %s: %s training images (%s), %s epochs, on %s",
            f"{config.model['name']} ({self.facts['model']['parameters']:,} parameters), {config.objective}, "
            f"{config.loss.likelihood_name} likelihood",
            data.description, f"{len(data.train):,}", scored, config.epochs, self.facts["device"]["name"],
        )  # fmt: skip
        if data.origin.fallback is not None:
            log.warning(
                "EMBEDDED SUBSET instead of the full set: %s. Numbers don't compare with the full set's.",
                data.origin.fallback,
            )
        for idle in config.without_effect():
            log.warning("%s", idle)
        if config.deterministic and self.state.device.type == "cpu":
            log.warning("deterministic=true has no effect on the CPU, which repeats every bit anyway.")
        if self.state.total_steps:
            log.info("Going on after epoch %d, step %d", self.state.epoch, self.state.step)

    def run_json(self, status: str, **more: Any) -> dict[str, Any]:
        """The content of run.json."""
        state = self.state
        ended = None if status == "running" else now()
        self.this_session |= {"ended": ended, "to_epoch": state.epoch, "status": status}
        best = {"epoch": state.best_epoch, f"{self.data.held_out.name}/neg_elbo": self.neg_elbo}
        return {
            "status": status,
            **more,
            **self.facts,
            "epochs": {"done": state.epoch, "asked": self.config.epochs},
            "best": best if state.best_epoch else None,
            "started": self.facts["sessions"][0]["started"],
            "updated": now(),
        }

    def report(self, facts: Mapping[str, Any]) -> None:
        """Write report.html, whatever the status; without it the run is still whole."""
        if self.config.artifacts.report:
            self.bar.say("writing report.html")
            try:
                write_run_report(self.folder, facts)
            except (Interrupted, StorageError):
                raise
            except Exception as error:
                log.warning("report.html was not written: %s", error)

    def interrupted(self, interruption: Interrupted | KeyboardInterrupt) -> Outcome:
        """Save what there is, unless a second Ctrl-C struck in the middle of a step."""
        number = signal.SIGINT
        if isinstance(interruption, Interrupted):
            number = signal.Signals(interruption.number)
            self.save(self.folder.checkpoint("last"))
        self.bar.close()
        facts = self.run_json("interrupted", signal=number.name)
        self.folder.write_run_json(facts)
        log.warning(
            "Interrupted (%s) after epoch %d, step %d. To go on: %s",
            number.name, self.state.epoch, self.state.step, self.to_go_on,
        )  # fmt: skip
        self.report(facts)
        return Outcome(self.folder, self.neg_elbo, number)

    @property
    def to_go_on(self) -> str:
        return command([quote_override("resume", self.folder.path)])

    def diverged(self, error: TrainingDiverged) -> VaelabError:
        """The same with what to do about it, and where the last good weights are."""
        last = self.folder.last_checkpoint
        good = f"The last good weights are in {last}" if self.state.epoch else "No epoch was complete yet"
        return VaelabError(f"{error}. {good}. Lowering optimizer.lr is the usual cure.")

    def not_stored(self, error: StorageError) -> VaelabError:
        """The same with what is kept, and how to go on."""
        if not self.folder.run_json.is_file():
            return VaelabError(f"{error} Nothing is kept of this run.")
        return VaelabError(f"{error} What was saved before is kept; then go on with: {self.to_go_on}")

    def failed(self, error: BaseException) -> BaseException:
        """Mark the run as failed, as far as its disk allows: in the log, in run.json and in the report."""
        reason = str(error) if isinstance(error, VaelabError) else f"{type(error).__name__}: {error}"
        self.bar.close()
        log.error("%s", error, exc_info=None if isinstance(error, VaelabError) else error, extra=FILE_ONLY)
        facts = self.run_json("failed", error=reason)
        with suppress(OSError):
            if self.resumed or self.folder.last_checkpoint.is_file():  # only then it is a run
                self.folder.write_run_json(facts)
                self.report(facts)
        return error
