"""A logger: each epoch's numbers as a line of JSON in the run folder."""

import json

from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.loggers import loggers
from vaelab.training.state import TrainingState


@loggers.register("jsonl")
class JsonLines(Callback):
    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path / "epochs.jsonl"

    def on_epoch(self, state: TrainingState) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(state.history[-1]) + "\n")
