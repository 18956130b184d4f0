"""The examples in the docstrings of what `vaelab` exports."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

import vaelab
from harness import environment
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
