"""Signals over time: a web's position, and machine values that hold until they change."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot

SECOND: Final = 1e9
RESET: Final = 1.0
"""A web counter that falls by more than this (m) was set back, if the next report goes on from
there; less is jitter of a standing web."""


class _Columns:
    """Equally long arrays that grow at the end and are forgotten at the front."""

    def __init__(self, floats: int) -> None:
        self._time: Ints = np.empty(1024, np.int64)
        self._data: Floats = np.empty((floats, 1024))
        self._from = 0
        self._to = 0

    def __len__(self) -> int:
        return self._to - self._from

    @property
    def time(self) -> Ints:
        return self._time[self._from : self._to]

    def column(self, index: int) -> Floats:
        return self._data[index, self._from : self._to]

    def extend(self, time: Ints, *columns: Floats) -> None:
        count = len(time)
        if self._to + count > len(self._time):
            used = len(self)
            # room for a quarter more: what has been forgotten at the front takes no more than that
            capacity = max(1024, 5 * (used + count) // 4)
            times, data = np.empty(capacity, np.int64), np.empty((len(self._data), capacity))
            times[:used] = self.time
            data[:, :used] = self._data[:, self._from : self._to]
            self._time, self._data, self._from, self._to = times, data, 0, used
        self._time[self._to : self._to + count] = time
        for index, column in enumerate(columns):
            self._data[index, self._to : self._to + count] = column
        self._to += count

    def forget(self, before: int) -> None:
        """Drop what no question about a time >= `before` needs."""
        self._from += self.needless(before)

    def needless(self, before: int) -> int:
        """How many rows at the front no question about a time >= `before` needs."""
        return max(0, int(np.searchsorted(self.time, before, "right")) - 2)

    def snapshot(self, rows: Ints | slice) -> Snapshot:
        """These rows; of a slice a view, as rows are not changed once they are there."""
        data = self._data[:, self._from : self._to]
        return {"time": self.time[rows], "data": data[:, rows]}

    def restore(self, state: Snapshot) -> None:
        self._from = self._to = 0
        self.extend(state["time"], *state["data"])


class WebPosition:
    """Length of web that has passed the encoder, m, at any time up to the frontier.

    Between two reports of a moving web the position is linear. An encoder that reports changes only
    is silent while the web stands, so the last report holds until one `interval` before the next.
    The value at t therefore needs the reports up to t + interval and none later.

    Args:
        interval: longest time between two reports while the web moves, s.
        from_speed: reports are speeds, m/s, to be integrated, instead of lengths, m; the last one
            holds, as a drive that reports changes only is silent while its speed is steady.
    """

    def __init__(self, interval: float, from_speed: bool = False) -> None:
        self._interval = int(interval * SECOND)
        self._from_speed = from_speed
        # length at the knot, and m/s from there on
        self._knots = _Columns(2)
        self._gaps = _Columns(1)
        self._offset = 0.0
        self._last_report = np.nan
        self._fallen: float | None = None
        """A report far below the last one, until the next says whether the counter was set back."""
        self._lost = False
        self._first: float | None = None

    def __len__(self) -> int:
        return len(self._knots)

    @property
    def first(self) -> float:
        """The position at the first report, m."""
        assert self._first is not None
        return self._first

    def extend(self, time: Ints, value: Floats) -> None:
        """Take reports in order of time; NaN says that the encoder was lost from then on."""
        times: list[int] = []
        lengths: list[float] = []
        speeds: list[float] = []
        last_time: int | None = None
        last_length = 0.0
        if len(self._knots):
            last_time = int(self._knots.time[-1])
            last_length = float(self._knots.column(0)[-1])
        first_speed: float | None = None
        for now, report in zip(time.tolist(), value.tolist(), strict=True):
            if report != report:
                if not self._lost:
                    self._gaps.extend(np.array([now]), np.array([0.0]))
                    self._lost = True
                continue
            if self._lost:
                self._gaps.extend(np.array([now]), np.array([1.0]))
                self._lost = False
            held = self._last_report if self._from_speed else 0.0
            if last_time is None:
                length = 0.0 if self._from_speed else report
                self._first = length
            else:
                if now - last_time > self._interval:
                    silent = now - self._interval - last_time
                    last_time += silent
                    last_length += held * silent / SECOND
                    times.append(last_time)
                    lengths.append(last_length)
                    speeds.append(held)
                if self._from_speed:
                    mean = 0.5 * (self._last_report + report)
                    length = last_length + mean * (now - last_time) / SECOND
                else:
                    length = self._count(report, last_length)
                speed = (length - last_length) / (now - last_time) * SECOND
                if speeds:
                    speeds[-1] = speed
                else:
                    first_speed = speed
            times.append(now)
            lengths.append(length)
            speeds.append(report if self._from_speed else 0.0)
            last_time, last_length = now, length
            if self._fallen is None:
                self._last_report = report
        if times:
            if first_speed is not None:
                self._knots.column(1)[-1] = first_speed
            self._knots.extend(np.array(times, np.int64), np.array(lengths), np.array(speeds))

    def _count(self, report: float, before: float) -> float:
        """Length by a report of the counter, m; where it fell the web stands until the next."""
        if self._fallen is not None:
            if abs(report - self._fallen) < abs(report - self._last_report):
                self._offset, self._last_report = before - self._fallen, self._fallen
            self._fallen = None
        if report < self._last_report - RESET:
            self._fallen = report
            return before
        return max(report + self._offset, before)

    def at(self, time: Ints) -> Floats:
        """Position, m; NaN before the first report."""
        if not len(self._knots):
            return np.full(len(time), np.nan)
        knots = self._knots.time
        left = np.maximum(np.searchsorted(knots, time, "right") - 1, 0)
        moved = self._knots.column(1)[left] * ((time - knots[left]) / SECOND)
        return np.where(time < knots[0], np.nan, self._knots.column(0)[left] + moved)

    def reached(self, position: Floats) -> Ints:
        """When the web first reached the positions, ns; the last knot's time where it has not."""
        knots, lengths = self._knots.time, self._knots.column(0)
        left = np.maximum(np.searchsorted(lengths, position, "left") - 1, 0)
        speed = self._knots.column(1)[left]
        moving = speed > 0
        missing = np.maximum(position - lengths[left], 0.0)
        elapsed = np.where(moving, missing / np.where(moving, speed, 1.0), 0.0) * SECOND
        moment: Ints = knots[left] + np.rint(elapsed).astype(np.int64)
        return moment

    def known(self, time: Ints) -> Bools:
        """Whether the encoder was there at these times."""
        if not len(self._gaps):
            return np.ones(len(time), np.bool_)
        index = np.searchsorted(self._gaps.time, time, "right") - 1
        inside = self._gaps.column(0)[np.maximum(index, 0)] == 0.0
        known: Bools = ~(inside & (index >= 0))
        return known

    def forget(self, before: int) -> None:
        self._knots.forget(before)
        self._gaps.forget(before)

    def standstills(self) -> list[tuple[int, int]]:
        """From when to when the web stood, ns: nobody asks for a time within."""
        knots, standing = self._knots.time, self._knots.column(1) == 0.0
        edges = np.flatnonzero(np.diff(standing)) + 1
        bounds = np.concatenate([[0], edges, [len(knots) - 1]])
        return [
            (int(knots[start]), int(knots[end]))
            for start, end in pairwise(bounds.tolist())
            if end > start and standing[start]
        ]

    def snapshot(self, since: int) -> Snapshot:
        """What questions about a time >= `since` need; of a standstill its ends are enough."""
        if not len(self._knots):
            return {"first": None, "offset": self._offset, "lost": self._lost}
        standing = self._knots.column(1) == 0.0
        inside = np.append(False, standing[1:] & standing[:-1])
        inside[-1] = False
        rows = np.arange(self._knots.needless(since), len(self._knots))
        return {
            "first": self._first,
            "offset": self._offset,
            "lost": self._lost,
            "last_report": self._last_report,
            "fallen": self._fallen,
            "knots": self._knots.snapshot(rows[~inside[rows]]),
            "gaps": self._gaps.snapshot(slice(None)),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._first, self._offset, self._lost = state["first"], state["offset"], state["lost"]
        if self._first is not None:
            self._last_report, self._fallen = state["last_report"], state["fallen"]
            self._knots.restore(state["knots"])
            self._gaps.restore(state["gaps"])


class HeldSignal:
    """A value that holds until the next sample, with its means over time and over web length.

    NaN samples end what is held; means are over the part with a value.
    """

    _VALUE, _TIME, _TIME_VALID, _LENGTH, _LENGTH_VALID, _POSITION = range(6)

    def __init__(self) -> None:
        self._data = _Columns(6)

    def __len__(self) -> int:
        return len(self._data)

    def extend(self, time: Ints, value: Floats, position: Floats) -> None:
        """Take samples in order of time with the web's position at those times (m)."""
        data = self._data
        if len(data):
            before = slice(len(data) - 1, len(data))
            all_time = np.concatenate([data.time[before], time])
            all_value = np.concatenate([data.column(self._VALUE)[before], value])
            all_position = np.concatenate([data.column(self._POSITION)[before], position])
            start = [data.column(k)[-1] for k in range(1, 5)]
        else:
            all_time, all_value, all_position = time, value, position
            start = [0.0] * 4
        held = all_value[:-1]
        valid = np.isfinite(held)
        weight = np.where(valid, held, 0.0)
        seconds = np.diff(all_time) / SECOND
        metres = np.diff(all_position)
        metres[np.isnan(metres)] = 0.0
        sums = np.empty((4, len(all_time)))
        sums[:, 0] = start
        for row, factor, length in (
            (0, weight, seconds), (1, valid, seconds), (2, weight, metres), (3, valid, metres),
        ):  # fmt: skip
            np.multiply(factor, length, out=sums[row, 1:])
        sums = np.cumsum(sums, axis=1)[:, len(all_time) - len(time) :]
        data.extend(time, value, *sums, position)

    def at(self, time: Ints) -> Floats:
        """The value held at these times; NaN before the first sample."""
        index = np.searchsorted(self._data.time, time, "right") - 1
        value = self._data.column(self._VALUE)[np.maximum(index, 0)]
        return np.where(index < 0, np.nan, value)

    def last(self, time: int) -> tuple[float, int]:
        """The value held at a time, and since when it was last told, ns; NaN and 0 before that."""
        index = int(np.searchsorted(self._data.time, time, "right")) - 1
        if index < 0:
            return float("nan"), 0
        return float(self._data.column(self._VALUE)[index]), int(self._data.time[index])

    def changes(self, after: int, until: int) -> tuple[Ints, Floats]:
        """Times and values of the samples with after < time <= until that say something new."""
        time, value = self._data.time, self._data.column(self._VALUE)
        start, end = np.searchsorted(time, [after, until], "right")
        said = value[max(0, start - 1) : end]
        new = said[1:] != said[:-1]
        if start == 0:
            new = np.append(True, new)[:end]
        return time[start:end][new], value[start:end][new]

    def integral(self, time: Ints) -> Floats:
        """Integral over time from the first sample on, SI unit times s."""
        return self._integrals(time, None)[0]

    def when_integral(self, target: float, until: int) -> int | None:
        """When the integral over time reaches `target`, ns; None if not by `until`."""
        if float(self.integral(np.array([until]))[0]) < target:
            return None
        total = self._data.column(self._TIME)
        index = max(0, int(np.searchsorted(total, target, "left")) - 1)
        rate = float(self._data.column(self._VALUE)[index])
        missing = target - float(total[index])
        if not rate > 0 or missing <= 0:
            return int(self._data.time[index])
        return int(self._data.time[index]) + round(missing / rate * SECOND)

    def mean_over_time(self, start: Ints, end: Ints) -> Floats:
        """Mean over [start, end]; NaN where less than half of the time has a value."""
        (value_0, valid_0), (value_1, valid_1) = (self._integrals(t, None) for t in (start, end))
        return _ratio(value_1 - value_0, valid_1 - valid_0, (end - start) / SECOND)

    def mean_over_length(self, start: Ints, end: Ints, web: WebPosition) -> Floats:
        """Mean over the web that passes in [start, end], every metre counting alike."""
        at_start, at_end = web.at(start), web.at(end)
        value_0, valid_0 = self._integrals(start, at_start)
        value_1, valid_1 = self._integrals(end, at_end)
        return _ratio(value_1 - value_0, valid_1 - valid_0, at_end - at_start)

    def _integrals(self, time: Ints, position: Floats | None) -> tuple[Floats, Floats]:
        data = self._data
        index = np.searchsorted(data.time, time, "right") - 1
        before = index < 0
        index = np.maximum(index, 0)
        held = data.column(self._VALUE)[index]
        if position is None:
            total, valid = data.column(self._TIME)[index], data.column(self._TIME_VALID)[index]
            more = (time - data.time[index]) / SECOND
        else:
            total, valid = data.column(self._LENGTH)[index], data.column(self._LENGTH_VALID)[index]
            more = np.nan_to_num(position - data.column(self._POSITION)[index])
        has_value = np.isfinite(held) & ~before
        return (
            np.where(before, 0.0, total) + np.where(has_value, held, 0.0) * more,
            np.where(before, 0.0, valid) + has_value * more,
        )

    def forget(self, before: int) -> None:
        self._data.forget(before)

    def snapshot(self, since: int, standstills: Sequence[tuple[int, int]]) -> Snapshot:
        """What questions about a time >= `since` and outside of the web's standstills need."""
        time, start = self._data.time, self._data.needless(since)
        pieces = []
        for begin, end in standstills:
            # the last sample of a standstill says what held when the web moved again
            first, last = np.searchsorted(time, [begin, end], "right")
            if last - 1 > max(first, start):
                pieces.append(np.arange(start, max(first, start)))
                start = last - 1
        if not pieces:
            return self._data.snapshot(slice(start, None))
        return self._data.snapshot(np.concatenate([*pieces, np.arange(start, len(time))]))

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self._data.restore(state)


def _ratio(total: Floats, valid: Floats, whole: Floats) -> Floats:
    enough = valid > 0.5 * np.maximum(whole, 1e-12)
    return np.where(enough, total / np.where(enough, valid, 1.0), np.nan)
