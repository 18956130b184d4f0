"""Files that are written completely or not at all, locks on folders, and messages for full disks."""

import errno
import json
import logging
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from vaelab.config import VaelabError

log = logging.getLogger(__name__)

PARTIAL = ".*.partial"  # incomplete files that a killed process has left
LOCK, HOLDER = ".lock", ".lock.json"
FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or this user's share of it
TRAININGS = ".trainings"
"""In a sweep's folder: a file for each training, which names its job, and one for each failed job."""


class StorageError(VaelabError, OSError):
    """Something can't be written: the message names the file, the disk and the reason."""


class InUse(VaelabError):
    """Another process is writing to a folder; the message names it."""


def write_atomically(path: Path, write: Callable[[IO[bytes]], object], sync: bool = True) -> None:
    """Let `write` fill a temporary file that becomes `path` once it is on the disk. Raises StorageError.

    Without `sync` a power cut may leave an empty file; thousands of small ones are written faster.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as file:
                write(file)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def replace(partial: Path, path: Path) -> None:
    """Rename `partial` to `path`; on Windows, try for two seconds while another program is reading `path`."""
    for wait in (0.05, 0.1, 0.2, 0.5, 1.0) if os.name == "nt" else ():
        with suppress(PermissionError):
            partial.replace(path)
            return
        time.sleep(wait)
    partial.replace(path)


def write_bytes(path: Path, content: bytes, sync: bool = True) -> None:
    """Write a file with that content; see `write_atomically`. Raises StorageError."""
    write_atomically(path, lambda file: file.write(content), sync)


def through_link(path: Path) -> Path:
    """The target of a symbolic link, so that writing to a path that a user gave keeps the link."""
    return path.resolve() if path.is_symlink() else path


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Within the context, an OSError becomes a StorageError that says why `path` can't be written."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path} can't be written: {reason(error, path)}") from error


def reason(error: OSError, path: Path) -> str:
    """Why `path` can't be written, and what to do."""
    folder = next((parent for parent in path.absolute().parents if parent.exists()), path)
    # os.path's, for Path.is_mount isn't for Windows before Python 3.12.
    disk = next(each for each in (folder, *folder.parents) if os.path.ismount(each))
    if error.errno in FULL:
        what = "is full" if error.errno == errno.ENOSPC else "has no space left: your quota is exhausted"
        return f"the disk at {disk} ({size(shutil.disk_usage(disk).total)}) {what}. Free some space there."
    if error.errno == errno.EROFS:
        return f"the disk at {disk} is read-only. Type another folder."
    if error.errno == errno.ENOENT and folder != path.absolute().parent:
        return f"{path.parent} was deleted or moved."
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return "it, or a folder above it, is a file. Type another folder."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{error.strerror}. Type another folder."
    return f"{error.strerror or error}."


def size(count: float) -> str:
    """A number of bytes with a unit, such as `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def check_images_exist(given: Iterable[int | str]) -> None:
    """Raise VaelabError for the first path that doesn't exist; numbers stand for test images."""
    for path in given:
        if isinstance(path, str) and not Path(path).exists():
            raise VaelabError(
                f"{path} does not exist: type an image file, a folder, an .npz or the number of a test image."
            )


def remove_leftovers(*folders: Path) -> None:
    """Delete the incomplete files of a killed process in these folders."""
    for folder in folders:
        for path in folder.glob(PARTIAL):
            path.unlink(missing_ok=True)


def acquire(lock: FileLock) -> None:
    """Wait for a lock; if the file system has no locks, warn and continue. Raises Timeout and OSError."""
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        warn_of_no_locks()


@cache
def warn_of_no_locks() -> None:
    """Warn, once per process, that the file system has no locks."""
    log.warning("This file system has no locks: do not let two processes write to one folder.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within the context, a file is locked; other processes wait."""
    lock = FileLock(path)
    acquire(lock)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Within the context, `folder`, created if missing, is locked.

    The lock ends with this process at the latest. Raises InUse, which names the process that holds the lock,
    and StorageError.
    """
    lock, holder = FileLock(folder / LOCK, timeout=0), folder / HOLDER
    free = False

    def release() -> None:
        if free or lock.is_locked:
            with suppress(OSError):  # on a disk that has become read-only, say
                holder.unlink(missing_ok=True)
                (folder / LOCK).unlink(missing_ok=True)
            lock.release()

    try:
        with writing(folder), suppress(Timeout):
            folder.mkdir(parents=True, exist_ok=True)
            acquire(lock)
            free = not lock.is_locked or (folder / LOCK).exists()  # or removed by its last holder just now
        if not free:
            lock.release()
            who = "another process"
            with suppress(OSError, ValueError):  # it may have written nothing yet
                who = json.loads(holder.read_text(encoding="utf-8"))
            raise InUse(f"{folder} is in use by {who}: wait for that process to end, or end it.")
        remove_leftovers(folder)
        who = f"process {os.getpid()} on {socket.gethostname()} (since {datetime.now():%Y-%m-%d %H:%M:%S})"
        write_bytes(holder, json.dumps(who).encode())
        yield
    finally:
        try:
            release()
        except BaseException:  # a signal in the middle of it
            release()
            raise


def remove_if_empty(folder: Path) -> None:
    """Remove an empty folder, and up to three above it that are then empty, but not the working directory."""
    with suppress(OSError):  # not empty: then nor are those above it
        for path in (folder.absolute(), *folder.absolute().parents[:3]):
            if not Path.cwd().is_relative_to(path):
                path.rmdir()
