"""A sweep before it starts: which jobs it has, and checks that each of them can run."""

import itertools
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from vaelab.cli.arguments import (
    MOST_JOBS,
    Arguments,
    check,
    parse,
    refuse_several_values,
    refuse_too_many,
    shows_only,
    swept_keys,
)
from vaelab.cli.compose import composing, is_sweep, settings_of
from vaelab.cli.search import continuing
from vaelab.config import (
    CompareConfig,
    Config,
    ConfigError,
    VaelabError,
    expand_home,
    quote_override,
)
from vaelab.config.base import GROUPS, check_switch
from vaelab.config.errors import flattened, must_be
from vaelab.data.datasets import check_root, class_numbers, spec_of
from vaelab.runs.folder import RunFolder, checkpoint_at, refuse_inside_a_run, refuse_system
from vaelab.runs.logs import progress

EXCLUDED = "hydra.job.config.override_dirname.exclude_keys"
"""Keys that don't name the folders of jobs."""

PARAMS = "hydra.sweeper.params."
"""Prefix of the settings that a yaml sweeps over."""

JOBLIB = ("parallel", "joblib")
"""Launchers that terminate all other jobs, even while these save, if a job ends with a signal's status."""


@dataclass(frozen=True)
class Sweep:
    """A sweep that may start: all its combinations have been composed and checked."""

    folder: Path
    comparison: CompareConfig | None
    zip: bool
    jobs: int
    overrides: list[str]
    """Overrides for every job, in addition to those of the command line."""
    combinations: Sequence[tuple[str, ...]] = field(default=(), compare=False)
    """The command line's overrides of each job, where they are known before it starts."""
    composed: DictConfig = field(default_factory=lambda: DictConfig({}), compare=False)
    """What is the same for all jobs, with Hydra's own settings."""


def planned(arguments: Arguments) -> Sweep | None:
    """The sweep of the command line or of a yaml, or None. Raises VaelabError and Hydra's errors."""
    given, parsed = arguments.given, arguments.parsed
    if shows_only(arguments):
        return None
    with composing("train", given) as compose:
        parsed = parse([str(part.input_line) for part in parsed])  # again, where Hydra knows the groups
        whole = compose([str(part.input_line) for part in parsed if not part.is_sweep_override()])
        config = whole.hydra
        in_yaml = [f"{key}={value}" for key, value in (config.sweeper.get("params") or {}).items()]
        if not is_sweep(whole, given):
            if given["multirun"]:
                raise VaelabError("hydra.mode=RUN starts one run, and -m a sweep: leave one of them out.")
            refuse_several_values(parsed)
            settings_of(whole, Config)
            idle = [each for each in in_yaml if each.partition("=")[0] not in arguments.keys]
            if idle:
                print(f"WARNING: {' '.join(idle)} has no effect without -m.", file=sys.stderr)
            return None
        parsed = [*parse(in_yaml), *parsed]
        for part in parsed:
            check(part, Config)
        is_grid = config.runtime.choices["hydra/sweeper"] == "basic"
        trials = config.sweeper.get("n_trials") or 0
        if is_grid:
            refuse_too_many(parsed)
        elif trials > MOST_JOBS:
            raise must_be("hydra.sweeper.n_trials", f"a whole number up to {MOST_JOBS:,}", trials)
        configs, subfolders = [], []
        jobs = [*combinations(parsed, is_grid)]
        for number, job in enumerate(progress(jobs, "checking", delay=1)):
            composed = compose(job)
            refuse_what_is_for_all_jobs(composed, whole, job, parsed)
            configs.append(settings_of(composed, Config))
            subfolders.append(subfolder(composed, number))
    with known_to_hydra(whole):  # the folder's name may refer to it
        folder = Path(expand_home(config.sweep.dir)).absolute()
    refuse_system(folder, "hydra.sweep.dir")
    refuse_inside_a_run(folder / "job", "hydra.sweep.dir")
    check_subfolders(subfolders)
    check_jobs(configs, config)
    if not is_grid and any(each.dataset.val_size == 0 for each in configs):
        raise ConfigError(
            "A search with dataset.val_size=0 would select by the test images: type dataset.val_size=5000."
        )
    same = sorted({str(part.key_or_group) for part in parsed} - swept_keys(parsed))
    overrides = [
        "hydra.mode=MULTIRUN",  # from an experiment's yaml, Hydra 1.4 doesn't take it
        quote_override("hydra.sweep.dir", folder),  # once for all: jobs may run on other machines
        quote_override(EXCLUDED, [*config.job.config.override_dirname.exclude_keys, *same]),
        *continuing(config.sweeper, folder),
    ]
    wanted = config.callbacks.compare
    enabled, evaluate, figures = (
        check_switch(f"hydra.callbacks.compare.{name}", wanted[name])
        for name in ("enabled", "evaluate", "figures")
    )
    comparison = CompareConfig(sweep=str(RunFolder(folder).path), evaluate=evaluate, figures=figures)
    zipped = any(each.artifacts.zip for each in configs)
    count = len(jobs) if is_grid else trials
    return Sweep(folder, comparison if enabled else None, zipped, count, overrides, jobs, whole)


