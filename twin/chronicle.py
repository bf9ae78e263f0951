"""The chronicle: what the core says, in the form in which the historian keeps it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from twin.alarms import Alarm
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import CoreEvent
from twin.genealogy import BatchReleased, Milestone
from twin.ports import Event
from twin.promise import Judgement
from twin.samples import SampleBatch
from twin.tags import TagTable
from twin.trust import ModeChange


class Chronicle:
    """Turns the core's events into samples of derived tags, and into events of the line.

    Args:
        line: the configuration.
        tags: its tag table, derived tags included.
    """

    def __init__(self, line: LineConfiguration, tags: TagTable) -> None:
        self._derived = {
            f"{step}.{output}": np.array(
                [
                    tags.index(f"{step}.{output}.{kind}")
                    for kind in ("predicted", "measured", "residual")
                ],
                np.int32,
            )
            for step, config in line.steps.items()
            for output in config.outputs
        }

    def of(self, events: Iterable[CoreEvent]) -> tuple[SampleBatch, list[Event]]:
        """What is worth keeping of these events."""
        batches: list[SampleBatch] = []
        found: list[Event] = []
        for event in events:
            match event:
                case Comparison():
                    batches.append(self._samples(event))
                case ModeChange():
                    found.append(Event(event.time, "mode", event.step, event.reason))
                case Alarm():
                    text = f"{event.kind}: {event.state}"
                    found.append(Event(event.changed, "alarm", event.subject, text))
                case Judgement():
                    text = f"{event.recommendation} {'kept' if event.kept else 'missed'}"
                    found.append(Event(event.time, "promise", f"{event.step}.{event.output}", text))
                case Milestone():
                    text = f"{event.number} at {event.position:.2f} m"
                    found.append(Event(event.time, event.kind, event.web, text))
                case BatchReleased():
                    text = str(event.number)
                    found.append(Event(event.time, "batch released", event.batches, text))
                case _:
                    pass
        return SampleBatch.concatenate(batches), found

    def _samples(self, comparison: Comparison) -> SampleBatch:
        count = len(comparison.segments)
        values = np.concatenate([comparison.predicted, comparison.measured, comparison.residual])
        return SampleBatch(
            np.repeat(self._derived[f"{comparison.step}.{comparison.output}"], count),
            np.tile(comparison.time, 3),
            values,
            np.zeros(3 * count, np.uint32),
        ).where(np.isfinite(values))
