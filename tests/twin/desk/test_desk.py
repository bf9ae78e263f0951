"""The desk: what it shows is what is stored, and who decides is checked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.in_process import EPOCH
from tests.servers import until
from tests.service_in_process import ServedLine, served_line
from twin.alarms import Report
from twin.desk import DecidedError, Entry, ImplausibleError, UnknownError, Wish
from twin.editing import EditRefusedError
from twin.samples import SampleBatch
from twin.users import NotAllowedError, User

VIEWER, OPERATOR = User("vera", "viewer"), User("otto", "operator")
SECOND, ENGINEER = User("olga", "operator"), User("emil", "engineer")
LOADING = "coating.mass_loading"
PUMP = "coater.pump_flow_setpoint"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[ServedLine]:
    async with served_line(tmp_path) as found:
        yield found


async def audited(served: ServedLine) -> list[tuple[str, str]]:
    await until(lambda: not served.service.entries.waiting)
    return [(each.who, each.what) for each in await served.desk.audit()]


async def test_before_anything_has_happened_everything_is_missing(served: ServedLine) -> None:
    line = await served.desk.line()
    assert line.live
    assert [step.name for step in line.steps] == ["mixing", "coating", "drying", "calendering"]
    for step in line.steps:
        for parameter in step.parameters:
            assert parameter.predicted.state == parameter.measured.state == "missing"
            assert parameter.predicted.value is None
            assert parameter.in_limits is None
    assert {value.reading.state for value in await served.desk.values()} == {"missing"}
    assert all(web.roll is None and web.position is None for web in line.webs)
    for name in served.service.core.line.steps:
        assert (await served.desk.step(name)).model.card is not None
    assert line.todo.kind == "nothing"


async def test_line_step_and_trend_say_the_same(served: ServedLine) -> None:
    await served.advance(600)
    desk, core = served.desk, served.service.core
    line = await desk.line()
    coating = next(step for step in line.steps if step.name == "coating")
    loading = next(each for each in coating.parameters if each.name == LOADING)
    assert loading.unit == "g/m^2"
    assert loading.target == 180
    assert loading.measured.state == loading.predicted.state == "fresh"
    low, high = loading.predicted.low, loading.predicted.high
    assert low is not None
    assert high is not None
    assert low < (loading.predicted.value or 0.0) < high
    assert (await desk.step("coating")).overview == coating

    end = served.clock.time + 1
    names = [f"{LOADING}.{kind}" for kind in ("measured", "predicted", "residual", "low", "high")]
    trend = await desk.trend(names, EPOCH, end, 5000)
    read = await served.service.store.call(
        lambda: served.service.store.historian.read([core.tags.index(names[0])], EPOCH, end)
    )
    measured, predicted, residual, lows, highs = trend.series
    assert measured.count.sum() == len(read) == loading.compared
    assert measured.mean[-1] == pytest.approx(read.value[-1] * 1000, rel=1e-12)
    assert measured.mean[-1] == pytest.approx(loading.measured.value, rel=1e-9)
    assert predicted.mean[-1] == pytest.approx(loading.expected, rel=1e-9)
    assert residual.mean[-1] == pytest.approx(loading.residual, rel=1e-6)
    known = np.isin(predicted.at, lows.at)
    assert (lows.mean < predicted.mean[known]).all()
    assert (highs.mean > predicted.mean[known]).all()

    (web,) = [each for each in line.webs if each.name == "coater"]
    assert web.moving
    assert web.speed == pytest.approx(served.line.setpoints["Coater.LineSpeed.Setpoint"], rel=0.1)
    assert web.roll == 1


async def test_the_same_material_lies_on_the_same_abscissa(served: ServedLine) -> None:
    await served.advance(600)
    names = [f"{LOADING}.measured", "coating.wet_thickness.measured"]
    trend = await served.desk.trend(names, EPOCH, served.clock.time, 10_000, "web")
    loading, wet = trend.series
    assert trend.along == "web"
    segments = np.round(loading.at / 0.5 - 0.5)
    assert (np.diff(segments) >= 1).all()
    # both gauges have read the web that has passed the later one, half a metre per segment
    both, mine, other = np.intersect1d(segments, np.round(wet.at / 0.5 - 0.5), False, True)
    assert len(both) > 20
    assert np.corrcoef(loading.mean[mine], wet.mean[other])[0, 1] > 0.3
    coarse = await served.desk.trend(names, EPOCH, served.clock.time, 5, "web")
    assert len(coarse.series[0].at) <= 5
    assert coarse.series[0].count.sum() == loading.count.sum()
    with pytest.raises(ValueError, match="does not lie along the web"):
        await served.desk.trend(["coater.pump_flow"], EPOCH, served.clock.time, 5, "web")


async def test_a_trend_of_nothing_is_refused_or_empty(served: ServedLine) -> None:
    trend = served.desk.trend
    with pytest.raises(UnknownError, match=r"no series coater\.nothing"):
        await trend(["coater.nothing"], 0, 1)
    with pytest.raises(ValueError, match="1 to 24 series"):
        await trend([], 0, 1)
    with pytest.raises(ValueError, match="1 to 10000 points"):
        await trend(["coater.pump_flow"], 0, 1, 0)
    nothing = await trend(["coater.pump_flow"], 5, 5)
    assert [len(each.at) for each in nothing.series] == [0]


async def test_samples_of_all_time_ask_the_store_a_few_times(
    served: ServedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, core, now = served.service.store, served.service.core, served.clock.time
    hour, day = 3600 * 10**9, 86400 * 10**9
    oldest = now - int(core.line.store.retention * 10**9)
    times = [oldest, oldest + hour - 1, oldest + hour, now - 40 * day, now - day - 1, now - 1, now]
    tag = core.tags.index(PUMP)
    kept = SampleBatch.of([tag] * len(times), times, np.arange(len(times)))
    await store.call(lambda: store.historian.append(kept))
    spans, read = [], store.historian.read

    def counted(tags: Sequence[int], start: int, end: int) -> SampleBatch:
        spans.append(end - start)
        return read(tags, start, end)

    monkeypatch.setattr(store.historian, "read", counted)
    pieces = [each async for each in served.desk.samples([PUMP], -(2**66), 2**66)]
    assert np.concatenate([each.time for each in pieces]).tolist() == times
    assert np.concatenate([each.value for each in pieces]).tolist() == list(range(len(times)))
    assert sum(spans) == 2 * (now - oldest)
    # retention is 90 days, and as long in the future is looked at
    assert len(spans) < 230
    # after something was found it is an hour again
    assert max(spans) == day
    assert spans[:3] == [hour, hour, hour]


async def test_two_people_decide_at_once(served: ServedLine) -> None:
    identity = await served.advised()
    (advice,) = await served.desk.recommendations()
    assert advice.id == identity
    assert advice.expires is not None
    todo = (await served.desk.line()).todo
    assert (todo.kind, todo.subject) == ("decide", identity)
    with pytest.raises(NotAllowedError, match="vera is viewer; to accept takes the role operator"):
        await served.desk.accept(VIEWER, identity)

    results = await asyncio.gather(
        served.desk.accept(OPERATOR, identity),
        served.desk.reject(SECOND, identity, "too much"),
        return_exceptions=True,
    )
    accepted, second = results
    assert not isinstance(accepted, BaseException)
    assert isinstance(second, DecidedError)
    assert (second.first.state, second.first.by) == ("accepted", "otto")
    assert second.first.time is not None

    last = served.service.status.recommendations
    await until(lambda: last["coater"].state == "verified")
    found = await served.desk.recommendation(identity)
    assert [each.state for each in found.history] == ["proposed", "accepted", "written", "verified"]
    (write,) = found.writes
    (change,) = found.changes
    assert write.status == "applied"
    assert write.value == write.read_back == pytest.approx(change.after, rel=1e-12)
    assert change.limits == (5, 300)
    with pytest.raises(DecidedError, match="was accepted by otto"):
        await served.desk.accept(SECOND, identity)
    with pytest.raises(UnknownError):
        await served.desk.accept(SECOND, "coater-0")
    names = await audited(served)
    assert ("vera", "refused: accept") in names
    assert ("otto", "accept") in names
    assert names.count(("olga", "refused: accept")) == 1
    assert ("olga", "refused: reject") in names


async def test_what_the_ledger_does_not_have_yet_is_shown(
    served: ServedLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = await served.advised()
    await until(lambda: not served.service.entries.waiting)
    monkeypatch.setattr(served.service.ledger, "recommend", lambda document, time: None)
    await served.desk.accept(OPERATOR, identity)
    last = served.service.status.recommendations
    await until(lambda: last["coater"].state == "verified")
    found = await served.desk.recommendation(identity)
    states = ["proposed", "accepted", "written", "verified"]
    assert [each.state for each in found.history] == states
    assert (found.state, found.by, found.expires) == ("verified", "otto", None)
    (listed,) = await served.desk.recommendations("history")
    assert listed == found


async def test_an_edited_set_is_judged_by_the_guard(served: ServedLine) -> None:
    identity = await served.advised()
    desk = served.desk
    plain = await desk.preview(identity)
    assert plain.objections == ()
    (change,) = plain.advice.changes
    middle = (change.before + change.after) / 2
    half = await desk.preview(identity, {PUMP: middle})
    assert half.objections == ()
    effects = {each.parameter: each for each in half.advice.expected}
    whole = {each.parameter: each for each in plain.advice.expected}[LOADING]
    now, end = whole.now, whole.expected
    assert min(now, end) < effects[LOADING].expected < max(now, end)
    with pytest.raises(EditRefusedError, match="leave its limits"):
        await desk.accept(OPERATOR, identity, {PUMP: 301.0})
    with pytest.raises(ValueError, match="there is no setpoint"):
        await desk.accept(OPERATOR, identity, {"coater.pump_flow": 100.0})
    (still,) = await desk.recommendations()
    assert still.state == "proposed"
    accepted = await desk.accept(OPERATOR, identity, {PUMP: middle})
    assert accepted.changes[0].after == pytest.approx(middle, rel=1e-12)
    assert accepted.note.startswith("edited: coater.pump_flow_setpoint")
    await until(lambda: bool(served.wire.moves))
    assert served.wire.moves[-1].after == pytest.approx(middle * 1e-6 / 60, rel=1e-9)


async def test_modes_take_an_engineer(served: ServedLine) -> None:
    with pytest.raises(NotAllowedError):
        await served.desk.set_mode(OPERATOR, "drying", "advisory")
    with pytest.raises(ValueError, match="no mode full"):
        await served.desk.set_mode(ENGINEER, "drying", "full")
    with pytest.raises(UnknownError):
        await served.desk.set_mode(ENGINEER, "slitting", "shadow")
    step = await served.desk.set_mode(ENGINEER, "drying", "advisory")
    assert step.overview.mode == "advisory"
    assert ("emil", "set mode") in await audited(served)


async def test_what_if_moves_what_it_is_asked_to_move(served: ServedLine) -> None:
    await served.advance(300)
    now = await served.desk.what_if({})
    flow = next(each for each in now.variables if each.name == "coating.pump_flow")
    assert flow.origin == "last on the line"
    assert flow.unit == "mL/min"
    more = await served.desk.what_if({"pump_flow": (flow.value or 0.0) * 1.05})
    before, after = (
        next(each for each in said.outputs if each.name == LOADING) for said in (now, more)
    )
    assert (after.value or 0.0) / (before.value or 1.0) == pytest.approx(1.05, rel=0.01)
    assert (before.low or 0.0) < (before.value or 0.0) < (before.high or 0.0)
    far = await served.desk.what_if({"pump_flow": 299.0})
    assert "coating" in far.outside
    with pytest.raises(ValueError, match="no machine parameter"):
        await served.desk.what_if({"nonsense": 1.0})


async def test_design_finds_the_flow_for_a_loading(served: ServedLine) -> None:
    await served.advance(300)
    found = await served.desk.design({"mass_loading": Wish(185.0)})
    assert found.feasible
    assert found.free == ("coating.pump_flow",)
    assert abs(found.misses[LOADING]) < 1.85
    never = await served.desk.design({"mass_loading": Wish(5000.0)})
    assert not never.feasible
    assert never.binding


async def test_a_roll_has_a_map(served: ServedLine) -> None:
    await served.advance(660)
    second, first = await served.desk.rolls()
    assert (second.number, second.wound) == (2, None)
    assert first.length == pytest.approx(20, abs=0.1)
    found = await served.desk.roll_map(1)
    loading = next(each for each in found.parameters if each.name == LOADING)
    known = [value for value in loading.measured if value is not None]
    assert len(known) > 30  # of 40 segments
    steps = np.diff(loading.metre)
    assert steps == pytest.approx(np.full(len(steps), 0.5))
    bad = [value for value in known if not 176.4 <= value <= 183.6]
    metres = sum(each.end - each.begin for each in found.outside if each.parameter == LOADING)
    assert metres == pytest.approx(len(bad) * 0.5, abs=0.51)
    with pytest.raises(UnknownError):
        await served.desk.roll_map(99)


async def test_laboratory_values_are_checked_used_and_corrected(served: ServedLine) -> None:
    await served.advance(600)
    desk = served.desk
    choices, _ = await desk.laboratory()
    assert {each.tag: each.material for each in choices} == {
        "laboratory.solids_content": "batch",
        "laboratory.viscosity": "batch",
        "laboratory.residual_solvent": "roll",
        "laboratory.adhesion": "roll",
        "laboratory.porosity": "roll",
    }
    predicted = served.service.core.predictor.batches.said("mixing", "viscosity", 1)
    value = predicted * 1000
    wrong = Entry("laboratory.viscosity", value, "Pa*s", served.clock.time, batch=1)
    with pytest.raises(NotAllowedError):
        await desk.enter_laboratory(VIEWER, wrong)
    with pytest.raises(ImplausibleError, match="far from the"):
        await desk.enter_laboratory(OPERATOR, wrong)
    with pytest.raises(ValueError, match="Pa\\*s or the like"):
        await desk.enter_laboratory(
            OPERATOR, Entry("laboratory.viscosity", 1.0, "m", served.clock.time, batch=1)
        )
    with pytest.raises(ValueError, match="name its number"):
        await desk.enter_laboratory(
            OPERATOR, Entry("laboratory.viscosity", 1.0, "Pa*s", served.clock.time, roll=1)
        )
    entry = await desk.enter_laboratory(
        OPERATOR, Entry("laboratory.viscosity", value, "mPa*s", served.clock.time, batch=1)
    )
    again = await desk.correct_laboratory(
        OPERATOR, entry.id, value * 1.1, "mPa*s", "read the other line"
    )
    with pytest.raises(ValueError, match="corrected by otto"):
        await desk.correct_laboratory(OPERATOR, entry.id, value, "mPa*s", "once more")
    _, entries = await desk.laboratory()
    assert [(each.id, each.corrects, each.corrected_by) for each in entries] == [
        (again.id, entry.id, None),
        (entry.id, None, again.id),
    ]
    await served.advance(2)
    tag = served.service.core.tags.index("laboratory.viscosity")
    store, corrected = served.service.store, pytest.approx(predicted * 1.1)
    stored = await store.call(lambda: store.historian.read([tag], 0, 2**62))
    # what the line sent is stored a moment after it was taken
    async with asyncio.timeout(8.0):
        while [each.value for each in stored.offline][-1:] != [corrected]:
            await asyncio.sleep(0.01)
            stored = await store.call(lambda: store.historian.read([tag], 0, 2**62))
    mine = [each for each in stored.offline if each.sampled == entry.sampled.timestamp() * 1e9]
    assert [each.value for each in stored.offline][-1] == corrected
    assert len(mine) <= 1


async def test_alarms_are_seen_and_shelved(served: ServedLine) -> None:
    about = ("the historian does not write: disk full",)
    report = Report(EPOCH, "store", "not writing", "historian", True, "high", "", about)
    served.service.report(report)
    line = await served.desk.line()
    (alarm,) = line.alarms
    assert (alarm.state, alarm.text) == ("unacknowledged", about[0])
    assert (line.todo.kind, line.todo.text) == ("alarm", about[0])
    with pytest.raises(NotAllowedError):
        await served.desk.acknowledge(VIEWER, alarm.id)
    seen = await served.desk.acknowledge(OPERATOR, alarm.id)
    assert (seen.state, seen.by) == ("acknowledged", "otto")
    assert (await served.desk.line()).todo.kind == "nothing"
    # the second changes nothing, nor does ending what has not begun
    assert await served.desk.acknowledge(SECOND, alarm.id) == seen
    assert await served.desk.shelve(SECOND, alarm.id, 0) == seen
    with pytest.raises(ValueError, match="24 h at most"):
        await served.desk.shelve(OPERATOR, alarm.id, 100_000)
    shelved = await served.desk.shelve(OPERATOR, alarm.id, 60)
    assert shelved.until is not None
    with pytest.raises(ValueError, match="it is shelved; end that first"):
        await served.desk.acknowledge(SECOND, alarm.id)
    assert (await served.desk.line()).alarms == (shelved,)
    with pytest.raises(UnknownError):
        await served.desk.acknowledge(OPERATOR, "store:away:nothing:1")
    await until(lambda: not served.service.entries.waiting)
    assert [each.state for each in await served.desk.alarm_history()] == ["shelved"]
    done = [each for each in await audited(served) if re.search("acknowledge|shelve", each[1])]
    assert done == [
        ("olga", "refused: acknowledge"),
        ("otto", "shelve"),
        ("otto", "refused: shelve"),
        ("otto", "acknowledge"),
        ("vera", "refused: acknowledge"),
    ]
