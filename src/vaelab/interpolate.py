"""From one image to another in latent space: `python -m vaelab.interpolate run=outputs/... from=12 to=40`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import InterpolateConfig
from vaelab.runs.files import check_images_exist
from vaelab.runs.folder import existing
from vaelab.runs.logs import doing


@entry_point("interpolate")
def main(job: Job) -> None:
    config = job.settings(InterpolateConfig)
    existing(config.run)
    check_images_exist([config.from_, config.to])
    with doing("loading PyTorch"):
        from vaelab.evaluation.interpolations import interpolate  # only for settings that resolve

    for path in interpolate(config):
        print(f"Interpolated: {path}")


if __name__ == "__main__":
    main()
