"""Parity: what a live run gave, its recording gives again, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from connectors.recorder import RecordingWriter
from connectors.recording import Recording
from simulators.scenario import parse_scenario
from tests.in_process import ROOT, LineInProcess, line_configuration, make_core
from tests.twin.streams import Heard
from twin.intervention import ModeSet
from twin.ports import Surrogate
from twin.replay import Follower
from twin.samples import BAD_NO_COMMUNICATION, Ints, SampleBatch

S = 1_000_000_000
STOP = """
name: a stop, and a slurry that is thinner than reported
metres: 45
plant:
  coater: {roll_length_m: 20}
  laboratory: {delay_min: 2}
actions:
  - {at: {metre: 12}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
  - {at: {metre: 20}, do: stop, machine: coater, duration: 45 s}
  - {at: {metre: 26}, do: set, signal: Coater.LineSpeed.Setpoint, value: 5.0}
"""
REVERSAL = """
name: short rolls through the calender, spliced and cut
metres: 50
plant:
  coater: {roll_length_m: 12}
  laboratory: {delay_min: 2}
actions:
  - {at: {metre: 15}, do: splice}
  - {at: {time: 8 min}, do: cut_out, metres: 1}
"""
TROUBLE = """
name: a pump that drifts under a network that is bad
metres: 45
plant:
  coater: {roll_length_m: 20}
  laboratory: {delay_min: 2}
actions:
  - {at: {metre: 10}, do: slurry_batch, solids: 0.64, reported_solids: 0.66}
"""


class Network:
    """Brings samples late, drops those of an outage, and says then that they are missing.

    Args:
        longest: a sample is under way for up to this long, ns.
        outage: nothing of the gauges comes between these times after the start, ns.
        start: of the line, ns.
    """

    def __init__(self, longest: int, outage: tuple[int, int], start: int) -> None:
        self._longest = longest
        self._outage = (start + outage[0], start + outage[1])
        self._draw = np.random.default_rng(7)
        self._under_way: list[tuple[SampleBatch, Ints]] = []
        self._noted = False

    def carry(self, batch: SampleBatch, now: int, gauges: Ints) -> SampleBatch:
        """What of it, and of what came before, has arrived by now."""
        lost = np.isin(batch.tag, gauges)
        lost &= (batch.time >= self._outage[0]) & (batch.time < self._outage[1])
        self._under_way.append(self._send(batch.where(~lost)))
        if now >= self._outage[0] + S and not self._noted:
            self._noted = True
            count = len(gauges)
            self._under_way.append(
                self._send(
                    SampleBatch.of(
                        gauges.tolist(),
                        [now] * count,
                        [np.nan] * count,
                        [BAD_NO_COMMUNICATION] * count,
                    )
                )
            )
        whole = SampleBatch.concatenate([batch for batch, _ in self._under_way])
        arrival = np.concatenate([moments for _, moments in self._under_way])
        here = arrival <= now
        self._under_way = [
            (SampleBatch(*_columns(whole.where(~here))), arrival[~here]),
        ]
        order = np.argsort(arrival[here], kind="stable")
        come = SampleBatch(*(column[order] for column in _columns(whole.where(here))))
        return SampleBatch(*_columns(come), batch.offline)

    def _send(self, batch: SampleBatch) -> tuple[SampleBatch, Ints]:
        delay = self._draw.integers(0, self._longest + 1, len(batch))
        return SampleBatch(*_columns(batch)), batch.time + delay


def _columns(batch: SampleBatch) -> tuple[Ints, Ints, Ints, Ints]:
    return batch.tag, batch.time, batch.value, batch.quality  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Live:
    """A live run and its recording."""

    heard: Heard
    recording: Recording
    states: set[str]
    late: int


@cache
def live(text: str, longest: int = 0, outage: tuple[int, int] = (0, 0)) -> Live:
    folder = Path(mkdtemp()) / "recording"
    line = line_configuration()
    models = {}
    for name, step in line.steps.items():
        file = ROOT / "surrogates" / "models" / f"{step.model}.onnx"
        models[name] = (make_core(line).surrogates[name].version, file)
    with RecordingWriter(folder, line, "test", models) as recorder:
        run = LineInProcess(parse_scenario(text), seed=3, line=line, recorder=recorder)
        heard = Heard(run.core)
        network = Network(longest, outage, run.line.now_ns)
        gauges = np.array(
            [index for index, tag in enumerate(line.tags.values()) if tag.connector == "gauges"]
        )
        switched = False
        for batch in run.recorded(1.0):
            run.deliver(network.carry(batch, run.line.now_ns, gauges))
            if run.line.elapsed_s > 300 and not switched:
                switched = True
                run.intervene(ModeSet(run.line.now_ns, "calendering", "shadow", "test"))
                run.intervene(ModeSet(run.line.now_ns, "calendering", "advisory", "test"))
        for event in run.events:
            heard.take(event)
    states = {recommendation.state for recommendation in heard.recommendations}
    late = sum(run.core.tracker.late.values())
    return Live(heard, Recording.open(folder), states, late)


def no_model(step: str, version: str) -> Surrogate:
    raise AssertionError(f"no model of {step} was changed")


def replayed(recording: Recording, largest: int, with_decisions: bool = True) -> Heard:
    heard = Heard(make_core(recording.line))
    follower = Follower(heard.core, no_model, with_decisions)
    for arrivals in recording.stream(largest):
        for event in follower.feed(arrivals):
            heard.take(event)
    assert follower.unmatched == 0
    return heard


RUNS: dict[str, Callable[[], Live]] = {
    "stop": lambda: live(STOP),
    "reversal": lambda: live(REVERSAL),
    "late samples and an outage": lambda: live(TROUBLE, 3 * S, (400 * S, 460 * S)),
}


@pytest.mark.parametrize(
    "largest",
    [pytest.param(101, marks=pytest.mark.long), 997, pytest.param(65_536, marks=pytest.mark.long)],
)
@pytest.mark.parametrize("name", RUNS)
def test_replay_gives_what_live_gave(name: str, largest: int) -> None:
    run = RUNS[name]()
    heard = replayed(run.recording, largest)
    heard.same_as(run.heard)
    assert heard.core.rejected == run.heard.core.rejected
    assert heard.core.tracker.late == run.heard.core.tracker.late
    np.testing.assert_array_equal(heard.core.latest, run.heard.core.latest)


def test_the_runs_hold_what_they_should() -> None:
    for name, make in RUNS.items():
        run = make()
        assert {"proposed", "accepted", "written", "verified"} <= run.states, name
        assert len(run.heard.rows["coating.mass_loading"]) > 60, name
        assert any(each.offline for each in (a.batch for a in run.recording.stream())), name
    assert RUNS["late samples and an outage"]().late > 50
    text = " ".join(RUNS["late samples and an outage"]().heard.others)
    assert "no reading of mass_loading" in text
    reversal = RUNS["reversal"]().heard
    assert "roll mounted" in " ".join(reversal.others)
    assert len(reversal.rows["calendering.calendered_thickness"]) > 20


def test_without_decisions_advice_stands_alone() -> None:
    run = RUNS["stop"]()
    heard = replayed(run.recording, 65_536, with_decisions=False)
    states = {recommendation.state for recommendation in heard.recommendations}
    assert states <= {"proposed", "superseded", "expired"}
    first = run.heard.recommendations[0]
    assert heard.recommendations[0] == first
