"""Which checkpoint is evaluated, on which images and with which seed; what is refused."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import vaelab
from evaluation_helpers import (
    ROUGH_NLL,
    assert_refused,
    metrics,
    only,
    run_of_three_epochs,
)
from harness import TINY, UNDRAWN, CommandLine, rewrite, run_folder, run_json
from vaelab.cli import api
from vaelab.config import EvaluationConfig, ScoredDataConfig, VaelabError
from vaelab.evaluation.evaluate import Evaluation, evaluated_model
from vaelab.evaluation.figures import FIGURES
from vaelab.evaluation.outputs import facts_of
from vaelab.metrics.features import untrained_network
from vaelab.runs.folder import RunFolder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of_three_epochs(tmp_path_factory)


def from_nowhere(content: dict[str, Any]) -> None:
    """As if the run's data had been in a folder that no longer exists."""
    content["config"]["dataset"] |= {"source": "auto", "root": "/no/such/folder"}


def test_a_checkpoint_without_its_run_is_evaluated_in_its_own_folder(
    evaluate: CommandLine, run: Path, tmp_path: Path
) -> None:
    """Nothing else is needed: not the run folder, and not the data's old place."""
    (tmp_path / "mail").mkdir()

    def averaged_elsewhere(content: dict[str, Any]) -> None:
        from_nowhere(content)
        content["config"]["optimizer"]["weight_average"] = 0.999

    rewrite(
        run / "checkpoints" / "best.safetensors",
        averaged_elsewhere,
        tmp_path / "mail" / "from_a_friend.safetensors",
    )
    shutil.rmtree(run)
    result = evaluate("checkpoint=mail/from_a_friend.safetensors", *ROUGH_NLL, *only("bound", "ood"))
    assert result.returncode == 0, result.stderr
    assert "WARNING: The run's dataset.root=/no/such/folder has no fashion_mnist" in result.stderr
    assert "WARNING: EMBEDDED SUBSET" in result.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.json")) == ["metrics.json"]
    folder = tmp_path / "mail" / "evaluation" / "from_a_friend"
    assert metrics(folder)["data"]["fallback"]
    for name in ("table.txt", "summary.md"):
        assert "moving average of the trained ones, decay 0.999" in (folder / name).read_text()


def test_other_images_than_the_runs_own_are_reported(evaluate: CommandLine, run: Path) -> None:

    def of_the_full_set(content: dict[str, Any]) -> None:
        content["data"]["sha256"]["train-images-idx3-ubyte"] = "0" * 64
        content["data"]["complete"] = True

    rewrite(run / "checkpoints" / "best.safetensors", of_the_full_set)
    with pytest.raises(VaelabError, match=r"^split=val .* type split=test\.$"):
        api.evaluate(run, "split=val")
    result = evaluate("checkpoint=run", *only("bound"))
    assert result.returncode == 0, result.stderr
    assert "WARNING: The run was trained on the full set" in result.stderr
    assert metrics(run / "evaluation" / "best_subset")["data"]["trained_on_the_same_files"] is False


def test_several_checkpoints_agree_with_what_training_wrote_of_each(evaluate: CommandLine, run: Path) -> None:
    """One after the other, by path or by name; the same images and the same noise: every digit."""
    result = evaluate(
        "-m",
        "checkpoint=run/last,nowhere.safetensors,run,run/checkpoints/epoch_0001.safetensors",
        "split=val",
        *only("bound"),
    )
    assert result.returncode == 1
    assert "There is no checkpoint nowhere.safetensors" in result.stderr
    assert (
        result.stderr.splitlines()[-1]
        == "vaelab: These jobs failed (see above): checkpoint=nowhere.safetensors."
    )
    assert result.stdout.count("Evaluation folder: ") == 3
    with (run / "metrics.csv").open() as file:
        rows = {int(row["epoch"]): row for row in csv.DictReader(file)}
    for name, epoch in (("last", 3), ("best", vaelab.load(run).epoch), ("epoch_0001", 1)):
        folder = run / "evaluation" / f"{name}_val"
        found = metrics(folder)
        assert found["checkpoint"] == {
            "file": f"{name}.safetensors", "epoch": epoch,
            "sha256": hashlib.sha256((run / "checkpoints" / f"{name}.safetensors").read_bytes()).hexdigest(),
        }  # fmt: skip
        bound = found["numbers"]["bound"]
        for term in ("reconstruction", "kl", "neg_elbo"):
            assert bound[term]["model"]["value"] == float(rows[epoch][f"val/{term}"]), (name, term)
        assert "bits_per_dim" not in bound, "grey pixels under a Bernoulli likelihood have no probability"
        assert {path.name for path in folder.iterdir()} == {"metrics.json", "table.txt", "summary.md"}
        heading = f"mlp, 2 latent dimensions, beta 1, bernoulli · {name}, epoch {epoch} · "
        assert (folder / "table.txt").read_text().startswith(heading)
        assert (folder / "summary.md").read_text().startswith(f"# run: {name}, epoch {epoch}\n")


