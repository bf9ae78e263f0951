"""What every source shares: the bounded hand-over to its reader, its counters, its pauses."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import structlog

from twin.ports import ConnectionState, Gap, Incident

Item = TypeVar("Item")

_LOG: Final = structlog.get_logger()
_LOG_PAUSE: Final = 60.0
_EXCERPT: Final = 120
_INCIDENTS: Final = 100
_GAPS: Final = 100


@dataclass(slots=True)
class Counters:
    """What a `ConnectionState` is made of, and one log line per reason and minute."""

    name: str
    connected: bool = False
    since: int = field(default_factory=time.time_ns)
    received: int = 0
    error: str | None = "not yet connected"
    refused: dict[str, int] = field(default_factory=dict)
    marked: int = 0
    away_since: int | None = None
    """Line time at which the connection was lost, ns."""
    _incidents: deque[Incident] = field(default_factory=lambda: deque(maxlen=_INCIDENTS))
    _gaps: deque[Gap] = field(default_factory=lambda: deque(maxlen=_GAPS))
    _refusal: tuple[str, str] | None = None
    _logged: dict[str, tuple[float, int]] = field(default_factory=dict)

    def connect(self) -> None:
        """The connection stands."""
        if not self.connected:
            self.since = time.time_ns()
            _LOG.info("connected", connector=self.name)
        self.connected, self.error = True, None
        self._refusal = None

    def disconnect(self, error: str) -> None:
        """The connection is gone; logged when it went or the reason is another."""
        if self.connected:
            self.since = time.time_ns()
        if error != self.error:
            _LOG.warning("not connected", connector=self.name, error=error)
        self.connected, self.error = False, error

    def back(self, now: int, recovered: int = 0) -> None:
        """The connection stands again at line time `now`, ns: the gap has an end."""
        if self.away_since is not None:
            number = self._gaps[-1].number + 1 if self._gaps else 1
            self._gaps.append(Gap(number, self.away_since, now, recovered))
            self.away_since = None

    def refuse_peer(self, what: str, said: str, now: int) -> None:
        """One side refuses the other; repeated attempts for the same reason are one incident."""
        if (what, said) != self._refusal:
            self._refusal = what, said
            number = self._incidents[-1].number + 1 if self._incidents else 1
            self._incidents.append(Incident(number, now, what, said))

    def refuse(self, reason: str, marked: bool = False, **facts: Any) -> None:
        """Count a message without a usable sample; `marked`: it is handed on as a bad one."""
        self.marked += marked
        count = self.refused.get(reason, 0) + 1
        self.refused[reason] = count
        now = time.monotonic()
        logged_at, logged = self._logged.get(reason, (-_LOG_PAUSE, 0))
        if now - logged_at >= _LOG_PAUSE:
            self._logged[reason] = (now, count)
            shown = {name: _printable(fact) for name, fact in facts.items()}
            _LOG.warning(
                "input refused", connector=self.name, reason=reason, count=count - logged, **shown
            )

    def state(self, dropped: int) -> ConnectionState:
        """The counters as they stand."""
        return ConnectionState(
            self.name,
            self.connected,
            self.since,
            self.received,
            dropped,
            dict(self.refused),
            self.marked,
            self.error,
            tuple(self._incidents),
            tuple(self._gaps),
        )


def _printable(fact: object) -> str:
    """An excerpt that every stream can take: a peer may send half a character, or huge numbers."""
    try:
        text = str(fact)[:_EXCERPT]
    except ValueError:  # Python writes no integer of more than some thousand digits
        text = "a number too long to write"
    return text.encode("utf-8", "backslashreplace").decode()


class Intake(Generic[Item]):
    """A queue of parcels, bounded by their samples: when full, the oldest go and are counted."""

    def __init__(self, capacity: int, linger: float) -> None:
        if capacity < 1:
            raise ValueError("an intake holds at least one sample")
        if linger < 0:
            raise ValueError("a linger is at least 0 s")
        self._capacity = capacity
        self._linger = linger
        self._parcels: deque[tuple[int, Item]] = deque()
        self._held = 0
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, parcel: Item, samples: int) -> None:
        """Hand over a parcel; never waits."""
        self._parcels.append((samples, parcel))
        self._held += samples
        while self._held > self._capacity and len(self._parcels) > 1:
            lost, _ = self._parcels.popleft()
            self._held -= lost
            self.dropped += lost
        self._filled.set()

    async def take(self) -> list[Item]:
        """All parcels, in order, once there is one and others had the linger to join it."""
        await self._filled.wait()
        await asyncio.sleep(self._linger)
        parcels = [parcel for _, parcel in self._parcels]
        self._parcels.clear()
        self._held = 0
        self._filled.clear()
        return parcels


def pauses(longest: float) -> Iterator[float]:
    """Jittered, exponentially growing pauses between attempts to connect, in seconds."""
    ceiling = min(0.25, longest)
    while True:
        yield ceiling * random.uniform(0.5, 1.0)
        ceiling = min(ceiling * 2, longest)
