"""Diagnosis: which gauge may be followed, which not, since when, and on what evidence.

Raw readings say that a gauge is frozen, spikes or scatters (`readings`); gauges of the same
material say together that one of them is biased or drifts (`evidence`). What a suspected gauge read
neither teaches nor counts as measured, and what it taught since the fault began is taken back. A
reading far from what was usual waits until the gauges behind it have read the same material.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from twin.alarms import Priority, Report
from twin.causes import Causes, alike
from twin.configuration.models import LineConfiguration, Mode
from twin.evidence import MOVED, Cause, Found, Noise, Panel
from twin.material import MaterialTable
from twin.passage import Column, Passage
from twin.ports import Surrogate
from twin.prediction import TRANSIENT, Predictor
from twin.readings import Condition
from twin.samples import Bools, Floats, Ints
from twin.snapshot import Snapshot
from twin.tracking import Tracker
from twin.units import difference_unit, to_si

EVERY: Final = 5
"""Rows between looks at the evidence, where nothing strikes."""
EARLY: Final = 40
"""Rows before which the noise of the gauges is hardly known."""
CERTAIN: Final = 15.0
"""Score from which on something has happened: a score of a healthy line is chi square."""
CERTAIN_DRIFT: Final = 11.0
"""The same for a ramp, which chance draws less often."""
CERTAIN_EARLY: Final = 60.0
MARGIN: Final = 4.0
"""Score by which a gauge must explain the rows better than any other cause."""
MARGIN_ALIKE: Final = 25.0
"""The same against a cause that only comes more slowly."""
ODD: Final = 5.0
"""Sigma from the usual beyond which a reading waits for others of the same material."""
FEWEST: Final = 3
"""Rows from which on something is called a change; `RECENT` where single rows do not show it."""
DOUBTFUL: Final = 6.0
"""Score from which on the gauge that is most likely wrong teaches nothing until that is decided."""
SPOKEN_FOR: Final = 10.0
"""Score of a gauge below which a reading that strikes is not its fault."""
PATIENCE: Final = 8
"""Rows for which readings may wait that all gauges have read."""
WELL: Final = 6.0
"""Score below which a gauge agrees with the others again."""
AGREED: Final = 3
"""Looks in a row at which it must."""
RECENT: Final = 20
"""Rows that these looks are at."""
SETTLED: Final = 3
"""Rows after a machine was between two states that say nothing."""
SLOW: Final = 0.1
"""Share that the newest row moves what is usual for a gauge."""
DISTRUSTED: Final = ("frozen", "biased", "drifting")
"""What a gauge that must not be followed may be; one that spikes is followed without its spikes."""
EXPLAINED: Final = {
    "frozen": "is frozen",
    "spiking": "spikes",
    "noisy": "scatters more than usual",
    "biased": "is biased",
    "drifting": "drifts",
}


@dataclass(slots=True)
class Lesson:
    """What of a gauge's readings may be followed, in order of time."""

    segments: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)
    """From when on, ns."""
    value: list[float] = field(default_factory=list)
    """SI."""
    counted: list[int] = field(default_factory=list)
    """Segments that the gauge read while nothing spoke against it, those that wait among them."""

    def add(self, segment: int, time: int, value: float) -> None:
        """One more."""
        self.segments.append(segment)
        self.time.append(time)
        self.value.append(value)

    def passage(self, column: Column) -> Passage:
        """As a passage, without spread."""
        value = np.array(self.value, np.float64)
        segments, time = np.array(self.segments, np.int64), np.array(self.time, np.int64)
        return Passage(column, segments, time, value, np.zeros(len(value)))


@dataclass(frozen=True, slots=True)
class Doubt:
    """A step rests on a gauge that must not be followed; an empty reason takes it back."""

    time: int
    step: str
    kind: str
    reason: str
    bars: tuple[Mode, ...] = ("advisory", "twin")
    """The modes that the step may not be in meanwhile."""


@dataclass(slots=True)
class Verdicts:
    """What follows from a stretch of the line, everything in order of time."""

    lessons: dict[str, Lesson] = field(default_factory=dict)
    """By `step.output` of each gauge."""
    forgotten: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """By `step.output`, since when what was learned does not hold, and when that was found."""
    doubts: list[Doubt] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Held:
    """A reading that waits."""

    segment: int
    value: float
    share: float


