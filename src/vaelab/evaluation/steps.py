"""Steps that fail alone: what can't be done is noted with its reason, and the rest goes on."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from vaelab.config import VaelabError
from vaelab.runs.signals import Interrupted

log = logging.getLogger(__name__)


class Steps:
    """Notes what a step could not do."""

    def __init__(self) -> None:
        self.left_out: dict[str, str] = {}
        """By name, why there is no result."""
        self.failed: list[str] = []
        """What stopped with an unforeseen error."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Inside, an error ends this step alone, unless no other step would fare better."""
        try:
            yield
        except (Interrupted, OSError):  # a full disk, say
            raise
        except VaelabError as reason:
            self.left_out[name] = str(reason)
        except Exception as error:
            self.failed.append(name)
            self.left_out[name] = f"failed with {type(error).__name__}: {error}"
            log.error("%s failed:\n%s", name, traceback.format_exc())
