"""Images decoded from draws of the prior: `python -m vaelab.sample run=outputs/... count=64`."""

from vaelab.cli.entry import Job, entry_point
from vaelab.config import SampleConfig
from vaelab.runs.folder import existing


def sample(job: Job[SampleConfig]) -> None:
    """One grid of images, and the images themselves."""
    config = job.settings()
    existing(config.run)
    from vaelab.evaluation.exports import write_samples  # torch: only for settings that resolve

    for path in write_samples(config):
        print(f"Sampled: {path}")


main = entry_point("sample", SampleConfig, sample)

if __name__ == "__main__":
    main()