@dataclass(slots=True)
class _Gauge:
    """A gauge, and what is thought of it."""

    step: str
    output: str
    tag: int
    tag_name: str
    column: Column
    web: str
    index: int
    """Column in the panel of its web."""
    unit: str
    wrong: dict[str, int] = field(default_factory=dict)
    """Since when, ns, by what is wrong."""
    held: list[_Held] = field(default_factory=list)
    level: float = np.nan
    """Usual share by which it differs from the models."""
    count: int = 0
    since_row: int = 0
    """Row since when it must not be followed."""
    agreed: int = 0
    doubted: bool = False
    """It explains what was read better than any other cause, though not yet surely."""

    def snapshot(self) -> Snapshot:
        numbers = [self.level, self.count, self.since_row, self.agreed, self.doubted]
        held = [[each.segment, each.value, each.share] for each in self.held]
        return {"wrong": dict(self.wrong), "held": held, "numbers": numbers}

    def restore(self, state: Snapshot) -> None:
        self.wrong, self.held = dict(state["wrong"]), [_Held(*each) for each in state["held"]]
        self.level, self.count, self.since_row, self.agreed, self.doubted = state["numbers"]

    @property
    def name(self) -> str:
        return f"{self.step}.{self.output}"

    @property
    def followed(self) -> bool:
        return not any(kind in DISTRUSTED for kind in self.wrong)


@dataclass(slots=True)
class _Web:
    """The gauges of a web, in the order in which they read."""

    gauges: list[_Gauge]
    panel: Panel
    causes: Causes
    told: list[str]
    """Columns of the table that the models of the web were asked with."""
    span: Floats
    wide: Bools
    """Inputs whose domain spans decades: their logarithm counts."""
    pairs: list[tuple[int, int]]
    """Inputs that are one tag at two stations."""
    segments: list[int] = field(default_factory=list)
    """Of the panel's rows, oldest first."""
    noise: Noise | None = None
    calm: int = 0
    """Rows since a machine was between two states."""
    last: Floats | None = None

    def snapshot(self) -> Snapshot:
        return {
            "panel": self.panel.snapshot(),
            "segments": np.array(self.segments, np.int64),
            "noise": None if self.noise is None else [self.noise.own, self.noise.common],
            "calm": self.calm,
            "last": self.last,
        }

    def restore(self, state: Snapshot) -> None:
        self.panel.restore(state["panel"])
        self.segments = state["segments"].tolist()
        self.noise = None if state["noise"] is None else Noise(*state["noise"])
        self.calm, self.last = state["calm"], state["last"]


