"""One comparison: from a folder of runs to a table, figures and findings in its comparison/."""

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vaelab.comparison.figures import FIGURES, FamilyFigures
from vaelab.comparison.findings import findings, in_short, not_tested
from vaelab.comparison.report import (
    about,
    about_all,
    about_spread,
    captioned_figures,
    colours,
    learned,
    question,
    rate_distortion,
    report_of,
    sentences,
)
from vaelab.comparison.table import (
    NLL,
    TERMINAL,
    answers,
    comma_separated,
    decimals,
    further,
    groups,
    markdown,
    on_terminal,
    plain_rows,
)
from vaelab.config import CompareConfig, EvaluationConfig, VaelabError, counted, look_up
from vaelab.evaluation.evaluate import Evaluation, Steps, evaluated_model, switched_off
from vaelab.evaluation.model import EvaluatedModel
from vaelab.evaluation.runs import Family, FoundRuns, Member, family_of, find
from vaelab.evaluation.sections import section_names
from vaelab.evaluation.sections.samples import network_of
from vaelab.pages.epochs import KINDS
from vaelab.pages.glossary import ARROWS_MEAN
from vaelab.pages.links import linked, refresh
from vaelab.pages.notebook import Rows
from vaelab.pages.page import render
from vaelab.runs import logs as console
from vaelab.runs.files import held, write_bytes, writing
from vaelab.runs.folder import RunFolder, folder_of_runs, is_finished, read_metrics_json, run_folders
from vaelab.runs.signals import BY_SIGNAL
from vaelab.training.run import load

NEEDED = ("latent", "classes", "samples", "images")
"""Sections of an evaluation that every comparison has columns for; see `needed`."""

NOT_IN_PAGE = ("curves.png", "rate_distortion.png", "latent_evolution.gif")
"""Figures that report.html shows as interactive charts instead."""

OF_KINDS = {"latent": "latent_spaces.png", "samples": "samples.png", "reconstructions": "reconstructions.png"}
"""Figures that its slider over epochs shows instead, by kind, if the runs have kept the arrays."""


@dataclass(frozen=True, eq=False, repr=False)
class ComparisonResult:
    """The result of a comparison; a notebook displays its tables and findings.

    >>> comparison = vaelab.compare("outputs/example_sweep", figures=False)
    >>> [row["model"] for row in comparison.table]
    ['beta 0.5', 'beta 1']
    """

    folder: Path
    """The comparison/ folder with tables, figures and report.html."""
    text: str
    """The content of comparison.md."""
    summary: str
    """A shorter text for the terminal, at most 100 columns wide."""
    failed: list[str]
    """Names of evaluations and figures that ended with an unexpected error."""
    table: Rows
    """The rows of comparison.csv, a dict per model: for each number NAME its mean over seeds, NAME_n,
    NAME_std and the 95 % interval of the mean, NAME_low to NAME_high."""
    found: FoundRuns
    """The runs that were compared, and those that were left out."""
    notes: Sequence[str]
    """Remarks for the reader, such as runs that were left out, with the reason."""

    def __repr__(self) -> str:
        return f"<Comparison: {counted(len(self.found.members), 'run')}, {self.folder}>"

    def _repr_html_(self) -> str:
        return render(
            "comparison.cell.html.j2",
            title=f"{counted(len(self.found.members), 'run')} compared",
            about=about_all(self.found),
            folder=self.folder,
            families=[content(family) for family in self.found.families],
            not_finished=self.found.not_finished,
            notes=self.notes,
        )


def content(family: Family) -> dict[str, Any]:
    """What a page shows of a family first: table and findings."""
    return {
        "title": family.title,
        "about": about(family).replace("**", ""),
        "answers": answers(family),
        "models": [model.label for model in family.models],
        "verdicts": {column.name: in_short(family, column) for column, _, _ in answers(family)},
        "findings": findings(family),
    }


def unfinished(folder: Path) -> list[str]:
    """Names of a sweep's jobs that are not finished."""
    return [str(path.relative_to(folder)) for path in run_folders(folder) if not is_finished(path)]


def compare(config: CompareConfig) -> ComparisonResult:
    """Compare all finished runs below a folder.

    Runs on other images, or scored by another likelihood, are never in one table: each such family has a
    table of its own, and a note says so. Raises VaelabError if there is no run.
    """
    with console.logging_to(console.ProgressBarHandler()):
        return ComparisonSteps(config).run()


