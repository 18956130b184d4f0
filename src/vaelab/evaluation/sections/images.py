"""Statistics of the images themselves: sharpness, diversity, and the fidelity of reconstructions."""

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, mean_of
from vaelab.evaluation.sections import sections
from vaelab.metrics.generation import PAIRED, diversity, psnr_ssim, sharpness
from vaelab.training.examples import as_arrays

REAL = "real images"
PAIR_DISTANCE = "mean L2 distance between pairs"


@sections.register("images")
def images(evaluated: EvaluatedModel, progress: Progress) -> Section:
    count = evaluated.count
    if count < 2:
        raise CannotMeasure("it takes at least two images")
    basis, pairs = evaluated.basis(count), evaluated.basis(min(count, PAIRED))
    rows: dict[str, dict[str, Number]] = {}
    for of, make in {
        REAL: lambda: evaluated.real_images,
        "reconstructions": lambda: evaluated.reconstructions,
        "prior samples": lambda: evaluated.prior_samples,
        "mixture samples": lambda: evaluated.mixture_samples,
    }.items():
        progress(of)
        grey = as_arrays(make())
        for name, value, unit, on in (
            ("sharpness", sharpness(grey), "variance of the Laplacian", basis),
            ("diversity", diversity(grey), PAIR_DISTANCE, pairs),
        ):
            numbers = rows.setdefault(name, {})
            numbers[of] = Number(value, unit, on)
            ratio = Number(value / numbers[REAL].value, "relative to real images", on)
            rows.setdefault(f"{name}_ratio", {})[of] = ratio
    psnr_N, ssim_N = psnr_ssim(evaluated.real_images, evaluated.reconstructions)
    rows["psnr"] = {"reconstructions": mean_of(psnr_N, "dB", basis)}
    rows["ssim"] = {"reconstructions": mean_of(ssim_N, "−1 to 1", basis)}
    remark = (
        "Grey values from 0 to 1. psnr, ssim: each image against its reconstruction from the posterior mean."
    )
    return Section("Image statistics", rows, remark)
