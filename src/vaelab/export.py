"""A trained model for other programs: `python -m vaelab.export run=outputs/... format=onnx`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import ExportConfig
from vaelab.runs.folder import existing


@entry_point("export")
def main(job: Job) -> None:
    config = job.settings(ExportConfig)
    existing(config.run)
    from vaelab.evaluation import onnx_export  # torch takes seconds: only for settings that resolve

    outcome = onnx_export.export(config)
    for path in outcome.paths:
        print(f"Exported: {path}")
    print(f"Read back and compared with PyTorch: {outcome.difference:.1g} at most apart")


if __name__ == "__main__":
    main()
