"""Shift reports: what a shift made, how well it was predicted, and what became of the advice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from twin.alarms import Alarm
from twin.configuration.models import LineConfiguration
from twin.ingest import NANOSECONDS
from twin.ledger import Row
from twin.ports import Historian
from twin.samples import Floats, severity
from twin.signal import RESET
from twin.tags import TagTable
from twin.units import to_si


@dataclass(frozen=True, slots=True)
class Parameter:
    """One structure parameter over a shift, in the unit in which people read it."""

    name: str
    unit: str
    measured: int
    """Segments with a measurement."""
    inside: int | None
    """Of these inside the specification; None where it has none."""
    mean: float
    error: float
    """Mean absolute error of the prediction; NaN where none was compared."""


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """What is known of a shift."""

    line: str
    start: int
    end: int
    metres: dict[str, float]
    """Web that passed, m, by the name of the web."""
    parameters: list[Parameter]
    segment: float
    """Length of a segment, m."""
    advice: Counter[str] = field(default_factory=Counter)
    """Recommendations made in the shift, by the state that they reached."""
    alarms: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    def text(self, zone: str = "UTC") -> str:
        """As plain text, times in the zone of the site."""
        start, end = (_clock(time, zone) for time in (self.start, self.end))
        lines = [f"{self.line}: shift from {start} to {end} ({zone})", ""]
        lines += [f"{web}: {metres:.1f} m" for web, metres in self.metres.items()]
        lines += ["", f"{'parameter':<28}{'mean':>10} {'unit':<10}{'in spec':>18}{'MAE':>10}"]
        for each in self.parameters:
            metres = "-"
            if each.inside is not None and each.measured:
                share = 100 * each.inside / each.measured
                metres = f"{each.inside * self.segment:.1f} m, {share:.0f} %"
            mean, error = (_number(value) for value in (each.mean, each.error))
            lines.append(f"{each.name:<28}{mean:>10} {each.unit:<10}{metres:>18}{error:>10}")
        said = ", ".join(f"{count} {state}" for state, count in sorted(self.advice.items()))
        lines += ["", f"recommendations: {said or 'none'}"]
        for title, entries in (("alarms", self.alarms), ("gaps", self.gaps)):
            lines += [f"{title}: {'none' if not entries else ''}".rstrip()]
            lines += [f"  {entry}" for entry in entries]
        return "\n".join([*lines, ""])


def report(
    line: LineConfiguration,
    tags: TagTable,
    historian: Historian,
    made: Sequence[Row],
    raised: Sequence[Alarm],
    start: int,
    end: int,
) -> ShiftReport:
    """Gather a shift; for the historian's thread.

    Args:
        line: the configuration.
        tags: its tag table.
        historian: has the samples.
        made: recommendations as last recorded.
        raised: alarms as last recorded, newest first.
        start, end: of the shift, ns.
    """
    parameters = []
    for step, config in line.steps.items():
        for name, output in config.outputs.items():
            scale, offset = to_si(output.unit)
            of = {
                kind: _values(historian, tags.index(f"{step}.{name}.{kind}"), start, end)
                for kind in ("measured", "residual")
            }
            measured = (of["measured"] - offset) / scale
            inside = None
            if output.limits is not None:
                low, high = output.limits
                inside = int(((measured >= low) & (measured <= high)).sum())
            mean = float(measured.mean()) if len(measured) else math.nan
            residual = np.abs(of["residual"]) / scale
            error = float(residual.mean()) if len(residual) else math.nan
            parameters.append(
                Parameter(f"{step}.{name}", output.unit, len(measured), inside, mean, error)
            )
    advice = Counter(
        str(document["state"]) for document in made if start <= int(document["time_ns"]) < end
    )
    alarms = [
        f"{alarm.priority}: {alarm.subject} {alarm.kind}; {' '.join(alarm.evidence)}"
        for alarm in reversed(raised)
        if start <= alarm.time < end
    ]
    gaps = [f"{e.subject}: {e.text}" for e in historian.events(start, end) if e.kind == "gap"]
    metres = {
        name: _passed(historian, tags.index(web.encoder), start, end)
        for name, web in line.webs.items()
        if web.encoder is not None
    }
    return ShiftReport(
        line.name, start, end, metres, parameters, line.segment, advice, alarms, gaps
    )


def write(found: ShiftReport, folder: Path, zone: str) -> Path:
    """Write a report into a folder of them; gives its file."""
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(found.start / NANOSECONDS, UTC).astimezone(ZoneInfo(zone))
    file = folder / f"shift-{moment:%Y-%m-%d-%H%M}.txt"
    file.write_text(found.text(zone))
    return file


def _values(historian: Historian, tag: int, start: int, end: int) -> Floats:
    batch = historian.read([tag], start, end)
    good: Floats = batch.value[(severity(batch.quality) == 0) & np.isfinite(batch.value)]
    return good


def _passed(historian: Historian, encoder: int, start: int, end: int) -> float:
    """Web that passed an encoder, m; where it was set back it counts on from there."""
    length = _values(historian, encoder, start, end)
    runs = np.split(length, np.flatnonzero(np.diff(length) < -RESET) + 1)
    return float(sum(run.max() - run[0] for run in runs if len(run)))


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _clock(time: int, zone: str) -> str:
    moment = datetime.fromtimestamp(time / NANOSECONDS, UTC).astimezone(ZoneInfo(zone))
    return f"{moment:%Y-%m-%d %H:%M}"
