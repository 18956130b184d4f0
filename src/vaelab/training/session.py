"""Training into a run folder: a new run, a resumed one, or the unfinished part of a job of a sweep."""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vaelab.config import (
    Config,
    ConfigError,
    VaelabError,
    continued,
    counted,
    quote_override,
    to_yaml,
)  # fmt: skip
from vaelab.data import splits
from vaelab.data.datasets import OWN_FILES, spec_of
from vaelab.objectives import kl_weight, planned_by_epochs, without_use
from vaelab.runs import files, logs
from vaelab.runs.environment import set_deterministic, torch_settings_kept
from vaelab.runs.files import StorageError
from vaelab.runs.folder import RunFolder, RunFolderError, checkpoint_at, existing, sha256_of
from vaelab.runs.signals import Interrupted, Signals
from vaelab.training import callbacks, checkpoint
from vaelab.training.callbacks import best_of, command, notify
from vaelab.training.checkpoint import Checkpoint, CheckpointError
from vaelab.training.examples import ExampleImages
from vaelab.training.identity import effective
from vaelab.training.initial_weights import InitialWeights
from vaelab.training.loggers import loggers
from vaelab.training.loop import fit
from vaelab.training.snapshots import AnimationFrames, EpochFigures, FinalFigures
from vaelab.training.state import TrainingDiverged, TrainingState, check_settings

log = logging.getLogger(__name__)

LARGE = 1e6
"""KL weight, or free bits in nats, above which the loss may overflow fp32."""


@dataclass(frozen=True)
class TrainingResult:
    """How a session ended. A session that fails raises an exception instead."""

    folder: RunFolder
    neg_elbo: float
    """Of the best epoch, on the validation images (the test images if val_size is 0), in nats per image.

    It is inf if no epoch is complete.
    """
    interrupted_by: int = 0  # the signal that ended it early, or 0


@dataclass(frozen=True)
class Caller:
    """What differs between training from the command line and from Python."""

    arguments: Sequence[str] = ()  # the run's own settings
    report: Callable[[RunFolder, Mapping[str, Any]], None] | None = None
    """Writes report.html from what is in a run folder, and the content of run.json."""
    owns_process: bool = False
    """Whether this process does nothing but train, so that settings of the whole process may change."""
    command: str = ""  # what was typed, where that is a sweep
    place: str = ""  # in a sweep, as "run 2 of 3": only its last epoch is logged on the terminal too


def train(config: Config, folder: RunFolder, caller: Caller) -> TrainingResult:
    """Train from the start in a new folder.

    Raises VaelabError for settings or data that can't be used, before anything is written, and when the
    training diverges.
    """
    with in_use(folder):
        if folder.run_json.exists():
            raise ConfigError(
                f"{folder.path} already holds a run: type {quote_override('resume', folder.path)} to "
                "continue it, or another hydra.run.dir for a new one."
            )
        if folder.holds_epochs():
            raise ConfigError(
                f"{folder.path} has files of a run, but no run.json: type another hydra.run.dir."
            )
        return TrainingRun(config, folder, caller).run()


def sweep_job(config: Config, folder: RunFolder, caller: Caller) -> TrainingResult:
    """Train what is missing in a job's folder: everything, the rest of a failed or killed run, or nothing.

    Raises VaelabError as `train` does, and if the folder holds a run with other settings.
    """
    # A sweep is packed as a whole when it ends.
    config = config.replace(artifacts=config.artifacts.replace(zip=False))
    if not folder.run_json.exists():
        return train(config, folder, caller)
    with in_use(folder):
        saved = checkpoint.load(folder.last_checkpoint)
        if effective(checkpoint.config_of(saved)) != effective(config):
            raise ConfigError(
                f"{folder.path} holds a run with other settings: type those, or another hydra.sweep.dir."
            )
        if saved.data.sha256.get(OWN_FILES, "") != spec_of(config.dataset).identity():
            raise ConfigError(
                f"{folder.path} holds a run on other images than {config.dataset.root} has now: type "
                "another hydra.sweep.dir."
            )
        path = config.initial_weights
        if path is not None and saved.initial_weights.get("sha256") != sha256_of(checkpoint_at(path)):
            raise ConfigError(
                f"{folder.path} holds a run that started with other weights than {path} has now: type "
                "another hydra.sweep.dir."
            )
        facts = facts_before(folder)
        if facts["status"] == "finished":
            log.info("%s is finished already", folder.path)
            return TrainingResult(folder, best_of(facts))
        log.info("%s is not finished (%s): continuing", folder.path, facts["status"])
        return TrainingRun(config, folder, caller, saved).run()


