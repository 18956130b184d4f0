"""What the data sets of EMNIST share: one archive with the files of all of them (Cohen et al. 2017)."""

from vaelab.data.datasets import DatasetSpec, register

ARCHIVE = "gzip.zip"


def register_emnist(split: str, title: str, classes: str, first_label: int) -> None:
    """Make one of its splits known as `emnist_<split>`."""
    members = {
        f"{part}_{kind}": f"gzip/emnist-{split}-{part}-{kind}-idx{dimensions}-ubyte.gz"
        for part in ("train", "test")
        for kind, dimensions in (("images", 3), ("labels", 1))
    }
    register(
        DatasetSpec(
            name=f"emnist_{split}",
            title=title,
            folder="EMNIST",
            classes=tuple(classes),
            packed=".zip",
            files={"archive": ARCHIVE},
            members=members,
            digests={ARCHIVE: "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
            largest_file=600_000_000,  # the archive has 562 MB
            transposed=True,
            first_label=first_label,
            urls=(
                "https://biometrics.nist.gov/cs_links/EMNIST/",
                "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
            ),
        ),
        __name__,
    )
