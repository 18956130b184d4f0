"""Make the embedded subset: the first 10,000 training and 2,000 test images of each set, as IDX files.

    python scripts/make_embedded.py FOLDER    # FOLDER has the full sets in torchvision's layout

The same input gives the same bytes. Writes src/vaelab/data/embedded/, digests included.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
from pathlib import Path

from vaelab.data.datasets import published
from vaelab.data.folders import files_in, standard_folder, verified

KEPT = {"train": 10_000, "t10k": 2_000}


def first_images(content: bytes, count: int) -> bytes:
    """An IDX file cut down to its first `count` entries."""
    dimensions = content[3]
    sizes = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(dimensions)]
    entry = 1
    for size in sizes[1:]:
        entry *= size
    header = content[:4] + count.to_bytes(4, "big") + content[8 : 4 + 4 * dimensions]
    body = 4 + 4 * dimensions
    return header + content[body : body + count * entry]


def main() -> None:
    root = Path(sys.argv[1])
    for spec in (published()[name] for name in ("mnist", "fashion_mnist")):
        folder = spec.subset
        assert folder is not None
        folder.mkdir(parents=True, exist_ok=True)
        sums = []
        files = files_in(spec, standard_folder(spec, root))
        for name in spec.files.values():
            if name not in files:
                sys.exit(f"{standard_folder(spec, root) / name} is missing.")
            content = first_images(
                verified(files[name], spec.digests[name], spec.largest_file), KEPT[name.split("-")[0]]
            )
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
            sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}")
        (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    main()
