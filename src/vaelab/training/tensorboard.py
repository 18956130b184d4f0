"""What TensorBoard shows of a run: metrics.csv, the pictures, and the latent space as an embedding."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from vaelab.config import ConfigError
from vaelab.runs.files import writing
from vaelab.runs.folder import EPOCH_FOLDERS, RunFolder
from vaelab.training.examples import ExampleImages


class Board:
    """Writes event files into the run's folder. A step is an epoch.

    Raises ConfigError where TensorBoard is not installed. What was written after `epoch` is hidden.
    """

    def __init__(self, folder: RunFolder, epoch: int) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError(
                "logger=tensorboard takes a package more: type pip install 'vaelab[tensorboard]'."
            )
        self.folder = folder
        self.epoch = epoch
        self.writer: Any = None  # made with the first epoch: importing it takes a second

    def open(self) -> Any:
        if self.writer is None:
            from torch.utils.tensorboard import SummaryWriter

            threading.excepthook = self.quiet_about_disks
            self.writer = SummaryWriter(str(self.folder.tensorboard), purge_step=self.epoch + 1)
        return self.writer

    @staticmethod
    def quiet_about_disks(failure: threading.ExceptHookArgs) -> None:
        """TensorBoard writes in a thread of its own; what that meets is raised by the next call here too."""
        if not isinstance(failure.exc_value, OSError):
            threading.__excepthook__(failure)

    def after_epoch(self, record: Mapping[str, float]) -> None:
        """The epoch's row, and its pictures as they are on the disk. Raises StorageError."""
        with writing(self.folder.tensorboard):
            self.write_epoch(record)

    def write_epoch(self, record: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        writer, epoch = self.open(), int(record["epoch"])
        for name, value in record.items():
            if name != "epoch":
                writer.add_scalar(name, value, epoch)
        for kind in EPOCH_FOLDERS:
            path = self.folder.picture(kind, epoch)
            if path.is_file():
                image = Summary.Image(encoded_image_string=path.read_bytes())
                summary = Summary(value=[Summary.Value(tag=kind, image=image)])
                writer.file_writer.add_summary(summary, epoch)
        writer.flush()

    def finish(self, examples: ExampleImages, epoch: int) -> None:
        """The posterior means of the latent plot's images, with class and image. Raises StorageError."""
        with writing(self.folder.tensorboard):
            self.write_embedding(examples, epoch)

    def write_embedding(self, examples: ExampleImages, epoch: int) -> None:
        classes = [examples.data.class_names[number] for number in examples.labels_N.tolist()]
        writer = self.open()
        writer.add_embedding(
            examples.means(),
            metadata=classes,
            label_img=examples.points_N1HW.cpu(),
            global_step=epoch,
            tag="posterior means",
        )
        writer.close()
