"""The judgement: from what champion and challengers said to scores, differences and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.backtest import Track
from twin.configuration.models import LineConfiguration
from twin.ingest import NANOSECONDS
from twin.samples import Floats, Ints
from twin.scores import Blocks, columns, drift_alarms, estimate, figures, scores
from twin.units import to_si
from twin.verdict import (
    Advice,
    Candidate,
    Challenger,
    Difference,
    Drift,
    Estimate,
    ModelTried,
    Overall,
    ParameterDifference,
    ParameterScores,
    Rule,
    Scores,
    Verdict,
)

BLOCK: Final = 25
"""Segments that the bootstrap draws together, unless told otherwise."""
RESAMPLES: Final = 1000
SEED: Final = 1
MINIMUM_SEGMENTS: Final = 200
MINIMUM_BLOCKS: Final = 8
LEAST: Final = 0.99
"""Share of the champion's material that a challenger has to predict."""
RULE: Final = (
    "Compared is the absolute error on the same segments, champion minus challenger, in units of "
    "the champion's mean absolute error of that structure parameter, averaged over those structure "
    "parameters of the challenged steps that were measured on enough material: once for the "
    "corrected predictions, once for the models alone. Its 95 % interval comes from {resamples} "
    "resamples of blocks of {block} consecutive segments. The challenger wins if one of the two "
    "intervals lies above 0. It loses if one lies below 0, if that of any structure parameter with "
    "specification limits does, or if it predicts less than {least:.0f} % of what the champion "
    "predicts. Better: it wins and does not lose. Worse: it loses and does not win. No difference: "
    "neither, or both. Too little material: none was measured on at least {segments} segments that "
    "make {blocks} blocks."
)


def rule(block: int = BLOCK, resamples: int = RESAMPLES) -> Rule:
    """The rule of the verdict, in words and numbers."""
    text = RULE.format(
        resamples=resamples,
        block=block,
        least=100 * LEAST,
        segments=MINIMUM_SEGMENTS,
        blocks=MINIMUM_BLOCKS,
    )
    return Rule(
        text=text,
        block=block,
        resamples=resamples,
        seed=SEED,
        minimum_segments=MINIMUM_SEGMENTS,
        minimum_blocks=MINIMUM_BLOCKS,
    )


@dataclass(frozen=True, slots=True)
class Pair:
    """A structure parameter as champion and candidate said it of the same material."""

    champion: Track
    candidate: Track
    missed: int
    """Segments that the champion predicted and the candidate did not."""


