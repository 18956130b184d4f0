"""The settings: each declared once, with its type, unit, range, help text and default.

`resolve` makes checked settings from plain values. The settings of a model are the arguments of its class
(see `vaelab.models.build`).
"""

from vaelab.config.base import (
    CONF_DIR,
    Schema,
    Settings,
    defaults,
    describe,
    expand_home,
    read_yaml,
    resolve,
    to_yaml,
)
from vaelab.config.compare import CompareConfig
from vaelab.config.errors import (
    ConfigError,
    VaelabError,
    counted,
    did_you_mean,
    flattened,
    lacks,
    look_up,
    quote_override,
    quoted,
    show,
    unknown,
)
from vaelab.config.evaluate import EvaluatedDataConfig, EvaluationConfig, ScoredDataConfig
from vaelab.config.explore import ExploreConfig
from vaelab.config.export import ExportConfig
from vaelab.config.reconstruct import InterpolateConfig, ReconstructConfig
from vaelab.config.sample import SampleConfig
from vaelab.config.train import (
    Config,
    DatasetConfig,
    check_names,
    continued,
    folder_ending,
    overrides_of,
    resolve_saved,
)
from vaelab.config.zip import ZipConfig

SCHEMAS: dict[str, type[Settings]] = {
    "train": Config,
    "evaluate": EvaluationConfig,
    "compare": CompareConfig,
    "explore": ExploreConfig,
    "export": ExportConfig,
    "sample": SampleConfig,
    "reconstruct": ReconstructConfig,
    "interpolate": InterpolateConfig,
    "zip": ZipConfig,
}
"""The settings of every command."""
