"""What a replay shows: the same as a service, of what is replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from twin.chronicle import Chronicle
from twin.configuration.models import LineConfiguration
from twin.core import Core, CoreEvent
from twin.listening import Listener
from twin.ports import Connector
from twin.samples import SampleBatch
from twin.status import LineStatus
from twin.store import Store

FULL: Final = 500_000
"""Samples that wait for the historian before a replay waits for it."""


class ReplayScreen:
    """What a replay shows and, where asked, stores.

    Args:
        line: that is replayed.
        store: of what is replayed; None keeps nothing.
        listener: hears what the core says.
    """

    def __init__(
        self, line: LineConfiguration, store: Store | None, listener: Listener | None = None
    ) -> None:
        self._line = line
        self.listener = listener
        self.store = store
        self.sources: Sequence[Connector] = ()
        self.core: Core
        self.status: LineStatus

    def restarted(self, core: Core) -> None:
        self.core = core
        self.status = LineStatus(self._line)
        self._chronicle = Chronicle(self._line, core.tags, core.surrogates)
        self._outputs = {step: model.outputs for step, model in core.surrogates.items()}

    def fed(self, samples: SampleBatch, events: Sequence[CoreEvent]) -> None:
        for event in events:
            self.status.follow(event, self._outputs)
        kept, happened = self._chronicle.of(events)
        if self.store is not None:
            self.store.put(samples)
            self.store.put(kept, happened)
        if self.listener is not None:
            self.listener.told(kept, events)

    async def room(self) -> None:
        if self.store is not None:
            await self.store.room(FULL)

    @property
    def rejected(self) -> Counter[str]:
        counted = Counter(self.core.rejected)
        counted["late"] += sum(self.core.tracker.late.values())
        return +counted
