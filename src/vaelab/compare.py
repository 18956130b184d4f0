"""Compare the runs of a folder: `python -m vaelab.compare sweep=outputs/multirun/...`."""

from vaelab.cli.entry import Job, entry_point
from vaelab.config import CompareConfig, VaelabError
from vaelab.runs.folder import folder_of_runs


def compare(job: Job[CompareConfig]) -> None:
    """One comparison."""
    config = job.settings()
    folder_of_runs(config.sweep)
    from vaelab.comparison import compare as comparison  # torch takes seconds: only for settings that resolve

    outcome = comparison.compare(config)
    print(outcome.text)
    print(f"Comparison: {outcome.folder}")
    if outcome.failed:
        raise VaelabError(f"These could not be made, see above: {', '.join(outcome.failed)}.")


main = entry_point("compare", CompareConfig, compare)

if __name__ == "__main__":
    main()
