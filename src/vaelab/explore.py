"""The latent space as a web page: `python -m vaelab.explore run=outputs/...`."""

from vaelab.cli.entry import Job, entry_point
from vaelab.config import ExploreConfig
from vaelab.runs.folder import existing, folder_of_runs


def explore(job: Job[ExploreConfig]) -> None:
    """One page."""
    config = job.settings()
    existing(config.run) if config.run is not None else folder_of_runs(config.sweep or "")
    from vaelab.explorer import page  # torch takes seconds: only for settings that resolve

    path = page.explore(config)
    print(f"Explorer: {path} ({path.stat().st_size / 1e6:.1f} MB), for any browser")


main = entry_point("explore", ExploreConfig, explore)

if __name__ == "__main__":
    main()
