"""A metric: the mean squared error of reconstructions."""

from torch import Tensor

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import Section, mean_of
from vaelab.evaluation.sections import sections


def squared_error(images: Tensor, others: Tensor) -> Tensor:
    """Mean over pixels of the squared difference, shape (N,), grey values in [0, 1]."""
    return (images - others).square().flatten(1).mean(dim=1)


@sections.register("pixel_error")
def pixel_error(evaluated: EvaluatedModel, progress: Progress) -> Section:
    error_N = squared_error(evaluated.real_images, evaluated.reconstructions)
    number = mean_of(error_N, "squared grey value", evaluated.basis(len(error_N)))
    return Section("Pixel error", {"mse": {"reconstructions": number}}, "± is the standard error.")
