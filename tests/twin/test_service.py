"""The service by itself: writes, publication, silence, the end, with peers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.in_process import line_configuration, make_core
from tests.servers import until
from twin import outbox
from twin import service as shell
from twin.app.line import load_surrogates
from twin.clock import ManualClock
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.metrics import render
from twin.outbox import Publish
from twin.ports import ConnectionState, Sink, Write, WriteOutcome
from twin.recommendation import Change, Recommendation
from twin.samples import BAD_NO_DATA, SampleBatch
from twin.service import Service
from twin.store import Store
from twin.units import to_si

S = 1_000_000_000
NOW = 1_767_225_600 * S
NAMES = ("coater.pump_flow_setpoint", "calender.roll_gap_setpoint")


class Machine:
    """Setpoints that can be written, until one of them cannot."""

    def __init__(self, broken: int | None = None, delay: float = 0.0) -> None:
        self.broken = broken
        self.delay = delay
        self.written: list[Write] = []

    async def write(self, write: Write) -> WriteOutcome:
        await asyncio.sleep(self.delay)
        if write.tag == self.broken:
            raise RuntimeError("nobody expected this")
        self.written.append(write)
        return WriteOutcome(write, "applied", write.value)

    async def confirm(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        return [self.later(write) for write in writes]

    def later(self, write: Write) -> WriteOutcome:
        """What has become of an applied write."""
        return WriteOutcome(write, "applied", write.value)


class Silent:
    """A source that says nothing, with counters."""

    name = "silent"

    def __init__(self, refused: Mapping[str, int], marked: int, dropped: int) -> None:
        self.state = ConnectionState("silent", True, 0, 0, dropped, refused, marked, None)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def safe(self) -> None:
        pass

    async def batches(self) -> AsyncIterator[SampleBatch]:
        await asyncio.Event().wait()
        yield SampleBatch.of([], [], [])


def recommendation(service: Service) -> Recommendation:
    """An open one that moves two setpoints."""
    changes = []
    for name in NAMES:
        tag = service.core.tags.index(name)
        step, setpoint = next(
            (step_name, setpoint)
            for step_name, step in service.core.line.steps.items()
            for setpoint in step.setpoints.values()
            if setpoint.tag == name
        )
        scale, offset = to_si(service.core.tags[tag].unit)
        low, high = setpoint.limits
        before = (low + high) / 2 * scale + offset
        after = before + 0.5 * setpoint.max_step * scale
        service.core.latest[tag] = before
        service.core.set_mode(step, "advisory", "test", NOW)
        changes.append(Change(step, tag, before, after))
    advice = Recommendation("coater-1", NOW, "coater", tuple(changes), (), "a reason")
    service.core.open["coater"] = advice
    return advice


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    machine: Machine | None = None,
    publish: Publish | None = None,
    source: Silent | None = None,
) -> AsyncIterator[Service]:
    line = line_configuration()
    core = make_core(line)
    sinks: dict[int, Sink] = {core.tags.index(name): machine or Machine() for name in NAMES}
    store = Store(DuckDBHistorian(folder / "historian.duckdb", core.tags), len(line.tags))
    service = Service(
        core,
        load_surrogates(line, Path()),
        [] if source is None else [source],
        sinks,
        publish,
        store,
        Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"),
        ManualClock(NOW),
    )
    task = asyncio.create_task(service.run())
    try:
        await asyncio.sleep(0)
        yield service
    finally:
        service.stop()
        await task
        store.close()


async def becomes(service: Service, state: str) -> Recommendation:
    last = service.status.recommendations
    await until(lambda: "coater" in last and last["coater"].state == state)
    return last["coater"]


async def test_a_set_is_taken_back_where_a_sink_raises(tmp_path: Path) -> None:
    machine = Machine()
    async with running(tmp_path, machine) as service:
        advice = recommendation(service)
        first, second = advice.changes
        machine.broken = second.tag
        service.accept(advice.id, "operator")
        failed = await becomes(service, "failed")
        assert machine.written[0] == Write(first.tag, first.after)
        assert machine.written[-1] == Write(first.tag, first.before)
        assert "nobody expected this" in failed.note
        assert f"{NAMES[1]} failed: not taken back" in failed.note
        assert service.core.trust.mode("coating") == "shadow"


async def test_a_decision_is_made_once(tmp_path: Path) -> None:
    async with running(tmp_path, Machine(delay=0.05)) as service:
        advice = recommendation(service)
        service.accept(advice.id, "operator")
        with pytest.raises(KeyError):
            service.reject(advice.id, "somebody else", "no")
        with pytest.raises(KeyError):
            service.accept(advice.id, "somebody else")
        assert (await becomes(service, "verified")).by == "operator"


async def test_the_end_waits_for_a_write_and_its_publication(tmp_path: Path) -> None:
    told: list[str] = []

    async def publish(topic: str, payload: bytes) -> bool:
        told.append(orjson.loads(payload)["state"])
        return True

    async with running(tmp_path, Machine(delay=0.1), publish) as service:
        service.accept(recommendation(service).id, "operator")
    assert told == ["accepted", "written", "verified"]


def failing(times: int, told: list[bytes]) -> Callable[[str, bytes], Awaitable[bool]]:
    async def publish(topic: str, payload: bytes) -> bool:
        nonlocal times
        times -= 1
        if times == 0:
            raise ValueError("no such topic")
        if times < 0:
            told.append(payload)
        return times < 0

    return publish


async def test_what_a_broker_did_not_take_is_published_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY", 0.01)
    told: list[bytes] = []
    async with running(tmp_path, publish=failing(3, told)) as service:
        service.accept(recommendation(service).id, "operator")
        await becomes(service, "verified")
        await until(lambda: len(told) == 2)


class Cancelled(Silent):
    """A source whose library cancels what it waits for."""

    asked = False

    async def run(self) -> None:
        self.asked = True
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer


async def test_no_connector_ends_unseen(tmp_path: Path) -> None:
    source = Cancelled({}, 0, 0)
    with pytest.raises(ExceptionGroup) as caught:
        async with running(tmp_path, source=source):
            await until(lambda: source.asked)
    assert "silent connection: what it waited for was cancelled" in str(caught.value.exceptions)


async def test_nobody_decides_while_the_line_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "SILENCE", 0.02)
    async with running(tmp_path) as service:
        recommendation(service)
        assert isinstance(service.clock, ManualClock)
        service.clock.time += int((service.core.line.stale_after + 1) * S)
        assert "in time" in (await becomes(service, "expired")).note


async def test_what_was_refused_is_counted_once(tmp_path: Path) -> None:
    source = Silent({"not finite": 2, "broken JSON": 5}, marked=2, dropped=4)
    async with running(tmp_path, source=source) as service:
        bad = np.full(3, BAD_NO_DATA)
        service.feed(SampleBatch.of([0, 0, 0], [NOW, NOW + 1, NOW + 2], [np.nan] * 3, bad))
        assert service.rejected == {
            "not finite": 2,
            "broken JSON": 5,
            "bad quality": 1,
            "queue full": 4,
        }


async def test_a_clock_that_runs_ahead_is_an_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "SILENCE", 0.02)
    async with running(tmp_path) as service:

        def named() -> bool:
            service.feed(SampleBatch.of([0], [NOW + 3 * S], [1.0]))
            return any(each.kind == "clock ahead" for each in service.core.alarms.open())

        await until(named)
        assert "linetwin_ahead_samples_total" in render(service).decode()


async def test_what_the_core_cannot_follow_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("no way")

    async with running(tmp_path) as service:
        monkeypatch.setattr(service.core.tracker, "add", broken)
        with pytest.raises(ArithmeticError):
            service.feed(SampleBatch.of([0], [NOW], [1.0]))
        await until(lambda: service.store.stored == 1)
