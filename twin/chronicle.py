"""The chronicle: what the core says, in the form in which the historian keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from twin.alarms import Alarm
from twin.batches import BatchPrediction
from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.conformal import GAUSSIAN
from twin.core import CoreEvent
from twin.genealogy import BatchReleased, Milestone
from twin.ports import Event, Surrogate
from twin.prediction import Prediction
from twin.promise import Judgement
from twin.samples import Floats, Ints, SampleBatch
from twin.tags import TagTable
from twin.trust import ModeChange

KINDS: Final = (
    "predicted", "low", "high", "measured", "residual", "ewma", "cusum", "position",
)  # fmt: skip


class Chronicle:
    """Turns the core's events into samples of derived tags, and into events of the line.

    What a gauge measures is kept when the material has passed the gauge: what had been predicted
    for it with its 90 % interval, what was measured, the residual, its control charts, and where
    on the coated web it is. What no gauge measures is kept when it is predicted, and when a
    laboratory has measured it.

    Args:
        line: the configuration.
        tags: its tag table, derived tags included.
        surrogates: the model of every step.
    """

    def __init__(
        self, line: LineConfiguration, tags: TagTable, surrogates: Mapping[str, Surrogate]
    ) -> None:
        self._segment = line.segment
        self._outputs = {step: surrogate.outputs for step, surrogate in surrogates.items()}
        self._derived = {
            f"{step}.{output}": {
                kind: np.int32(tags.index(f"{step}.{output}.{kind}")) for kind in KINDS
            }
            for step, config in line.steps.items()
            for output in config.outputs
        }
        self._gauged = {
            f"{step}.{output}"
            for step, config in line.steps.items()
            for output, made in config.outputs.items()
            if made.measured_by is not None or made.calculated_from is not None
        }

    def of(self, events: Iterable[CoreEvent]) -> tuple[SampleBatch, list[Event]]:
        """What is worth keeping of these events."""
        batches: list[SampleBatch] = []
        found: list[Event] = []
        for event in events:
            match event:
                case Comparison():
                    batches.append(self._compared(event))
                case Prediction():
                    batches += self._predicted(event)
                case BatchPrediction():
                    time = np.array([event.time])
                    for output, mean in zip(self._outputs[event.step], event.mean, strict=True):
                        name = f"{event.step}.{output}"
                        batches.append(self._samples(name, time, {"predicted": np.array([mean])}))
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

    def _compared(self, event: Comparison) -> SampleBatch:
        name = f"{event.step}.{event.output}"
        values = {"measured": event.measured, "residual": event.residual}
        if name in self._gauged:
            values |= self._said(event.predicted, event.sigma, event.segments)
            values |= {"ewma": event.ewma, "cusum": event.cusum}
        return self._samples(name, event.time, values)

    def _predicted(self, event: Prediction) -> list[SampleBatch]:
        return [
            self._samples(
                name,
                event.time,
                self._said(event.corrected[:, index], event.sigma[:, index], event.segments),
            )
            for index, output in enumerate(self._outputs[event.step])
            for name in (f"{event.step}.{output}",)
            if name not in self._gauged
        ]

    def _said(self, predicted: Floats, sigma: Floats, segments: Ints) -> dict[str, Floats]:
        reach = GAUSSIAN * sigma
        return {
            "predicted": predicted,
            "low": predicted - reach,
            "high": predicted + reach,
            "position": np.asarray((segments + 0.5) * self._segment, np.float64),
        }

    def _samples(self, name: str, time: Ints, values: Mapping[str, Floats]) -> SampleBatch:
        tags = self._derived.get(name)
        if tags is None:  # a model may give more than the line reads
            return SampleBatch.of([], [], [])
        value = np.concatenate(list(values.values()))
        return SampleBatch(
            np.repeat([tags[kind] for kind in values], len(time)).astype(np.int32),
            np.tile(time, len(values)),
            value,
            np.zeros(len(value), np.uint32),
        ).where(np.isfinite(value))
