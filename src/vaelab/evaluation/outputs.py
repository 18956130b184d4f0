"""Where commands write results: nothing is overwritten, and an interrupted command can continue."""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from vaelab.config import VaelabError
from vaelab.data.datasets import letters_and_digits
from vaelab.runs.files import through_link, write_bytes, writing
from vaelab.runs.folder import RunFolder
from vaelab.runs.logs import progress
from vaelab.training.examples import as_grid
from vaelab.training.run import Run

log = logging.getLogger(__name__)


def output_folder(output: str | None, run: Run, name: str) -> Path:
    """`output`, else a folder in the run folder, or next to a checkpoint outside any run; it is created."""
    beside = RunFolder.around(run.checkpoint) or RunFolder(run.checkpoint.parent)
    folder = beside.path / name if output is None else Path(output)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def output_file(output: str | None, run: Run, folder: str, name: str) -> Path:
    """`output` where it ends as `name` does; else `name` in the folder that `output` or `folder` names."""
    ending = "" if output is None else Path(output).suffix.lower()
    if ending in (".png", ".npz", ".csv") and ending != Path(name).suffix:
        raise VaelabError(f"output={output} ends in {ending}, but a {Path(name).suffix} file is written.")
    if output is not None and ending == Path(name).suffix:
        return output_folder(str(Path(output).parent), run, folder) / Path(output).name
    return output_folder(output, run, folder) / name


def write_new(path: Path, content: bytes) -> Path:
    """A new file; one that is there already must have that very content. Raises VaelabError."""
    if path.exists():
        if not path.is_file() or path.read_bytes() != content:
            raise in_the_way(path)
        log.info("%s already exists with the same content", path)
    write_bytes(through_link(path), content)
    return path


def in_the_way(path: Path) -> VaelabError:
    return VaelabError(f"{path} already exists with different content: type another output=, or remove it.")


def facts_of(run: Run) -> dict[str, Any]:
    """Name, epoch and SHA-256 of the checkpoint, which determine the results."""
    return {"checkpoint": run.checkpoint.stem, "epoch": run.epoch, "sha256": run.sha256}


def about(run: Run) -> str:
    """The model in a figure's subtitle."""
    return f"{run.config.label(run.model.latent_dim)} · {run.moment} · {run.trained_on['description']}"


def class_in_name(run: Run, number: int) -> str:
    """`_class-trouser` for a file's name."""
    return f"_class-{letters_and_digits(run.trained_on['classes'][number])}"


def given_classes(run: Run, labels: Tensor | None) -> str:
    """`, given the class trouser`, or each image's own; nothing where the run is not class-conditional."""
    if labels is None:
        return ""
    name = run.trained_on["classes"][labels[0]]
    return f", given {f'the class {name}' if (labels == labels[0]).all() else 'the class of each image'}"


def in_rows(images: NDArray[np.float32], columns: int) -> NDArray[np.floating]:
    """Images (N, H, W[, 3]) in rows of `columns`, white where there are too few."""
    missing = [(0, 0)] * images.ndim
    missing[0] = (0, -len(images) % columns)
    return as_grid(np.pad(images, missing, constant_values=1), columns)


@contextmanager
def can_go_on() -> Iterator[None]:
    """Within the context, Ctrl-C logs that nothing is lost."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        log.warning("Interrupted: everything complete is kept, and the same command continues from there.")
        raise


def computed(
    path: Path, facts: Mapping[str, Any], count: int, batch: int, row: Sequence[int], dtype: DTypeLike,
    compute: Callable[[int], NDArray[Any]], doing: str,
) -> NDArray[Any]:  # fmt: skip
    """`count` rows, computed batch by batch into a hidden file next to `path`, which the caller removes.

    Rows that an earlier process has left there are used if they have the same `facts`. Raises StorageError.
    """
    kept, size = unfinished(path, facts), math.prod(row) * np.dtype(dtype).itemsize
    with writing(kept), can_go_on():
        whole = kept.stat().st_size // (size * batch) if kept.is_file() else 0
        with (
            kept.open("r+b" if kept.is_file() else "xb") as file,
            progress(total=count, initial=whole * batch, desc=doing, unit=" images") as bar,
        ):
            file.truncate(whole * batch * size)
            file.seek(0, 2)
            for number in range(whole, math.ceil(count / batch)):
                file.write(compute(number).astype(dtype, copy=False).tobytes())
                file.flush()
                bar.update(min(batch, count - number * batch))
        return np.fromfile(kept, dtype).reshape(-1, *row)[:count]


def unfinished(path: Path, facts: Mapping[str, Any]) -> Path:
    """The hidden file of `computed`."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return path.with_name(f".{path.name}.{digest[:16]}.unfinished")
