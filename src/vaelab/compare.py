"""Compare the runs of a folder: `python -m vaelab.compare sweep=outputs/multirun/...`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import CompareConfig, VaelabError
from vaelab.runs.folder import folder_of_runs


@entry_point("compare")
def main(job: Job) -> None:
    config = job.settings(CompareConfig)
    folder_of_runs(config.sweep)
    from vaelab.comparison import compare as comparison  # torch takes seconds: only for settings that resolve

    outcome = comparison.compare(config)
    print(outcome.summary)
    if outcome.failed:
        raise VaelabError(f"These steps failed (see above): {', '.join(outcome.failed)}.")


if __name__ == "__main__":
    main()
