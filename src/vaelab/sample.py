"""Images decoded from draws of a run's prior: `python -m vaelab.sample run=outputs/... count=64`."""

from vaelab.cli.compose import Job
from vaelab.cli.entry import entry_point
from vaelab.config import SampleConfig
from vaelab.runs.folder import existing
from vaelab.runs.logs import doing


@entry_point("sample")
def main(job: Job) -> None:
    config = job.settings(SampleConfig)
    existing(config.run)
    with doing("loading PyTorch"):
        from vaelab.evaluation.samples import write_samples  # only for settings that resolve

    print(f"Sampled: {write_samples(config)}")


if __name__ == "__main__":
    main()
