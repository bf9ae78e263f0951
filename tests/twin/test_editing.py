"""Edited advice: a replay repeats what a person changed, and the guard judges it first."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.recorder import RecordingWriter
from connectors.recording import Recording
from simulators.scenario import parse_scenario
from tests.in_process import LineInProcess, line_configuration, make_core
from tests.service_in_process import WORN
from twin.core import Core
from twin.editing import EditRefusedError, edited
from twin.intervention import Decided
from twin.recommendation import Recommendation
from twin.replay import Follower


def run(folder: Path) -> tuple[Core, list[Recommendation]]:
    """A recorded run in which a person halves the first piece of advice."""
    line = line_configuration()
    with RecordingWriter(folder, line, "test") as recorder:
        plant = LineInProcess(parse_scenario(WORN), 1, 20, line, accept=False, recorder=recorder)
        said: list[Recommendation] = []
        for batch in plant.recorded(5.0):
            plant.deliver(batch)
            standing = plant.core.open.get("coater")
            if said or standing is None:
                continue
            (change,) = standing.changes
            now, tag = plant.line.now_ns, change.tag
            double = Decided(now, standing.id, True, "otto", "", ((tag, change.after * 2),))
            with pytest.raises(EditRefusedError, match="largest step"):
                plant.core.intervene(double)
            assert plant.core.open["coater"] is standing
            half = (change.before + change.after) / 2
            plant.intervene(Decided(now, standing.id, True, "otto", "slowly", ((tag, half),)))
            said = [event for event in plant.events if isinstance(event, Recommendation)]
            assert said[-1].changes[0].after == half
        return plant.core, [each for each in plant.events if isinstance(each, Recommendation)]


def test_a_replay_repeats_what_was_edited(tmp_path: Path) -> None:
    core, live = run(tmp_path / "edited")
    recording = Recording.open(tmp_path / "edited")
    follower = Follower(make_core(recording.line), lambda *_: next(iter(core.surrogates.values())))
    again: list[Recommendation] = []
    for arrivals in recording.stream():
        again += [e for e in follower.feed(arrivals) if isinstance(e, Recommendation)]
    assert again == live
    assert not follower.unmatched
    accepted = next(each for each in again if each.state == "accepted")
    assert accepted.note.startswith("edited: coater.pump_flow_setpoint")
    assert accepted.note.endswith("slowly")


def test_an_edit_that_moves_nothing_promises_nothing(tmp_path: Path) -> None:
    plant = LineInProcess(parse_scenario(WORN), 1, 20, accept=False)
    for batch in plant.recorded(5.0):
        plant.deliver(batch)
        if "coater" in plant.core.open:
            break
    standing = plant.core.open["coater"]
    (change,) = standing.changes
    same = edited(plant.core, standing, [(change.tag, change.after)])
    assert same.changes == standing.changes
    assert [each.after for each in same.effects] == pytest.approx(
        [each.after for each in standing.effects], abs=3 * standing.effects[0].sigma
    )
    nothing = Decided(
        plant.line.now_ns, standing.id, True, "otto", "", ((change.tag, change.before),)
    )
    with pytest.raises(EditRefusedError, match="nothing would be moved"):
        plant.core.intervene(nothing)
    still = edited(plant.core, standing, [(change.tag, change.before)])
    assert still.changes == ()
    assert [each.after for each in still.effects] == pytest.approx(
        [each.before for each in still.effects]
    )
