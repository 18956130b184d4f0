"""Statistics of the images themselves: sharpness, diversity, and the fidelity of reconstructions."""

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, mean_of, number_of
from vaelab.evaluation.sections import sections
from vaelab.metrics import images as statistics
from vaelab.metrics.images import PAIRED, WINDOW
from vaelab.metrics.resampling import mean_score

REAL = "real images"
PAIR_DISTANCE = "mean L2 distance"


@sections.register("images")
def images(evaluated: EvaluatedModel, progress: Progress) -> Section:
    count = evaluated.count
    if count < 2:
        raise CannotMeasure("requires at least two images")
    basis, pairs = evaluated.basis(count), evaluated.basis(min(count, PAIRED))
    columns: dict[str, dict[str, Number]] = {}
    for of, make in {
        REAL: lambda: evaluated.real_images,
        "reconstructions": lambda: evaluated.reconstructions,
        "prior samples": lambda: evaluated.prior_samples,
        "mixture samples": lambda: evaluated.mixture_samples,
    }.items():
        progress(of)
        x_N1HW = make()
        columns[of] = {
            "sharpness": number_of(
                mean_score(statistics.sharpness(x_N1HW)), "variance of the Laplacian", basis
            ),
            "diversity": number_of(statistics.diversity(x_N1HW), PAIR_DISTANCE, pairs),
        }
        if not columns[REAL]["sharpness"].value * columns[REAL]["diversity"].value:
            raise CannotMeasure("requires real images that are not all the same")
        columns[of] |= {
            f"{name}_ratio": ratio(number, columns[REAL][name]) for name, number in columns[of].items()
        }
    seen, reconstructed = evaluated.images[:count], evaluated.reconstructions
    columns["reconstructions"]["psnr"] = mean_of(statistics.psnr(seen, reconstructed), "dB", basis)
    similarity = f"ssim requires images of at least {WINDOW} × {WINDOW} pixels"
    if min(seen.shape[2:]) >= WINDOW:
        columns["reconstructions"]["ssim"] = mean_of(statistics.ssim(seen, reconstructed), "−1 to 1", basis)
        similarity = (
            f"ssim with a window of {WINDOW} × {WINDOW} pixels at all positions inside the image "
            "(Wang et al. 2004)"
        )
    remark = (
        f"{evaluated.values} range from 0 to 1. diversity: distance between pairs of images. psnr, ssim: the "
        f"{evaluated.pixels} images that were encoded against their reconstructions from posterior means; "
        f"{similarity}. The ± of a ratio is the error of its numerator alone."
    )
    return Section.of_columns("Image statistics", columns, remark)


def ratio(number: Number, real: Number) -> Number:
    """A statistic relative to that of real images, whose own error is left out."""
    error = None if number.standard_error is None else number.standard_error / real.value
    return Number(number.value / real.value, "relative to real images", number.basis, error)
