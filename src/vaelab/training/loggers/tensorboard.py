"""TensorBoard: the rows of metrics.csv, the epochs' figures, and the latent space as an embedding."""

import threading
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from vaelab.config import lacks
from vaelab.runs.files import writing
from vaelab.runs.folder import EPOCH_FOLDERS, RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.examples import ExampleImages
from vaelab.training.loggers import loggers
from vaelab.training.state import TrainingState


@loggers.register("tensorboard")
class TensorBoard(Callback):
    """Writes event files into the run folder, one step per epoch; events written after `epoch` are hidden.

    Raises ConfigError if TensorBoard is not installed.
    """

    def __init__(self, folder: RunFolder, examples: ExampleImages, epoch: int) -> None:
        if find_spec("tensorboard") is None:
            raise lacks("logger=tensorboard", "tensorboard")
        self.folder, self.examples, self.epoch = folder, examples, epoch
        self.excepthook = threading.excepthook

    @cached_property
    def writer(self) -> Any:
        """Made with the first epoch: importing it takes a second."""
        from torch.utils.tensorboard import SummaryWriter

        threading.excepthook = ignore_os_errors
        return SummaryWriter(str(self.folder.tensorboard), purge_step=self.epoch + 1)

    def on_epoch(self, state: TrainingState) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        with writing(self.folder.tensorboard):
            for name, value in state.history[-1].items():
                if name != "epoch":
                    self.writer.add_scalar(name, value, state.epoch)
            for kind in EPOCH_FOLDERS:
                path = self.folder.image(kind, state.epoch)
                if path.is_file():
                    image = Summary.Image(encoded_image_string=path.read_bytes())
                    summary = Summary(value=[Summary.Value(tag=kind, image=image)])
                    self.writer.file_writer.add_summary(summary, state.epoch)
            self.writer.flush()

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        """Write the posterior means of the latent plot's images, with their classes and thumbnails."""
        examples = self.examples
        try:
            if facts["status"] == "finished":
                with writing(self.folder.tensorboard):
                    known = examples.data.class_names
                    names = [known.get(number, "") for number in examples.labels_N.tolist()]
                    images = examples.points_N1HW.cpu()
                    self.writer.add_embedding(examples.means(), names, images, state.epoch, "posterior means")
                    self.writer.close()
        finally:
            threading.excepthook = self.excepthook


def ignore_os_errors(failure: threading.ExceptHookArgs) -> None:
    """Hook for exceptions in TensorBoard's writer thread: the next call raises its OSErrors again anyway."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)
