"""The examples in docstrings: of what `vaelab` exports, of the metrics, and of what extensions use."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from inspect import isfunction
from pathlib import Path

import pytest

import vaelab
from harness import environment
from vaelab import metrics
from vaelab.cli import api

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


def test_the_examples_of_all_that_is_exported_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    functions = type("vaelab", (), {name: staticmethod(thing) for name, thing in EXAMPLES.items()})
    assert {*EXAMPLES, "__version__"} == {*vaelab.__all__}
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    for name, thing in {"vaelab": vaelab, **EXAMPLES}.items():
        (example,) = finder.find(thing, name, globs={"vaelab": functions})
        assert example.examples, name
        runner.run(example)
    assert runner.failures == 0


METRICS = [f"vaelab.metrics.{module.name}" for module in pkgutil.iter_modules(metrics.__path__)]
HELPERS = {"kernel", "log_marginals", "membership", "squared_distances", "windows"}
"""Functions that only their own module uses."""

FOR_EXTENSIONS = {
    "vaelab.config.registry": {"Registry.register", "Registry.build"},
    "vaelab.models": {"VAE"},
    "vaelab.objectives": {"Objective"},
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
