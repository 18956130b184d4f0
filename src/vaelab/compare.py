"""Compare the runs of a folder: `python -m vaelab.compare sweep=outputs/multirun/...`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from vaelab import config
from vaelab.cli import command_line
from vaelab.config import CompareConfig, VaelabError
from vaelab.runs.folder import folder_of_runs

command_line.register()

failed: list[str] = []
"""What could not be measured or drawn though it should have been."""


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="compare")
def run(composed: DictConfig) -> None:
    """One comparison."""
    with command_line.errors_in_one_line(CompareConfig):
        asked = command_line.settings_from(composed, CompareConfig)
        folder_of_runs(asked.sweep)
        from vaelab.comparison.compare import compare  # torch takes seconds: only for settings that resolve

        outcome = compare(asked)
    print(outcome.text)
    print(f"Comparison: {outcome.folder}")
    failed.extend(outcome.failed)


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(CompareConfig):
        command_line.check_arguments()
        if command_line.show_help("compare"):
            return
        run()
        if failed:
            raise VaelabError(f"These could not be made, see above: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
