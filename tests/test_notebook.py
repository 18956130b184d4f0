"""In a notebook: a real kernel, what results show, interrupts, and the notebook that is shipped."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import nbformat
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

import vaelab
from harness import REPOSITORY, TABLE_ONLY, TINY, UNDRAWN, environment, run_json, status
from vaelab.pages.notebook import SHOWN, Rows

SHIPPED = sorted((REPOSITORY / "scripts" / "notebook").glob("*.ipynb"))
SETTINGS = [*TINY, *UNDRAWN, *TABLE_ONLY]


class Kernel:
    """The kernel of a notebook, and what its cells print."""

    def __init__(self, manager: KernelManager, folder: Path) -> None:
        self.manager, self.folder = manager, folder
        # The clients that the manager makes have one identity, so that replies reach the last of them alone.
        self.client = BlockingKernelClient()
        self.client.load_connection_info(manager.get_connection_info())
        self.client.start_channels()

    def run(self, code: str) -> str:
        """What a cell prints on stdout; it must not fail."""
        printed: list[str] = []

        def note(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(code, output_hook=note, timeout=120, store_history=False)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(printed)

    def interrupted(self, code: str, when: Callable[[], bool]) -> dict[str, Any]:
        """The reply to a cell that is interrupted once `when` is true, as the stop button does."""
        sent = self.client.execute(code)
        end = time.monotonic() + 120
        while not when():
            assert time.monotonic() < end
            time.sleep(0.05)
        self.manager.interrupt_kernel()
        while True:
            try:
                reply = self.client.get_shell_msg(timeout=60)
            except Empty:
                pytest.fail("the interrupt did not end the cell")
            if reply["parent_header"]["msg_id"] == sent:
                return dict(reply["content"])


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """In a folder without data."""
    folder = tmp_path_factory.mktemp("notebook")
    more = {"VAELAB_DATA": str(folder / "none"), "IPYTHONDIR": str(folder / "ipython")}
    manager, client = start_new_kernel(
        kernel_name="python3", cwd=str(folder), env=environment(PYTHONWARNINGS=None, **more)
    )
    try:
        kernel = Kernel(manager, folder)
        yield kernel
        kernel.client.stop_channels()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


# --- the notebook that is shipped -------------------------------------------------------------------------


def outputs(notebook: Any) -> list[Any]:
    return [each for cell in notebook.cells if cell.cell_type == "code" for each in cell.outputs]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_notebook_has_its_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < 1_000_000
    found = outputs(notebook)
    kinds = [kind for each in found for kind in each.get("data", {})]
    assert kinds.count("text/html") >= 4
    assert kinds.count("image/png") >= 3
    assert {each.output_type for each in found} == {"stream", "execute_result"}
    assert {each.name for each in found if each.output_type == "stream"} == {"stdout"}  # no warnings
    said = "".join(each.get("text", "") + each.get("data", {}).get("text/plain", "") for each in found)
    assert not re.search(r"(?<![\w.])/(?:home|root|tmp|work)/", said)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_notebook_runs(path: Path, kernel: Kernel) -> None:
    """With fewer images and one epoch: its settings are in the first cell."""
    notebook = nbformat.read(path, as_version=4)
    shipped = notebook.cells[1].source
    settings = [*SETTINGS, "model=conv", "model.channels=[4,4]", "epochs=1"]
    notebook.cells[1].source, count = re.subn(
        r"settings = \[.*?\n\]", f"settings = {settings}", shipped, flags=re.S
    )
    assert count == 1
    for cell in notebook.cells:
        cell.source = cell.source.replace("seed=[1, 2, 3]", "seed=1").replace("images=200", "images=5")
    kernel.manager.client_class = "jupyter_client.asynchronous.AsyncKernelClient"
    client = NotebookClient(notebook, km=kernel.manager, timeout=300)
    client.execute()
    client.kc.stop_channels()
    html = [each.data["text/html"] for each in outputs(notebook) if "text/html" in each.get("data", {})]
    run, sweep, table, explorer = html
    assert run.count('src="data:image/') == 3
    assert ("Sweep: 2 finished runs" in sweep, "one seed each: not tested" in sweep) == (True, True)
    assert "<th>KL off</th>" in table
    assert explorer.startswith('<iframe sandbox="allow-scripts allow-downloads"')
    assert "<script" not in run + sweep
    images = [each.data["image/png"] for each in outputs(notebook) if "image/png" in each.get("data", {})]
    assert len(images) == 3


# --- interrupts -------------------------------------------------------------------------------------------


def test_an_interrupt_keeps_what_is_done(kernel: Kernel) -> None:
    outside = kernel.folder
    kernel.run(f"import json, signal, vaelab; before = signal.getsignal(signal.SIGINT); quick = {SETTINGS}")
    reply = kernel.interrupted(
        "run = vaelab.train(*quick, 'hydra.run.dir=run', epochs=100000)",
        lambda: (outside / "run" / "checkpoints" / "best.safetensors").is_file(),
    )
    assert reply["status"] == "ok"
    shown = json.loads(kernel.run("print(json.dumps([run.epoch, len(run.metrics), run._repr_html_()]))"))
    assert shown[0] >= 1
    assert shown[1] >= shown[0]
    assert "interrupted, best checkpoint, epoch" in shown[2]
    done = run_json(outside / "run")
    assert (done["status"], done["signal"]) == ("interrupted", "SIGINT")
    assert shown[1] == done["epochs"]["done"]

    second = outside / "sweep" / "1_epochs-100000"
    reply = kernel.interrupted(
        "sweep = vaelab.sweep(*quick, 'hydra.sweep.dir=sweep', epochs=[1, 100000])",
        lambda: (second / "metrics.csv").is_file(),
    )
    assert reply["status"] == "ok"
    printed = kernel.run(
        "print(json.dumps([sweep.interrupted, [run.epoch for run in sweep.runs], sweep.comparison, repr(sweep),"
        " 'continues' in sweep._repr_html_(), signal.getsignal(signal.SIGINT) is before]))"
    )
    assert json.loads(printed) == [True, [1], None, "<Sweep: 1 finished run, interrupted, sweep>", True, True]
    assert status(second) == "interrupted"
    printed = kernel.run(
        "run = vaelab.train('resume=sweep/1_epochs-100000', epochs=len(vaelab.load('sweep/1_epochs-100000', 'last').metrics) + 1); print(run.config.epochs == len(run.metrics))"
    )
    assert printed.splitlines()[-1] == "True"


# --- tables -----------------------------------------------------------------------------------------------


def test_rows_are_a_list_a_table_and_a_data_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Rows([{"epoch": 1, "val/loss": 250.123}, {"epoch": 2, "val/loss": None}, {"model": "<b>"}])
    assert rows == [{"epoch": 1, "val/loss": 250.123}, {"epoch": 2, "val/loss": None}, {"model": "<b>"}]
    frame = rows.to_pandas()
    assert list(frame.columns) == ["epoch", "val/loss", "model"]
    assert frame["val/loss"].tolist()[:1] == [250.123]
    html = rows._repr_html_()
    assert '<td class="number">250.12</td>' in html
    assert "&lt;b&gt;" in html
    long = Rows({"epoch": epoch} for epoch in range(1, 101))._repr_html_()
    assert re.findall(r'<td class="number">(.*?)</td>', long)[SHOWN // 2 - 1 : SHOWN // 2 + 2] == [
        "10",
        "…",
        "91",
    ]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(vaelab.VaelabError, match="run pip install pandas"):
        rows.to_pandas()


def test_a_run_without_its_images_shows_the_rest(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = vaelab.load(trained)

    def nowhere(*_: object) -> None:
        raise vaelab.VaelabError("There are no images here.")

    monkeypatch.setattr("vaelab.training.plots.load_data", nowhere)
    shown = run._repr_html_()
    assert "There are no images here." in shown
    assert "neg_elbo ↓" in shown
    assert "<img" not in shown