class Diagnosis:
    """Follows gauges row by row, in order of time.

    Args:
        line: the configuration.
        columns: of the gauges.
        surrogates: the model of every step.
        table: has columns `step.output.read` and `.alone`, `step.input.told`.
        tracker: knows batches and splices.
        predictor: asks the models alone, and is told what no longer counts as measured.
    """

    def __init__(
        self,
        line: LineConfiguration,
        columns: Sequence[Column],
        surrogates: Mapping[str, Surrogate],
        table: MaterialTable,
        tracker: Tracker,
        predictor: Predictor,
    ) -> None:
        self._line = line
        self._surrogates = surrogates
        self._table = table
        self._tracker = tracker
        self._predictor = predictor
        self.gauges: dict[str, _Gauge] = {}
        self._webs = {
            web: self._make_web(web, [column for column in columns if column.web == web])
            for web in line.webs
            if any(column.web == web for column in columns)
        }
        self._dependents = self._find_dependents()

    def _make_web(self, name: str, columns: list[Column]) -> _Web:
        line = self._line
        gauges = []
        for index, column in enumerate(sorted(columns, key=lambda each: each.end)):
            step, output, _ = column.name.split(".")
            made = line.steps[step].outputs[output]
            tag = made.measured_by or ""
            gauge = _Gauge(step, output, column.tag, tag, column, name, index, made.unit)
            gauges.append(gauge)
            self.gauges[gauge.name] = gauge
        told, domains, owners, sources, unknown = [], [], [], [], []
        for step, config in line.steps.items():
            if config.runs_on != name:
                continue
            surrogate = self._surrogates[step]
            for number, each in enumerate(surrogate.inputs):
                source = line.source_of(step, each)
                upstream = (source.output or "").partition(".")[0]
                if source.constant is not None:
                    continue
                if upstream and line.steps[upstream].runs_on in line.webs:
                    continue
                told.append(f"{step}.{each}.told")
                domains.append(surrogate.domain[number])
                owners.append(step)
                sources.append(source.tag)
                unknown.append(any(o.correction == each for o in config.outputs.values()))
        domain = np.array(domains)
        low, high = domain.T
        with np.errstate(invalid="ignore", divide="ignore"):
            wide = (low > 0) & (high / low > 3.0)
            span = np.where(wide, np.log(np.where(wide, high / low, 1.0)), high - low)
        reach = np.array([[owner in self._before(g.step) for owner in owners] for g in gauges])
        pairs = [
            (a, b)
            for a in range(len(told))
            for b in range(a)
            if sources[a] is not None and sources[a] == sources[b]
        ]
        return _Web(
            gauges,
            Panel(np.full(len(gauges), np.nan), reach, np.array(unknown)),
            Causes(line, self._surrogates, {g.name: g.tag_name for g in gauges}),
            told,
            span,
            wide,
            pairs,
        )

    def _before(self, step: str) -> set[str]:
        """A step and those that it depends on."""
        found = {step}
        for name in self._surrogates[step].inputs:
            upstream = (self._line.source_of(step, name).output or "").partition(".")[0]
            if upstream:
                found |= self._before(upstream)
        return found

    def _find_dependents(self) -> dict[str, list[str]]:
        """By `step.output` of a gauge, the outputs whose corrections rest on it as well."""
        found: dict[str, list[str]] = {}
        for name in self.gauges:
            rest = []
            for step, config in self._line.steps.items():
                reads = {self._line.source_of(step, each).output for each in config.inputs}
                for output, made in config.outputs.items():
                    source = made.calculated_from
                    calculated = source and name in (source.mass_loading, source.thickness)
                    measured = made.measured_by or made.calculated_from
                    if calculated or (name in reads and measured):
                        rest.append(f"{step}.{output}")
            for output, below in self._predictor.foundations.items():
                if below == name or below in rest:
                    rest.append(output)
            found[name] = rest
        return found

    def follow(self, passages: Mapping[str, Passage], conditions: Sequence[Condition]) -> Verdicts:
        """Take what has passed, and say what of it may be followed."""
        for step, config in self._line.steps.items():
            left = passages.get(self._predictor.last_column.get(step, ""))
            if config.runs_on in self._line.webs and left is not None:
                self._predictor.ask_alone(step, left.segments, left.time)
        verdicts = Verdicts({name: Lesson() for name in self.gauges})
        moments: list[tuple[int, int, int, int, _Gauge | Condition | _Web]] = []
        for number, condition in enumerate(conditions):
            moments.append((condition.time, 0, number, 0, condition))
        for web in self._webs.values():
            for gauge in web.gauges:
                passage = passages.get(gauge.column.name)
                if passage is None:
                    continue
                read = f"{gauge.name}.read"
                self._table.put(read, passage.segments, passage.value, passage.time)
                for place, time in enumerate(passage.time.tolist()):
                    moments.append((time, 1, gauge.index, place, gauge))
                    if gauge is web.gauges[-1]:
                        moments.append((time, 2, gauge.index, place, web))
        moments.sort(key=lambda each: each[:4])
        for time, _, _, place, what in moments:
            if isinstance(what, Condition):
                self._take_condition(what, verdicts)
            elif isinstance(what, _Gauge):
                passage = passages[what.column.name]
                segment, value = int(passage.segments[place]), float(passage.value[place])
                self._take_reading(what, segment, value, time, verdicts)
            else:
                segment = int(passages[what.gauges[-1].column.name].segments[place])
                self._take_row(what, segment, time, verdicts)
        return verdicts

    def ask_again(self) -> None:
        """Hold what was read against what the models say now that one of them is another."""
        for web in self._webs.values():
            segments = np.array(web.segments, np.int64)
            rows = np.full((len(segments), len(web.gauges)), np.nan)
            for gauge in web.gauges:
                alone = self._table.value(f"{gauge.name}.alone", segments)
                read = self._table.value(f"{gauge.name}.read", segments)
                rows[:, gauge.index] = (read - alone) / np.where(
                    alone == 0.0, np.nan, np.abs(alone)
                )
                gauge.held = [
                    _Held(each.segment, each.value, self._share(gauge, each.segment, each.value))
                    for each in gauge.held
                ]
            moved = web.panel.restate(rows)
            for gauge in web.gauges:
                gauge.level += moved[gauge.index]

    def snapshot(self) -> Snapshot:
        """What is thought of every gauge, and on what."""
        return {
            "gauges": {name: gauge.snapshot() for name, gauge in self.gauges.items()},
            "webs": {name: web.snapshot() for name, web in self._webs.items()},
        }

    def restore(self, state: Snapshot) -> None:
        """Take what another gave."""
        for name, gauge in self.gauges.items():
            gauge.restore(state["gauges"][name])
        for name, web in self._webs.items():
            web.restore(state["webs"][name])

    def _share(self, gauge: _Gauge, segment: int, value: float) -> float:
        """By how much a reading differs from what the models alone say."""
        alone = float(self._table.value(f"{gauge.name}.alone", np.array([segment]))[0])
        return (value - alone) / abs(alone) if alone else np.nan

    def _take_condition(self, condition: Condition, verdicts: Verdicts) -> None:
        for gauge in self.gauges.values():
            if gauge.tag != condition.tag:
                continue
            if condition.active:
                text = (f"{gauge.tag_name} {EXPLAINED[condition.kind]}: {condition.evidence}",)
                self._suspect(
                    gauge, condition.kind, condition.since, condition.time, text, verdicts
                )
            else:
                self._trust(gauge, condition.kind, condition.time, verdicts)

    def _take_reading(
        self, gauge: _Gauge, segment: int, value: float, time: int, verdicts: Verdicts
    ) -> None:
        if not np.isfinite(value) or not gauge.followed:
            return
        verdicts.lessons[gauge.name].counted.append(segment)
        share = self._share(gauge, segment, value)
        noise = self._webs[gauge.web].noise
        strikes = False
        if noise is not None and gauge.count >= RECENT and np.isfinite(share):
            spread = noise.own[gauge.index, gauge.index] + noise.common[gauge.index, gauge.index]
            strikes = bool(abs(share - gauge.level) > ODD * np.sqrt(spread))
        if strikes:
            gauge.held.append(_Held(segment, value, share))
            return
        # what struck stood alone
        gauge.held.clear()
        if gauge.doubted:
            return
        verdicts.lessons[gauge.name].add(segment, time, value)
        if np.isfinite(share):
            gauge.count += 1
            gain = max(SLOW, 1.0 / gauge.count)
            gauge.level = share if gauge.count == 1 else gauge.level + gain * (share - gauge.level)

    def _take_row(self, web: _Web, segment: int, time: int, verdicts: Verdicts) -> None:
        """All gauges of a web have read a segment."""
        here = np.array([segment])
        row = np.array([self._read(gauge, here, time) for gauge in web.gauges])
        told = np.array([self._table.value(column, here)[0] for column in web.told])
        inputs = np.where(web.wide, np.log(np.maximum(told, 1e-300)), told) / web.span
        steady = self._steady(web, told, inputs)
        if not steady or self._tracker.spliced(here, np.array([time]))[0]:
            row[:] = np.nan
        if not np.isfinite(web.panel.uncertainty).all():
            self._scale(web, here)
        batch = max((int(b[0]) for b in self._batches(here, time)), default=0)
        foil = int(self._tracker.foils(here, np.array([time]))[0])
        web.panel.add(row, inputs, time, batch, foil)
        web.segments.append(segment)
        del web.segments[: len(web.segments) - (web.panel.count - web.panel.first)]
        waiting = [gauge for gauge in web.gauges if gauge.held]
        if web.panel.count % EVERY and not waiting:
            return
        web.noise = web.panel.noise()
        causes = web.causes.of(self._told(segment, time))
        if not web.panel.count % EVERY:
            self._look_whether_well(web, causes, time, verdicts)
        found = web.panel.judge(causes, web.noise, self._ignored(web))
        leads = found[0] if found and found[0].score > DOUBTFUL else None
        for gauge in web.gauges:
            gauge.doubted = leads is not None and leads.cause.gauge == gauge.index
        self._decide(web, found, time, verdicts)
        for gauge in waiting:
            self._release(gauge, segment, found, time, verdicts)

    def _read(self, gauge: _Gauge, here: Ints, time: int) -> float:
        read = f"{gauge.name}.read"
        if self._table.time(read, here)[0] > time or "frozen" in gauge.wrong:
            return np.nan
        return self._share(gauge, int(here[0]), float(self._table.value(read, here)[0]))

    def _scale(self, web: _Web, here: Ints) -> None:
        stated = []
        for gauge in web.gauges:
            made = self._line.steps[gauge.step].outputs[gauge.output]
            alone = abs(self._table.value(f"{gauge.name}.alone", here)[0])
            stated.append((made.uncertainty or 0.5) * to_si(made.unit)[0] / alone)
        web.panel.uncertainty = np.array(stated)

    def _steady(self, web: _Web, told: Floats, inputs: Floats) -> bool:
        """Whether the machines were in one state while the segment passed them."""
        steady = bool(np.isfinite(inputs).all())
        for a, b in web.pairs:
            steady &= abs(told[a] - told[b]) <= TRANSIENT * abs(told[a])
        if web.last is not None and steady:
            steady = not (np.abs(inputs - web.last) > MOVED).any()
        web.last = inputs
        web.calm = web.calm + 1 if steady else 0
        return web.calm > SETTLED

    def _batches(self, here: Ints, time: int) -> list[Ints]:
        when = np.array([time])
        return [self._tracker.batch_at(kind, here, when) for kind in self._line.batches]

    def _told(self, segment: int, time: int) -> dict[str, float]:
        """By `step.input`, what machines and batches said of a segment."""
        here, when = np.array([segment]), np.array([time])
        found: dict[str, float] = {}
        for step, config in self._line.steps.items():
            inputs = self._surrogates[step].inputs
            if config.runs_on in self._line.webs:
                for name in inputs:
                    found[f"{step}.{name}"] = float(
                        self._table.value(f"{step}.{name}.told", here)[0]
                    )
            else:
                batch = int(self._tracker.batch_at(config.runs_on, here, when)[0])
                values = self._predictor.batches.told(step, batch)
                found |= {f"{step}.{n}": v for n, v in zip(inputs, values, strict=True)}
        return found

    def _ignored(self, web: _Web) -> dict[int, tuple[int, int]]:
        return {
            gauge.index: (gauge.since_row, web.panel.count)
            for gauge in web.gauges
            if not gauge.followed
        }

    def _decide(self, web: _Web, found: Sequence[Found], time: int, verdicts: Verdicts) -> None:
        """What follows from the cause that stands out, where one does."""
        early = web.panel.count < EARLY
        if not found:
            return
        best = found[0]
        lasted, plain = self._lasted(web, best)
        drifts = best.ramp and lasted >= RECENT
        certain = CERTAIN_EARLY if early else CERTAIN_DRIFT if drifts else CERTAIN
        if best.score < certain or lasted < (FEWEST if plain else RECENT):
            return
        process = best.cause.gauge is None
        for other in found[1:]:
            if alike(best.cause, other.cause):
                process |= other.cause.gauge is None and best.score - other.score < MARGIN_ALIKE
            elif best.score - other.score < MARGIN and not (process and other.cause.gauge is None):
                return
        if process or best.cause.gauge is None:
            # a gauge that looks the same may be at work: nobody can tell, so that it is followed
            web.panel.begin_anew(best)
            return
        gauge = web.gauges[best.cause.gauge]
        row = max(0, best.since - web.panel.first)
        since = int(self._table.time(f"{gauge.name}.read", np.array([web.segments[row]]))[0])
        kind = "drifting" if drifts else "biased"
        evidence = self._explain(web, gauge, best, found, web.segments[row])
        gauge.since_row = best.since
        self._suspect(gauge, kind, since, time, evidence, verdicts)

    @staticmethod
    def _lasted(web: _Web, found: Found) -> tuple[int, bool]:
        """Rows that were read since a cause acts, and whether a single one would show it."""
        assert web.noise is not None
        noise = np.sqrt(np.diag(web.noise.own + web.noise.common))
        plain = bool((np.abs(found.size * found.cause.signature) > ODD * noise).any())
        return web.panel.read_since(found.since), plain

    def _explain(
        self, web: _Web, gauge: _Gauge, best: Found, found: Sequence[Found], segment: int
    ) -> tuple[str, ...]:
        alone = self._table.value(f"{gauge.name}.alone", np.array(web.segments))
        unit = difference_unit(gauge.unit)
        # not every segment was predicted, but some of those that a gauge is blamed for were
        change = best.size * abs(float(alone[np.isfinite(alone)][-1])) / to_si(unit)[0]
        metre = segment * self._line.segment
        said = [
            f"{gauge.tag_name} reads {change:+.3g} {unit} ({100 * best.size:+.2f} %) against the "
            f"models and the other gauges, since metre {metre:.0f}"
        ]
        rivals = [each for each in found[1:] if each.score > 0.0]
        if rivals:
            said.append(
                f"that explains the readings {best.score:.0f} better than chance would; the next "
                f"best cause, {rivals[0].cause.name}, {rivals[0].score:.0f} (twice the logarithm "
                "of the likelihood ratio)"
            )
        witnesses = ", ".join(
            each.tag_name for each in web.gauges if each is not gauge and each.followed
        )
        if witnesses:
            said.append(f"the same material was read by {witnesses}")
        return tuple(said)

    def _release(
        self,
        gauge: _Gauge,
        segment: int,
        found: Sequence[Found],
        time: int,
        verdicts: Verdicts,
    ) -> None:
        """Readings that wait are followed once all gauges read one and do not blame this one."""
        waited = next((n for n, each in enumerate(gauge.held) if each.segment == segment), None)
        if waited is None:
            return
        own = max((each.score for each in found if each.cause.gauge == gauge.index), default=0.0)
        believed = own < max(SPOKEN_FOR, found[0].score if found else 0.0)
        if not believed and waited + 1 < PATIENCE:
            return
        for each in gauge.held:
            verdicts.lessons[gauge.name].add(each.segment, time, each.value)
        gauge.level = gauge.held[-1].share
        gauge.held.clear()

    def _look_whether_well(
        self, web: _Web, causes: Sequence[Cause], time: int, verdicts: Verdicts
    ) -> None:
        """Whether a gauge that was biased agrees with the others again."""
        assert web.noise is not None
        for gauge in web.gauges:
            kinds = [kind for kind in gauge.wrong if kind in ("biased", "drifting")]
            if not kinds or web.panel.count - gauge.since_row < 2 * RECENT:
                continue
            ignored = self._ignored(web) | {
                gauge.index: (gauge.since_row, web.panel.count - RECENT)
            }
            found = web.panel.judge([causes[gauge.index]], web.noise, ignored)
            gauge.agreed = gauge.agreed + 1 if found and found[0].score < WELL else 0
            if gauge.agreed >= AGREED * RECENT // EVERY:
                for kind in kinds:
                    self._trust(gauge, kind, time, verdicts)

    def _suspect(
        self,
        gauge: _Gauge,
        kind: str,
        since: int,
        time: int,
        evidence: tuple[str, ...],
        verdicts: Verdicts,
    ) -> None:
        followed = gauge.followed
        gauge.wrong[kind] = since
        gauge.agreed = 0
        if followed and not gauge.followed:
            gauge.held.clear()
            web = self._webs[gauge.web]
            if kind == "frozen":
                gauge.since_row = web.panel.count
            for name in dict.fromkeys((gauge.name, *self._dependents[gauge.name])):
                verdicts.forgotten.setdefault(name, []).append((since, time))
            read = np.array(web.segments, np.int64)
            read = read[self._table.time(f"{gauge.name}.read", read) >= since]
            self._predictor.revoke(gauge.name, read, time)
        subject = gauge.tag_name
        reason = f"{subject} {EXPLAINED[kind]}"
        doubt = Doubt(time, gauge.step, f"{kind} {gauge.output}", reason, ("twin",))
        verdicts.doubts.append(doubt)
        priority: Priority = "medium" if gauge.followed else "high"
        verdicts.reports.append(
            Report(time, "diagnosis", kind, subject, True, priority, subject, evidence)
        )

    def _trust(self, gauge: _Gauge, kind: str, time: int, verdicts: Verdicts) -> None:
        """The gauge is no longer what it was suspected of."""
        if gauge.wrong.pop(kind, None) is None:
            return
        if gauge.followed:
            gauge.count = 0
        verdicts.doubts.append(Doubt(time, gauge.step, f"{kind} {gauge.output}", ""))
        verdicts.reports.append(Report(time, "diagnosis", kind, gauge.tag_name, False))
