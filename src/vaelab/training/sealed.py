"""The file around a checkpoint: sealed by a digest, and looked through before anything in it is unpickled.

PyTorch writes a zip archive with a pickle in it. A zip archive may end with a comment, which readers skip:
there stands the SHA-256 of all bytes before it, so that the file stays one that `torch.load` reads.
"""

from __future__ import annotations

import hashlib
import io
import pickletools
import re
import zipfile
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from vaelab.config import VaelabError

COMMENT = b"vaelab sha256 %s"
SEAL = re.compile(rb"vaelab sha256 ([0-9a-f]{64})$")
SEAL_BYTES = len(COMMENT) - 2 + 64
END_OF_ARCHIVE = b"PK\5\6"

LARGEST = 4 * 2**30
"""Bytes of a file that is read at all: a hundred times the checkpoint of any model that these images need."""

MEMBER = re.compile(
    r"[^/]+/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id|data/\d+)"
)
"""What PyTorch writes into its archives, in a folder whose name doesn't matter."""

PICKLED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    *(("torch", f"{kind}Storage") for kind in ("Float", "Double", "BFloat16", "Long", "Int", "Byte", "Bool")),
}  # fmt: skip
"""All that a checkpoint of vaelab's refers to: a stricter list than that of weights_only."""


class Unsealed(VaelabError):
    """A file is not what was written: the message is a clause that says what is wrong with it."""


def seal(content: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint file: what `torch.save` writes, and its digest behind."""
    file = io.BytesIO()
    torch.save(content, file)
    archive = file.getvalue()
    assert archive[-22:-18] == END_OF_ARCHIVE
    assert archive[-2:] == b"\0\0", "PyTorch has begun to write comments of its own"
    archive = archive[:-2] + SEAL_BYTES.to_bytes(2, "little")
    return archive + COMMENT % hashlib.sha256(archive).hexdigest().encode()


def unseal(path: Path) -> tuple[dict[str, Any], bool]:
    """What was sealed in a file, on the CPU, and whether it was sealed at all: older vaelabs did not.

    No code of the file's runs, and no more memory is taken than a few times its size. Raises Unsealed.
    """
    if path.stat().st_size > LARGEST:
        raise Unsealed(f"is larger than any checkpoint ({path.stat().st_size:,} bytes)")
    raw = path.read_bytes()
    found = SEAL.search(raw[-SEAL_BYTES:])
    if found and hashlib.sha256(raw[:-SEAL_BYTES]).hexdigest().encode() != found[1]:
        raise Unsealed("is damaged: its SHA-256 is not the one that was written with it")
    try:
        content = torch.load(looked_through(raw), map_location="cpu", weights_only=True)
        check_values(content, most=len(raw))
    except Unsealed:
        raise
    except Exception as error:  # zipfile, pickletools and torch raise many kinds for what is something else
        raise Unsealed("can't be read: it is damaged, or was not written by vaelab") from error
    if not isinstance(content, dict):
        raise Unsealed("was not written by vaelab")
    return content, found is not None


def looked_through(raw: bytes) -> IO[bytes]:
    """The archive made anew out of members that were looked through: PyTorch reads these and no others.

    Two readers of one file may find two archives in it. Raises Unsealed for one that unpacks to more than it
    is, or refers to what no checkpoint needs.
    """
    clean = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive, zipfile.ZipFile(clean, "w") as copy:
        members = archive.infolist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > len(raw):
            raise Unsealed("is no checkpoint: it would unpack to more than it is")
        for member in members:
            found = MEMBER.fullmatch(member.filename)
            if found is None or f"archive/{found[1]}" in copy.namelist():
                raise Unsealed(f"is no checkpoint: it has a member {member.filename!r}")
            content = archive.read(member)
            if found[1] == "data.pkl":
                check_references(content)
            copy.writestr(f"archive/{found[1]}", content)
    clean.seek(0)
    return clean


def check_references(pickled: bytes) -> None:
    """Raise Unsealed where a pickle refers to anything but what tensors and plain values are made of."""
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            if (module, name) not in PICKLED:
                raise Unsealed(f"is no checkpoint: it refers to {module}.{name}, which no checkpoint needs")
        elif operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise Unsealed("is no checkpoint: it refers to code in a way that PyTorch never does")


def check_values(content: object, most: int) -> None:
    """Raise Unsealed for values that PyTorch reads and vaelab never writes, and for more of them than `most`.

    A pickled value takes a byte at least; but lists of lists can name each other, and unfold for ever.
    """
    left, seen, room = [content], 0, most
    while left:
        value = left.pop()
        seen += 1
        if seen > most:
            raise Unsealed("is no checkpoint: it holds too many values")
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, Tensor):
            room -= value.nbytes  # many elements on little memory, or many tensors on the same
            if value.layout != torch.strided or not value.is_contiguous() or room < 0:
                raise Unsealed("is no checkpoint: a tensor in it claims more than is there")
        elif not isinstance(value, str | int | float | bool | None):
            raise Unsealed(f"is no checkpoint: it holds a {type(value).__name__}")
