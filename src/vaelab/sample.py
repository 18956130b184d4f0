"""Images decoded from draws of the prior: `python -m vaelab.sample run=outputs/... count=64`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import SampleConfig
from vaelab.runs.folder import existing


@entry_point("sample")
def main(job: Job) -> None:
    config = job.settings(SampleConfig)
    existing(config.run)
    from vaelab.evaluation.exports import write_samples  # torch: only for settings that resolve

    for path in write_samples(config):
        print(f"Sampled: {path}")


if __name__ == "__main__":
    main()
