"""What may control a line in an assessment; the twin is one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twin.core import Core, CoreEvent
from twin.intervention import Decided, Intervention, Wrote
from twin.ports import Write, WriteOutcome
from twin.recommendation import Recommendation
from twin.samples import SampleBatch

Writer = Callable[[Write], WriteOutcome]


class Controller(Protocol):
    """Sees what the line sends, and may write setpoints."""

    def take(self, batch: SampleBatch, now: int, write: Writer) -> None:
        """Take samples that arrived at line time `now`, ns, and write what follows from them."""
        ...


class Nobody:
    """No control: the recipe's setpoints stay."""

    def take(self, batch: SampleBatch, now: int, write: Writer) -> None:
        """Do nothing."""


class Twin:
    """The core, and a person who accepts whatever it advises at once.

    Args:
        core: fresh.
        by: who decides.
        accept: accept advice, or leave it open.
        told: is told every event and what a person or machine does, as it happens.
    """

    def __init__(
        self,
        core: Core,
        by: str = "assessment",
        accept: bool = True,
        told: Callable[[CoreEvent | Intervention], None] = lambda _: None,
    ) -> None:
        self.core = core
        self.accept = accept
        self._by = by
        self._told = told

    def take(self, batch: SampleBatch, now: int, write: Writer) -> None:
        """Feed the core, and carry out what it advises."""
        self._handle(self.core.feed(batch, now), now, write)

    def intervene(self, intervention: Intervention, now: int, write: Writer) -> None:
        """A person, a machine or the clock does something now."""
        events = self.core.intervene(intervention)
        self._told(intervention)
        self._handle(events, now, write)

    def _handle(self, events: list[CoreEvent], now: int, write: Writer) -> None:
        for event in events:
            self._told(event)
            if isinstance(event, Recommendation) and self.core.open.get(event.web) is event:
                if event.state == "proposed" and self.accept:
                    self.intervene(Decided(now, event.id, True, self._by), now, write)
                elif event.state == "accepted":
                    outcomes = [write(Write(each.tag, each.after)) for each in event.changes]
                    self.intervene(Wrote(now, event.id, tuple(outcomes)), now, write)
