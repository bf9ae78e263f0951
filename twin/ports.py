"""The boundaries of the core: live, replay and the virtual line differ in what is plugged in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from twin.samples import Bools, Floats, Ints, SampleBatch


class Source(Protocol):
    """A connector that delivers samples."""

    async def run(self) -> None:
        """Connect, and stay connected until cancelled: reconnects by itself.

        Raises:
            ConfigurationMismatch: the peer contradicts the configuration; trying again is useless.
        """
        ...

    def batches(self) -> AsyncIterator[SampleBatch]:
        """What arrived, in batches of about 100 ms; tag indices of the line's tag table, SI."""
        ...

    def safe(self) -> None:
        """The oldest of the batches handed out, and not yet said so of, will outlast a crash.

        A source whose peer keeps messages until they are acknowledged acknowledges them now.
        """
        ...

    @property
    def state(self) -> ConnectionState:
        """Whether it is connected, and what it lost."""
        ...


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """How a connector is doing."""

    name: str
    connected: bool
    since: int
    """Wall time of the last change, ns since the epoch (UTC)."""
    received: int
    """Samples that arrived."""
    dropped: int
    """Samples lost because a bounded queue was full."""
    refused: Mapping[str, int]
    """Messages that held nothing to use, or told of a loss, counted by reason."""
    marked: int
    """Samples of those messages that were handed on as bad, so that the historian knows of them."""
    error: str | None
    """Why it is not connected, as a sentence."""
    incidents: tuple[Incident, ...] = ()
    """The last times that one side refused the other, oldest first: for the audit."""
    gaps: tuple[Gap, ...] = ()
    """The last times that it was away, oldest first."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A connector was away: what the line said meanwhile may be missing."""

    number: int
    """From 1, in the order in which they happened."""
    since: int
    """Line time, ns."""
    until: int
    recovered: int
    """Samples of that time that were read from the peer's history."""


@dataclass(frozen=True, slots=True)
class Incident:
    """One side of a connection refused the other: a matter of security, not of the network."""

    number: int
    """From 1, in the order in which they happened."""
    time: int
    """Line time, ns."""
    what: str
    """E.g. peer refused, refused by peer."""
    said: str
    """The reason, as a sentence without secrets."""


class ConfigurationMismatch(Exception):  # noqa: N818  # a fact about a peer, named as such
    """A peer contradicts the configuration: another unit, a missing node, a read-only setpoint."""

    def __init__(self, connector: str, problems: Sequence[str]) -> None:
        super().__init__(f"{connector}: " + "; ".join(problems))
        self.connector = connector
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Write:
    """One setpoint to write."""

    tag: int
    """Index in the tag table."""
    value: float
    """SI."""


WriteStatus = Literal["applied", "denied", "failed", "timed out"]


@dataclass(frozen=True, slots=True)
class WriteOutcome:
    """What became of a write."""

    write: Write
    status: WriteStatus
    read_back: float
    """What the machine then says, SI; NaN where it could not be read."""
    reason: str = ""
    """A sentence, empty where applied."""


class Connector(Source, Protocol):
    """A source with a name."""

    name: str


class Sink(Protocol):
    """A connector that carries setpoints to a machine."""

    async def write(self, write: Write) -> WriteOutcome:
        """Write a setpoint, read it back and compare. Never raises for what the machine does."""
        ...

    async def confirm(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        """Whether setpoints that were applied still are, a short while later, in their order.

        Of all of a set at once: each alone would have to be waited for.
        """
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the line or the twin, kept in the historian."""

    time: int
    kind: str
    """E.g. roll wound, gap, mode changed."""
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Buckets:
    """A tag downsampled: one row per bucket that has values, times are the buckets' starts."""

    time: Ints
    minimum: Floats
    mean: Floats
    maximum: Floats
    count: Ints


class HistorianError(Exception):
    """A store could not be opened or reached, or an operation failed: it may be tried again."""

    def __init__(self, store: str, reason: str) -> None:
        super().__init__(f"historian {store}: {reason}")
        self.store = store
        """Its file or address."""
        self.reason = reason


class Refused(Exception):  # noqa: N818  # a fact about samples, named as such
    """A historian will never take these samples or events; the message says why.

    `append` raises it where the content is at fault, and nothing else would help than other
    content. What it was sent together with may be sent again without it; a historian that found
    out which it is names it, and has taken all the rest.
    """

    def __init__(
        self, reason: str, batch: SampleBatch | None = None, events: Sequence[Event] = ()
    ) -> None:
        super().__init__(reason)
        self.batch = batch
        """The samples and laboratory values that were refused; None where it is not known which."""
        self.events = tuple(events)
        """The events that were refused."""


class Historian(Protocol):
    """The time-series store. Synchronous: the service gives it a thread of its own.

    A sample is identified by (tag, time): appending it again changes nothing, appending it with
    another value keeps the later one. Bad samples are kept with their status code. Events are
    identified by all that they say, laboratory values by tag, time and material.
    """

    @property
    def settles(self) -> float:
        """For how long after `append` a crash of the store may lose what it had taken, s.

        0: durable when it returns. Otherwise `twin.store` keeps what was delivered for as long, and
        delivers it again after an `append` that failed: a restart of the store must make one fail.
        """
        ...

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        """Taken when it returns, and durable `settles` seconds later.

        Raises:
            Refused: this content will never be taken, however often it is sent.
            Exception: anything else; not taken, to be sent again as it is.
        """
        ...

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        """Samples with start <= time < end, ordered by time, then tag."""
        ...

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        """The last sample of each tag that has one, in any order."""
        ...

    def buckets(self, tags: Sequence[int], start: int, end: int, count: int) -> dict[int, Buckets]:
        """By tag `count` equal buckets over [start, end): minimum, mean, maximum of what is good.

        Good is what is finite and of good quality. A bucket is as wide as the store's resolution
        allows, rounded up, so that the last one may be shorter.
        """
        ...

    def events(self, start: int, end: int) -> list[Event]:
        """Events with start <= time < end, ordered by time."""
        ...

    def retain(self, since: int) -> int:
        """Delete samples and events older than `since`; how many samples went."""
        ...


@dataclass(frozen=True, slots=True)
class SurrogateOutput:
    """What a surrogate says of n rows and k outputs."""

    mean: Floats
    """(n, k) SI; NaN where an input is missing."""
    std: Floats
    """(n, k) one sigma of the model, SI."""
    in_domain: Bools
    """(n,) whether the inputs lie in the range that the model was trained on."""


class Surrogate(Protocol):
    """A model of one step. Inputs and outputs are named, in SI base units."""

    @property
    def inputs(self) -> tuple[str, ...]: ...

    @property
    def outputs(self) -> tuple[str, ...]: ...

    @property
    def version(self) -> str: ...

    @property
    def domain(self) -> NDArray[np.float64]:
        """(inputs, 2) lowest and highest value of the training range, SI."""
        ...

    def predict(self, inputs: Floats) -> SurrogateOutput:
        """Predict n rows of inputs (n, inputs)."""
        ...