class Judge:
    """Scores candidates against the champion.

    Args:
        line: the configuration.
        champion: what the champion said of the material.
        rule: of the verdict.
        disturbance: when a fault is known to have begun, ns.
    """

    def __init__(
        self,
        line: LineConfiguration,
        champion: Mapping[str, Track],
        rule: Rule,
        disturbance: int | None = None,
    ) -> None:
        self._line = line
        self._champion = champion
        self._rule = rule
        self._disturbance = disturbance
        self._scale = {name: self._errors(track) for name, track in champion.items() if len(track)}

    @staticmethod
    def _errors(track: Track) -> tuple[float, float]:
        """Mean absolute error of corrected prediction and model alone, SI; never 0."""
        spread = float(track.measured.std()) or 1.0
        alone = float(np.abs(track.measured - track.alone).mean()) or spread
        known = track.where(np.isfinite(track.sigma))
        if not len(known):
            return alone, alone
        return float(np.abs(known.measured - known.corrected).mean()) or spread, alone

    def candidate(
        self, label: str, models: Mapping[str, ModelTried], tracks: Mapping[str, Track]
    ) -> Candidate:
        """The scores of one candidate, or of the champion itself."""
        return Candidate(
            label=label,
            models=dict(models),
            parameters={
                name: self._parameter(name, pair.candidate)
                for name, pair in self._pairs(tracks).items()
            },
            overall=self._overall(tracks),
        )

    def challenger(
        self,
        label: str,
        models: Mapping[str, ModelTried],
        tracks: Mapping[str, Track],
        advice: Advice,
    ) -> Challenger:
        """The scores of a challenger, and the verdict on it."""
        pairs = self._pairs(tracks)
        followed = [name for name in self._followed(models) if name in pairs]
        judged = [name for name in followed if self._ample(pairs[name])]
        difference = self._difference({name: pairs[name] for name in judged or followed})
        differences = {
            name: ParameterDifference(
                corrected=single.corrected,
                alone=single.alone,
                limited=self._limited(name) and self._ample(pair),
            )
            for name, pair in pairs.items()
            for single in (self._difference({name: pair}),)
        }
        missed = sum(pairs[name].missed for name in judged)
        whole = sum(len(self._champion[name]) for name in judged)
        found, reasons = verdict(
            self._rule, difference, differences, judged, missed / whole if whole else 0.0
        )
        candidate = self.candidate(label, models, tracks)
        return Challenger(
            **dict(candidate),
            advice=advice,
            difference=difference,
            differences=differences,
            verdict=found,
            reasons=reasons,
        )

    def persistence(self) -> dict[str, Scores]:
        """The last value measured when the material left the step, taken for a prediction."""
        found: dict[str, Scores] = {}
        for name, track in self._champion.items():
            said = track.persistence()
            rows = np.isfinite(said)
            if rows.any():
                kept = track.where(rows)
                found[name] = self._scores(name, kept, said[rows], None)
        return found

    def _pairs(self, tracks: Mapping[str, Track]) -> dict[str, Pair]:
        pairs: dict[str, Pair] = {}
        for name in self._scale:
            if name in tracks:
                mine, its = self._champion[name].common(tracks[name])
                if len(mine):
                    pairs[name] = Pair(mine, its, len(self._champion[name]) - len(mine))
        return pairs

    def _followed(self, challenged: Iterable[str]) -> list[str]:
        """Measured structure parameters of the challenged steps.

        Of a step that is not measured along the web, such as mixing, those of the steps that it
        feeds.
        """
        found: list[str] = []
        for step in challenged:
            own = [name for name in self._scale if name.partition(".")[0] == step]
            fed = [
                later
                for later, config in self._line.steps.items()
                for name in config.inputs
                if (self._line.source_of(later, name).output or "").partition(".")[0] == step
            ]
            found += own or [name for name in self._scale if name.partition(".")[0] in fed]
        return list(dict.fromkeys(found))

    def _ample(self, pair: Pair) -> bool:
        """Whether there is enough material for a verdict."""
        count, rule = len(pair.candidate), self._rule
        return count >= max(rule.minimum_segments, rule.minimum_blocks * rule.block)

    def _limited(self, name: str) -> bool:
        step, _, output = name.partition(".")
        return self._line.steps[step].outputs[output].limits is not None

    def _unit(self, name: str) -> tuple[str, float, float]:
        step, _, output = name.partition(".")
        unit = self._line.steps[step].outputs[output].unit
        return unit, *to_si(unit)

    def _blocks(self, run: Ints) -> Blocks:
        return Blocks(run, self._rule.block, self._rule.resamples, self._rule.seed)

    def _scores(self, name: str, track: Track, said: Floats, sigma: Floats | None) -> Scores:
        _, scale, offset = self._unit(name)
        return scores(
            (track.measured - offset) / scale,
            (said - offset) / scale,
            None if sigma is None else sigma / scale,
            self._blocks(track.run),
        )

    def _parameter(self, name: str, track: Track) -> ParameterScores:
        return ParameterScores(
            unit=self._unit(name)[0],
            segments=len(track),
            corrected=self._scores(name, track, track.corrected, track.sigma),
            alone=self._scores(name, track, track.alone, None),
            out_of_domain=float((~track.in_domain).mean()),
            drift=self._drift(track),
        )

    def _drift(self, track: Track) -> Drift:
        moments: list[int] = []
        for run in np.unique(track.run).tolist():
            here = track.where(track.run == run)
            here = here.where(np.argsort(here.read, kind="stable"))
            moments += [int(here.read[row]) for row in drift_alarms(here.measured - here.alone)]
        false, delay = None, None
        if self._disturbance is not None:
            false = sum(moment < self._disturbance for moment in moments)
            after = [moment for moment in moments if moment >= self._disturbance]
            delay = (after[0] - self._disturbance) / NANOSECONDS if after else None
        return Drift(
            alarms=len(moments),
            first=moments[0] if moments else None,
            false_alarms=false,
            delay=delay,
        )

    def _overall(self, tracks: Mapping[str, Track]) -> Overall:
        every = self._pairs(tracks)
        pairs = {name: pair for name, pair in every.items() if self._ample(pair)} or every
        of = [pair.candidate for pair in pairs.values()]
        rows = sum(len(track) for track in of)
        outside = sum(int((~track.in_domain).sum()) for track in of)
        return Overall(
            corrected=self._pooled(pairs, alone=False),
            alone=self._pooled(pairs, alone=True),
            out_of_domain=outside / rows if rows else None,
            drift_alarms=sum(self._drift(track).alarms for track in of),
        )

    def _pooled(self, pairs: Mapping[str, Pair], alone: bool) -> Scores:
        """Scores averaged over structure parameters, in champion's mean absolute errors."""
        tables = []
        for name, pair in pairs.items():
            track, scale = pair.candidate, self._scale[name][alone]
            said = track.alone if alone else track.corrected
            sigma = None if alone else track.sigma / scale
            tables.append((track, columns(track.measured / scale, said / scale, sigma)))
        if not tables:
            nothing = estimate(math.nan)
            return Scores(mae=nothing, bias=nothing, r2=nothing, coverage=None)

        def means(sums: Floats) -> Floats:
            each = np.stack([figures(part) for part in np.split(sums, len(tables), axis=1)])
            each[:, :, 1] = np.abs(each[:, :, 1])
            return _mean(each)

        run, table = _side_by_side(tables)
        mae, bias, r2, coverage = self._blocks(run).estimates(table, means)
        # the size of a bias has no symmetric interval about it: drawn anew it only grows
        bias = Estimate(value=bias.value, low=None, high=None)
        return Scores(
            mae=mae, bias=bias, r2=r2, coverage=coverage if coverage.value is not None else None
        )

    def _difference(self, pairs: Mapping[str, Pair]) -> Difference:
        """Champion's absolute error minus the candidate's, averaged over structure parameters."""
        tables = []
        for name, pair in pairs.items():
            mine, its = pair.champion, pair.candidate
            corrected, alone = self._scale[name]
            better = [
                (np.abs(mine.measured - one) - np.abs(its.measured - two)) / scale
                for one, two, scale in (
                    (mine.corrected, its.corrected, corrected),
                    (mine.alone, its.alone, alone),
                )
            ]
            known = np.isfinite(mine.sigma) & np.isfinite(its.sigma)
            tables.append(
                (
                    mine,
                    np.column_stack(
                        [known, np.where(known, better[0], 0.0), np.ones(len(mine)), better[1]]
                    ),
                )
            )
        if not tables:
            nothing = estimate(math.nan)
            return Difference(corrected=nothing, alone=nothing, segments=0, blocks=0.0)

        def means(sums: Floats) -> Floats:
            each = np.stack(np.split(sums, len(tables), axis=1))
            return _mean(each[:, :, 1::2] / each[:, :, ::2])

        run, table = _side_by_side(tables)
        blocks = self._blocks(run)
        one, two = blocks.estimates(table, means, self._rule.confidence)
        return Difference(corrected=one, alone=two, segments=len(run), blocks=blocks.count)


