"""Jobs: what is due at times of the site's clock, each supervised, none twice at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do again and again."""

    name: str
    trigger: BaseTrigger
    work: Callable[[], Awaitable[None]]
    at_once: bool = False
    """Do it at the start, too."""


@dataclass(slots=True)
class JobState:
    """How a job is doing."""

    runs: int = 0
    failures: int = 0
    succeeded: float | None = None
    """Wall time of the last success, s since the epoch; None before the first."""
    seconds: float = 0.0
    """How long the last run took."""
    error: str | None = None
    """Why the last run failed, a sentence."""


def every(seconds: float) -> BaseTrigger:
    """A trigger of equal pauses."""
    return IntervalTrigger(seconds=seconds, timezone=UTC)


def daily(time_of_day: str, zone: str) -> BaseTrigger:
    """A trigger at a time of day such as 02:30."""
    hour, minute = time_of_day.split(":")
    return CronTrigger(hour=int(hour), minute=int(minute), timezone=ZoneInfo(zone))


class Jobs:
    """Runs jobs until cancelled. A job that fails is logged once per cause, and tried when due."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._busy = {name: asyncio.Lock() for name in self._jobs}
        self.states = {name: JobState() for name in self._jobs}

    async def run(self) -> None:
        """Do what is due until cancelled; what is due while it is being done is left out."""
        async with asyncio.TaskGroup() as tasks:

            async def due(name: str) -> None:
                if not self._busy[name].locked():
                    tasks.create_task(self.do(name), name=name)

            await self._schedule(due)

    async def _schedule(self, due: Callable[[str], Awaitable[None]]) -> None:
        scheduler = AsyncIOScheduler(timezone=UTC)
        for job in self._jobs.values():
            first = {"next_run_time": datetime.now(UTC)} if job.at_once else {}
            scheduler.add_job(
                due,
                job.trigger,
                args=[job.name],
                id=job.name,
                coalesce=True,
                misfire_grace_time=None,
                **first,
            )
        scheduler.start()
        try:
            await asyncio.Event().wait()
        finally:
            scheduler.shutdown(wait=False)

    async def do(self, name: str) -> JobState:
        """Do a job now, after the run that is under way, and say how it went.

        Raises:
            KeyError: there is no such job.
        """
        job, state = self._jobs[name], self.states[name]
        async with self._busy[name]:
            began = time.monotonic()
            state.runs += 1
            try:
                await job.work()
            except Exception as error:  # whatever a job runs into, the line is followed on
                said = str(error) or type(error).__name__
                if state.error != said:
                    log.error("job", name=name, problem=said)
                state.failures += 1
                state.error = said
            else:
                state.succeeded, state.error = time.time(), None
            state.seconds = time.monotonic() - began
        return state
