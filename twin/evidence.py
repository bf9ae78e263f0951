"""Evidence: what gauges that read the same material say together, and which one cause explains it.

One row per segment: by how much every gauge of a web differs from what the models alone make of the
machines' settings, as a share. Differences that a healthy line shows are a Gaussian process: noise
of each gauge and noise that they share along the web (both estimated from the rows themselves),
models that are wrong by a smooth function of their inputs, causes that wander, and offsets that
begin anew with a slurry batch, a foil, or a change that has been found. Against it stand single
causes, each with its signature over the gauges, as a step or a ramp from some row on: the
generalised likelihood ratio (Willsky and Jones 1976) of each, with the unknown means and the
correlation of the noise accounted for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot

BLOCK: Final = 10
"""Rows that are averaged, but for the newest."""
SINGLE: Final = 10
"""Newest rows that are looked at one by one, at least."""
REMEMBERED: Final = 480
"""Rows."""
MOST_ERAS: Final = 16
"""Changes of the process within the rows that are remembered: what was before says little now."""
MOVED: Final = 0.01
"""Share of its domain by which an input moves from row to row between two states."""
MOVED_UNKNOWN: Final = 0.002
"""The same for one whose zero nobody knows, so that its models err otherwise from then on."""
LASTING: Final = 3
"""Rows for which such a move must have lasted, and before which the input must have stood."""
MOVES: Final = 20
"""Newest rows among which it is looked for."""
STOOD: Final = 120
"""Newest rows that say where such an input stood, and how much it scatters there."""
SURE: Final = 4.5
"""Sigma of an input's own scatter that a move must stand out by."""
LAGS: Final = (1, 2, 4, 8, 16, 32)
"""Rows between those that are compared to learn the noise."""
LENGTH: Final = 10.0
"""Rows over which noise that gauges share is alike."""
LEAST: Final = 0.03
"""Variance of a row that gauges have at least in any direction, as a share of what is stated."""
STANDS_OUT: Final = 1.5
"""Times its error by which noise that gauges share must be seen."""
FEW: Final = 8
"""Pairs of rows below which the noise is what the gauges' stated uncertainty says."""
PRIOR: Final = 10
"""Rows that the stated uncertainty of the gauges weighs as much as, in the noise."""
OFFSET: Final = 2.0
"""Share by which a healthy model may be wrong: whatever it is, it is learned."""
ANEW: Final = 1.0
"""Share by which it may be wrong otherwise after a change of the process, along what changed."""
ASIDE: Final = 0.05
"""Share of what changed by which each gauge may then differ besides."""
OTHER: Final = 0.01
"""Share by which another foil or batch shifts what each gauge reads."""
BATCH: Final = 0.05
"""Share by which another batch shifts it, along what its properties do."""
MISFIT: Final = 0.05
"""Share by which a model is wrong otherwise elsewhere in its domain."""
SMOOTH: Final = 0.5
"""Share of an input's domain over which it is wrong alike."""
WANDER: Final = 0.0008
"""Share by which what cannot be seen of a healthy process moves in an hour, as a random walk."""
STEP: Final = 1.0
"""Score that a ramp must have more than a step."""
NEAR: Final = 15
"""Rows by which the place of a new batch may be told wrong."""
UNTOLD: Final = 20.0
"""Score that it costs to suppose another batch where none is known: it came before this line was
followed, or its number was lost."""
BEFORE: Final = 3
"""Rows that are needed before a change."""
HOUR: Final = 3600e9


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that may be wrong, and how it shows."""

    name: str
    """A gauge's tag, or what of the process would have to differ."""
    gauge: int | None
    """Column of the gauge; None for the process."""
    signature: Floats
    """Relative change of what each gauge reads, for some size of the cause."""
    smear: float = 0.0
    """Rows over which it comes in: a machine acts over its length, a gauge at once."""
    batch: bool = False
    """A property of the slurry batch: it differs from the start of a batch on, told or not."""


@dataclass(frozen=True, slots=True)
class Found:
    """How well a cause explains the rows, with the onset and the shape that suit it best."""

    cause: Cause
    score: float
    """Twice the logarithm of the likelihood ratio against nothing having happened, less `UNTOLD`
    where a batch must be supposed."""
    since: int
    """Number of the row from which on it acts."""
    ramp: bool
    size: float
    """Of the cause at the newest row, in units of its signature."""
    supposed: bool = False
    """Of a batch that nobody told of."""