def _mean(each: Floats) -> Floats:
    """Mean over the first axis of what is known."""
    known = np.isfinite(each)
    found: Floats = np.where(known, each, 0.0).sum(axis=0) / known.sum(axis=0)
    return found


def _side_by_side(tables: Sequence[tuple[Track, Floats]]) -> tuple[Ints, Floats]:
    """Tables of several structure parameters by segment: a row is drawn with all that it holds."""
    width = 1 + max(int(track.segment.max()) for track, _ in tables)
    keys = [track.run * width + track.segment for track, _ in tables]
    every = np.unique(np.concatenate(keys))
    parts = []
    for key, (_, table) in zip(keys, tables, strict=True):
        part = np.zeros((len(every), table.shape[1]))
        part[np.searchsorted(every, key)] = table
        parts.append(part)
    return every // width, np.hstack(parts)


def verdict(
    rule: Rule,
    difference: Difference,
    differences: Mapping[str, ParameterDifference],
    judged: Sequence[str],
    missed: float,
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict by the rule, and why.

    Args:
        rule: how much material it takes.
        difference: over the structure parameters that are judged, or could be with more material.
        differences: of every structure parameter.
        judged: structure parameters of the challenged steps with enough material.
        missed: share of the champion's material that the challenger did not predict.
    """
    if not judged:
        return "too little material", (
            f"{difference.segments} segments in {difference.blocks:.1f} blocks were predicted by "
            f"both and measured; it takes {rule.minimum_segments} in {rule.minimum_blocks} of one "
            "structure parameter",
        )
    wins: list[str] = []
    loses: list[str] = []
    over = ", ".join(judged)
    for kind, found in (
        ("corrected predictions", difference.corrected),
        ("models alone", difference.alone),
    ):
        sign = _sign(found)
        if sign and found.value is not None:
            (wins if sign > 0 else loses).append(
                f"{kind}: error {'smaller' if sign > 0 else 'larger'} by "
                f"{100 * abs(found.value):.1f} % of the champion's, over {over}"
            )
    for name, each in differences.items():
        for kind, found in (("corrected prediction", each.corrected), ("model alone", each.alone)):
            if each.limited and _sign(found) < 0:
                loses.append(f"{name}, which has specification limits: {kind} is worse")
    if missed > 1 - LEAST:
        loses.append(f"no prediction of {100 * missed:.1f} % of the champion's material")
    reasons = tuple(wins + loses)
    if wins and loses:
        return "no difference", ("it both wins and loses", *reasons)
    if wins:
        return "better", reasons
    if loses:
        return "worse", reasons
    return "no difference", ("the 95 % intervals of the difference hold 0",)


def _sign(found: Estimate) -> int:
    """1 where the interval lies above 0, -1 where below, 0 where neither is known."""
    if found.low is None or found.high is None:
        return 0
    return (found.low > 0) - (found.high < 0)
