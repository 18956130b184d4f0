"""Registries: what a name stands for, and with which arguments it is built."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from vaelab.config import ConfigError
from vaelab.config.registry import Registry
from vaelab.data.datasets import published, register


def test_a_name_belongs_to_the_module_that_registered_it_first() -> None:
    """A reloaded module may register it again, and a class of vaelab keeps its name."""

    def registered(module: str) -> type:
        return registry.register("mine")(type("Mine", (), {"__module__": module}))

    registry: Registry[type] = Registry("model", "vaelab.models", "vaelab.models")
    registered("one")
    reloaded = registered("one")
    with pytest.raises(ConfigError, match=r"^'mine' \(model\) is registered by both one and two"):
        registered("two")
    assert registry.get("mine") is reloaded
    with pytest.raises(ConfigError, match=r"by both one and vaelab\.models\.mine"):
        registered("vaelab.models.mine")
    assert registry.get("mine") is not reloaded
    spec = published()["mnist"]
    with pytest.raises(ConfigError, match=f"by both vaelab.data.sets.mnist and {__name__}"):
        register(spec, __name__)


def test_a_first_lookup_that_was_interrupted_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "shapes_of_a_test").mkdir()
    (folder / "__init__.py").write_text(
        "from vaelab.config.registry import Registry\nshapes = Registry('shape', __name__, __name__)\ninterrupts = 1\n"
    )
    (folder / "square.py").write_text(
        "import shapes_of_a_test as package\npackage.interrupts -= 1\n"
        "if package.interrupts == 0:\n    raise KeyboardInterrupt\npackage.shapes.register('square', 'x')(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shapes = import_module("shapes_of_a_test").shapes
    with pytest.raises(KeyboardInterrupt):
        shapes.names()
    assert shapes.names() == ["square"]


def test_a_registry_builds_a_registered_class_with_the_arguments_that_it_takes() -> None:
    registry: Registry[type] = Registry("model", "vaelab.models", "vaelab.models")

    @registry.register("mine")
    class Mine:
        def __init__(self, image_shape: tuple[int, ...], width: int = 3) -> None:
            self.width = width

    assert registry.build({"name": "mine", "width": 5}, image_shape=(1, 28, 28), not_taken=1).width == 5
    assert registry.build("mine", image_shape=(1, 28, 28)).width == 3
    assert "mine" in registry.names()