@dataclass(slots=True)
class Noise:
    """Of a healthy line's rows."""

    own: Floats
    """(m, m) covariance of what differs from row to row: gauges, and the film that they share."""
    common: Floats
    """(m, m) covariance of what is alike over `LENGTH`."""


@dataclass(slots=True)
class Panel:
    """The rows of the gauges on one web, in the order in which the material passed.

    Args:
        uncertainty: (m,) stated, one sigma of a row of each gauge, as a share.
        reach: (m, k) which inputs of the models what a gauge reads depends on.
        unknown: (k,) inputs whose zero nobody knows: what the models miss is another thing once
            such a one has moved.
    """

    uncertainty: Floats
    reach: Bools
    unknown: Bools
    count: int = 0
    """Rows so far."""
    _rows: list[Floats] = field(default_factory=list)
    _inputs: list[Floats] = field(default_factory=list)
    _time: list[int] = field(default_factory=list)
    _groups: list[tuple[int, int, int]] = field(default_factory=list)
    """Batch, counted as they come, also those that had to be supposed; foil; era."""
    _told: int = -1
    """Number of the newest batch."""
    _changes: list[Floats] = field(default_factory=list)
    """Covariance (m, m) of what changed with each era."""

    def add(self, row: Floats, inputs: Floats, time: int, batch: int, foil: int) -> None:
        """Take the next segment.

        Args:
            row: (m,) shares; NaN where a gauge says nothing that may be used.
            inputs: (k,) of the models, as shares of their domains.
            time: ns.
            batch: number of the slurry batch.
            foil: another number for another foil.
        """
        self._rows.append(row)
        self._inputs.append(inputs)
        self._time.append(time)
        count = self._groups[-1][0] if self._groups else 0
        self._groups.append((count + (batch != self._told), foil, len(self._changes)))
        self._told = batch
        self.count += 1
        since = self._moved() if self.unknown.any() else None
        if since is not None:
            self._begin(since)
        self._forget()

    def _moved(self) -> int | None:
        """The row from which on an input whose zero nobody knows is not where its era began.

        Every place at which it may have moved is tried; the scatter is that of successive rows.
        """
        rows = np.array(self._inputs[-STOOD:])[:, self.unknown]
        eras = np.array([era for _, _, era in self._groups[-STOOD:]])
        steps = np.diff(rows, axis=0)[np.diff(eras) == 0]
        noise = np.abs(steps) < MOVED
        squares = (np.where(noise, steps, 0.0) ** 2).sum(axis=0)
        variance = 0.5 * squares / np.maximum(noise.sum(axis=0), 1)
        here = np.flatnonzero((eras == eras[-1]) & np.isfinite(rows).all(axis=1))
        # in the first row of an era the machine may have been on its way
        here = here[1:]
        tried = min(len(here) - LASTING, MOVES)
        if tried < LASTING:
            return None
        values = rows[here]
        after = np.arange(1, tried + 1)[:, None]
        before = len(values) - after
        newer = np.cumsum(values[::-1][:tried], axis=0)
        stood = (values.sum(axis=0) - newer) / before
        score = (newer / after - stood) ** 2 / (1.0 / after + 1.0 / before)
        best, each = score.argmax(axis=0), np.arange(values.shape[1])
        # a display that jumps for a row and comes back has not moved
        lasts = np.abs(np.median(values[-LASTING:], axis=0) - stood[best, each]) > MOVED_UNKNOWN
        moved = lasts & (best + 1 >= LASTING) & (score[best, each] > SURE**2 * variance)
        if not moved.any():
            return None
        return self.count - len(rows) + int(here[-1 - int(best[moved].max())])

    def _forget(self) -> None:
        """Old rows, and what began before them."""
        gone = BLOCK if len(self._rows) >= REMEMBERED + BLOCK and self.count % BLOCK == 0 else 0
        while self._groups[gone][2] < len(self._changes) - MOST_ERAS:
            gone += 1
        for column in (self._rows, self._inputs, self._time, self._groups):
            del column[:gone]
        oldest = self._groups[0][2]
        if oldest:
            del self._changes[:oldest]
            self._groups = [(batch, foil, era - oldest) for batch, foil, era in self._groups]

    @property
    def first(self) -> int:
        """Number of the oldest row that is remembered."""
        return self.count - len(self._rows)

    def begin_anew(self, change: Found) -> None:
        """The process has changed: models may be wrong in another way, along what changed.

        What was taken to have begun since the change is a part of it.
        """
        place = max(0, change.since - self.first)
        era = self._groups[place - 1][2] if place else 0
        signature, each = change.cause.signature, np.eye(len(self.uncertainty))
        self._changes[era:] = [
            ANEW**2 * np.outer(signature, signature) + (ASIDE * change.size) ** 2 * each
        ]
        self._groups[place:] = [
            (batch + change.supposed, foil, era + 1) for batch, foil, _ in self._groups[place:]
        ]

    def _begin(self, since: int) -> None:
        """An input has moved: every gauge may differ from a row on; eras that began later stay."""
        change = ANEW**2 * np.eye(len(self.uncertainty))
        place = max(0, since - self.first)
        era = self._groups[place][2]
        anew = place > 0 and self._groups[place - 1][2] == era
        if anew:
            self._changes.insert(era, change)
        elif place > 0:
            self._changes[era - 1] = self._changes[era - 1] + change
        self._groups[place:] = [
            (batch, foil, later + anew) for batch, foil, later in self._groups[place:]
        ]

    def restate(self, rows: Floats) -> Floats:
        """Hold the same readings against other models; what could not be used still cannot.

        Args:
            rows: (n, m) shares of the rows that are remembered.

        Returns:
            (m,) by how much shares have changed in the mean; 0 where none is known.
        """
        old = np.array(self._rows).reshape(rows.shape)
        usable = np.isfinite(old) & np.isfinite(rows)
        self._rows = list(np.where(usable, rows, np.nan))
        moved = np.where(usable, rows - old, 0.0).sum(axis=0)
        return np.asarray(moved / np.maximum(usable.sum(axis=0), 1), np.float64)

    def read_since(self, row: int) -> int:
        """Rows from a number on in which any gauge was read."""
        later = np.array(self._rows[max(0, row - self.first) :])
        return int(np.isfinite(later).any(axis=-1).sum())

    def snapshot(self) -> Snapshot:
        """The rows that are remembered."""
        return {
            "uncertainty": self.uncertainty,
            "count": self.count,
            "rows": np.array(self._rows),
            "inputs": np.array(self._inputs),
            "time": np.array(self._time, np.int64),
            "groups": np.array(self._groups, np.int64).reshape(-1, 3),
            "told": self._told,
            "changes": np.array(self._changes).reshape(-1, *2 * self.uncertainty.shape),
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        self.uncertainty, self.count = state["uncertainty"], state["count"]
        self._rows, self._inputs = list(state["rows"]), list(state["inputs"])
        self._time, self._changes = state["time"].tolist(), list(state["changes"])
        self._groups = [(batch, foil, era) for batch, foil, era in state["groups"].tolist()]
        self._told = state["told"]

    def noise(self) -> Noise:
        """From differences along the web, which drifts and steps hardly touch (variogram).

        What gauges share is kept along those directions only that stand out of its own error: the
        others would hide a gauge that goes wrong alone.
        """
        rows = np.array(self._rows[-REMEMBERED:])
        prior = self.uncertainty**2
        gauges = len(prior)
        seen, pairs = [], 0
        for lag in LAGS:
            steps = rows[lag:] - rows[:-lag]
            steps = steps[np.isfinite(steps).all(axis=1)]
            pairs = len(steps)
            if pairs < FEW:
                return Noise(np.diag(prior), np.diag(prior))
            bound = 4.0 * 1.4826 * np.median(np.abs(steps), axis=0) + 1e-12
            steps = np.clip(steps, -bound, bound)
            seen.append(0.5 * steps.T @ steps / pairs)
        courses = np.array(seen)
        rise = 1.0 - np.exp(-np.array(LAGS) / LENGTH)
        # what differs from row to row is there at every lag
        level = np.column_stack([np.ones(len(LAGS)), rise])
        fitted = np.linalg.lstsq(level, courses.reshape(len(LAGS), -1), rcond=None)[0]
        rows_apart, common = fitted.reshape(2, gauges, gauges)
        share = pairs / (pairs + PRIOR)
        own = share * rows_apart + (1.0 - share) * np.diag(prior)
        values, vectors = np.linalg.eigh(own / np.outer(self.uncertainty, self.uncertainty))
        own = (vectors * np.maximum(values, LEAST)) @ vectors.T
        own *= np.outer(self.uncertainty, self.uncertainty)
        spread = np.sqrt(np.diag(own))
        values, vectors = np.linalg.eigh(common / np.outer(spread, spread))
        values = np.where(values > STANDS_OUT * math.sqrt(gauges / pairs), values, 0.0)
        return Noise(own, (vectors * values) @ vectors.T * np.outer(spread, spread))

    def judge(
        self, causes: Sequence[Cause], noise: Noise, ignored: Mapping[int, tuple[int, int]]
    ) -> list[Found]:
        """How well each cause explains what was read, the best first.

        Args:
            causes: with signatures of m gauges.
            noise: of a healthy line.
            ignored: by gauge, the rows from and up to which it is left out.
        """
        blocks = self._blocks(ignored)
        if blocks is None:
            return []
        precision, weighted = self._invert(blocks, causes, noise)
        found: list[Found] = []
        for smear, batch in sorted({(cause.smear, cause.batch) for cause in causes}):
            alike = [cause for cause in causes if (cause.smear, cause.batch) == (smear, batch)]
            shapes = blocks.shapes(smear, batch)
            found += self._explain(alike, blocks, shapes, precision, weighted)
        return sorted(found, key=lambda each: -each.score)

    def _blocks(self, ignored: Mapping[int, tuple[int, int]]) -> _Blocks | None:
        rows = np.array(self._rows)
        for gauge, (since, until) in ignored.items():
            rows[max(0, since - self.first) : max(0, until - self.first), gauge] = np.nan
        if len(rows) < 2 * BEFORE or not np.isfinite(rows).any():
            return None
        groups = np.array(self._groups)
        # blocks keep their borders as rows come, and end where something begins anew
        number = np.arange(self.first, self.count)
        key = number // BLOCK
        newest = self.count - SINGLE
        key = np.where(key >= newest // BLOCK, number + 10**9, key)
        starts = np.flatnonzero(
            np.concatenate([[True], (np.diff(key) != 0) | (np.diff(groups, axis=0) != 0).any(1)])
        )
        finite = np.isfinite(rows)
        counts = np.add.reduceat(finite, starts, axis=0, dtype=np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.add.reduceat(np.where(finite, rows, 0.0), starts, axis=0) / counts
        sizes = np.diff(np.append(starts, len(rows))).astype(np.float64)
        inputs = np.add.reduceat(np.array(self._inputs), starts, axis=0) / sizes[:, None]
        hours = (np.array(self._time) - self._time[0]) / HOUR
        return _Blocks(
            means,
            counts,
            sizes,
            number[starts],
            np.add.reduceat(number, starts) / sizes,
            np.add.reduceat(hours, starts) / sizes,
            np.nan_to_num(inputs),
            groups[starts],
        )

    def _invert(
        self, blocks: _Blocks, causes: Sequence[Cause], noise: Noise
    ) -> tuple[Floats, Floats]:
        """Inverse covariance (blocks, m, blocks, m), 0 where nothing was read; times the means."""
        count, gauges = blocks.means.shape
        each = np.eye(gauges)
        unit = [c.signature / max(np.abs(c.signature).max(), 1e-12) for c in causes]
        pairs = list(zip(causes, unit, strict=True))
        process = [g for cause, g in pairs if cause.gauge is None and not cause.batch]
        brewed = [g for cause, g in pairs if cause.batch]
        moved = (blocks.inputs[:, None] - blocks.inputs[None]) ** 2
        groups = blocks.groups.T[:2]
        batch, foil = groups[:, :, None] == groups[:, None, :]
        eras = blocks.groups[:, 2]
        terms = [
            (blocks.alike(LENGTH), noise.common),
            (np.full((count, count), OFFSET**2), each),
            *(
                (MISFIT**2 * np.exp(-0.5 * (moved @ reached) / SMOOTH**2), np.diag(mine))
                for reached, mine in zip(self.reach.astype(np.float64), each, strict=True)
            ),
            *(
                (np.outer(eras >= era, eras >= era).astype(np.float64), self._changes[era - 1])
                for era in range(eras[0] + 1, eras[-1] + 1)
            ),
            (OTHER**2 * foil, each),
            (OTHER**2 * batch, each),
            (BATCH**2 * batch, sum((np.outer(g, g) for g in brewed), np.zeros_like(each))),
            (
                WANDER**2 * np.minimum(blocks.hours[:, None], blocks.hours[None]),
                sum((np.outer(g, g) for g in process), np.zeros_like(each)),
            ),
        ]
        covariance = sum(np.einsum("ab,ij->aibj", *term) for term in terms)
        covariance = np.asarray(covariance).reshape(count * gauges, count * gauges)
        most = np.maximum(blocks.counts[:, :, None], blocks.counts[:, None, :])
        block = np.arange(count)
        covariance.reshape(count, gauges, count, gauges)[block, :, block, :] += (
            noise.own / np.maximum(most, 1.0)
        )
        there = np.flatnonzero(blocks.counts.ravel() > 0)
        inverse = np.zeros_like(covariance)
        inverse[np.ix_(there, there)] = _inverse(covariance[np.ix_(there, there)])
        means = np.nan_to_num(blocks.means.ravel())
        return (
            inverse.reshape(count, gauges, count, gauges),
            (inverse @ means).reshape(count, gauges),
        )

    def _explain(
        self,
        causes: Sequence[Cause],
        blocks: _Blocks,
        shapes: tuple[Floats, Ints, Bools, Floats],
        precision: Floats,
        weighted: Floats,
    ) -> list[Found]:
        profiles, since, ramp, supposed = shapes
        if not len(profiles):
            return []
        seen = profiles @ weighted
        """(shapes, m)"""
        gauges = weighted.shape[1]
        known = np.empty((len(profiles), gauges, gauges))
        for i in range(gauges):
            for j in range(gauges):
                known[:, i, j] = ((profiles @ precision[:, i, :, j]) * profiles).sum(axis=1)
        found = []
        for cause in causes:
            along = seen @ cause.signature
            with np.errstate(invalid="ignore", divide="ignore"):
                power = np.einsum("i,oij,j->o", cause.signature, known, cause.signature)
                score = np.where(power > 1e-9, along**2 / power, 0.0) - supposed
            # a drift must be better than a step to be called one
            best = int(np.argmax(score - STEP * ramp))
            if score[best] > 0.0:
                size = float(along[best] / power[best] * profiles[best, -1])
                found.append(
                    Found(
                        cause,
                        score=float(score[best]),
                        since=int(since[best]),
                        ramp=bool(ramp[best]),
                        size=size,
                        supposed=bool(supposed[best]),
                    )
                )
        return found


def _inverse(covariance: Floats) -> Floats:
    """By Cholesky's decomposition, a third of the work of the general way."""
    factor, failed = dpotrf(covariance, lower=1)
    if failed:
        return np.asarray(np.linalg.pinv(covariance, hermitian=True), np.float64)
    half, _ = dpotri(factor, lower=1)
    lower = np.tril(half)
    return np.asarray(lower + np.tril(half, -1).T, np.float64)


@dataclass(frozen=True, slots=True)
class _Blocks:
    """Rows, the older ones averaged."""

    means: Floats
    """(blocks, m); NaN where nothing was read."""
    counts: Floats
    sizes: Floats
    start: Ints
    """Number of the first row."""
    centre: Floats
    hours: Floats
    inputs: Floats
    groups: Ints

    def alike(self, length: float) -> Floats:
        """Correlation of block means of noise that is alike over `length` rows."""
        apart = np.abs(self.centre[:, None] - self.centre[None])
        half = self.sizes / (2.0 * length)
        factor = np.sinh(half) / half
        found = np.exp(-apart / length) * np.outer(factor, factor)
        np.fill_diagonal(found, (1.0 - (1.0 - np.exp(-2.0 * half)) / (2.0 * half)) / half)
        return found

    def shapes(self, smear: float, batch: bool) -> tuple[Floats, Ints, Bools, Floats]:
        """Steps and ramps from every block on.

        Returns:
            Their profiles (shapes, blocks); of each the row of its onset, whether it is a ramp, and
            what it costs to suppose it: a batch is known to begin with its first rows only.
        """
        supposed = np.zeros(len(self.start))
        if batch:
            supposed += UNTOLD
            for index in np.flatnonzero(np.diff(self.groups[:, 0])).tolist():
                supposed[np.abs(self.start - self.start[index + 1]) <= NEAR] = 0.0
        onsets = np.flatnonzero(self.start >= self.start[0] + BEFORE)
        after = self.centre[None] - self.start[onsets, None]
        step = np.clip(after / max(smear, 0.5), 0.0, 1.0)
        # a drift goes on with the clock, from the moment at which the row was read
        began = self.hours[np.maximum(onsets - 1, 0)]
        ramp = np.where(after > 0, self.hours[None] - began[:, None], 0.0)
        since = np.tile(self.start[onsets], 2)
        ramps = np.arange(2 * len(onsets)) >= len(onsets)
        return np.vstack([step, ramp]), since, ramps, np.tile(supposed[onsets], 2)
