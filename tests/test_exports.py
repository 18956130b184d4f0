"""A trained model for other programs, and what TensorBoard reads."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vaelab
from harness import TINY, once
from interpreter_state import kept, main
from vaelab.cli import api
from vaelab.config import ExportConfig, VaelabError
from vaelab.evaluation import exports
from vaelab.runs.folder import RunFolder
from vaelab.training.loggers.tensorboard import TensorBoard


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        model = ("model=conv", "model.channels=[8]", "model.latent_dim=3")
        logged = ("artifacts.figures=false", "artifacts.gif=false", "logger=tensorboard")
        api.train(*TINY, *logged, *model, "epochs=2", f"hydra.run.dir={folder / 'run'}")

    return once(tmp_path_factory, "exported", make)[0] / "run"


def test_onnxruntime_computes_the_same_for_any_batch(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command leaves the interpreter as it was."""
    monkeypatch.chdir(tmp_path)
    with kept():
        main("export", f"run={trained}", "output=out")
    out, err = capsys.readouterr()
    assert (out.splitlines()[:2], err) == (["Exported: out/encoder.onnx", "Exported: out/decoder.onnx"], "")
    run = vaelab.load(trained)
    x = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / "out" / f"{name}.onnx") for name in ("encoder", "decoder")
    )
    mean, log_variance = encoder.run(None, {"image": x.numpy()})
    np.testing.assert_allclose(mean, run.encode(x).mean, atol=1e-4)
    np.testing.assert_allclose(log_variance, run.encode(x).log_variance, atol=1e-4)
    (image,) = decoder.run(None, {"latent": mean[:1]})
    np.testing.assert_allclose(image, run.decode(torch.from_numpy(mean[:1])), atol=1e-4)
    facts = encoder.get_modelmeta().custom_metadata_map
    assert json.loads(facts["config"])["model"]["latent_dim"] == 3


def test_an_export_that_computes_otherwise_is_not_written(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "graph", lambda *_: b"")
    monkeypatch.setattr(exports, "difference", lambda *_: 0.5)
    with pytest.raises(VaelabError, match=r"The encoder in onnxruntime differs from PyTorch by 0\.5: "):
        exports.export(ExportConfig(run=str(trained), output=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_scalars_images_and_means(trained: Path) -> None:
    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    rows = vaelab.load(trained).metrics
    assert [each.value for each in events.Scalars("val/kl")] == pytest.approx([row["val/kl"] for row in rows])
    assert [each.step for each in events.Images("latent")] == [1, 2]
    means = np.loadtxt(trained / "tensorboard" / "00002" / "posterior means" / "tensors.tsv")
    assert means.shape[1] == 3
    labels = (trained / "tensorboard" / "00002" / "posterior means" / "metadata.tsv").read_text().splitlines()
    assert set(labels) == {"Trouser", "Sneaker"}


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_tensorboard_leaves_the_process_as_it_was(tmp_path: Path, status: str) -> None:
    before = threading.excepthook
    logger = TensorBoard(RunFolder(tmp_path), examples=None, epoch=0)  # type: ignore[arg-type]
    writer = logger.writer
    assert threading.excepthook is not before
    logger.on_end(None, {"status": status})  # type: ignore[arg-type]
    assert threading.excepthook is before
    writer.close()
