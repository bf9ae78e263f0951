"""What the twin's alarms were worth, by what truly went wrong on the virtual line."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from simulators.scenario import GaugeAction, Scenario
from twin.alarms import Alarm
from twin.cli.assessment.metrics import Columns, first_action
from twin.cli.assessment.wire import Wire
from twin.configuration.models import LineConfiguration

NAMED_WITHIN: Final = 60.0
"""Web after a gauge went wrong within which an alarm is to name it, m."""


def broken_gauges(scenario: Scenario) -> set[str]:
    """The gauges that a scenario breaks, as it names them."""
    return {
        action.gauge
        for action in scenario.actions
        if isinstance(action, GaugeAction) and action.fault != "none"
    }


def without_gauge_faults(scenario: Scenario) -> Scenario:
    """The same day with healthy gauges."""
    healthy = tuple(a for a in scenario.actions if not isinstance(a, GaugeAction))
    return scenario.model_copy(update={"actions": healthy})


class AlarmWatch:
    """Keeps the alarms that diagnosis raises in a run.

    Args:
        line: names the gauges' tags.
        scenario: what truly goes wrong.
        wire: knows which tag is which gauge of the line.
    """

    def __init__(self, line: LineConfiguration, scenario: Scenario, wire: Wire) -> None:
        self._scenario = scenario
        tags = list(line.tags)
        gauges = scenario.plant.gauges
        found = {wire.gauge(gauges[name].topic) for name in broken_gauges(scenario)}
        self._guilty = {tags[tag] for tag in found if tag is not None}
        self._raised: list[tuple[int, str, str]] = []

    def note(self, alarm: Alarm) -> None:
        """Take every state of an alarm; only those that someone has to look at count."""
        if alarm.source == "diagnosis" and alarm.state == "unacknowledged":
            self._raised.append((alarm.changed, alarm.subject, alarm.suspect))

    def figures(self, segments: Columns, start: int) -> dict[str, float]:
        """Delay, false alarms and whether the right gauge was named.

        An alarm is false before the first action of the scenario, and where gauges alone go wrong
        also when it names none of these. Delays are web coated since the first action; all that
        there was where no alarm came.

        Args:
            segments: of the truth.
            start: line time of the line's start, ns.
        """
        coated = np.asarray(segments["coated"], np.int64)
        position = np.asarray(segments["position"], np.float64)
        if not len(coated):
            return {}
        length = float(position[-1])
        first = first_action(self._scenario, segments, start)
        begins = float(np.interp(first, coated, position)) if first is not None else math.inf
        only_gauges = not without_gauge_faults(self._scenario).actions
        exposed = length if only_gauges else min(begins, length)
        right: list[float] = []
        false = 0
        for time, subject, suspect in self._raised:
            where = float(np.interp(time, coated, position))
            names = not self._guilty or bool({subject, suspect} & self._guilty)
            if first is not None and time >= first and names:
                right.append(where - begins)
            elif (first is None or time < first) or only_gauges:
                false += 1
        found = {"false_alarms_per_1000_m": 1000.0 * false / exposed if exposed > 0 else math.nan}
        if first is not None and begins < length:
            found["detection_delay"] = min(right, default=length - begins)
            if self._guilty:
                found["suspect_named"] = float(min(right, default=math.inf) <= NAMED_WITHIN)
        return found
