"""A trained model for other programs: `python -m vaelab.export run=outputs/... format=onnx`."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from vaelab import config
from vaelab.cli import command_line
from vaelab.config import ExportConfig
from vaelab.runs.folder import existing

command_line.register()


@hydra.main(version_base="1.3", config_path=str(config.CONF_DIR), config_name="export")
def run(composed: DictConfig) -> None:
    """One export."""
    with command_line.errors_in_one_line(ExportConfig):
        asked = command_line.settings_from(composed, ExportConfig)
        existing(asked.run)
        from vaelab.evaluation.onnx_export import (
            export,  # torch takes seconds: only for settings that resolve
        )

        outcome = export(asked)
    for path in outcome.paths:
        print(f"Exported: {path}")
    print(f"Read back and compared with PyTorch: {outcome.difference:.1g} at most apart")


def main() -> None:
    """The command line."""
    with command_line.errors_in_one_line(ExportConfig):
        command_line.check_arguments()
        if command_line.show_help("export"):
            return
        run()


if __name__ == "__main__":
    main()
