"""The latent space as a web page: `python -m vaelab.explore run=outputs/...`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import ExploreConfig
from vaelab.runs.folder import existing, folder_of_runs


@entry_point("explore")
def main(job: Job) -> None:
    config = job.settings(ExploreConfig)
    existing(config.run) if config.run is not None else folder_of_runs(config.sweep or "")
    from vaelab.explorer import page  # torch takes seconds: only for settings that resolve

    path = page.explore(config)
    print(f"Explorer: {path} ({path.stat().st_size / 1e6:.1f} MB). Open it in a browser.")


if __name__ == "__main__":
    main()
