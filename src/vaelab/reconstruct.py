"""Reconstructions, and a table of them: `python -m vaelab.reconstruct run=outputs/... images=12,40`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import ReconstructConfig
from vaelab.runs.files import check_images_exist
from vaelab.runs.folder import existing
from vaelab.runs.logs import doing


@entry_point("reconstruct")
def main(job: Job) -> None:
    config = job.settings(ReconstructConfig)
    existing(config.run)
    check_images_exist(config.images or [])
    with doing("loading PyTorch"):
        from vaelab.evaluation.reconstructions import reconstruct  # only for settings that resolve

    paths, text = reconstruct(config)
    print(text)
    for path, what in zip(paths, ("Figure", "Table"), strict=True):
        print(f"{what}: {path}")


if __name__ == "__main__":
    main()
