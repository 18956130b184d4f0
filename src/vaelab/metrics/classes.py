"""How much class information a representation of images holds.

Shapes: N training images, M scored images, F features of each (latents or pixels), C classes,
B rows at a time.
"""

import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from vaelab.metrics.resampling import Score, mean_score, share_score

NEIGHBOURS = 10
ROWS = 250
"""Rows of a pairwise matrix that are in memory at a time."""

STEPS = 100
"""Largest number of iterations of the linear probe's solver."""

NEWTON_UP_TO = 64
"""Number of features up to which Newton's method is the fastest solver for the probe."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features with the classes of their images."""

    features: Tensor  # (N, F), float32
    labels: Tensor  # (N,), whole numbers from 0


def knn_accuracy(train: Labelled, scored: Labelled) -> Score:
    """Accuracy, in [0, 1], of a vote of the 10 nearest training images (Euclidean) on the scored images.

    The standard error is binomial. Raises ValueError for fewer than 10 training images.

    >>> labels_N = torch.arange(20) // 10
    >>> two = Labelled(9.0 * labels_N[:, None], labels_N)  # one feature, equal within each of two classes
    >>> knn_accuracy(two, two).value
    1.0
    """
    classifier = KNeighborsClassifier(NEIGHBOURS)
    classifier.fit(train.features.cpu().numpy(), train.labels.cpu().numpy())
    guesses_M = torch.from_numpy(classifier.predict(scored.features.cpu().numpy()))
    return share_score(guesses_M == scored.labels.cpu())


def linear_accuracy(train: Labelled, scored: Labelled) -> tuple[Score, bool]:
    """Accuracy, in [0, 1], of logistic regression on standardised features, and whether it converged.

    Fitted on `train` and measured on `scored`, with scikit-learn. The standard error is binomial. Raises
    ValueError for fewer than two classes.

    >>> labels_N = torch.arange(20) // 10
    >>> two = Labelled(9.0 * labels_N[:, None], labels_N)
    >>> score, converged = linear_accuracy(two, two)
    >>> score.value, converged
    (1.0, True)
    """
    solver = "newton-cholesky" if train.features.shape[1] <= NEWTON_UP_TO else "lbfgs"
    probe = make_pipeline(StandardScaler(), LogisticRegression(solver=solver, max_iter=STEPS))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        probe.fit(train.features.cpu().numpy(), train.labels.cpu().numpy())
    right_M = torch.from_numpy(probe.predict(scored.features.cpu().numpy())) == scored.labels.cpu()
    converged = not any(issubclass(each.category, ConvergenceWarning) for each in caught)
    return share_score(right_M), converged


def silhouette(scored: Labelled) -> Score:
    """Mean silhouette coefficient of the classes (Rousseeuw 1987), −1 to 1, with Euclidean distances.

    Higher values mean that classes are better separated. The standard error is that of a mean over images,
    with the distances to the other images held fixed.

    >>> two = Labelled(torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
    >>> round(silhouette(two).value, 3)  # the mean of 3.5 / 4.5 and 2.5 / 3.5
    0.746
    """
    present, label_M = scored.labels.unique(return_inverse=True)
    features_MF = scored.features - scored.features.mean(dim=0)  # distances lose fewer digits near the origin
    member_MC = F.one_hot(label_M, len(present)).float()
    size_C = member_MC.sum(dim=0)
    values = []
    for features_BF, own_B in zip(features_MF.split(ROWS), label_M.split(ROWS), strict=True):
        total_BC = torch.cdist(features_BF, features_MF) @ member_MC
        own = own_B[:, None]
        inside_B = total_BC.gather(1, own).squeeze(1) / (size_C[own_B] - 1).clamp(min=1)
        between_B = (total_BC / size_C).scatter(1, own, torch.inf).min(dim=1).values
        value_B = (between_B - inside_B) / torch.maximum(inside_B, between_B)
        values.append(torch.where(size_C[own_B] > 1, value_B.nan_to_num(), 0.0))  # 0 if alone in its class
    return mean_score(torch.cat(values))


def principal_components(train: Labelled, scored: Labelled, count: int) -> tuple[Labelled, Labelled]:
    """Both sets on the first `count` principal components of `train`: (N, count) and (M, count).

    >>> diagonal = Labelled(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.tensor([0, 1]))
    >>> principal_components(diagonal, diagonal, 1)[0].features.abs().flatten()
    tensor([1.4142, 1.4142])
    """
    mean_F = train.features.mean(dim=0)
    scatter_FF = mean_F.new_zeros(len(mean_F), len(mean_F), dtype=torch.float64)
    for rows_BF in train.features.split(10 * ROWS):
        centred_BF = (rows_BF - mean_F).double()
        scatter_FF.addmm_(centred_BF.T, centred_BF)
    _, vectors = torch.linalg.eigh(scatter_FF)  # ascending
    directions = vectors[:, -count:].float()
    origin = mean_F @ directions
    return (
        Labelled(train.features @ directions - origin, train.labels),
        Labelled(scored.features @ directions - origin, scored.labels),
    )
