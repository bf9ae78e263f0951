"""Machines whose clocks run ahead, as alarms report it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from twin.alarms import Report
from twin.configuration.models import LineConfiguration
from twin.ingest import NANOSECONDS

LOOKS: Final = 3
"""Looks that must find times ahead: one sample may be wrong, and a line may be about to start."""
PATIENCE: Final = 60
"""Looks without any after which a clock is taken to be right again."""


class ClockWatch:
    """Turns the counts of samples that came before their time into reports, one per connector.

    It looks about once a second, in whatever time the line runs.
    """

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._found: dict[str, list[int]] = {}
        """Looks that found some, and looks since then, by connector."""

    def look(
        self, line: LineConfiguration, ahead: Mapping[int, tuple[int, int]], now: int
    ) -> Iterator[Report]:
        """What is wrong, and what is not, at `now` (line time, ns).

        Args:
            line: says which connector a tag comes from.
            ahead: as `Watermark.ahead`.
            now: line time, ns.
        """
        names = list(line.tags)
        risen: dict[str, list[int]] = {}
        for tag, (count, _) in ahead.items():
            if count > self._counts.get(tag, 0):
                risen.setdefault(line.tags[names[tag]].connector, []).append(tag)
            self._counts[tag] = count
        for name in line.connectors:
            if name in risen:
                self._found[name] = [self._found.get(name, [0])[0] + 1, 0]
            elif name in self._found:
                self._found[name][1] += 1
                if self._found[name][1] >= PATIENCE:
                    del self._found[name]
            active = name in self._found and self._found[name][0] >= LOOKS
            said: tuple[str, ...] = ()
            if name in risen:
                tag = max(risen[name], key=lambda each: ahead[each][1])
                seconds = ahead[tag][1] / NANOSECONDS
                said = (
                    f"{names[tag]} comes {seconds:.1f} s before its time: the clock of {name} is "
                    "fast, or that of this computer slow",
                )
            yield Report(now, "connector", "clock ahead", name, active, evidence=said)
