"""Downloads: verified, once for all processes, and given up in time."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from fault_points import fill
from harness import SmallDisk
from vaelab.config import DatasetConfig
from vaelab.data import download
from vaelab.data.datasets import EMBEDDED, FILES, published
from vaelab.data.folders import DataError
from vaelab.data.sources import find

pytestmark = pytest.mark.usefixtures("elsewhere")

FASHION = published()["fashion_mnist"]


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves the embedded files; `behaviour` makes it fail."""

    behaviour = "good"
    served: list[str]

    def do_GET(self) -> None:
        if self.behaviour == "503":
            self.send_error(503)
            return
        if self.behaviour == "garbage":
            self.wfile.write(b"this is no HTTP\r\n\r\n")
            return
        if self.behaviour == "hesitates, then 503":
            self.served.append(self.path)
            time.sleep(0.5)
            self.send_error(503)
            return
        if self.behaviour.startswith("drips"):
            self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            if self.behaviour == "drips":
                self.wfile.write(b"Content-Length: 1000\r\n\r\n")
            with suppress(OSError):
                for _ in range(100):
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            return
        content = (EMBEDDED / FASHION.folder / "raw" / Path(self.path).name).read_bytes()
        self.served.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.behaviour == "wrong bytes":
            content = content[::-1]
        if self.behaviour == "cuts off":
            content = content[: len(content) // 2]
        for start in range(0, len(content), 1 << 17):
            time.sleep(0.02 if self.behaviour == "slow" else 0)
            self.wfile.write(content[start : start + (1 << 17)])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Mirror]]:
    handler = type("ThisMirror", (Mirror,), {"served": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}
    )  # so that shutdown() returns soon
    thread.start()
    monkeypatch.setenv("VAELAB_MIRROR", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("small_set")
def test_download_lands_in_torchvisions_layout(tmp_path: Path, mirror: type[Mirror]) -> None:
    assert find(DatasetConfig()).origin.source == "download"
    files = {path.name for path in (tmp_path / "root" / "FashionMNIST" / "raw").iterdir()}
    assert files == {f"{name}.gz" for name in FILES.values()}
    assert find(DatasetConfig()).origin.source == "root"
    assert len(mirror.served) == 4


@pytest.mark.usefixtures("small_set")
def test_eight_at_once_download_once(mirror: type[Mirror]) -> None:
    with ThreadPoolExecutor(8) as pool:
        origins = list(pool.map(lambda _: find(DatasetConfig()).origin, range(8)))
    assert {origin.source for origin in origins} <= {"download", "root"}
    assert len(mirror.served) == 4


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("wrong bytes", "sent damaged bytes"),
        ("cuts off", r"can't be reached \(it was interrupted after [\d,]+ of [\d,]+ bytes\)"),
        ("503", "Service Unavailable"),
        ("garbage", "can't be reached"),
    ],
)
def test_a_bad_mirror_leaves_no_file(
    tmp_path: Path, mirror: type[Mirror], behaviour: str, reason: str
) -> None:
    mirror.behaviour = behaviour
    with pytest.raises(DataError, match=reason):
        find(DatasetConfig(source="full"))
    assert not (tmp_path / "root").exists()


@pytest.mark.usefixtures("small_set")
@pytest.mark.parametrize("behaviour", ["drips", "drips headers"])
def test_a_mirror_that_sends_too_slowly_is_given_up(
    mirror: type[Mirror], monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.5)
    mirror.behaviour = behaviour
    with pytest.raises(DataError, match=r"can't be reached \(too slow: [\d,]+ bytes in 1 s\)"):
        find(DatasetConfig(source="full"))


@pytest.mark.usefixtures("small_set")
def test_eight_at_a_dead_mirror_fail_as_the_first_and_are_not_held_back_later(mirror: type[Mirror]) -> None:
    mirror.behaviour = "hesitates, then 503"
    with ThreadPoolExecutor(8) as pool:
        failures = list(pool.map(lambda _: find(DatasetConfig()).origin.fallback, range(8)))
    assert len(set(failures)) == 1
    assert "Service Unavailable" in str(failures[0])
    assert len(mirror.served) == 1
    mirror.behaviour = "good"
    assert find(DatasetConfig()).origin.source == "download"


@pytest.mark.usefixtures("small_set", "mirror")
def test_a_cache_that_cannot_be_written_does_not_stop_downloads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert find(DatasetConfig()).origin.source == "download"


LOOKING = """
import sys
from dataclasses import replace
from vaelab.config import DatasetConfig
from vaelab.data import sources
from vaelab.data.datasets import datasets, published
embedded = sources.find(DatasetConfig(source="embedded")).origin.sha256
datasets.registered["fashion_mnist"] = replace(published()["fashion_mnist"], digests=embedded)
try:
    print(sources.find(DatasetConfig(source="full")).origin.source)
except sources.DataError as error:
    sys.exit(str(error))
"""
"""Finds the data in a process of its own, the embedded set in the full one's place."""


@pytest.mark.parametrize(
    ("behaviour", "downloads", "reason"),
    [
        ("slow", 4, ""),
        ("wrong bytes", 8, "sent damaged bytes"),
        pytest.param("cuts off", 8, "it was interrupted after", marks=pytest.mark.slow),
    ],
)
def test_several_processes_at_an_empty_root_download_once_or_fail_in_one_line(
    tmp_path: Path, mirror: type[Mirror], behaviour: str, downloads: int, reason: str
) -> None:
    """One download, verified, for all; or one clear line each, and nothing left."""
    mirror.behaviour = behaviour
    processes = [
        subprocess.Popen([sys.executable, "-c", LOOKING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]  # fmt: skip
    ends = [(*process.communicate(timeout=120), process.returncode) for process in processes]
    failed = [stderr for _, stderr, status in ends if status]
    assert len(failed) == (0 if behaviour == "slow" else 4)
    for line in failed:
        assert len(line.splitlines()) == 1
        assert reason in line
        assert "dataset.root=FOLDER" in line
    assert len(mirror.served) <= downloads  # those that wait fail as the first
    files = {path.name for path in (tmp_path / "root").rglob("*.*")}
    assert files == ({f"{name}.gz" for name in FILES.values()} if behaviour == "slow" else set())


def test_a_full_disk_is_reported_and_does_not_fall_back_to_the_subset(
    mounted: SmallDisk, mirror: type[Mirror], small_set: None
) -> None:
    fill(mounted.seen)
    with pytest.raises(DataError) as error:
        find(DatasetConfig(source="auto", root=str(mounted.seen)))
    assert re.search(r"train-images-idx3-ubyte\.gz can't be written: .* is full\.", str(error.value))
    assert not list(mounted.seen.rglob("train-images*"))


def test_leftovers_of_a_killed_download_are_removed(
    tmp_path: Path, mirror: type[Mirror], small_set: None
) -> None:
    left = tmp_path / "root" / "FashionMNIST" / "raw" / ".train-images-idx3-ubyte.gz.abc.partial"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert find(DatasetConfig()).origin.source == "download"
    assert not left.exists()