def resume(config: Config, keys: Sequence[str], caller: Caller) -> TrainingResult:
    """Continue the run or checkpoint that `config.resume` names, in its folder and with its settings.

    `keys` are the settings given together with it: they may only differ where they can't change the numbers.
    Raises VaelabError as `train` does.
    """
    assert config.resume is not None
    path = existing(config.resume)
    folder = RunFolder.holding(path)
    with in_use(folder):
        saved = checkpoint.load(path if path.is_file() else folder.last_checkpoint)
        before = checkpoint.config_of(saved)
        config = continued(before, config, keys)
        if config.epochs != before.epochs and (planned := planned_by_epochs(before)):
            raise ConfigError(
                f"epochs can't change when a run with {planned} is resumed, because that schedule depends on "
                f"epochs={before.epochs}: leave epochs out, or start a new run."
            )
        done = saved.epoch
        if config.epochs < done or (config.epochs == done and saved.step > 0):
            raise ConfigError(
                f"epochs={config.epochs}, but the run has already completed {done}: "
                f"type epochs={done + 1} or more."
            )
        if config.epochs == done and facts_before(folder)["status"] == "finished":
            raise ConfigError(f"The run is finished: type epochs={done + 1} or more to extend it.")
        return TrainingRun(config, folder, caller, saved).run()


DAMAGED = {"status": "run.json is damaged"}


def facts_before(folder: RunFolder) -> dict[str, Any]:
    """The content of run.json from earlier sessions, or DAMAGED if it can't be read."""
    try:
        return folder.read_run_json()
    except RunFolderError:
        return DAMAGED


@contextmanager
def in_use(folder: RunFolder) -> Iterator[None]:
    """Within the context, the folder is locked by this process, and log lines go to the terminal.

    PyTorch's global settings are restored afterwards.
    """
    with logs.logging_to(logs.ProgressBarHandler()), torch_settings_kept(), files.held(folder.path):
        yield


