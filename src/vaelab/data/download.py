"""Download the files of a data set: by one process for all, verified, and with a time limit."""

import logging
import os
import time
import urllib.request
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from threading import Thread

from platformdirs import user_cache_path

from vaelab.data.datasets import DatasetSpec
from vaelab.data.folders import DataError, files_in, sha256, unpacked
from vaelab.runs.files import locked, remove_leftovers, write_bytes, writing
from vaelab.runs.logs import progress

log = logging.getLogger(__name__)
TIMEOUT = 20.0  # seconds without an answer
PATIENCE, SLOWEST = 60.0, 10_000  # seconds for a file, plus one second per 10,000 bytes received


def download(spec: DatasetSpec, folder: Path) -> None:
    """Fetch what is missing into `folder`. Raises DataError, and StorageError.

    Where several processes start at once, one fetches, and the others wait and find the files there, or fail
    as it did.
    """
    started = time.time()
    lock = user_cache_path("vaelab") / "downloads" / f"{sha256(str(folder.resolve()).encode())[:16]}.lock"
    failure = lock.with_suffix(".failure")
    with ExitStack() as stack:
        with suppress(OSError):  # where the cache can't be written, each process fetches for itself
            lock.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(lock))
        with suppress(OSError):
            if failure.stat().st_mtime > started:  # while this process waited
                raise DataError(failure.read_text(encoding="utf-8"))
        try:
            fetch_missing(spec, folder)
        except DataError as error:
            with suppress(OSError):
                failure.write_text(str(error), encoding="utf-8")
            raise


def fetch_missing(spec: DatasetSpec, folder: Path) -> None:
    """Fetch into a folder, which is created if needed and removed again if nothing was received."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)  # of a process that was killed
        for name in spec.files.values():
            if name not in files_in(spec, folder):
                fetch(name, spec, folder)
    finally:
        with suppress(OSError):  # not empty, or not there
            for each in made:
                each.rmdir()


def fetch(name: str, spec: DatasetSpec, folder: Path) -> None:
    """Download a file from the first mirror that has the right bytes. Raises DataError and StorageError."""
    reasons = []
    for base in mirrors(spec):
        file = name if spec.packed == ".zip" else f"{name}.gz"
        url = f"{base}{file}"
        try:
            content = received(url, spec.largest_file)
        except (OSError, ValueError, HTTPException) as error:  # no answer, a bad one, or a malformed URL
            reasons.append(f"{url} can't be reached ({getattr(error, 'reason', None) or error})")
        else:
            if sha256(content if spec.packed else unpacked(content, spec.largest_file)) == spec.digests[name]:
                return write_bytes(folder / file, content)
            reasons.append(f"{url} sent damaged bytes")
    raise DataError("; ".join(reasons) or "no download address is known")


def mirrors(spec: DatasetSpec) -> tuple[str, ...]:
    """Where the .gz files are: $VAELAB_MIRROR/<folder>/, or the data set's own addresses."""
    base = os.environ.get("VAELAB_MIRROR")
    return (f"{base.rstrip('/')}/{spec.folder}/",) if base else spec.urls


class Transfer(Thread):
    """A download in a thread of its own, so that its total time can be limited.

    A socket's timeout starts anew with every byte, and resolving a server's name has none.
    """

    def __init__(self, url: str, largest: int) -> None:
        super().__init__(daemon=True)
        self.url, self.largest = url, largest
        self.content, self.expected = bytearray(), 0
        self.error: Exception | None = None
        self.given_up = False

    def run(self) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=TIMEOUT) as response:
                log.info("Downloading %s", self.url)
                self.expected = int(response.headers.get("Content-Length") or 0)
                while len(self.content) <= self.largest and not self.given_up:
                    if not (chunk := response.read1(1 << 16)):
                        break
                    self.content += chunk
        except Exception as error:
            self.error = error


def received(url: str, largest: int) -> bytes:
    """The bytes that a server sends, at most `largest`, with a progress bar.

    Raises OSError if the server is too slow or the transfer ends early, and the errors of urllib.
    """
    transfer, started = Transfer(url, largest), time.monotonic()
    transfer.start()
    # Silent unless stderr is a terminal.
    with progress(desc=url.rpartition("/")[2], unit="B", unit_scale=True) as bar:
        while transfer.is_alive():
            transfer.join(0.1)
            count, seconds = len(transfer.content), time.monotonic() - started
            bar.total = transfer.expected
            bar.update(count - bar.n)
            if seconds > PATIENCE + count / SLOWEST:
                transfer.given_up = True
                raise OSError(f"too slow: {count:,} bytes in {seconds:.0f} s")
    if transfer.error is not None:
        try:
            raise transfer.error
        finally:
            transfer.error = None  # else a reference cycle would keep the connection open
    if len(transfer.content) < transfer.expected:
        raise OSError(f"it was interrupted after {len(transfer.content):,} of {transfer.expected:,} bytes")
    return bytes(transfer.content)
