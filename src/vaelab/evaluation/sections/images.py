"""Statistics of the images themselves: sharpness, diversity, and the fidelity of reconstructions."""

from dataclasses import replace

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
        grey = as_arrays(make())
        columns[of] = {}
        for name, number in {
            "sharpness": Number(sharpness(grey), "variance of the Laplacian", basis),
            "diversity": Number(diversity(grey), PAIR_DISTANCE, pairs),
        }.items():
            columns[of][name] = number
            ratio = number.value / columns[REAL][name].value
            columns[of][f"{name}_ratio"] = replace(number, value=ratio, unit="relative to real images")
    psnr_N, ssim_N = psnr_ssim(evaluated.real_images, evaluated.reconstructions)
    columns["reconstructions"]["psnr"] = mean_of(psnr_N, "dB", basis)
    columns["reconstructions"]["ssim"] = mean_of(ssim_N, "−1 to 1", basis)
    remark = "Grey values from 0 to 1. psnr, ssim: images against their reconstructions from posterior means."
    return Section.of_columns("Image statistics", columns, remark)
