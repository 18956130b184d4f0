"""MLflow: settings, the rows of metrics.csv, final figures and status; in the run's folder unless set."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vaelab.config import Config, flattened, lacks, show
from vaelab.config.train import may_change
from vaelab.runs.environment import importing
from vaelab.runs.files import writing
from vaelab.runs.folder import RunFolder
from vaelab.training.callbacks import Callback
from vaelab.training.loggers import cannot_start, final_figures, loggers, tracked_id
from vaelab.training.state import TrainingState

log = logging.getLogger(__name__)

STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
OURS = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Without the first, MLflow 3 requires a database; without the second, it reports its use to a server."""
TAG = "vaelab.run"


@loggers.register("mlflow")
class MLflow(Callback):
    """Writes mlruns/ into the run folder, or to MLFLOW_TRACKING_URI: a server's address or sqlite:///FILE.

    Raises ConfigError if MLflow is not installed.
    """

    def __init__(self, config: Config, folder: RunFolder, experiment: str = "vaelab") -> None:
        if find_spec("mlflow") is None:
            raise lacks("logger=mlflow", "mlflow")
        self.config, self.folder, self.experiment = config, folder, experiment
        self.client: Any = None
        self.run_id = ""

    def on_start(self, state: TrainingState) -> None:
        """Start a run in MLflow, or continue the one that has this run's tag."""
        local = (self.folder.path / "mlruns").absolute().as_uri()
        with importing():
            for name, value in OURS.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient
            from mlflow.entities import RunTag
            from mlflow.exceptions import MlflowException

            try:
                uri = os.environ.get("MLFLOW_TRACKING_URI") or local
                client = MlflowClient(uri)
                found = client.get_experiment_by_name(self.experiment)
                experiment = found.experiment_id if found else self.new_experiment(client, uri)
                tag = tracked_id(self.folder)
                earlier = client.search_runs([experiment], f"tags.`{TAG}` = '{tag}'", max_results=1)
                run = earlier[0] if earlier else self.new_run(client, experiment, tag)
                client.update_run(run.info.run_id, "RUNNING")
                # MLflow refuses a parameter with another value: what resuming may change is a tag.
                tags = [RunTag(key, value) for key, value in self.settings() if may_change(key)]
                client.log_batch(run.info.run_id, tags=tags)
            except MlflowException as error:
                raise cannot_start("mlflow", error) from error
        self.client, self.run_id = client, run.info.run_id

    def new_experiment(self, client: Any, uri: str) -> str:
        """Create an experiment, with figures next to the database if that is a file.

        MLflow itself would put them into the working directory.
        """
        _, is_file, path = uri.partition("sqlite:///")
        folder = (Path(path).absolute().parent / "mlruns").as_uri() if is_file else None
        made: str = client.create_experiment(self.experiment, artifact_location=folder)
        return made

    def new_run(self, client: Any, experiment: str, tag: str) -> Any:
        from mlflow.entities import Param

        run = client.create_run(experiment, run_name=self.folder.name, tags={TAG: tag})
        values = [Param(key, value) for key, value in self.settings() if not may_change(key)]
        client.log_batch(run.info.run_id, params=values)
        return run

    def settings(self) -> list[tuple[str, str]]:
        return [(key, show(value)) for key, value in flattened(self.config.to_dict()) if key != "resume"]

    def on_epoch(self, state: TrainingState) -> None:
        from mlflow.entities import Metric

        now, record = int(1000 * time.time()), state.history[-1]
        rows = [Metric(name, value, now, state.epoch) for name, value in record.items() if name != "epoch"]
        with self.reported():
            self.client.log_batch(self.run_id, metrics=rows)

    def on_end(self, state: TrainingState, facts: Mapping[str, Any]) -> None:
        if self.client is None:
            return
        with self.reported():
            if facts["status"] == "finished":
                for path in final_figures(self.folder):
                    self.client.log_artifact(self.run_id, str(path), "figures")
            self.client.log_artifact(self.run_id, str(self.folder.config_yaml))
            self.client.set_terminated(self.run_id, STATUS[facts["status"]])
        self.client = None

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Within the context, a server that does not answer causes a warning, and the training continues."""
        from mlflow.exceptions import MlflowException

        try:
            with writing(self.folder.path / "mlruns"):
                yield
        except MlflowException as error:
            log.warning("MLflow did not record everything: %s", " ".join(str(error).split()))
