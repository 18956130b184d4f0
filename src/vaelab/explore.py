"""The latent space as a web page: `python -m vaelab.explore run=outputs/...`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from vaelab import config
from vaelab.cli import command_line
from vaelab.config import ExploreConfig
from vaelab.runs.folder import existing, folder_of_runs

command_line.register()


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="explore")
def run(composed: DictConfig) -> None:
    """One page."""
    with command_line.errors_in_one_line(ExploreConfig):
        asked = command_line.settings_from(composed, ExploreConfig)
        existing(asked.run) if asked.run is not None else folder_of_runs(asked.sweep or "")
        from vaelab.explorer.page import explore  # torch takes seconds: only for settings that resolve

        outcome = explore(asked)
    print(f"Explorer: {outcome.path} ({outcome.megabytes:.1f} MB), for any browser")


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(ExploreConfig):
        command_line.check_arguments()
        if command_line.show_help("explore"):
            return
        run()


if __name__ == "__main__":
    main()
