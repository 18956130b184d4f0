"""Files appear whole or not at all; names are found again; empty folders go."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import IO

import pytest

from vaelab.runs import files
from vaelab.runs.files import remove_if_empty, write_atomically
from vaelab.runs.folder import RunFolder, RunFolderError


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file: IO[bytes]) -> None:
        file.write(b"half of the n")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_a_file_has_its_name_only_once_all_of_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a power cut, which no test can make."""
    done: list[object] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: [done.append(os.fstat(file).st_size), sync(file)])
    monkeypatch.setattr(Path, "replace", lambda old, new: [done.append(new.name), replace(old, new)])
    write_atomically(tmp_path / "file", lambda file: file.write(b"content"))
    assert done == [len(b"content"), "file"]


def test_files_have_the_permissions_of_any_other(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", lambda file: file.write(b""))
    (tmp_path / "b").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_metrics_keep_every_digit(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_metrics([{"epoch": 1, "train/loss": 0.1 + 0.2}, {"epoch": 2, "train/loss": 1e-17}])
    assert folder.metrics_csv.read_text() == "epoch,train/loss\n1,0.30000000000000004\n2,1e-17\n"


def test_a_run_is_found_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path / "run")
    (tmp_path / "run").mkdir()
    folder.write_run_json({"status": "finished"})
    folder.write_text(folder.last_checkpoint, "")
    for path in (folder.path, folder.last_checkpoint, folder.run_json):
        assert RunFolder.holding(path).path == folder.path
    monkeypatch.chdir(tmp_path)
    assert RunFolder.holding("run").path == Path("run")
    monkeypatch.chdir(tmp_path / "run")
    assert RunFolder.holding(".").zip == tmp_path / "run.zip"


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"there is no run\.json"):
        RunFolder.holding(tmp_path)
    with pytest.raises(RunFolderError, match="does not exist"):
        RunFolder.holding(tmp_path / "nowhere")


def test_only_empty_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "outputs" / "day" / "run"
    empty.mkdir(parents=True)
    remove_if_empty(Path("outputs/day/run"))
    assert not (tmp_path / "outputs").exists()
    assert tmp_path.exists()
    empty.mkdir(parents=True)
    (tmp_path / "outputs" / ".gitkeep").touch()
    remove_if_empty(empty)
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == [".gitkeep"]


def test_going_back_touches_nothing_but_the_runs_own_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    own = [
        folder.epoch_checkpoint(7),
        folder.image("latent", 7),
        folder.image("samples", 7),
        folder.frame(700),
    ]
    kept = [
        folder.epoch_checkpoint(5), folder.image("latent", 5), folder.frame(500), folder.best_checkpoint,
        tmp_path / "epoch_0099.txt", tmp_path / "latent" / "epoch_0099_notes.png", tmp_path / "samples" / "epoch_x.png",
        tmp_path / "other" / "checkpoints" / "epoch_0099.safetensors", tmp_path / "other" / ".last.safetensors.x.partial",
    ]  # fmt: skip
    for path in [*own, *kept]:
        folder.write_text(path, "")
    assert folder.remove_after(epoch=5, step=500)
    folder.remove_leftovers()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not folder.remove_after(epoch=5, step=500)


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_run_json({})
    (tmp_path / ".run.json.abc.partial").touch()
    folder.remove_leftovers()
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    files.warn_of_no_locks.cache_clear()
    for name in ("first", "second"):
        with files.held(tmp_path / name), files.locked(tmp_path / f"{name}.lock"):
            assert (tmp_path / name / files.HOLDER).is_file()
    (record,) = caplog.records
    assert record.message.startswith("This file system has no locks: ")
    files.warn_of_no_locks.cache_clear()


def test_a_run_json_that_says_nothing_of_the_data_is_damaged(finished: Path, tmp_path: Path) -> None:
    facts = json.loads((finished / "run.json").read_text())
    folder = RunFolder(tmp_path)
    folder.write_run_json(facts)
    assert folder.read_run_json() == facts
    del facts["data"]["sha256"]
    folder.write_run_json(facts)
    with pytest.raises(RunFolderError, match=r"run\.json is damaged: .* restores it\."):
        folder.read_run_json()
