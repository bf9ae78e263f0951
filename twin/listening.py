"""Who listens to a service: protocols of what hears the core, and of what records the line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from twin.core import Core, CoreEvent
from twin.intervention import Arrivals, Intervention, ModeSet
from twin.samples import SampleBatch


class Listener(Protocol):
    """Hears what the core says and what people and machines did."""

    def told(self, samples: SampleBatch, events: Sequence[CoreEvent]) -> None:
        """These events, and what of them goes to the historian."""
        ...

    def intervened(self, intervention: Intervention) -> None: ...


class Recorder(Protocol):
    """Takes what arrives, at once; says itself, once, what it could not keep."""

    def append(self, arrivals: Arrivals) -> None: ...

    def tick(self, now: int) -> None:
        """What time it is on the line, ns."""
        ...

    def gap(self, since: int, until: int, what: str) -> None:
        """Samples are missing between these line times, ns."""
        ...

    def use_model(self, step: str, its_version: str, file: Path) -> None:
        """A model that predicts from now on."""
        ...


def said_before(core: Core, now: int) -> Arrivals:
    """The last value of every tag and the modes that people set, as if they came now.

    What a server sent once, when it was asked, would be missing from a recording that begins later.
    """
    known = np.flatnonzero(core.latest_time)
    known = known[np.argsort(core.latest_time[known], kind="stable")]
    last = SampleBatch.of(known, core.latest_time[known], core.latest[known])
    modes = tuple(
        ModeSet(now, step, core.trust.wanted(step), "before the recording")
        for step, config in core.line.steps.items()
        if core.trust.wanted(step) != config.mode
    )
    return Arrivals.at(now, last, modes)