class TrainingRun:
    """One session of a run: state, data, callbacks, and how it ends. Constructing it writes nothing."""

    def __init__(
        self, config: Config, folder: RunFolder, caller: Caller, resumed: Checkpoint | None = None
    ) -> None:
        self.config, self.folder, self.resumed = config, folder, resumed is not None
        self.resume_command = command([quote_override("resume", folder.path)])
        if not caller.owns_process:  # in Python
            self.resume_command = f"vaelab.train(resume={str(folder.path)!r})"
        device = check_settings(config)
        for kind in (np.float32, np.float64):
            np.finfo(kind)  # cached by NumPy, which would warn if denormals were flushed by then
        flushed = caller.owns_process and torch.set_flush_denormal(True)
        set_deterministic(config.deterministic and device.type == "cuda")
        self.data = splits.load(config.dataset, device)
        self.state = TrainingState.fresh(config, self.data, device)
        self.warning = ""
        self.restarted: int | None = None  # the epoch after whose end the weights were trained already
        if resumed is not None:
            checkpoint.restore(resumed, self.state, config, self.data)
            if resumed.step > 0 and self.state.step == 0:
                self.restarted = resumed.epoch
                self.warning = (
                    f"The run was interrupted on another kind of device ({resumed.device}), whose random "
                    f"numbers can't be continued here: epoch {resumed.epoch + 1} starts again, and the "
                    f"images of {counted(resumed.step, 'step')} are trained on twice."
                )
        elif config.initial_weights is not None:
            weights = InitialWeights.at(config.initial_weights)
            weights.check(config, self.data.spec.image_shape, self.data.labelled_classes)
            weights.copy_to(self.state)
            self.warning = weights.seen(config, self.data)
        before = facts_before(folder) if self.resumed else {}
        if before == DAMAGED:
            log.warning("%s was damaged: it is rewritten without earlier sessions.", folder.run_json)
        self.signals = Signals()
        self.progress = callbacks.ProgressBar(config, self.data, caller.place)
        self.epochs = callbacks.SaveEpochs(config, self.data, folder)
        self.run_json = callbacks.RunJson(
            config, self.data, folder, self.state, before, caller.arguments, caller.command
        )
        self.place, self.brief = caller.place, {"file_only": bool(caller.place)}
        examples = ExampleImages(config, self.data, self.data.test, *self.state.evaluated)
        offered = {"config": config, "data": self.data, "folder": folder, "examples": examples}
        report = caller.report if config.artifacts.report else None
        self.callbacks = [
            callbacks.CheckFinite(config),
            *([] if flushed or device.type != "cpu" else [callbacks.DropTinyMoments()]),
            self.progress,
            callbacks.LogEpochs(config, self.data.scored.name, brief=bool(caller.place)),
            AnimationFrames(config, examples, folder),
            EpochFigures(config, examples, folder, self.progress.over),
            self.epochs,  # after the figures, so that an epoch with a checkpoint is complete
            self.run_json,
            FinalFigures(config, examples, folder, self.progress.over),
            *(loggers.build(each, **offered, epoch=self.state.epoch) for each in config.loggers),
            *([callbacks.WriteReport(folder, report, self.progress.over)] if report else []),
            callbacks.StopOnSignal(config, self.signals),
        ]  # fmt: skip

    def run(self) -> TrainingResult:
        """Train to the end, to a signal or to an error; run.json says which."""
        started = time.monotonic()
        self.folder.remove_leftovers()
        with logs.logging_to(logs.LogFile(self.folder.log)), self.signals:
            try:
                try:
                    self.begin()
                    fit(self.state, self.data, self.config, self.callbacks)
                    if self.state.epoch < self.config.epochs:
                        waited = counted(self.config.early_stopping, "epoch")
                        log.info(
                            f"The validation loss has not decreased for {waited}: stopped after epoch "
                            f"{self.state.epoch}; epoch {self.state.best_epoch} is the best"
                        )
                    self.signals.raise_immediately = True  # files appear whole or not at all
                    self.signals.check()
                    log.info("Trained for %.0f s", time.monotonic() - started, extra=self.brief)
                    return self.finish()
                except (Interrupted, KeyboardInterrupt) as interruption:
                    self.signals.raise_immediately = False
                    return self.interrupted(interruption)
            except Exception as error:
                explained = self.failed(error)
                if explained is error:
                    raise
                raise explained from error
            finally:
                self.progress.bar.close()

    def begin(self) -> None:
        # A new run's checkpoint comes before its run.json: then whatever is a run can be resumed.
        if not self.resumed:
            self.epochs.save(self.state, "last")
        facts = self.run_json.write(self.state, "running")
        self.folder.write_text(self.folder.config_yaml, to_yaml(self.config))
        self.announce(facts)
        if self.resumed:
            self.roll_back()

    def announce(self, facts: dict[str, Any]) -> None:
        """Log the model, the data and the device, and warnings about them."""
        config, data = self.config, self.data
        scored = "no validation images (the test set is scored each epoch)"
        if data.scored.name == "val":
            scored = counted(len(data.scored), "validation image")
        log.info(
            f"{config.model_label} ({facts['model']['parameters']:,} parameters), {config.objective_name}, "
            f"{facts['likelihood']} likelihood on {data.description}: "
            f"{counted(len(data.train), 'training image')} and {scored}, "
            f"{counted(config.epochs, 'epoch')}, on {facts['device']['name']}"
        )
        if data.origin.fallback is not None:
            log.warning(
                f"EMBEDDED SUBSET instead of the full set: {data.origin.fallback}. "
                "Results are not comparable with those of the full set.",
                extra=self.brief if not self.place.startswith("run 1 of ") else None,
            )
        if left_out := data.origin.left_out:
            first = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:3])
            more = f"; and {len(left_out) - 3:,} more, all in run.json" if len(left_out) > 3 else ""
            were = "was" if len(left_out) == 1 else "were"
            files = f"{counted(len(left_out), 'file')} in {data.origin.folder}"
            log.warning(f"{files} {were} left out ({first}{more}).")
        for idle in [*config.without_effect(), *without_use(config)]:
            log.warning(idle)
        if data.scored.name == "val" and not self.chooses_best():
            log.info(
                "Validation losses of different epochs are not comparable: the best checkpoint is that of "
                "the last epoch"
            )
            if config.early_stopping:
                log.warning(
                    "early_stopping has no effect: validation losses of different epochs are not comparable."
                )
        if decay := config.optimizer.weight_average:
            log.info("The moving average of the weights is scored, drawn and saved (decay %g)", decay)
        if config.deterministic and self.state.device.type != "cuda":
            cpu = self.state.device.type == "cpu"
            where = "the CPU, which is always bitwise reproducible" if cpu else "MPS"
            log.warning("deterministic=true has no effect on %s.", where)
        if (initial := self.state.initial_weights) and not self.resumed:
            log.info("Training starts with the weights of %(checkpoint)s, epoch %(epoch)d", initial)
        if self.warning:
            log.warning(self.warning)
        if self.state.total_steps:
            log.info("Continuing after epoch %d, step %d", self.state.epoch, self.state.step)

    def chooses_best(self) -> bool:
        """Whether an epoch may be chosen by its validation loss: see `chosen_by`."""
        weight, step = kl_weight(self.config), 1 / self.state.steps_per_epoch
        full = any(weight(epoch - step) == weight.full for epoch in range(1, self.config.epochs + 1))
        return full and self.state.objective.is_stationary

    def roll_back(self) -> None:
        """Reset the folder to the state's epoch: a killed process, or later epochs, may have written more."""
        state, folder, save = self.state, self.folder, self.epochs.save
        # Before anything is removed: a process killed after this returns to this state and repeats the rest.
        if self.restarted is None:
            save(state, "last")
        if folder.remove_after(state.epoch, state.total_steps):
            log.warning("Going back to epoch %d: the files of later epochs are removed", state.epoch)
        if state.history:
            folder.write_metrics(state.history)
        else:  # killed between the first epoch's row and its checkpoint
            folder.metrics_csv.unlink(missing_ok=True)
        if state.history and state.step == 0 and self.restarted is None:
            self.restore_best()
            save(state, *self.epochs.due(state))

    def restore_best(self) -> None:
        """Replace a missing or later best checkpoint: by the right one if it was kept, or by this epoch's."""
        state, folder, best = self.state, self.folder, self.state.best_epoch
        if best == state.epoch:
            return
        for path in (folder.best_checkpoint, folder.epoch_checkpoint(best)):
            with suppress(CheckpointError):
                found = checkpoint.load(path)
                if found.epoch == best:
                    if path != folder.best_checkpoint:
                        found = found.model_copy(update={"format": checkpoint.FORMAT})  # older in *.pt
                        folder.write(folder.checkpoint("best"), checkpoint.encode(found))
                    return
        log.warning("The best checkpoint (epoch %d) is missing: epoch %d is used instead", best, state.epoch)
        state.best_epoch = state.epoch
        self.epochs.save(state, "last")

    def finish(self) -> TrainingResult:
        """Write the rest of a finished run. run.json comes last: a run killed before repeats this."""
        facts = self.run_json.content(self.state, "finished")
        notify(self.callbacks, "on_end", self.state, facts)
        if self.config.artifacts.zip:
            self.progress.bar.close()
            self.folder.write_zip(facts)
        self.folder.write_run_json(facts)
        return TrainingResult(self.folder, best_of(facts))

    def interrupted(self, interruption: Interrupted | KeyboardInterrupt) -> TrainingResult:
        """Save what there is, unless a second Ctrl-C came in the middle of a step."""
        number = signal.SIGINT
        if isinstance(interruption, Interrupted):
            number = signal.Signals(interruption.number)
            if (self.state.epoch, self.state.step) != (self.restarted, 0):  # else nothing has been trained
                self.epochs.save(self.state, "last")
        facts = self.run_json.write(self.state, "interrupted", signal=number.name)
        log.warning(
            f"Interrupted ({number.name}) after epoch {self.state.epoch}, step {self.state.step}. "
            f"To continue: {self.resume_command}"
        )
        notify(self.callbacks, "on_end", self.state, facts)
        return TrainingResult(self.folder, best_of(facts), number)

    def failed(self, error: Exception) -> Exception:
        """Mark the run as failed, as far as the disk allows: in the log, in run.json and in the report.

        Returns the error; if a user can act on it, with a message that says what was saved and what to do.
        """
        if isinstance(error, TrainingDiverged):
            last = self.folder.last_checkpoint
            good = f"The last good weights are in {last}" if self.state.epoch else "No epoch was completed"
            weights = {
                "beta": self.config.beta * self.config.kl,
                "loss.free_bits": self.config.loss.free_bits,
            }
            large = " and ".join(key for key, value in weights.items() if value > LARGE)
            remedy = f"Lowering {large or 'optimizer.lr'} is the usual remedy."
            error = VaelabError(f"{error}. {good}. {remedy}")
        elif isinstance(error, StorageError):
            kept = "Nothing of this run was saved."
            if self.folder.run_json.is_file():
                kept = f"Everything saved before is kept. To continue: {self.resume_command}"
            error = VaelabError(f"{error} {kept}")
        known = isinstance(error, VaelabError)
        reason = str(error) if known else f"{type(error).__name__}: {error}"
        # The terminal shows it anyway, because it is raised.
        log.error("%s", error, exc_info=None if known else error, extra={"file_only": True})
        with suppress(OSError):
            if self.resumed or self.folder.last_checkpoint.is_file():  # only then it is a run
                facts = self.run_json.write(self.state, "failed", error=reason)
                notify(self.callbacks, "on_end", self.state, facts)
        return error
