"""Images of one's own and data sets without a subset: how they are read, and what is wrong with them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from harness import command_line_of, idx
from vaelab.config import DatasetConfig, VaelabError
from vaelab.data import splits
from vaelab.data.datasets import datasets, published
from vaelab.data.folders import DataError, sha256
from vaelab.data.image_files import npz_images, read_images
from vaelab.data.sources import find
from vaelab.data.splits import Data

PIXELS = np.random.default_rng(0).integers(1, 256, (20, 8, 8), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray = PIXELS[0], **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **more)


Make = Callable[[Path], object]


def load(root: Path, **settings: Any) -> Data:
    config = DatasetConfig(name="images", root=str(root), val_size=0, **settings)
    return splits.load(config, torch.device("cpu"))


def folder(root: Path, *names: str) -> None:
    """Six grey images of 8 × 8 pixels in each folder."""
    for name in names:
        for number in range(6):
            save(root / name / f"{number}.png", PIXELS[number])


def with_file(name: str, content: bytes) -> Make:
    def make(root: Path) -> None:
        folder(root, "a", "b")
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)

    return make


def with_image(name: str, pixels: np.ndarray, **more: Any) -> Make:
    return lambda root: (folder(root, "a", "b"), save(root / name, pixels, **more))


COLOUR = np.tile(np.array([255, 0, 0], np.uint8), (8, 8, 1))


FOLDERS: dict[str, tuple[Make, dict[str, Any], str]] = {
    "no images": (lambda root: root.mkdir(), {}, "holds no images (.png, .jpg"),
    "images beside folders": (
        with_image("x.png", PIXELS[0]), {}, "has both images (x.png) and folders of images (a): put each image into"
    ),
    "an empty class": (
        lambda root: (folder(root, "a"), (root / "c").mkdir()), {}, "has folders without images: c: remove them"
    ),
    "splits": (lambda root: folder(root, "train/a", "test/a"), {}, "the folders test, train, which are not classes"),
    "damaged": (
        with_file("a/x.jpg", b"no"), {},
        "1 of 13 image files in ROOT can't be used (a/x.jpg: it is damaged or not an image): repair or remove "
        "them, or type dataset.skip_broken=true to leave them out."
    ),
    "nothing left": (
        lambda root: (root.mkdir(), (root / "x.png").write_bytes(b"")), {"skip_broken": True}, "The image file in"
    ),
    "animated": (
        with_image("a/x.gif", PIXELS[0], save_all=True, append_images=[Image.fromarray(PIXELS[1])]), {},
        "a/x.gif: it contains 2 images",
    ),
    "another size": (
        with_image("b/x.png", PIXELS[0][:5]), {}, "b/x.png has 5 × 8 pixels, but others have 8 × 8: type dataset.image_size=8"
    ),
    "colour": (with_image("b/x.png", COLOUR), {}, "b/x.png is in colour, but others are grey: type dataset.grayscale=true"),
    "large": (lambda root: save(root / "x.png", np.zeros((300, 8), np.uint8)), {}, "have 300 × 8 pixels, and vaelab's models take 4 to 256"),
    "one image": (lambda root: save(root / "x.png"), {}, "1 image in ROOT would leave nothing to train on: type a folder with more"),
    "test images": (lambda root: folder(root, "a"), {"test_size": 6}, "dataset.test_size=6 of 6 images in"),
    "no labels": (lambda root: folder(root, ""), {"classes": [1]}, "the images of root have no labels"),
    "no such class": (lambda root: folder(root, "10", "9"), {"classes": [1]}, "root has no class 1. Type one of 9, 10."),
    "missing": (lambda root: None, {}, "does not exist: type dataset.root=FOLDER with images"),
    "embedded": (lambda root: None, {"source": "embedded"}, "has no embedded subset"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_wrong_with_a_folder_is_reported(tmp_path: Path, name: str) -> None:
    make, settings, message = FOLDERS[name]
    make(tmp_path / "root")
    with pytest.raises(VaelabError) as raised:
        load(tmp_path / "root", **settings)
    assert message.replace("ROOT", str(tmp_path / "root")) in str(raised.value)
    assert "\n" not in str(raised.value)


ARCHIVES: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "digits of scikit-learn": ({"images": PIXELS / 16}, "the values of images are from 0.0625 to 15.9375, not floats"),
    "from -1": ({"images": PIXELS / 127.5 - 1}, ", not floats from 0 to 1: save integers"),
    "not a number": ({"images": np.full((4, 8, 8), np.nan)}, "images hold NaN or infinite values"),
    "0 and 1": ({"images": np.eye(8, dtype=np.uint8)[None]}, "save images.astype(bool), or images * 255"),
    "channels first": ({"images": np.zeros((9, 3, 8, 8))}, "save images.transpose(0, 2, 3, 1)"),
    "flat": ({"images": np.zeros((9, 64))}, "images has the shape (9, 64) and must have (N, H, W)"),
    "none": ({"images": np.zeros((0, 8, 8))}, "images has the shape (0, 8, 8, 1)"),
    "other names": ({"x_train": PIXELS}, "has no array 'images' (it has x_train"),
    "objects": ({"images": np.array([{}, 1], dtype=object)}, "images holds Python objects"),
    "few labels": ({"images": PIXELS, "labels": np.zeros(5, int)}, "labels has the shape (5,), but there are 20 images"),
    "label 0.5": ({"images": PIXELS, "labels": np.full(20, 0.5)}, "labels are neither whole numbers nor text"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_is_wrong_with_an_archive_is_reported(tmp_path: Path, name: str) -> None:
    arrays, message = ARCHIVES[name]
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(DataError) as raised:
        load(tmp_path / "x.npz")
    assert message in str(raised.value)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"PK nope")
    with pytest.raises(DataError, match=r"x.npz is damaged or not an .npz file"):
        load(tmp_path / "x.npz")


def test_every_kind_of_file_gives_the_pixels_that_it_shows(tmp_path: Path) -> None:
    save(tmp_path / "a16.PNG", np.full((8, 8), 257 * 100, np.uint16))
    Image.new("1", (8, 8), 1).save(tmp_path / "b.png")
    palette = Image.new("P", (8, 8))
    palette.putpalette([7] * 768)
    palette.save(tmp_path / "c.gif")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "d.png")  # on white
    save(tmp_path / "e.tif", np.full((8, 8), 0.5, np.float32))
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down
    save(tmp_path / "f.png", np.repeat(np.array([0, 255], np.uint8), 32).reshape(8, 8), exif=turned)
    (tmp_path / ".hidden").mkdir()
    save(tmp_path / ".hidden" / "g.png")
    names, images = read_images(tmp_path, (1, 8, 8))
    assert names == ["a16.PNG", "b.png", "c.gif", "d.png", "e.tif", "f.png"]
    assert images.shape == (6, 1, 8, 8)
    assert [each.max() for each in images[:5]] == pytest.approx([100 / 255, 1, 7 / 255, 1, 128 / 255])
    assert (images[5, 0, 0, 0], images[5, 0, 7, 0]) == (1, 0)


def test_the_advice_for_too_many_images_is_for_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "a.png", PIXELS[0])
    monkeypatch.setattr("vaelab.data.image_files.MOST_BYTES", 63)
    with pytest.raises(
        VaelabError, match=r"use fewer images, or for a training a smaller dataset\.image_size"
    ):
        read_images(tmp_path, (1, 8, 8))


def test_images_are_scaled_to_cover_the_size_and_grey_ones_count_as_coloured(tmp_path: Path) -> None:
    sides = np.repeat(np.array([0, 255, 0], np.uint8), [4, 8, 4])  # black beside a white square
    save(tmp_path / "a.png", COLOUR)
    save(tmp_path / "b.png", np.tile(sides, (8, 1)))
    found = load(tmp_path, image_size=4)
    images = {
        tuple(each.amax(dim=(1, 2)).tolist()): each for each in (found.train.images[0], found.test.images[0])
    }
    assert found.spec.image_shape == (3, 4, 4)
    assert images.keys() == {(255, 0, 0), (255, 255, 255)}
    assert images[255, 255, 255][:, :, 1:3].min() == 255  # the middle
    grey = load(tmp_path, image_size=[4, 8], grayscale=True)
    assert grey.spec.image_shape == (1, 4, 8)
    assert sorted([grey.train.images.max().item(), grey.test.images.max().item()]) == [76, 255]  # luma of red


def test_classes_are_the_folders_and_what_is_left_out_is_recorded(tmp_path: Path) -> None:
    folder(tmp_path, "10", "9", "2/deep")
    (tmp_path / "9" / "loop").symlink_to(tmp_path / "9")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "9" / "x.png").write_bytes(b"")
    data = load(tmp_path, skip_broken=True)
    assert data.spec.classes == ("2", "9", "10")
    assert data.origin.left_out == {"notes.txt": "not an image", "9/x.png": "it is damaged or not an image"}
    assert len(data.train) + len(data.test) == 18
    for split in (data.train, data.test):  # an image keeps its label
        for image, label in zip(split.images, split.labels, strict=True):
            assert any(np.array_equal(image, each) for each in PIXELS[:6])
            assert label in (0, 1, 2)
    assert load(tmp_path, skip_broken=True, classes=[9]).class_names == {1: "9"}


def test_the_test_images_are_the_same_for_every_run_and_others_for_another_draw(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=PIXELS, labels=np.arange(20) % 3)
    first, again, other = (load(tmp_path / "x.npz", split_seed=seed) for seed in (0, 0, 1))
    assert len(first.test) == 4
    assert torch.equal(first.test.images, again.test.images)
    assert not torch.equal(first.test.images, other.test.images)
    assert first.origin.sha256["files"] == other.origin.sha256["files"]
    assert first.origin.sha256["test_images"] != other.origin.sha256["test_images"]
    both = torch.cat([first.train.images, first.test.images])
    assert sorted(map(bytes, both.numpy())) == sorted(map(bytes, PIXELS))
    place = [next(n for n, each in enumerate(PIXELS) if np.array_equal(each, image)) for image in both]
    assert [n % 3 for n in place] == torch.cat([first.train.labels, first.test.labels]).tolist()


def test_emnist_is_read_from_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified as it is, images transposed, letters from 1."""
    spec = published()["emnist_letters"]
    images, labels = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 251, np.array([1, 26])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, name in spec.members.items():
            archive.writestr(name, gzip.compress(idx(labels if key.endswith("labels") else images)))
    (tmp_path / "EMNIST" / "raw").mkdir(parents=True)
    path = tmp_path / "EMNIST" / "raw" / "gzip.zip"
    path.write_bytes(buffer.getvalue())
    config = DatasetConfig(name="emnist_letters", root=str(tmp_path))
    with pytest.raises(DataError, match="damaged or belongs to another data set"):
        find(config)
    right = replace(spec, digests={"gzip.zip": sha256(buffer.getvalue())})
    monkeypatch.setitem(datasets.registered, "emnist_letters", right)
    found = find(config)
    assert np.array_equal(found.test_images, images.transpose(0, 2, 1))
    assert [spec.classes[label] for label in found.train_labels] == ["a", "z"]


