"""What the numbers of an evaluation say, in five sentences: summary.md, and the beginning of its report."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vaelab.config import counted
from vaelab.evaluation.numbers import Number, Section, as_percent, value_and_error
from vaelab.evaluation.sections.samples import FLOOR, misleading
from vaelab.pages.glossary import bare, near_ceiling, row_of
from vaelab.runs.folder import SPLIT_NAMES

PRIOR, MIXTURE, RECONSTRUCTIONS, MEANS = (
    "prior samples",
    "mixture samples",
    "reconstructions",
    "posterior means",
)


@dataclass(frozen=True)
class Numbers:
    """The numbers of the sections that were measured."""

    sections: Mapping[str, Section]

    def rows(self, section: str) -> Mapping[str, Mapping[str, Number]]:
        """By name, then by what was measured. Empty where the section was not."""
        return self.sections[section].rows if section in self.sections else {}

    def row(self, section: str, name: str) -> Mapping[str, Number]:
        """By what was measured; `fid` is that of any network."""
        return row_of(self.rows(section), name) or {}

    def get(self, section: str, name: str, of: str = "model") -> Number | None:
        return self.row(section, name).get(of)


def summary(sections: Mapping[str, Section], left_out: Mapping[str, str]) -> dict[str, str]:
    """A sentence for each thing that is asked of a model. `left_out` says why a section was not measured."""
    numbers = Numbers(sections)
    return {
        title: sentence(make(numbers), {name: left_out.get(name) for name in of if name not in sections})
        for title, (make, of) in SENTENCES.items()
    }


def sentence(clauses: Sequence[str], missing: Mapping[str, str | None]) -> str:
    """Clauses about numbers, and which sections have none, with the reason."""
    reasons = {name: f" ({reason.rstrip('.')})" if reason else "" for name, reason in missing.items()}
    absent = ["not measured: " + ", ".join(f"{name}{reason}" for name, reason in reasons.items())]
    whole = "; ".join([*clauses, *(absent if missing else [])]) or "not measured"
    return f"{whole[0].upper()}{whole[1:]}."


def images(number: Number) -> str:
    """`2,000 test images`."""
    return counted(number.basis.images, f"{SPLIT_NAMES[number.basis.split]} image")


def reconstruction(numbers: Numbers) -> list[str]:
    clauses = []
    if term := numbers.get("bound", "reconstruction"):
        clauses.append(f"the reconstruction term −log p(x|z) is {term} {term.unit} ({images(term)})")
    if psnr := numbers.get("images", "psnr", RECONSTRUCTIONS):
        ssim = numbers.get("images", "ssim", RECONSTRUCTIONS)
        similar = f" and SSIM {ssim}" if ssim else ""
        sharpness = numbers.row("images", "sharpness_ratio")[RECONSTRUCTIONS]
        clauses.append(
            f"reconstructions have PSNR {psnr} dB{similar}, and {as_percent(sharpness)} of the sharpness of "
            f"real images ({images(psnr)})"
        )
    return clauses


def quality(numbers: Numbers) -> list[str]:
    fid, precision = numbers.row("samples", "fid"), numbers.row("samples", "precision")
    if not fid:
        return []
    network = next(name for name in numbers.sections["samples"].rows if bare(name) == "fid")
    recall = numbers.row("samples", "recall")
    dense = misleading(precision[PRIOR], recall[PRIOR], precision[FLOOR], recall[FLOOR])
    only = ", but only where real images are densest, which does not indicate quality" if dense else ""
    return [
        f"samples from the prior have {network} {fid[PRIOR]} (squared distance; the floor, real images "
        f"against other real images, is {fid[FLOOR]}; {images(fid[PRIOR])} against as many samples)",
        f"{as_percent(precision[PRIOR])} of them lie among real images{only} (precision; the floor is "
        f"{as_percent(precision[FLOOR])})",
    ]


def diversity(numbers: Numbers) -> list[str]:
    clauses = []
    if ratio := numbers.get("images", "diversity_ratio", PRIOR):
        clauses.append(
            f"the mean distance between two samples from the prior is {as_percent(ratio)} of that between "
            f"two real images ({images(ratio)})"
        )
    if recall := numbers.row("samples", "recall"):
        clauses.append(
            f"{as_percent(recall[PRIOR])} of real images lie among the samples (recall; the floor is "
            f"{as_percent(recall[FLOOR])}; {images(recall[PRIOR])})"
        )
    return clauses


def latent_space(numbers: Numbers) -> list[str]:
    clauses = []
    latent = {name: row["model"] for name, row in numbers.rows("latent").items()}
    if latent:
        active, kl, information = (latent[name] for name in ("active_units", "kl", "mutual_information"))
        near = near_ceiling(information.value, kl.basis.images)
        least, most = ("at least ", "at most ") if near else ("", "")
        of = active.unit.replace("dimension", "latent dimension")
        clauses += [
            f"{active} {of} {'is' if active.value == 1 else 'are'} active",
            f"the KL of {kl} {kl.unit} consists of {least}{information} nats of mutual information I(x; z) "
            f"and {most}{latent['marginal_kl']} nats of KL between the aggregate posterior and the "
            f"prior ({images(kl)})",
        ]
        missed, own = latent["prior_not_covered"], latent["posterior_not_covered"]
        clauses.append(
            f"{as_percent(missed)} of {missed.basis.draws:,} prior draws lie outside the 95 % region of "
            f"every training image's posterior ({as_percent(own)} of {own.basis.draws:,} posterior samples)"
        )
    accuracy = numbers.row("classes", "knn_accuracy")
    if means := accuracy.get(MEANS):
        pixels = next(number for of, number in accuracy.items() if of.endswith("pixels"))
        clauses.append(
            f"the 10 nearest neighbours predict the class of {as_percent(means)} of {images(means)} "
            f"correctly (from pixels: {as_percent(pixels)})"
        )
    return clauses


def limit(numbers: Numbers) -> list[str]:
    """The larger cause of the gap between samples and real images, if it is clearly larger."""
    active, fid = numbers.get("latent", "active_units"), numbers.row("samples", "fid")
    if active and not active.value:
        return [
            f"posterior collapse: {active} {active.unit} are active, so that samples and reconstructions are "
            f"nearly the same for every latent ({images(active)})"
        ]
    if not fid:
        return []
    prior, mixture, decoded, floor = (fid[of] for of in (PRIOR, MIXTURE, RECONSTRUCTIONS, FLOOR))
    measured = (
        f"FID is {prior} for prior samples, {mixture} for samples from a mixture fitted to posterior "
        f"samples, {decoded} for reconstructions and {floor} for real images ({images(prior)})"
    )
    return [f"{limiting(prior, decoded, floor)}{measured}"]


def limiting(prior: Number, decoded: Number, floor: Number) -> str:
    """Which of the two gaps in FID is clearly larger; empty if neither, or if its square root disagrees."""
    values, errors = zip(*map(value_and_error, (prior, decoded, floor)), strict=True)
    weights = (1, -2, 1)  # what sampling adds, less what encoding and decoding do
    more = sum(weight * value for weight, value in zip(weights, values, strict=True))
    clear = abs(more) > 2 * math.hypot(*(weight * each for weight, each in zip(weights, errors, strict=True)))
    roots = sum(weight * math.sqrt(max(value, 0)) for weight, value in zip(weights, values, strict=True))
    if not clear or (more > 0) != (roots > 0):
        return ""
    if more > 0:
        return "sampling from the prior adds more to the FID than encoding and decoding: "
    return "encoding and decoding add more to the FID than sampling from the prior: "


SENTENCES: dict[str, tuple[Callable[[Numbers], list[str]], Sequence[str]]] = {
    "Reconstruction": (reconstruction, ("bound", "images")),
    "Realism of samples": (quality, ("samples",)),
    "Diversity of samples": (diversity, ("images", "samples")),
    "Latent space": (latent_space, ("latent", "classes")),
    "What limits the samples": (limit, ("samples",)),
}
"""Each sentence's clauses, and the sections that they are made of."""
