"""How well a representation of images separates their classes, by scikit-learn.

Shapes: N images, F features of each: latents, or pixels.
"""

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NEIGHBOURS = 10
STEPS = 50  # of the linear probe's solver: only raw pixels would take more, with no gain on images not seen


class Labelled(NamedTuple):
    """Features with the classes of their images."""

    features: NDArray[np.float32]  # (N, F)
    labels: NDArray[np.integer]  # (N,)


def knn_accuracy(train: Labelled, scored: Labelled) -> float:
    """Share of the scored images whose 10 nearest training images (Euclidean) vote for their class."""
    return float(KNeighborsClassifier(NEIGHBOURS).fit(*train).score(*scored))


def linear_accuracy(train: Labelled, scored: Labelled) -> float:
    """Share of the scored images that a logistic regression on standardised features classifies right."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(probe.fit(*train).score(*scored))


def silhouette(scored: Labelled) -> float:
    """Mean silhouette of the classes (Rousseeuw 1987), from -1 to 1: how far apart they are, Euclidean."""
    return float(silhouette_score(*scored))


def principal_components(train: Labelled, scored: Labelled, count: int, seed: int) -> list[Labelled]:
    """Both on the training images' first `count` principal components."""
    pca = PCA(count, random_state=seed).fit(train.features)
    return [Labelled(pca.transform(each.features), each.labels) for each in (train, scored)]