def test_kmnist_is_verified_as_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, raw = published()["kmnist"], tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    contents = {}
    for key, name in spec.files.items():
        values = np.arange(3) if key.endswith("labels") else np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
        contents[name] = gzip.compress(idx(values))
        (raw / f"{name}.gz").write_bytes(contents[name])
    digests = {name: sha256(content) for name, content in contents.items()}
    monkeypatch.setitem(datasets.registered, "kmnist", replace(spec, digests=digests))
    assert find(DatasetConfig(name="kmnist", root=str(tmp_path))).origin.source == "root"


def test_without_a_network_it_is_said_which_files_to_put_where(tmp_path: Path) -> None:
    train = command_line_of("vaelab.train", tmp_path)
    for name, files in (("kmnist", "KMNIST/raw"), ("emnist_digits", "EMNIST/raw")):
        result = train(f"dataset={name}")
        assert result.returncode == 1
        assert "; or put " in result.stderr
        assert result.stderr.endswith(f"into {tmp_path}/no-data/{files}.\n")
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(17), r"nearly black \(their largest value is 16 of 255\)"),
        (np.array([0, 0.05]), r"nearly black \(their largest value is 13 of 255\)"),
        (np.array([0, np.nan]), "images hold NaN or infinite values"),
        (np.array([0, 1]), "images are integers of 0 and 1, where 255 is white"),
    ],
    ids=["0 to 16", "0 to 0.05", "NaN", "0 and 1"],
)
def test_values_of_another_range_are_reported(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "x.npz", images=np.resize(values, (40, 8, 8)))
    with pytest.raises(VaelabError, match=message):
        load(tmp_path / "x.npz")


def test_integers_of_any_type_up_to_255_are_taken_as_they_are(tmp_path: Path) -> None:
    pixels = np.resize(np.arange(256), (40, 8, 8))
    for kind in (np.uint8, np.uint16, np.int64):
        np.savez(tmp_path / "x.npz", images=pixels.astype(kind))
        assert np.array_equal(npz_images(tmp_path / "x.npz")[..., 0], pixels)