class ComparisonSteps(Steps):
    """The steps of a comparison; one that fails is noted, and the others continue."""

    def __init__(self, config: CompareConfig) -> None:
        super().__init__()
        self.config = config
        folder = folder_of_runs(config.sweep)
        self.folder = folder / "comparison"
        self.found = find(folder)
        self.said = [
            f"{name} is the same training as {other} and is counted once."
            for name, other in self.found.repeated.items()
        ]
        self.said += [
            f"{family.title}: the models minimise different objectives ({', '.join(family.objectives)}). "
            "Their losses are not comparable and are left out; reconstruction, KL, neg_elbo, nll and the "
            "measures of latents and samples are comparable."
            for family in self.found.families
            if len(family.objectives) > 1
        ]
        self.not_here: list[Member] = []  # runs to be evaluated whose own images are not on this machine
        self.loaded: dict[str, Any] = {}
        """Cached images of the runs, and results that depend only on the images."""
        self.figures: list[list[Path]] = []
        """The figures of each family."""
        self.bar: tqdm[Any] = tqdm(disable=True)

    @property
    def notes(self) -> list[str]:
        """Notes for the reader, and the steps that could not be done."""
        return self.said + [
            f"{what} {reason}" if what in self.failed else f"{what}: {reason.rstrip('.')}."
            for what, reason in self.left_out.items()
        ]

    def run(self) -> ComparisonResult:
        with held(self.folder):
            self.evaluate_missing()
            for family in self.found.families:
                self.leave_out_other_networks(family)
                self.leave_out_other_bounds(family)
            rows = plain_rows(self.found.families, self.found.not_finished)
            write_bytes(self.folder / "comparison.csv", comma_separated(rows).encode())
            drawn = len(FIGURES) * len(self.found.families) if self.config.figures else 0
            style = "{desc:<32} |{bar}| {n_fmt}/{total_fmt}, {elapsed}"
            with console.progress(total=drawn + 1, bar_format=style) as self.bar:
                self.figures = [self.draw(family) for family in self.found.families]
                text = self.markdown()
                write_bytes(self.folder / "comparison.md", text.encode())
                self.bar.set_description_str("writing report.html")
                with self.step("report.html"):
                    report = self.folder / "report.html"
                    write_bytes(report, linked(self.page(), report).encode())
                with self.step("links in the runs' pages"):
                    for folder in [self.folder, *(member.folder.path for member in self.found.members)]:
                        refresh(folder)
            RunFolder(self.folder.parent).refresh_zip()
            summary, shown = self.summary(), Rows(rows, decimals(self.found.families))
            return ComparisonResult(self.folder, text, summary, self.failed, shown, self.found, self.notes)

    def evaluate_missing(self) -> None:
        """Evaluate the last checkpoint of each run that lacks numbers, or whose numbers are outdated."""
        others = [member for family in self.found.families for member in self.of_other_images(family)]
        for member in others:
            member.evaluation = None
        rescored = [member for family in self.found.families for member in self.of_other_networks(family)]
        for member in rescored:
            member.evaluation = None
        lacking = [
            each for each in self.found.members if self.lacks_numbers(each) and each not in self.not_here
        ]
        if lacking and not self.config.evaluate:
            self.said.append(
                f"No evaluation on these images for {len(lacking)} of "
                f"{counted(len(self.found.members), 'run')} (evaluate=false): their numbers are left out."
            )
            return
        if others:
            names = ", ".join(member.folder.name for member in others if member not in self.not_here)
            said = f"Evaluated again, because the earlier evaluations were on other images: {names}."
            self.said += [said] if names else []
        if rescored:
            names = ", ".join(member.folder.name for member in rescored)
            self.said.append(
                f"Evaluated again, because the earlier evaluations used another feature network: {names}."
            )
        for place, member in enumerate(lacking, 1):
            name = member.folder.name
            with self.step(f"the evaluation of {name}"):
                evaluated = self.evaluated_model(member)
                result = Evaluation(evaluated, f"run {place} of {len(lacking)}").run()
                member.read_evaluation(evaluated.data.origin.sha256)
                self.failed += [f"{each} of {name}" for each in result.failed]
                if result.interrupted_by:
                    raise SystemExit(BY_SIGNAL + result.interrupted_by)

    def needed(self, member: Member) -> Sequence[str]:
        """The sections that the table needs: nll too where models differ in the loss and not only in beta.

        Their neg_elbo favours those that minimise it; an importance-weighted bound is closer to −log p(x).
        """
        of = next(family for family in self.found.families if member in family.members)
        return (*NEEDED, "nll") if of.losses_differ else NEEDED

    def lacks_numbers(self, member: Member) -> bool:
        """Whether a section of the table was never measured, was switched off, or failed unexpectedly."""
        found = member.evaluation or {"numbers": {}, "not_measured": {}}
        missing = [name for name in self.needed(member) if name not in found["numbers"]]
        reasons = {name: found["not_measured"].get(name, switched_off(name)) for name in missing}
        return any(
            why == switched_off(name) or why.startswith("failed with") for name, why in reasons.items()
        )

    def of_other_images(self, family: Family) -> list[Member]:
        """The runs whose evaluation is of other images than this comparison measures."""

        def others(sha256: Mapping[str, str], images: int) -> list[Member]:
            found = [(member, member.evaluation["data"]) for member in members if member.evaluation]
            return [member for member, of in found if (of["sha256"], of["images"]) != (sha256, images)]

        members, data = family.members, family.members[0].facts["data"]
        own = others(data["sha256"], data["images"]["test"])
        given = self.config.dataset.source is not None or self.config.dataset.root is not None
        if self.config.evaluate and (own or given or any(map(self.lacks_numbers, members))):
            with suppress(VaelabError):  # without images nothing can be measured, which is reported later
                now = self.evaluated_model(members[0]).data
                here = (dict(now.origin.sha256), len(now.test))
                evaluated = [member for member in members if member.evaluation]
                if given or here == (data["sha256"], data["images"]["test"]) or len(own) == len(evaluated):
                    for member in members:
                        member.read_evaluation(here[0])
                    return others(*here)
                self.said.append(
                    f"The runs' own images of {family.title} are not on this machine: runs that were not "
                    "evaluated on them have no numbers from evaluations."
                )
                self.not_here += [member for member in members if self.lacks_numbers(member) or member in own]
        return own

    def of_other_networks(self, family: Family) -> list[Member]:
        """The runs whose samples are scored on other features than those that are to be evaluated now."""
        members = [member for member in family.members if member.evaluation]
        used = {feature_digest(member) for member in members} - {None}
        now = len(used) > 1 or any(map(self.lacks_numbers, family.members)) or self.config.dataset.features
        if used and now and self.config.evaluate:
            with suppress(VaelabError):  # without images or a network nothing can be measured again
                here = self.evaluated_model(family.members[0])
                present, images = network_of(here).sha256, here.data.origin.sha256
                known = [(member, member.evaluation or {}) for member in members]
                again = [member for member, found in known if found["data"]["sha256"] == images]
                return [member for member in again if feature_digest(member) != present]
        return []

    def leave_out_other_networks(self, family: Family) -> None:
        """Leave out scores of samples on features of different networks: they are not comparable."""
        used = {digest for member in family.members if (digest := feature_digest(member))}
        if len(used) > 1:
            for member in family.members:
                (member.evaluation or {"numbers": {}})["numbers"].pop("samples", None)
            digests = ", ".join(f"{each[:12]}…" for each in sorted(used))
            self.said.append(
                f"FID, precision and recall of {family.title} are left out: its runs were scored on "
                f"different feature networks (SHA-256 {digests})."
                + ("" if self.config.evaluate else " evaluate=true measures them again on one of them.")
            )

    def leave_out_other_bounds(self, family: Family) -> None:
        """Leave out nll where its importance samples, images or proposal differ: it is not comparable."""
        keys = ("importance_samples", "nll_images", "proposal")
        of = [member.evaluation for member in family.members if look_up(member.evaluation or {}, NLL)]
        if len({tuple(str(each["settings"].get(key)) for key in keys) for each in of if each}) > 1:
            for each in of:
                (each or {"numbers": {}})["numbers"].pop("nll", None)
            self.said.append(
                f"nll of {family.title} is left out: its runs were evaluated with different "
                "importance_samples, nll_images or proposal. Evaluate them with the same values, then "
                "compare again."
            )

    def evaluated_model(self, member: Member) -> EvaluatedModel:
        """The last checkpoint: to measure what the table needs and what a replaced evaluation had."""
        before = read_metrics_json(member.folder.evaluation("last", "test")) or {}
        had = before.get("numbers", {})
        config = EvaluationConfig(
            checkpoint=str(member.folder.last_checkpoint),
            device=self.config.device,
            figures=False,
            dataset=self.config.dataset,
            metrics={name: name in (*self.needed(member), "bound", *had) for name in section_names()},
        )
        return evaluated_model(load(member.folder.last_checkpoint), config, self.loaded)

    def draw(self, family: Family) -> list[Path]:
        """The figures of a family, in comparison/ itself or, of several families, in a folder of it each."""
        drawn: list[Path] = []
        if not self.config.figures:
            return drawn
        folder = self.folder if len(self.found.families) == 1 else self.folder / family.slug
        with self.step(f"the figures of {family.title}"):
            examples = {
                model.label: self.evaluated_model(model.members[0]).examples for model in family.models
            }
            figures = FamilyFigures(family, examples)
            with writing(folder):
                folder.mkdir(exist_ok=True)
            for name, figure in FIGURES.items():
                self.bar.set_description_str(f"drawing {name}")
                with self.step(f"{name} of {family.title}"):
                    write_bytes(folder / name, figure(figures))
                    drawn.append(folder / name)
                self.bar.update()
        return drawn

    def markdown(self) -> str:
        """comparison.md: for each family table, findings and figures; then what is left out, and why."""
        found = self.found
        parts = [f"# {self.title}", *self.warning(), about_all(found)]
        for family, figures in zip(found.families, self.figures, strict=True):
            verdicts = {column.name: in_short(family, column) for column, _, _ in answers(family)}
            parts += [f"## {family.title}", about(family), markdown(family, verdicts)]
            if said := findings(family):
                parts.append(f"### Findings\n\n{bullets(said)}")
            parts += [f"![{path.name}]({path.relative_to(self.folder).as_posix()})" for path in figures]
            parts += ["<details><summary>Further numbers</summary>", further(family), "</details>"]
        if found.families:
            parts.append(f"## What the numbers mean\n\n{ARROWS_MEAN}\n\n{bullets(self.meanings())}")
        if found.not_finished:
            reasons = [f"{name}: {reason}" for name, reason in found.not_finished.items()]
            parts.append(f"## Not compared\n\n{bullets(reasons)}")
        if self.notes:
            parts.append(f"## Notes\n\n{bullets(self.notes)}")
        return "\n\n".join(parts) + "\n"

    def summary(self) -> str:
        """A short table of each family for the terminal, what is left out, and what to open."""
        found, width = self.found, min(TERMINAL, shutil.get_terminal_size((TERMINAL, 24)).columns)
        parts = [self.title, *self.warning()]
        parts += [
            f"{family.title}, after the last epoch\n{on_terminal(family, width)}" for family in found.families
        ]
        if found.families:
            parts.append(textwrap.fill(f"{ARROWS_MEAN}{about_spread(found)}", width))
        left_out = [f"Not compared: {name}: {reason}" for name, reason in found.not_finished.items()]
        untested = [sentence for family in found.families for sentence in not_tested(family)]
        said = dict.fromkeys([*untested, *left_out, *self.notes])
        lines = [textwrap.fill(line, width, break_long_words=False) for line in said]
        lines += [f"Comparison: {self.folder}", "  report.html  all of it on one page, for the browser"]
        return "\n\n".join([*parts, "\n".join(lines)])

    @property
    def title(self) -> str:
        return f"{counted(len(self.found.members), 'run')} compared"

    def warning(self) -> list[str]:
        count = len(self.found.families)
        if count < 2:
            return []
        members = [family.members[0] for family in self.found.families]
        said = []
        if len({family_of(member)[:-1] for member in members}) > 1:
            reason = "their images or likelihoods differ"
            said.append(f"The runs form {count} groups whose numbers are not comparable: {reason}.")
        if len({member.config.conditional for member in members}) > 1:
            said.append(
                "Class-conditional runs have separate tables: their bounds are on −log p(x|y). With "
                "−log p(y) added, as in their evaluations, these are comparable with bounds on −log p(x); "
                "scores of samples and latents are comparable directly."
            )
        return said

    def meanings(self) -> list[str]:
        """A sentence for each aspect that any family has."""
        shown = [column for family in self.found.families for column, _, _ in answers(family)]
        return list(dict.fromkeys(f"**{column.aspect}**: {column.meaning}" for column in shown))

    def page(self) -> str:
        """report.html."""
        found, firsts = self.found, [0, *accumulate(len(each.models) for each in self.found.families)]
        shown_by_slider = learned(found.families, firsts)
        families = [
            {
                **content(family),
                "first": first,
                "groups": groups(family),
                "verdict_sentences": sentences(family),
                "runs": [
                    [(member.config.seed, report_of(member, self.folder)) for member in model.members]
                    for model in family.models
                ],
                "figures": captioned_figures(not_shown(figures, own["epochs"]), family),
            }
            for family, first, figures, own in zip(
                found.families, firsts, self.figures, shown_by_slider, strict=False
            )
        ]
        return render(
            "sweep.html.j2",
            title=question(found.families) if families else self.title,
            warning=" ".join(self.warning()),
            about=about_all(found),
            folder=str(self.folder.parent),
            families=families,
            colours=colours(found.families),
            rates=[rate_distortion(family, first)
                   for family, first in zip(found.families, firsts, strict=False)],
            learned=shown_by_slider,
            kinds=KINDS,
            not_finished=found.not_finished,
            notes=self.notes,
        )  # fmt: skip


def not_shown(figures: Sequence[Path], epochs: Mapping[str, Any] | None) -> list[Path]:
    """The figures that report.html doesn't show as data."""
    left_out = {*NOT_IN_PAGE, *(OF_KINDS[kind] for kind in (epochs or {"kinds": {}})["kinds"])}
    return [path for path in figures if path.name not in left_out]


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def feature_digest(member: Member) -> str | None:
    """The SHA-256 of the feature network that samples were scored on; None where they were not."""
    found: str | None = look_up(member.evaluation or {}, "numbers.samples.features.sha256")
    return found
