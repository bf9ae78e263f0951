"""Watching over connectors, store and jobs: what they do is turned into what people are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from twin.alarms import Report
from twin.clock_watch import ClockWatch
from twin.core import Core
from twin.ingest import NANOSECONDS
from twin.jobs import JobState
from twin.ports import Gap, Incident, Source
from twin.store import StoreState
from twin.store_watch import StoreWatch

AWAY: Final = 5.0
"""Seconds without a connection that are an alarm."""


class Watch:
    """Looks at what is around the core; remembers which gaps and incidents were told."""

    def __init__(self, sources: Sequence[Source], jobs: Mapping[str, JobState]) -> None:
        self._sources = sources
        self._jobs = jobs
        self._store = StoreWatch()
        self._clocks = ClockWatch()
        self._gaps: Counter[str] = Counter()
        self._incidents: Counter[str] = Counter()

    def reports(self, store: StoreState, core: Core, now: int) -> Iterator[Report]:
        """What is wrong, and what is not, at `now` (line time, ns)."""
        for source in self._sources:
            state = source.state
            yield _away(state.name, state.connected, now)
        yield from self._store.look(store, now)
        yield from self._clocks.look(core.line, core.tracker.ahead, now)
        for name, job in self._jobs.items():
            yield _not_done(name, job, now)

    def gaps(self) -> Iterator[tuple[str, Gap, str]]:
        """How long a connector was away, by its name and in words; each once."""
        for source in self._sources:
            state = source.state
            for gap in state.gaps:
                if gap.number <= self._gaps[state.name]:
                    continue
                self._gaps[state.name] = gap.number
                seconds = (gap.until - gap.since) / NANOSECONDS
                text = f"not connected for {seconds:.1f} s"
                if gap.recovered:
                    text += f"; {gap.recovered} values were read from its history"
                yield state.name, gap, text

    def incidents(self) -> Iterator[tuple[str, Incident]]:
        """That a connector and its peer refused each other, by its name; each once."""
        for source in self._sources:
            state = source.state
            for incident in state.incidents:
                if incident.number > self._incidents[state.name]:
                    self._incidents[state.name] = incident.number
                    yield state.name, incident


def memory_lost(why: str | None, now: int) -> Report:
    """The alarm of a twin that began without what it knew before; over where `why` is None."""
    evidence = () if why is None else (why,)
    return Report(now, "job", "memory lost", "twin", why is not None, "high", "", evidence)


def _away(name: str, connected: bool, now: int) -> Report:
    lasting = int(AWAY * NANOSECONDS)
    evidence = (f"{name} is not connected; its values are missing",)
    return Report(
        now, "connector", "away", name, not connected, "high", "", evidence, lasting=lasting
    )


def _not_done(name: str, state: JobState, now: int) -> Report:
    evidence = () if state.error is None else (state.error,)
    return Report(now, "job", "failed", name, state.error is not None, "medium", "", evidence)
