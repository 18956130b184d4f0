"""A trained model for other programs: `python -m vaelab.export run=outputs/...`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import ExportConfig
from vaelab.runs.folder import existing


@entry_point("export")
def main(job: Job) -> None:
    config = job.settings(ExportConfig)
    existing(config.run)
    from vaelab.evaluation import exports  # torch takes seconds: only for settings that resolve

    written = exports.export(config)
    for path in written:
        print(f"Exported: {path}")
    print(f"Read back and compared with PyTorch; largest difference: {max(written.values()):.1g}")


if __name__ == "__main__":
    main()
