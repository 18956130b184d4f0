"""The examples in docstrings: of what `vaelab` exports, of the metrics, and of what extensions use."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import Any

import pytest

import vaelab
from harness import TABLE_ONLY, UNDRAWN, environment
from vaelab import metrics
from vaelab.cli import api
from vaelab.comparison.compare import ComparisonResult
from vaelab.config import Settings
from vaelab.evaluation.evaluate import EvaluationResult
from vaelab.explorer.page import Explorer
from vaelab.pages.notebook import Rows
from vaelab.training.plots import Plots

# In the order in which they use each other's folders. Of names that submodules have too, the function is meant.
EXAMPLES = {
    "VaelabError": vaelab.VaelabError,
    "train": api.train,
    "load": vaelab.load,
    "Run": vaelab.Run,
    "sample": api.sample,
    "evaluate": api.evaluate,
    "explore": api.explore,
    "sweep": api.sweep,
    "compare": api.compare,
}

RESULTS = {
    "SweepResult": api.SweepResult,
    "EvaluationResult": EvaluationResult,
    "ComparisonResult": ComparisonResult,
    "Explorer": Explorer,
    "Settings": Settings,
    "Rows": Rows,
    "Run.decode": vaelab.Run.decode,
    "Run.as_images": vaelab.Run.as_images,
    "Run.plot": vaelab.Run.plot,
    "Plots": Plots,
}
"""What those return, and what a run has."""

FEWER = ("dataset.val_size=9000", "artifacts.report=false", *UNDRAWN)
SMALLER = {
    "train": ("dataset.classes=[0,1]", *FEWER),
    "sweep": (*FEWER, *TABLE_ONLY),
    "evaluate": ("metrics.samples=false", "metrics.classes=false", "metrics.latent=false"),
    "compare": ("evaluate=false",),
}
"""Settings with which the examples take seconds instead of minutes, unless they have others themselves."""


def smaller(name: str, function: Any) -> Any:
    def called(*arguments: Any, **settings: Any) -> Any:
        known = {each.partition("=")[0] for each in arguments if isinstance(each, str)}
        added = [each for each in SMALLER[name] if each.partition("=")[0] not in known]
        return function(*arguments, *added, **settings)

    return called if name in SMALLER else function


def test_the_examples_of_all_that_is_exported_and_of_what_it_returns_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    called = {name: staticmethod(smaller(name, thing)) for name, thing in EXAMPLES.items()}
    functions = type("vaelab", (), called)
    for name in SMALLER:  # where an example imports vaelab
        monkeypatch.setitem(vars(vaelab), name, called[name].__func__)
    assert {*EXAMPLES, "__version__"} == {*vaelab.__all__}
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name, thing in {"vaelab": vaelab, **EXAMPLES, **RESULTS}.items():
        (example,) = finder.find(thing, name, globs={"vaelab": functions})
        assert example.examples, name
        runner.run(example)
    assert runner.failures == 0


METRICS = [f"vaelab.metrics.{module.name}" for module in pkgutil.iter_modules(metrics.__path__)]
HELPERS = {"kernel", "log_marginals", "membership", "squared_distances", "windows"}
"""Functions that only their own module uses."""

FOR_EXTENSIONS = {
    "vaelab.config.registry": {"Registry.register", "Registry.build"},
    "vaelab.data.datasets": {"DatasetSpec"},
    "vaelab.evaluation.numbers": {"Section", "mean_of"},
    "vaelab.models": {"Gaussian", "VAE"},
    "vaelab.objectives": {"Objective", "Terms"},
    "vaelab.objectives.likelihoods": {"Likelihood"},
    "vaelab.objectives.schedules": {"KLSchedule"},
    "vaelab.training.callbacks": {"Callback"},
}


@pytest.mark.parametrize("name", [*METRICS, *FOR_EXTENSIONS])
def test_the_examples_of_metrics_and_of_what_extensions_use_run(name: str) -> None:
    module = import_module(name)
    own = {key for key, value in vars(module).items() if isfunction(value) and value.__module__ == name}
    needed = FOR_EXTENSIONS.get(name, own - HELPERS)
    found, runner = doctest.DocTestFinder().find(module, name), doctest.DocTestRunner()
    assert needed <= {each.name.removeprefix(f"{name}.") for each in found if each.examples}
    for each in found:
        runner.run(each)
    assert runner.failures == 0
