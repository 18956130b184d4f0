"""A trained model for other programs: `python -m vaelab.export run=outputs/... format=onnx`."""

from vaelab.cli.entry import Job, entry_point
from vaelab.config import ExportConfig
from vaelab.runs.folder import existing


def export(job: Job[ExportConfig]) -> None:
    """One export."""
    config = job.settings()
    existing(config.run)
    from vaelab.evaluation import exports  # torch takes seconds: only for settings that resolve

    written = exports.export(config)
    for path in written:
        print(f"Exported: {path}")
    print(f"Read back and compared with PyTorch: {max(written.values()):.1g} at most apart")


main = entry_point("export", ExportConfig, export)

if __name__ == "__main__":
    main()