def for_all_jobs(composed: DictConfig) -> dict[str, Any]:
    """Hydra's own settings that it reads once per sweep, as they would be typed; choices first."""
    hydra = composed.hydra
    found = {key: hydra.runtime.choices[key] for key in ("hydra/launcher", "hydra/sweeper")}
    nested = OmegaConf.masked_copy(hydra, ["sweeper", "launcher", "callbacks", "sweep"])
    found |= flattened({"hydra": OmegaConf.to_container(nested, resolve=False)})
    return {key: value for key, value in found.items() if key != "hydra.sweep.subdir"}


def refuse_what_is_for_all_jobs(
    job: DictConfig, whole: DictConfig, overrides: Sequence[str], parsed: Sequence[Override]
) -> None:
    """Raise VaelabError if a swept choice, such as an experiment, sets what must be the same for all jobs."""
    common = for_all_jobs(whole)
    lost = {key: value for key, value in for_all_jobs(job).items() if common.get(key, key) != value}
    if not lost:
        return
    swept = swept_keys(parsed) & {*GROUPS}
    choice = " ".join(line for line in overrides if line.partition("=")[0] in swept)
    params = [key.removeprefix(PARAMS) + f"={lost[key]}" for key in lost if key.startswith(PARAMS)]
    if params:
        raise VaelabError(
            f"{choice} is itself a sweep ({' '.join(params)}) and can't be a value in another sweep: type "
            f"one at a time, as in -m {choice}."
        )
    setting = quote_override(*next(iter(lost.items())))
    raise VaelabError(
        f"{choice} sets {setting}, which applies to all jobs of a sweep and not to one: type {setting} on "
        "the command line."
    )


@contextmanager
def known_to_hydra(composed: DictConfig) -> Iterator[None]:
    """Within the context, references `${hydra:…}` resolve to what was composed."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(composed)
    try:
        yield
    finally:
        hydra.cfg = before


def combinations(parsed: Sequence[Override], is_grid: bool) -> Iterator[tuple[str, ...]]:
    """The overrides of each job of a grid; for a search, whose jobs are not known yet, those of example jobs.

    A search has one example for each combination of choices in its groups.
    """
    values: dict[str, list[str]] = {}
    for part in parsed:
        key = part.get_key_element()
        if part.is_interval_sweep():
            if is_grid:
                raise VaelabError(
                    f"'{part.input_line}' is for a search: type hydra/sweeper=search as well, or several "
                    f"values, as in {key}=a,b."
                )
            values[key] = [f"{key}={part.value().start}"]  # type: ignore[union-attr]
        elif part.is_sweep_override():
            few = None if is_grid or part.key_or_group in GROUPS else 1
            values[key] = [f"{key}={value}" for value in itertools.islice(part.sweep_string_iterator(), few)]
        else:
            values[key] = [str(part.input_line)]
    return itertools.product(*values.values())


def subfolder(composed: DictConfig, number: int) -> str:
    """The folder of a job in its sweep's. Raises OmegaConf's errors for what only a running job knows."""
    composed.hydra.job.num = number
    with known_to_hydra(composed):
        return os.path.normpath(composed.hydra.sweep.subdir)


def check_subfolders(subfolders: Sequence[str]) -> None:
    """Raise ConfigError unless each job has a folder of its own inside the sweep's."""
    for each, jobs in Counter(subfolders).items():
        if each == "." or each.startswith("..") or Path(each).is_absolute():
            raise ConfigError(f"hydra.sweep.subdir={each} is not a folder inside the sweep's: leave it out.")
        if jobs > 1:
            raise ConfigError(f"hydra.sweep.subdir={each} is the same for several jobs: leave it out.")


def check_jobs(configs: Sequence[Config], hydra: DictConfig) -> None:
    """Raise VaelabError for jobs that can never run, including because of their model or data."""
    if any(config.resume is not None for config in configs):
        raise ConfigError(
            "resume continues one run: leave -m out. To continue a sweep, repeat its command with "
            "hydra.sweep.dir=FOLDER."
        )
    runs_here = hydra.runtime.choices["hydra/launcher"] in ("basic", *JOBLIB)
    data = {repr(config.dataset): config.dataset for config in configs if runs_here}
    for each in data.values():
        check_root(each)
    weights = {path for config in configs if runs_here and (path := config.initial_weights) is not None}
    for path in weights:
        checkpoint_at(path)
    import torch  # takes seconds: only for settings that resolve

    from vaelab.data.splits import load
    from vaelab.training.initial_weights import InitialWeights
    from vaelab.training.state import check_buildable, check_settings

    initial = {path: InitialWeights.at(path) for path in weights}
    for config in configs:
        check_settings(config) if runs_here else check_buildable(config)
        if config.initial_weights in initial:
            spec = spec_of(config.dataset)
            classes = class_numbers(spec, config.dataset.classes) if spec.classes else ()
            initial[config.initial_weights].check(config, spec.image_shape, classes)
    for each in data.values():
        load(each, torch.device("cpu"))
