"""A run or a sweep as one file to hand in: `python -m vaelab.zip run=outputs/...`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import ConfigError, ZipConfig
from vaelab.runs.files import held
from vaelab.runs.folder import RunFolder, folder_of_runs


@entry_point("zip")
def main(job: Job) -> None:
    config = job.settings(ZipConfig)
    if config.run is not None and config.sweep is None:
        folder = RunFolder.holding(config.run)
    elif config.sweep is not None and config.run is None:
        folder = RunFolder(folder_of_runs(config.sweep))
    else:
        raise ConfigError("vaelab.zip packs one folder: type either run=FOLDER or sweep=FOLDER.")
    with held(folder.path):
        folder.write_zip()
    print(f"Zip: {folder.zip}")


if __name__ == "__main__":
    main()
