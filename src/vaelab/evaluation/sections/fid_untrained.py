"""FID on features of a network with random weights: a demonstration that it measures nothing."""

from vaelab.evaluation.model import EvaluatedModel, Progress
from vaelab.evaluation.numbers import CannotMeasure, Number, Section, number_of
from vaelab.evaluation.sections import sections
from vaelab.evaluation.sections.samples import FLOOR
from vaelab.metrics import generation
from vaelab.metrics.features import CLASSIFIED, Classifier, features_of, untrained_network


@sections.register("fid_untrained")
def fid_untrained(evaluated: EvaluatedModel, progress: Progress) -> Section:
    if evaluated.data.spec.image_shape != CLASSIFIED:
        raise CannotMeasure(f"the network takes images of the shape {CLASSIFIED}")
    if evaluated.count <= Classifier.FEATURES:
        raise CannotMeasure(f"requires more than {Classifier.FEATURES} images")
    network = untrained_network(evaluated.seed, evaluated.device)
    seed, basis = evaluated.numpy_seed, evaluated.basis(evaluated.count)
    real = generation.replicated_moments(features_of(network, evaluated.real_images).float(), seed)
    found: dict[str, Number] = {}
    for of, make in {
        "prior samples": lambda: evaluated.prior_samples,
        "mixture samples": lambda: evaluated.mixture_samples,
        "reconstructions": lambda: evaluated.reconstructions,
        FLOOR: lambda: evaluated.real(evaluated.other_split),
    }.items():
        progress(of)
        moments = generation.replicated_moments(features_of(network, make()).float(), seed + 1)
        found[of] = number_of(generation.fid(real, moments), "squared distance", basis)
    remark = (
        "Never report it or compare it with anything: features from random weights have neither meaning nor "
        "scale, so every model has a value close to 0, and each seed gives a different value."
    )
    return Section("FID without training the network", {"fid_untrained": found}, remark)