def test_checkpoints_are_found_by_name(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RUN/last, RUN/best and RUN/epoch_0001 wherever a run or a checkpoint is given; also from older files."""
    monkeypatch.chdir(run.parent)
    last = vaelab.load("run", which="last")
    assert (last.epoch, last.moment) == (3, "last, epoch 3")
    assert vaelab.load("run/best").epoch == vaelab.load("run").epoch == vaelab.load("run", "best").epoch
    with pytest.raises(VaelabError, match=r"^run/lats does not exist\. Did you mean 'last'\?"):
        vaelab.load("run", which="lats")
    for path in ("run/last", "run/checkpoints/last.safetensors"):
        with pytest.raises(VaelabError, match=r"last\.safetensors is itself a checkpoint: give which=best"):
            vaelab.load(path, which="best")
    assert torch.equal(api.sample("run/last", count=4), last.sample(4))
    page = api.explore("run/last", images=10, output="page.html")
    assert '"run: last, epoch 3"' in page.path.read_text()
    assert (repr(page), Path(page)) == ("<Explorer: page.html>", page.path)
    api.train("resume=run/epoch_0001", epochs=2)
    assert "Going back to epoch 1" in capsys.readouterr().err
    assert run_json(run)["epochs"] == {"done": 2, "total": 2}


def test_an_untrained_network_shows_that_its_fid_means_nothing(run: Path) -> None:
    result = api.evaluate(run, "metrics.fid_untrained=true", *only("samples"))
    found = result.numbers
    trained, random = found["samples"]["fid_fashion_mnist_cnn"], found["fid_untrained"]["fid_untrained"]
    assert trained.keys() == random.keys()
    for of, number in random.items():
        assert 0 <= number["value"] < trained[of]["value"] / 100, of
    assert "Never report it" in result.text
    again = [untrained_network(seed, torch.device("cpu")).state_dict() for seed in (1, 1, 2)]
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])
    assert not torch.equal(again[0]["head.1.weight"], again[2]["head.1.weight"])


# --- what it refuses --------------------------------------------------------------------------------------


def test_a_path_that_is_not_a_checkpoint_is_refused_and_nothing_is_written(
    evaluate: CommandLine, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    message_of_nowhere = "nowhere does not exist. Type the path of a run folder or of a checkpoint in it."
    for path, message in (
        ("run", "There is no checkpoint run/checkpoints/best.safetensors"),
        ("nowhere", message_of_nowhere),
        ("empty", "empty is neither a run folder nor a file in one (there is no run.json): type"),
    ):
        with pytest.raises(VaelabError, match=re.escape(message)):
            api.evaluate(path)
    assert_refused(evaluate("checkpoint=nowhere"), message_of_nowhere)
    assert not list(tmp_path.rglob("evaluation"))


def test_a_folder_of_data_that_does_not_exist_is_refused(run: Path) -> None:
    with pytest.raises(VaelabError, match=r"^dataset\.root=/no/such/folder is not a directory: type one"):
        api.evaluate(run, "dataset.source=full", "dataset.root=/no/such/folder")
    assert not (run / "evaluation").exists()


# --- strange but legal ------------------------------------------------------------------------------------


def test_binarised_runs_find_their_grey_images_where_the_others_were_found(
    train: CommandLine, tmp_path: Path
) -> None:
    """The run's own folder was deleted, and another source is given."""
    run_folder(train(*TINY, *UNDRAWN, "dataset.binarize=static", "epochs=1", "hydra.run.dir=run"))
    rewrite(tmp_path / "run" / "checkpoints" / "best.safetensors", from_nowhere)
    of_grey = ("classes", "images")
    result = api.evaluate(tmp_path / "run", *only(*of_grey), "dataset.source=embedded")
    assert tuple(result.numbers) == of_grey
    loaded: dict[str, Any] = {}
    config = EvaluationConfig(checkpoint="any", dataset=ScoredDataConfig(source="embedded"))
    one, other = (evaluated_model(vaelab.load(tmp_path / "run"), config, loaded) for _ in range(2))
    assert one.grey_data is other.grey_data, "read once for several runs"


def test_too_few_images_are_reported_and_not_a_failure(
    train: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = ("dataset.source=embedded", "dataset.classes=[1,7]", "dataset.val_size=9980", "batch_size=2")
    run_folder(train(*few, *UNDRAWN, "epochs=1", "hydra.run.dir=run"))
    for name in {*FIGURES} - {"samples_mixture.png"}:
        monkeypatch.delitem(FIGURES, name)
    result = api.evaluate(tmp_path / "run", *ROUGH_NLL, "metrics.ood=false")
    assert result.failed == []
    assert metrics(result.folder)["not_measured"] == {
        "ood": "metrics.ood=false",
        "classes": "requires 10 training images, of at least two classes",
        "samples": "3 images are too few for the covariance of 64 features: more training images and more scored images are required",
    }
    assert "samples_mixture.png: requires 64 samples, but only 3 are drawn for so few images" in result.text


def test_the_seed_of_an_evaluation_is_reported_everywhere(run: Path) -> None:
    for seed, name in ((42, "best_val"), (7, "best_val_seed-7")):
        result = api.evaluate(run, *only("bound"), split="val", seed=seed)
        assert result.folder == run / "evaluation" / name
        assert metrics(result.folder)["seed"] == seed
        assert (result.folder / "table.txt").read_text() == result.text
        assert f"1 posterior sample per image · seed {seed}" in result.text
        said = "trained with seed 42, evaluated with seed 7" in " ".join(result.text.splitlines()[:2])
        assert said == (seed == 7)
    assert {path.name for path in (run / "evaluation").iterdir()} == {"best_val", "best_val_seed-7"}
    assert RunFolder(run).evaluation("best", "test", 7) == run / "evaluation" / "best_seed-7"


def test_output_never_replaces_a_link_by_a_file(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the folder or of a file in it: what is written goes where the link leads."""
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "kept.json").write_text("{}")
    (tmp_path / "real" / "metrics.json").symlink_to("../kept.json")
    (tmp_path / "page.html").write_text("")
    (tmp_path / "link.html").symlink_to("page.html")
    monkeypatch.chdir(tmp_path)
    api.evaluate("run", *only("bound"), output="folder")
    api.explore("run", images=10, output="link.html")
    assert json.loads((tmp_path / "kept.json").read_text())["status"] == "finished"
    assert (tmp_path / "page.html").stat().st_size > 0
    assert (tmp_path / "real" / "table.txt").is_file()
    for link in ("folder", "real/metrics.json", "link.html"):
        assert (tmp_path / link).is_symlink()


def test_an_output_that_can_not_be_written_is_noticed_first(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.parent / "afile").write_text("")
    monkeypatch.chdir(run.parent)
    monkeypatch.setattr(Evaluation, "measure_and_draw", lambda _: pytest.fail("measured first"))
    with pytest.raises(VaelabError, match=r"^afile can't be created .*: type output=FOLDER\.$"):
        api.evaluate("run", output="afile")


def test_a_run_with_more_validation_images_than_the_subset_has_is_evaluated(run: Path) -> None:
    rewrite(
        run / "checkpoints" / "best.safetensors",
        lambda content: content["config"]["dataset"].update(val_size=50_000),
    )
    assert metrics(api.evaluate(run, *only("bound")).folder)["data"]["images"] == 403


def test_what_is_certified_is_what_was_loaded(run: Path) -> None:
    """And not what a training has written in its place since then."""
    loaded = vaelab.load(run)
    digest = hashlib.sha256(loaded.checkpoint.read_bytes()).hexdigest()
    shutil.copy(run / "checkpoints" / "last.safetensors", loaded.checkpoint)
    evaluated = evaluated_model(loaded, EvaluationConfig(checkpoint=str(run)), {})
    facts = {"file": "best.safetensors", "sha256": digest, "epoch": loaded.epoch}
    assert Evaluation(evaluated).facts()["checkpoint"] == facts
    assert facts_of(loaded)["sha256"] == digest
