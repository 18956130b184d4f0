"""Scores on the features of a network: how they are named and found, and what is said of the network."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evaluation_helpers import number
from families import family_of
from vaelab.comparison.findings import findings
from vaelab.comparison.report import conclusion
from vaelab.comparison.table import markdown
from vaelab.evaluation.numbers import Section
from vaelab.evaluation.sections.samples import trained_on
from vaelab.evaluation.summary import summary
from vaelab.metrics.features import digest_of, feature_network, shipped
from vaelab.pages import captions
from vaelab.pages.run_report import evaluated_cards

SAMPLES = ("prior samples", "mixture samples", "reconstructions", "real images (floor)")


@pytest.mark.parametrize("network", ["mnist_cnn", "cifar10_cnn", "EMNIST-letters_cnn", "my_stamps_npz_cnn"])
def test_scores_are_found_whatever_their_network_is_called(network: str) -> None:
    rows = {"fid": (100.0, 20.0, 10.0, 1.0), "precision": (0.5,) * 4, "recall": (0.5,) * 4}
    scores = {
        f"{name}_{network}": dict(zip(SAMPLES, map(number, values), strict=True))
        for name, values in rows.items()
    }
    section = Section("", scores)
    assert f"have fid_{network} 100.0 ± 2.0" in summary({"samples": section}, {})["Realism of samples"]
    table = section.table(set())
    assert any(line.startswith(f"fid_{network} ↓ ") for line in table.splitlines())
    assert "Fréchet distance" in table
    numbers = {"samples": section.to_dict()}
    assert captions.conclusion("samples", numbers) == "FID 100.0; for real images 1.0."
    assert evaluated_cards(numbers, "best")[0][:2] == ("FID of prior samples", "100.0")
    family = family_of(np.random.default_rng(0), models=3, seeds=2, network=network)
    assert f"<br>fid_{network} of prior samples" in markdown(family, defaultdict(str))
    assert conclusion("samples", family).startswith("FID of prior samples: model 0 ")
    assert any(said.startswith("FID of model 0") for said in findings(family))


@pytest.mark.parametrize(("dataset", "included"), [("mnist", True), ("kmnist", False)])
def test_a_remark_says_whether_the_network_was_trained_on_these_images(dataset: str, included: bool) -> None:
    """As a shipped network or one from the script; `dataset.features` may choose that of other images."""
    sha256 = {"train-images-idx3-ubyte": "0123"}
    data = SimpleNamespace(spec=SimpleNamespace(name=dataset), origin=SimpleNamespace(sha256=sha256))
    evaluated: Any = SimpleNamespace(data=data, split=SimpleNamespace(name="test"))
    network = feature_network(shipped("mnist"), torch.device("cpu"))
    assert ("was trained on all training images" in trained_on(network, evaluated)) == included
    own = replace(network, sha256="4567", trained_on=digest_of(sha256))
    assert "was trained on all training images" in trained_on(own, evaluated)
    assert "of other files" in trained_on(replace(own, trained_on="89ab"), evaluated)
    assert "not recorded" in trained_on(replace(own, trained_on=None), evaluated)
