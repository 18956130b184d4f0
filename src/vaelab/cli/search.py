"""An Optuna search whose trials are in a storage: how another process continues it."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vaelab.config import ConfigError, quote_override
from vaelab.config.errors import must_be

AGAIN = "numbers of the trials that were enqueued again"
"""An attribute of the study. Each of these trials was enqueued again once, as a new trial, which may itself
be enqueued again if it is lost."""


def continuing(sweeper: Mapping[str, Any], folder: Path) -> list[str]:
    """Overrides with which the search in `hydra.sweeper.storage` is completed instead of started again.

    Trials with a value count towards n_trials. In the same sweep folder, trials without one (because their
    process was killed, for example) are repeated first. Raises ConfigError for a storage that can't be
    opened.
    """
    storage, name = sweeper.get("storage"), sweeper.get("study_name")
    if storage is None or isinstance(storage, Mapping):  # a mapping describes an object that Hydra makes
        return []
    if name is None:
        raise ConfigError(
            "hydra.sweeper.storage stores a search under a name: type hydra.sweeper.study_name=NAME as well."
        )
    import optuna
    from optuna.trial import TrialState

    try:
        study = optuna.load_study(study_name=name, storage=str(storage))
    except KeyError:  # a new one
        return []
    except Exception as error:  # of the database's own library
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        allowed = "the URL of a database that can be opened, such as sqlite:///search.db"
        advice = " pip install 'vaelab[optuna]' installs what SQLite needs."
        raise ConfigError(
            f"{must_be('hydra.sweeper.storage', allowed, storage)} The error was: {reason}."
            f"{advice if isinstance(error, ImportError | AssertionError) else ''}"
        ) from error
    sampler = sweeper.get("sampler") or {}
    tries_again = sampler.get("_target_") == "optuna.samplers.GridSampler"
    trials = study.trials
    done = sum(trial.state == TrialState.COMPLETE for trial in trials)
    if folder.is_dir() and not tries_again:
        before = study.user_attrs.get(AGAIN, [])
        lost = [each for each in trials if each.state in (TrialState.RUNNING, TrialState.FAIL)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna 2 calls enqueue_trial experimental
            for trial in (each for each in lost if each.number not in before):
                study.enqueue_trial(trial.params)
                if trial.state == TrialState.RUNNING:
                    study.tell(trial.number, state=TrialState.FAIL)
        study.set_user_attr(AGAIN, [each.number for each in lost])
    overrides = [quote_override("hydra.sweeper.n_trials", max(0, sweeper["n_trials"] - done))]
    if (seed := sampler.get("seed")) is not None:  # the same would repeat the draws that the storage has
        overrides.append(quote_override("hydra.sweeper.sampler.seed", seed + len(trials)))
    return overrides
