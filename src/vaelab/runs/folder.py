"""The run folder: the only module that knows the names of its files."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from vaelab.config import VaelabError, did_you_mean, expand_home, quote_override
from vaelab.runs import files
from vaelab.runs.files import write_atomically, write_bytes, writing
from vaelab.runs.logs import progress

CHECKPOINT_SUFFIXES = (".safetensors", ".pt")  # as they are written, and as older versions wrote them
EPOCH_FOLDERS = ("checkpoints", "reconstructions", "samples", "latent")  # with a file per epoch
SYSTEM = (Path("/"), Path("/proc"), Path("/sys"))  # not folders of runs; links in them lead everywhere
SPLIT_NAMES = {"train": "training", "val": "validation", "test": "test"}  # in metrics.csv, and in words


class RunFolderError(VaelabError):
    """A path is not the run folder or checkpoint that it was taken for."""


def existing(path: Path | str) -> Path:
    """The path of a run folder or of a checkpoint: RUN/last means RUN/checkpoints/last.safetensors.

    Raises RunFolderError where there is nothing.
    """
    path = Path(expand_home(path))
    if path.exists():
        return path
    names = [other.name for other in path.parent.glob(f"*{path.suffix}")]
    advice = "Type the path of a run folder or of a checkpoint in it."
    if (path.parent / "run.json").is_file():
        folder = RunFolder(path.parent)
        if (named := folder.readable(path.name)).is_file():
            return named
        found = folder.checkpoints()
        names += found
        if found:
            advice = f"Its checkpoints: {', '.join(str(path.parent / name) for name in found)}."
    raise RunFolderError(f"{path} does not exist. {did_you_mean(path.name, names)}{advice}")


def checkpoint_at(path: Path | str) -> Path:
    """The checkpoint at a path, or the last one of the run there. Raises RunFolderError where nothing is."""
    path = existing(path)
    return RunFolder.holding(path).readable("last") if path.is_dir() else path


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as `sha256sum` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_of_runs(path: Path | str) -> Path:
    """A folder with runs in it; raises RunFolderError for any other."""
    path = Path(expand_home(path))
    advice = "type sweep=FOLDER with a folder of runs."
    if not path.is_dir():
        raise RunFolderError(f"{path} is not a directory: {advice}")
    refuse_system(path, "sweep")
    if not run_folders(path):
        raise RunFolderError(f"There is no run in {path}: {advice}")
    return path


def run_folders(folder: Path) -> list[Path]:
    """The run folders below a folder, including those of jobs that never started, in numerical order."""
    found, seen = [], set()
    for path, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(path)) in seen:  # links may lead to what was seen already, or in circles
            folders.clear()
            continue
        seen.add(real)
        links = {name for name in folders if Path(path, name).is_symlink()}
        folders.sort(key=links.__contains__)
        if {"run.json", "train.log"} & {*names}:
            found.append(Path(path))
    return sorted(found, key=lambda path: natural(str(path)))


def is_finished(path: Path) -> bool:
    """Whether a run folder holds a finished run; not where its run.json is missing or damaged."""
    with suppress(RunFolderError, OSError):
        return bool(RunFolder(path).read_run_json()["status"] == "finished")
    return False


def refuse_system(path: Path, setting: str) -> None:
    """Raise RunFolderError for the root of the file system and the like; `setting` is what names it."""
    if path.resolve() in SYSTEM:
        raise RunFolderError(f"{path} belongs to the operating system: type another {setting}=FOLDER.")


def refuse_inside_a_run(path: Path, setting: str) -> None:
    """Raise RunFolderError for a new folder inside a run's; `setting` is what names it."""
    around = next((each for each in path.resolve().parents if (each / "run.json").is_file()), None)
    if around is not None:
        shown = RunFolder(around).path
        raise RunFolderError(
            f"The run folder {shown} can't contain another run: type {setting}=FOLDER, outside of it."
        )
    for sweep in (path, *path.parents):
        if (sweep / "multirun.yaml").is_file() and path in (sweep, sweep / "comparison"):
            raise RunFolderError(f"{path} is the folder of a sweep: type another {setting}=FOLDER.")


def read_metrics_json(folder: Path) -> dict[str, Any] | None:
    """The content of an evaluation's metrics.json; None if it is missing or damaged."""
    with suppress(OSError, ValueError):
        found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts 2_… before 10_…."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


