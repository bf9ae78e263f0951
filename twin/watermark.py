"""Lateness: samples wait until the watermark has passed them, and are then taken in order of time.

The watermark is the latest source time of any tag minus the lateness, where a time counts up to the
sample's arrival: a clock that runs ahead must not make others late. Whatever the batches in which
samples came, they are released in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

import numpy as np

from twin.samples import Bools, Floats, Ints, SampleBatch
from twin.snapshot import Renumbering, Snapshot

NEVER: Final = -(2**62)
"""A time before all others, ns."""


class WaitingSamples:
    """Samples that wait for the watermark; released in order of tag and time, each once."""

    def __init__(self) -> None:
        self._parts: list[SampleBatch] = []

    @property
    def oldest(self) -> int | None:
        """Time of the oldest sample that waits."""
        return min((int(part.time.min()) for part in self._parts if len(part)), default=None)

    def add(self, batch: SampleBatch) -> None:
        if len(batch):
            self._parts.append(batch)

    def snapshot(self) -> Snapshot:
        pool = SampleBatch.concatenate(self._parts)
        return {"tag": pool.tag, "time": pool.time, "value": pool.value, "quality": pool.quality}

    def restore(self, state: Snapshot, renumber: Renumbering, wanted: Bools) -> None:
        """Take what another gave, as far as its tags are still wanted."""
        tag = renumber.all(state["tag"])
        pool = SampleBatch(tag, state["time"], state["value"], state["quality"])
        self._parts = [pool.where((tag >= 0) & wanted[tag])]

    def take(self, until: int) -> dict[int, tuple[Ints, Floats]]:
        """Times and values per tag up to `until`."""
        pool = SampleBatch.concatenate(self._parts)
        ready = pool.time <= until
        self._parts = [] if ready.all() else [pool.where(~ready)]
        tag, time, value = pool.tag[ready], pool.time[ready], pool.value[ready]
        if (time[1:] < time[:-1]).any():
            order = np.argsort(time, kind="stable")
            tag, time, value = tag[order], time[order], value[order]
        order = np.argsort(tag.astype(np.int16), kind="stable")
        tag, time, value = tag[order], time[order], value[order]
        if ((tag[1:] == tag[:-1]) & (time[1:] == time[:-1])).any():
            # of two values for one moment the larger counts, whichever came first
            order = np.lexsort((value, time, tag))
            tag, time, value = tag[order], time[order], value[order]
            keep = np.append((tag[1:] != tag[:-1]) | (time[1:] != time[:-1]), True)
            tag, time, value = tag[keep], time[keep], value[keep]
        if not len(tag):
            return {}
        indices, starts = np.unique(tag, return_index=True)
        return {
            int(index): (time[a:b], value[a:b])
            for index, a, b in zip(indices, starts, [*starts[1:], len(tag)], strict=True)
        }


class Watermark:
    """Which samples came in time, and how far nothing can come in time any more.

    Args:
        lateness: how late a sample may come, ns.
        encoders: tags of the encoders, which are taken ahead of all others.
        signals: tags of the machine values.
        gauges: tags of the gauges; unlike a machine's value a reading never holds.
        count: number of tags.
    """

    def __init__(
        self,
        lateness: int,
        encoders: Collection[int],
        signals: Collection[int],
        gauges: Collection[int],
        count: int,
    ) -> None:
        self._lateness = lateness
        self._is_encoder, self._is_used, self._is_gauge = np.zeros((3, count), np.bool_)
        self._is_encoder[list(encoders)] = True
        self._is_used[[*signals, *gauges]] = True
        self._is_gauge[list(gauges)] = True
        self.encoders = WaitingSamples()
        self.others = WaitingSamples()
        self.late: Counter[int] = Counter()
        """Samples that came after the watermark had passed them, by tag; first words are not."""
        self.ahead: dict[int, tuple[int, int]] = {}
        """Samples that came further before their time than the lateness, by tag: how many, and how
        far the last of them, ns."""
        self._latest = NEVER
        self._newest = np.full(count, NEVER)
        """Source time of the newest sample of each tag, ns."""
        self._held = np.full(count, NEVER)
        """From when on the newest late word of each machine holds, ns."""

    def add(self, batch: SampleBatch, arrived: int | Ints) -> None:
        """Take samples in order of arrival, at `arrived` (ns); what comes too late is counted."""
        if not len(batch):
            return
        known = batch.time
        if (known > arrived).any():
            known = np.minimum(known, arrived)
            self._note_ahead(batch, batch.time - arrived)
        # every tag drives the watermark: silence of one must not stop the others
        latest = np.maximum.accumulate(np.append(self._latest, known))
        self._latest = int(latest[-1])
        used = self._is_used[batch.tag] | self._is_encoder[batch.tag]
        batch, watermark = batch.where(used), latest[:-1][used] - self._lateness
        late, told = batch.time < watermark, batch
        if late.any():
            batch = self._sort_out(batch, late, watermark)
        np.maximum.at(self._newest, told.tag, told.time)
        encoder = self._is_encoder[batch.tag]
        self.encoders.add(batch.where(encoder))
        self.others.add(batch.where(self._is_used[batch.tag]))

    def _note_ahead(self, batch: SampleBatch, lead: Ints) -> None:
        far = lead > self._lateness
        for tag, by in zip(batch.tag[far].tolist(), lead[far].tolist(), strict=True):
            self.ahead[tag] = self.ahead.get(tag, (0, 0))[0] + 1, by

    def _sort_out(self, batch: SampleBatch, late: Bools, watermark: Ints) -> SampleBatch:
        """Count what is late; the newest word of a machine, however old, holds from now on.

        It may be the last for hours: a setpoint, the number of a batch. The place of an encoder
        must not be told wrong; only its first word holds.
        """
        time, drop, counted = batch.time.copy(), late.copy(), late.copy()
        for tag in np.unique(batch.tag[late & ~self._is_gauge[batch.tag]]).tolist():
            rows = np.flatnonzero(batch.tag == tag)
            before = np.maximum.accumulate(np.append(self._newest[tag], batch.time[rows]))[:-1]
            first = before == NEVER
            newer = first if self._is_encoder[tag] else batch.time[rows] > before
            counted[rows[first]] = False
            new = rows[late[rows] & newer]
            if len(new):
                # each holds from its watermark, or from 1 ns after the word before it
                after = np.arange(len(new))
                earliest = np.maximum(watermark[new] - after, self._held[tag] + 1)
                time[new] = np.maximum.accumulate(earliest) + after
                self._held[tag], drop[new] = time[new[-1]], False
        self.late.update(batch.tag[counted].tolist())
        return SampleBatch(batch.tag, time, batch.value, batch.quality).where(~drop)

    def snapshot(self) -> Snapshot:
        return {
            "latest": self._latest,
            "newest": self._newest.copy(),
            "held": self._held.copy(),
            "late": [[tag, count] for tag, count in self.late.items()],
            "ahead": [[tag, *ahead] for tag, ahead in self.ahead.items()],
            "encoders": self.encoders.snapshot(),
            "others": self.others.snapshot(),
        }

    def restore(self, state: Snapshot, renumber: Renumbering) -> None:
        """Take what another gave."""
        self._latest = state["latest"]
        renumber.move(state["newest"], self._newest)
        renumber.move(state["held"], self._held)
        late = ((renumber(tag), count) for tag, count in state["late"])
        self.late = Counter({tag: count for tag, count in late if tag >= 0})
        ahead = {renumber(tag): (count, by) for tag, count, by in state["ahead"]}
        self.ahead = {tag: each for tag, each in ahead.items() if tag >= 0}
        self.encoders.restore(state["encoders"], renumber, self._is_encoder)
        self.others.restore(state["others"], renumber, self._is_used)

    @property
    def passed(self) -> int:
        """No sample up to this time can still come in time, ns."""
        return NEVER if self._latest == NEVER else self._latest - self._lateness - 1

    @property
    def oldest(self) -> int | None:
        """Time of the oldest sample that waits, ns."""
        found = (self.encoders.oldest, self.others.oldest)
        return min((time for time in found if time is not None), default=None)