class RunFolder:
    """The paths in a run folder, and the methods that write and read its files."""

    def __init__(self, path: Path | str) -> None:
        full = Path(path).absolute()
        here = Path.cwd()
        self.path = full.relative_to(here) if full.is_relative_to(here) else full
        if str(self.path).startswith("~"):
            self.path = full  # a directory named ~…: its relative path would be read as a home directory
        self.name = full.name
        self.zip = full.parent / f"{full.name}.zip"
        self.run_json = self.path / "run.json"
        self.config_yaml = self.path / "config.yaml"
        self.metrics_csv = self.path / "metrics.csv"
        self.log = self.path / "train.log"
        self.report = self.path / "report.html"
        self.tensorboard = self.path / "tensorboard"
        self.points = self.path / "latent" / "points.npz"
        """Labels and small images of the points in latent plots, and the originals of reconstructions."""

    @classmethod
    def holding(cls, path: Path | str) -> RunFolder:
        """The run at `path`, or that of the file `path`, such as a checkpoint. Raises RunFolderError."""
        path = existing(path)
        if (found := cls.around(path)) is None:
            problem = f"{path} is neither a run folder nor a file in one (there is no run.json)"
            raise RunFolderError(f"{problem}: type a folder that vaelab.train has created.")
        return found

    @classmethod
    def around(cls, path: Path) -> RunFolder | None:
        """The run at `path` or up to two folders above, or None."""
        folders = (path, *path.absolute().parents[:2])
        return next((cls(folder) for folder in folders if (folder / "run.json").is_file()), None)

    def checkpoint(self, name: str) -> Path:
        """Where the checkpoint `last`, `best` or `epoch_0005` is written."""
        return self.path / "checkpoints" / (name + CHECKPOINT_SUFFIXES[0])

    def readable(self, name: str) -> Path:
        """The checkpoint to read: the *.pt of an older run if there is no *.safetensors."""
        path = self.checkpoint(name)
        older = path.with_suffix(CHECKPOINT_SUFFIXES[1])
        return older if older.exists() and not path.exists() else path

    def checkpoints(self) -> list[str]:
        """Names of all checkpoints: best, epoch_0005, last."""
        paths = (self.path / "checkpoints").glob("*")
        return sorted({path.stem for path in paths if path.suffix in CHECKPOINT_SUFFIXES})

    @property
    def last_checkpoint(self) -> Path:
        return self.readable("last")

    @property
    def best_checkpoint(self) -> Path:
        return self.readable("best")

    def epoch_checkpoint(self, epoch: int) -> Path:
        return self.readable(f"epoch_{epoch:04d}")

    def image(self, kind: str, epoch: int) -> Path:
        """`kind` is reconstructions, samples or latent."""
        return self.path / kind / f"epoch_{epoch:04d}.png"

    def frame(self, step: int) -> Path:
        """The animation's frame after that many steps of training."""
        return self.path / "latent" / "frames" / f"step_{step:07d}.npz"

    def numbered(self, kind: str) -> list[tuple[int, Path]]:
        """Sorted (epoch, file) pairs of one of EPOCH_FOLDERS, or (step, file) pairs of latent/frames."""
        name = re.compile(r"(?:epoch_\d{4,}|step_\d{7,})\.(?:png|npz|safetensors|pt)")
        found = (path for path in (self.path / kind).glob("*") if name.fullmatch(path.name))
        return sorted((int(path.stem.partition("_")[2]), path) for path in found)

    def figure(self, file: str) -> Path:
        return self.path / "figures" / file

    def evaluation(
        self, checkpoint: str, split: str = "test", seed: int | None = None, other_data: str = ""
    ) -> Path:
        """Where an evaluation of `checkpoint` (best, last, epoch_0005) goes; `seed` is one of its own.

        `other_data` is set where its images are not those of the run: `subset` or `full_set`.
        """
        name = "_".join(part for part in (checkpoint, other_data, "" if split == "test" else split) if part)
        return self.path / "evaluation" / (name if seed is None else f"{name}_seed-{seed}")

    def evaluations(self) -> dict[Path, dict[str, Any]]:
        """The folders of all evaluations, the best checkpoint's first, with their metrics.json."""
        folders = sorted(path.parent for path in (self.path / "evaluation").glob("*/metrics.json"))
        return {folder: found for folder in folders if (found := read_metrics_json(folder))}

    def main_files(self) -> list[tuple[str, str]]:
        """The main files of this run, with what each shows."""
        guide = {
            "report.html": "all results on one page, for the browser",
            "figures/loss_curves.png": "loss, reconstruction and KL over the epochs",
            "figures/latent_space.png": "posterior means of the test images, by class",
            "figures/latent_manifold.png": "images decoded from a grid in the latent plane",
            "figures/latent_evolution.gif": "animation of the latent space during training",
            "figures/latent_evolution.mp4": "the same as a video",
            "reconstructions": "originals above reconstructions, epoch by epoch",
            "samples": "images decoded from the same prior draws, epoch by epoch",
            "evaluation/best/metrics.json": "evaluation of the best checkpoint, with units and sample sizes",
            "metrics.csv": "one row per epoch, in nats per image",
            "checkpoints/best.safetensors": f'the model; in Python: vaelab.load("{self.path}")',
        }
        return [(path, meaning) for path, meaning in guide.items() if (self.path / path).exists()]

    def write(self, path: Path, content: bytes) -> None:
        """Write a file, and make the folders above it, but not the run's own. Raises StorageError."""
        with writing(path):
            for between in reversed(path.relative_to(self.path).parents[:-1]):
                (self.path / between).mkdir(exist_ok=True)
        write_bytes(path, content)

    def write_text(self, path: Path, text: str) -> None:
        self.write(path, text.encode())

    def write_run_json(self, facts: Mapping[str, Any]) -> None:
        self.write_text(self.run_json, as_json(facts))

    def read_run_json(self) -> dict[str, Any]:
        """What `write_run_json` wrote. Raises RunFolderError for anything else."""
        try:
            facts: dict[str, Any] = json.loads(self.run_json.read_text(encoding="utf-8"))
            of_data = {"description", "images", "scored_each_epoch", "sha256"}
            whole = facts.keys() >= {"status", "command", "data", "epochs", "sessions"}
            if not (whole and facts["data"].keys() >= of_data):
                raise ValueError
            facts["epochs"].setdefault("total", facts["epochs"].get("asked"))  # its name in older runs
        except (ValueError, AttributeError) as error:
            again = f"python -m vaelab.train {quote_override('resume', self.path)}"
            raise RunFolderError(f"{self.run_json} is damaged: {again} restores it.") from error
        return facts

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows that `write_metrics` wrote. Raises RunFolderError for anything else."""
        try:
            rows = [
                {key: int(text) if text.isdecimal() else float(text) for key, text in row.items()}
                for row in csv.DictReader(self.metrics_csv.read_text(encoding="utf-8").splitlines())
            ]
            if [row.get("epoch") for row in rows] != [*range(1, len(rows) + 1)] or not rows:
                raise ValueError
            return rows
        except (ValueError, AttributeError) as error:
            advice = "the checkpoints hold the same rows. Type the path of one."
            raise RunFolderError(f"{self.metrics_csv} is damaged: {advice}") from error

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write one row per record, with every digit, so that reading the file gives the same numbers."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self.write_text(self.metrics_csv, text.getvalue())

    def remove_after(self, epoch: int, step: int) -> bool:
        """Delete the files of later epochs and steps; returns whether any was from a complete later epoch."""
        later = [each for kind in EPOCH_FOLDERS for each in self.numbered(kind) if each[0] > epoch]
        frames = [each for each in self.numbered("latent/frames") if each[0] > step]
        for _, path in later + frames:
            path.unlink()
        return any(number > epoch + 1 for number, _ in later)

    def holds_epochs(self) -> bool:
        """Whether a run has completed an epoch here."""
        return self.metrics_csv.exists() or self.best_checkpoint.exists() or any(self.numbered("checkpoints"))

    def remove_leftovers(self) -> None:
        """Delete the incomplete files of a killed process, including those of the zip next to the folder."""
        names = ("", "figures", "latent/frames", *EPOCH_FOLDERS)
        files.remove_leftovers(*(self.path / name for name in names))
        for path in self.zip.parent.glob(f".{glob.escape(self.zip.name)}.*.partial"):
            path.unlink(missing_ok=True)

    def write_zip(self, facts: Mapping[str, Any] | None = None) -> None:
        """Pack the folder as a zip file next to it, without hidden files and the frames of the animation.

        `facts` replaces the content of run.json, if given. A progress bar shows which files are done.
        """
        names = (path.relative_to(self.path) for path in sorted(self.path.rglob("*")) if path.is_file())
        packed = [name for name in names if not name.match("latent/frames/*")]
        packed = [name for name in packed if not any(part.startswith(".") for part in name.parts)]

        def pack(file: IO[bytes]) -> None:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                doing = f"packing {self.zip.name}"
                for name in progress(packed, doing, unit=" files"):
                    if facts is not None and self.path / name == self.run_json:
                        archive.writestr(f"{self.name}/{name}", as_json(facts))
                    else:
                        archive.write(self.path / name, f"{self.name}/{name}")

        write_atomically(self.zip, pack)

    def refresh_zip(self) -> None:
        """Pack again if there is a zip file, for example after an evaluation."""
        if self.zip.is_file():
            self.write_zip()


def as_json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
