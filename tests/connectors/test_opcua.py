"""The OPC UA connector against real servers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from structlog.testing import capture_logs

from connectors.opcua import OpcUaSource, nanoseconds
from connectors.opcua import source as connecting
from tests.connectors.reading import Reading, line, opcua_tag, reading, set_clock
from tests.servers import Machine, Relay, free_port, until
from twin.clock import LineClock, ManualClock
from twin.configuration.models import LineConfiguration
from twin.ports import ConfigurationMismatch, Write, WriteOutcome
from twin.samples import (
    BAD_NO_COMMUNICATION,
    BAD_NO_DATA,
    BAD_TYPE_MISMATCH,
    UNCERTAIN_LAST_USABLE_VALUE,
)

BAD_SENSOR = 0x806D0000
CLOCK = LineClock()


def connector(machine: Machine, **more: Any) -> dict[str, Any]:
    return {
        "kind": "opcua",
        "security": "none",
        "url": machine.url,
        "sampling_interval": "50 ms",
        "publishing_interval": "20 ms",
        "reconnect_max_delay": "0.2 s",
        **more,
    }


def of(machine: Machine, tags: dict[str, Any], **more: Any) -> LineConfiguration:
    return line({"machine": connector(machine)}, tags, **more)


def source_of(configuration: LineConfiguration, **more: Any) -> OpcUaSource:
    return OpcUaSource("machine", configuration, CLOCK, linger=0.02, **more)


async def test_values_arrive_in_si_with_source_time_and_status(machine: Machine) -> None:
    await machine.has("Speed", 1.0, "m/min").has("Temperature", 20.0, "°C").start()
    configuration = of(
        machine,
        {"speed": opcua_tag("Speed", "m/min"), "temperature": opcua_tag("Temperature", "degC")},
    )
    async with reading(source_of(configuration)) as read:
        await read.connected()
        at = datetime(2026, 3, 1, 12, 0, 0, 123_456, UTC)
        await machine.set("Speed", 6.0, at)
        assert await read.value(0, 0.1) == (nanoseconds(at), pytest.approx(0.1), 0)
        await machine.set("Temperature", 80.0, at, UNCERTAIN_LAST_USABLE_VALUE)
        assert (await read.value(1, 353.15))[2] == UNCERTAIN_LAST_USABLE_VALUE
        await machine.set("Temperature", 81.0, at, BAD_SENSOR)
        _, value, _ = await read.quality(1, BAD_SENSOR)
        assert math.isnan(value)
        batch = read.batches[0]
        assert (batch.tag.dtype, batch.time.dtype) == (np.int32, np.int64)
        assert (batch.value.dtype, batch.quality.dtype) == (np.float64, np.uint32)


VALUES = [
    (True, ua.VariantType.Boolean, 1.0, 0),
    (7, ua.VariantType.UInt16, 7.0, 0),
    (2.5, ua.VariantType.Float, 2.5, 0),
    ("fast", ua.VariantType.String, math.nan, BAD_TYPE_MISMATCH),
    ([1.0, 2.0], ua.VariantType.Double, math.nan, BAD_TYPE_MISMATCH),
    (None, ua.VariantType.Null, math.nan, BAD_NO_DATA),
    (math.nan, ua.VariantType.Double, math.nan, BAD_NO_DATA),
    (math.inf, ua.VariantType.Double, math.nan, BAD_NO_DATA),
]


async def test_what_is_no_number_is_a_bad_sample(machine: Machine) -> None:
    for number, (value, kind, _, _) in enumerate(VALUES):
        machine.has(f"V{number}", value, kind=kind)
    await machine.start()
    tags = {f"v{n}": opcua_tag(f"V{n}", "dimensionless", "counter") for n in range(len(VALUES))}
    async with reading(source_of(of(machine, tags))) as read:
        await until(lambda: all(read.rows(number) for number in range(len(VALUES))))
        for number, (_, _, expected, quality) in enumerate(VALUES):
            row = read.rows(number)[0]
            assert row[1:] == (pytest.approx(expected, nan_ok=True), quality)


async def test_an_unchanged_value_with_a_new_time_is_reported(machine: Machine) -> None:
    await machine.has("Speed", 1.0).start()
    async with reading(source_of(of(machine, {"speed": opcua_tag("Speed", "m/s")}))) as read:
        await read.connected()
        at = datetime(2026, 3, 1, tzinfo=UTC)
        await machine.set("Speed", 1.0, at)
        await until(lambda: any(row[0] == nanoseconds(at) for row in read.rows(0)))


async def test_deadband_keeps_small_changes_away(machine: Machine) -> None:
    await machine.has("Speed", 1.0).start()
    configuration = of(machine, {"speed": opcua_tag("Speed", "m/s", deadband=0.5)})
    async with reading(source_of(configuration)) as read:
        await read.connected()
        await machine.set("Speed", 1.1)
        await machine.set("Speed", 2.0)
        await read.value(0, 2.0)
        assert all(row[1] != 1.1 for row in read.rows(0))


async def test_an_old_value_is_stated_again_as_of_now(machine: Machine) -> None:
    await machine.has("Gap", 1.0).start()
    await machine.set("Gap", 1.0, datetime.now(UTC) - timedelta(hours=5))
    before = CLOCK.now()
    async with reading(source_of(of(machine, {"gap": opcua_tag("Gap", "m")}))) as read:
        await until(lambda: any(row[0] >= before for row in read.rows(0)))


def last_word(read: Reading, tag: int) -> float:
    """What the twin takes for the tag's value: the newest by source time, later arrived first."""
    return max(enumerate(read.rows(tag)), key=lambda row: (row[1][0], row[0]))[1][1]


@pytest.mark.parametrize("offset", [-30, 10])
async def test_a_machine_whose_clock_is_wrong_is_believed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, offset: int
) -> None:
    their_now = set_clock(monkeypatch, offset)
    await machine.has("DoorClosed", 1.0).start()
    await machine.set("DoorClosed", 1.0, their_now() - timedelta(minutes=10))
    relay = Relay(machine.port)
    await relay.open()
    url = f"opc.tcp://127.0.0.1:{relay.port}/machine"
    tags = {"closed": opcua_tag("DoorClosed", "dimensionless")}
    async with reading(source_of(line({"machine": connector(machine, url=url)}, tags))) as read:
        await until(lambda: len(read.rows(0)) >= 2)
        assert last_word(read, 0) == 1.0
        await machine.set("DoorClosed", 0.0, their_now())
        await read.value(0, 0.0)
        assert last_word(read, 0) == 0.0
        await relay.cut()
        await read.quality(0, BAD_NO_COMMUNICATION)
        assert math.isnan(last_word(read, 0))
        await relay.open()
        # nothing changes: that it holds still is said after the gap
        await until(lambda: last_word(read, 0) == 0.0)
        await machine.set("DoorClosed", 1.0, their_now())
        await until(lambda: last_word(read, 0) == 1.0)
        assert all(row[0] <= CLOCK.now() + max(offset, 0) * 1e9 for row in read.rows(0))
    await relay.cut()


async def test_several_servers_at_once() -> None:
    machines = [Machine(), Machine(uri="urn:linetwin:other")]
    for number, machine in enumerate(machines):
        await machine.has("Speed", float(number + 1)).start()
    configuration = line(
        {"machine": connector(machines[0]), "other": connector(machines[1])},
        {
            "a": opcua_tag("Speed", "m/s"),
            "b": opcua_tag("nsu=urn:linetwin:other;s=Speed", "m/s", connector="other"),
        },
    )
    try:
        first = source_of(configuration)
        second = OpcUaSource("other", configuration, CLOCK)
        async with reading(first) as one, reading(second) as two:
            await one.value(0, 1.0)
            await two.value(1, 2.0)
            assert {row for batch in one.batches for row in batch.tag.tolist()} == {0}
            assert {row for batch in two.batches for row in batch.tag.tolist()} == {1}
    finally:
        for machine in machines:
            await machine.stop()


async def test_a_restarted_server_leaves_a_marked_gap(machine: Machine) -> None:
    await machine.has("Speed", 1.0).has("Gap", 3.0).start()
    configuration = of(machine, {"speed": opcua_tag("Speed", "m/s"), "gap": opcua_tag("Gap", "m")})
    async with reading(source_of(configuration)) as read:
        await read.connected()
        await read.value(1, 3.0)
        await machine.stop()
        for tag in (0, 1):
            time, value, _ = await read.quality(tag, BAD_NO_COMMUNICATION)
            assert math.isnan(value)
            assert abs(time - CLOCK.now()) < 10_000_000_000
        assert not read.source.state.connected
        assert read.source.state.error
        await machine.start()
        await read.connected()
        await machine.set("Speed", 2.0)
        await read.value(0, 2.0)
        gap = next(row[0] for row in read.rows(1) if row[2] == BAD_NO_COMMUNICATION)
        await until(lambda: any(row[0] > gap and row[1] == 3.0 for row in read.rows(1)))
        # one of the server's last word, and one of when it was missed
        marks = [row[0] for row in read.rows(1) if row[2] == BAD_NO_COMMUNICATION]
        assert marks in ([gap], [gap, max(marks)])


async def test_a_server_that_comes_back_without_a_node_is_waited_for(machine: Machine) -> None:
    await machine.has("Speed", 1.0).start()
    speed = machine.variables.copy()
    async with reading(source_of(of(machine, {"speed": opcua_tag("Speed", "m/s")}))) as read:
        await read.connected()
        await machine.stop()
        machine.variables.clear()
        await machine.start()
        await until(lambda: "no node" in (read.source.state.error or ""))
        await machine.stop()
        machine.variables |= speed
        await machine.start()
        await read.connected()


def test_never_is_a_moment_that_64_bits_hold() -> None:
    assert nanoseconds(datetime(1601, 1, 1, tzinfo=UTC)) == 0
    assert nanoseconds(datetime(9999, 12, 31, tzinfo=UTC)) == np.iinfo(np.int64).max


async def test_nothing_is_lost_when_only_the_network_was_away(machine: Machine) -> None:
    await machine.has("Speed", 0.0).has("Gap", 3.0).start()
    relay = Relay(machine.port)
    await relay.open()
    tags = {"speed": opcua_tag("Speed", "m/s"), "gap": opcua_tag("Gap", "m")}
    url = f"opc.tcp://127.0.0.1:{relay.port}/machine"
    configuration = line({"machine": connector(machine, url=url)}, tags)
    async with reading(source_of(configuration)) as read:
        await read.connected()
        await relay.cut()
        gap, _, _ = await read.quality(0, BAD_NO_COMMUNICATION)
        for number in range(1, 21):
            await machine.set("Speed", float(number))
            await asyncio.sleep(0.01)
        await relay.open()
        await read.connected()
        for number in range(1, 21):
            await read.value(0, float(number))
        await until(lambda: any(row[0] > gap and row[1] == 3.0 for row in read.rows(1)))
    await relay.cut()


async def test_a_server_that_comes_later_is_waited_for(machine: Machine) -> None:
    machine.has("Speed", 1.0)
    async with reading(source_of(of(machine, {"speed": opcua_tag("Speed", "m/s")}))) as read:
        await read.quality(0, BAD_NO_COMMUNICATION)
        await machine.start()
        await read.value(0, 1.0)


async def test_a_library_that_cancels_its_own_requests_ends_no_connector(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.has("Speed", 3.0).start()
    cancelled = 0

    async def given_up(*_: object) -> None:
        nonlocal cancelled
        cancelled += 1
        monkeypatch.undo()
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    monkeypatch.setattr(connecting, "connect", given_up)
    async with reading(source_of(of(machine, {"speed": opcua_tag("Speed", "m/min")}))) as read:
        await read.connected()
    assert cancelled == 1


async def test_a_slow_reader_loses_the_oldest_and_it_is_counted(machine: Machine) -> None:
    await machine.has("Speed", 0.0).start()
    source = source_of(of(machine, {"speed": opcua_tag("Speed", "m/s")}), capacity=5)
    run = asyncio.create_task(source.run())
    await until(lambda: source.state.connected)
    for number in range(1, 31):
        await machine.set("Speed", float(number))
        await until(lambda count=number: source.state.received > count)  # type: ignore[misc]
    await until(lambda: source.state.received >= 31)
    assert source.state.dropped >= 20
    batch = await anext(source.batches())
    assert batch.value[-1] == 30.0
    assert len(batch) <= 5
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)


MISMATCHES = [
    ("dimension", {"unit": "kg"}, {"unit": "m/min"}, "another dimension"),
    ("unit", {"unit": "m/s"}, {"unit": "m/min"}, "not the configured"),
    ("percent", {"unit": "%"}, {"unit": "dimensionless"}, "not the configured"),
    (
        "range",
        {"unit": "m/min", "span": (0.0, 10.0), "writable": True},
        {"unit": "m/min", "role": "setpoint", "limits": [0, 30]},
        "write limits: [0, 10]",
    ),
    ("not writable", {"unit": "m/min"}, {"unit": "m/min", "role": "setpoint"}, "not writable"),
]


async def test_every_contradiction_is_listed_with_its_remedy(machine: Machine) -> None:
    tags = {}
    for number, (_, has, tag, _) in enumerate(MISMATCHES):
        machine.has(f"X{number}", 1.0, **has)
        tags[f"x{number}"] = opcua_tag(f"X{number}", **tag)
    await machine.start()
    with pytest.raises(ConfigurationMismatch, match="machine: ") as refusal:
        await source_of(of(machine, tags)).run()
    assert len(refusal.value.problems) == len(MISMATCHES)
    for number, (_, _, _, complaint) in enumerate(MISMATCHES):
        problem = refusal.value.problems[number]
        assert problem.startswith(f"x{number}: ")
        assert complaint in problem


async def test_all_problems_are_listed(machine: Machine) -> None:
    await machine.has("Speed", 1.0, "kg").start()
    configuration = of(
        machine,
        {
            "speed": opcua_tag("Speed", "m/min"),
            "missing": opcua_tag("Missing", "m"),
            "elsewhere": opcua_tag("nsu=urn:nobody;s=X", "m"),
        },
    )
    with pytest.raises(ConfigurationMismatch) as refusal:
        await source_of(configuration).run()
    text = str(refusal.value)
    assert len(refusal.value.problems) == 3
    assert "no node" in text
    assert "no namespace 'urn:nobody'" in text
    assert "another dimension" in text


UNITS = [
    ("m/min", "m/min"),
    ("mL/min", "mL/min"),
    ("°C", "degC"),
    ("µm", "um"),
    ("μm", "micrometer"),
    ("%", "percent"),
    ("g/m²", "g/m^2"),
    ("Pa·s", "Pa*s"),
    ("r/min", "rpm"),
    ("rpm", "rpm"),
    ("N/mm", "N/mm"),
    ("", "dimensionless"),
    ("1", "dimensionless"),
    ("1/min", "rpm"),
    ("1/min", "1/min"),
    ("Nm3/h", "m^3/h"),
    ("kg/m3", "kg/m^3"),
    ("mPas", "mPa*s"),
    ("% rF", "percent"),
    ("bar(g)", "bar"),
]


async def test_what_nobody_filled_in_or_knows_is_no_contradiction(machine: Machine) -> None:
    machine.has("Blank", 1.0, "", (0.0, 0.0), writable=True)
    machine.has("Odd", 1.0, "fnord", (0.0, 10.0), writable=True)
    await machine.start()
    limits = {"role": "setpoint", "limits": [0, 10]}
    tags = {
        "blank": opcua_tag("Blank", "m/min", **limits),
        "odd": opcua_tag("Odd", "m/min", **limits),
    }
    with capture_logs() as logs:
        async with reading(source_of(of(machine, tags))) as read:
            await read.connected()
            await machine.stop()
            await until(lambda: not read.source.state.connected)
            await machine.start()
            await read.connected()
    # once, however often it connects
    (remark,) = (entry["remark"] for entry in logs if "remark" in entry)
    assert remark == "odd: unit 'fnord' is not known, taken for 'm/min'"


async def test_values_that_the_server_lost_are_counted_and_told_of_once(machine: Machine) -> None:
    await machine.has("Speed", 0.0).start()
    overflow, of_no_value = 0x0480, 0x0080
    configuration = line(
        {"machine": connector(machine, queue_size=20_000)}, {"speed": opcua_tag("Speed", "m/s")}
    )
    with capture_logs() as logs:
        async with reading(source_of(configuration)) as read:
            await read.connected()
            for number, status in enumerate([overflow, of_no_value, overflow], 1):
                await machine.set("Speed", float(number), status=status)
                assert (await read.value(0, float(number)))[2] == status
            assert read.source.state.refused == {"queue of the server full": 2}
    told = [entry for entry in logs if entry.get("reason") == "queue of the server full"]
    assert [entry["tag"] for entry in told] == ["speed"]
    (remark,) = (entry["remark"] for entry in logs if "remark" in entry)
    assert remark.startswith("the server keeps only 10000 values of 1 tags, not the 20000")


async def test_units_are_known_by_their_display_names(machine: Machine) -> None:
    tags = {}
    for number, (theirs, ours) in enumerate(UNITS):
        machine.has(f"X{number}", 1.0, theirs)
        tags[f"x{number}"] = opcua_tag(f"X{number}", ours)
    await machine.start()
    async with reading(source_of(of(machine, tags))) as read:
        await read.connected()


def setpoint(machine: Machine, **more: Any) -> LineConfiguration:
    machine.has("Speed", 1.0, "m/min", (0.0, 30.0), writable=True, **more)
    tag = opcua_tag("Speed", "m/min", "setpoint", limits=[0, 30])
    return of(machine, {"speed": tag, "actual": opcua_tag("Speed", "m/min")})


async def test_a_setpoint_is_written_and_read_back(machine: Machine) -> None:
    configuration = setpoint(machine)
    await machine.start()
    source = source_of(configuration)
    async with reading(source) as read:
        await read.connected()
        outcome = await source.write(Write(0, 0.1))
        assert outcome == WriteOutcome(Write(0, 0.1), "applied", pytest.approx(0.1))
        assert await machine.get("Speed") == pytest.approx(6.0)
        assert (await source.write(Write(1, 0.1))).status == "denied"
        assert (await source.write(Write(0, math.nan))).status == "denied"
        # whoever asks: the limits of the configuration hold here too
        for outside in (-0.001, 0.501, 1e300):
            denied = await source.write(Write(0, outside))
            assert (denied.status, "outside the limits" in denied.reason) == ("denied", True)
        assert await machine.get("Speed") == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("kind", "value"), [(ua.VariantType.Float, 1.5), (ua.VariantType.Int16, 3)]
)
async def test_a_setpoint_is_written_in_the_machines_type(
    machine: Machine, kind: ua.VariantType, value: float
) -> None:
    machine.has("Speed", type(value)(1), "m/s", writable=True, kind=kind)
    await machine.start()
    source = source_of(of(machine, {"speed": opcua_tag("Speed", "m/s", "setpoint")}))
    async with reading(source) as read:
        await read.connected()
        assert (await source.write(Write(0, value))).status == "applied"
        assert await machine.get("Speed") == value


@pytest.mark.parametrize(
    ("declared", "kind"),
    [
        (ua.ObjectIds.Float, ua.VariantType.Float),
        (ua.ObjectIds.Int16, ua.VariantType.Int16),
        (ua.ObjectIds.Duration, ua.VariantType.Double),
        (ua.ObjectIds.Number, ua.VariantType.Double),
    ],
)
async def test_a_setpoint_without_a_value_is_written_in_its_declared_type(
    machine: Machine, declared: int, kind: ua.VariantType
) -> None:
    await machine.has("Speed", None, writable=True, kind=ua.VariantType.Null).start()
    data_type = ua.DataValue(ua.Variant(ua.NodeId(declared)))
    await machine.nodes["Speed"].write_attribute(ua.AttributeIds.DataType, data_type)
    source = source_of(of(machine, {"speed": opcua_tag("Speed", "m/s", "setpoint")}))
    async with reading(source) as read:
        await read.connected()
        assert (await source.write(Write(0, 3.0))).status == "applied"
        held = (await machine.nodes["Speed"].read_data_value()).Value
        assert held is not None
        assert (held.Value, held.VariantType) == (3, kind)


async def test_a_whole_number_is_not_rounded_past_a_limit(machine: Machine) -> None:
    machine.has("Speed", 1, "m/s", writable=True, kind=ua.VariantType.Int16)
    await machine.has("Wide", 1, "m/s", writable=True, kind=ua.VariantType.Int16).start()
    tags = {
        "speed": opcua_tag("Speed", "m/s", "setpoint", limits=[1, 2.6]),
        "wide": opcua_tag("Wide", "m/s", "setpoint"),
    }
    source = source_of(of(machine, tags))
    async with reading(source) as read:
        await read.connected()
        assert (await source.write(Write(0, 2.4))).status == "applied"
        denied = await source.write(Write(0, 2.6))
        assert (denied.status, denied.reason) == ("denied", "3 lies outside the limits [1, 2.6]")
        assert await machine.get("Speed") == 2
        assert (await source.write(Write(1, 40_000.0))).status == "denied"


Answer = Callable[[Any, Callable[[], Coroutine[Any, Any, list[ua.StatusCode]]]], Any]


@pytest.fixture
def answers(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Lets the machine answer the writes of clients as a test says."""

    def answer(how: Answer) -> None:
        assert machine.server is not None
        session = type(machine.server.iserver.isession)
        write = session.write
        monkeypatch.setattr(
            session, "write", lambda each, params: how(params, lambda: write(each, params))
        )

    return answer


async def test_a_machine_may_take_its_time(
    machine: Machine, answers: Callable[[Answer], None]
) -> None:
    configuration = setpoint(machine)
    await machine.start()
    later: list[asyncio.Task[None]] = []

    async def after_a_while(value: float) -> None:
        await asyncio.sleep(0.1)
        await machine.set("Speed", value)

    async def complete_asynchronously(params: Any, _: Any) -> list[ua.StatusCode]:
        value = params.NodesToWrite[0].Value.Value.Value
        later.append(asyncio.create_task(after_a_while(value)))
        return [ua.StatusCode(ua.StatusCodes.GoodCompletesAsynchronously)]

    answers(complete_asynchronously)
    source = source_of(configuration)
    async with reading(source) as read:
        await read.connected()
        assert (await source.write(Write(0, 0.1))).status == "applied"
        (outcome,) = await source.confirm([Write(0, 0.1)])
        assert outcome == WriteOutcome(Write(0, 0.1), "applied", pytest.approx(0.1))
    await asyncio.gather(*later)


async def test_a_machine_that_takes_a_setpoint_back_is_found_out(
    machine: Machine, answers: Callable[[Answer], None]
) -> None:
    configuration = setpoint(machine)
    await machine.start()
    later: list[asyncio.Task[None]] = []

    async def after_a_while() -> None:
        await asyncio.sleep(0.05)
        await machine.set("Speed", 1.0)

    async def take_back(_: Any, write: Any) -> list[ua.StatusCode]:
        answered: list[ua.StatusCode] = await write()
        later.append(asyncio.create_task(after_a_while()))
        return answered

    answers(take_back)
    source = source_of(configuration)
    async with reading(source) as read:
        await read.connected()
        assert (await source.write(Write(0, 0.1))).status == "applied"
        (outcome,) = await source.confirm([Write(0, 0.1)])
        assert (outcome.status, outcome.reason) == ("failed", "wrote 6 m/min, read back 1 m/min")
        assert outcome.read_back == pytest.approx(1 / 60)
    await asyncio.gather(*later)
    (outcome,) = await source.confirm([Write(0, 0.1)])
    assert (outcome.status, "not connected" in outcome.reason) == ("failed", True)


async def test_refusals_and_silent_changes_of_a_write(machine: Machine) -> None:
    configuration = setpoint(machine)
    await machine.start()
    assert machine.server is not None
    service = machine.server.iserver.isession
    answer: dict[str, Any] = {}
    released = asyncio.Event()

    async def refuse(params: Any) -> list[ua.StatusCode]:
        if "wait" in answer:
            await released.wait()
        return [ua.StatusCode(answer["status"])]

    source = source_of(configuration, write_timeout=0.3)
    original = type(service).write
    type(service).write = lambda _, params: refuse(params)  # type: ignore[method-assign]
    try:
        async with reading(source) as read:
            await read.connected()
            for status, expected in [
                (ua.StatusCodes.BadOutOfRange, "denied"),
                (ua.StatusCodes.BadUserAccessDenied, "denied"),
                (ua.StatusCodes.BadInternalError, "failed"),
                (ua.StatusCodes.Good, "failed"),
            ]:
                answer["status"] = status
                outcome = await source.write(Write(0, 0.1))
                assert outcome.status == expected
                assert outcome.reason
            assert outcome.read_back == pytest.approx(1 / 60)
            answer["wait"] = True
            assert (await source.write(Write(0, 0.1))).status == "timed out"
    finally:
        released.set()  # a server that stops waits for what it has begun
        type(service).write = original  # type: ignore[method-assign]


async def test_a_write_without_a_server_fails_at_once() -> None:
    machine = Machine(port=free_port())
    source = source_of(setpoint(machine))
    async with reading(source):
        outcome = await source.write(Write(0, 0.1))
        assert (outcome.status, math.isnan(outcome.read_back)) == ("failed", True)


async def test_a_gap_bears_the_time_of_the_injected_clock() -> None:
    machine = Machine(port=free_port())
    configuration = of(machine, {"speed": opcua_tag("Speed", "m/s")})
    async with reading(OpcUaSource("machine", configuration, ManualClock(42))) as read:
        assert (await read.quality(0, BAD_NO_COMMUNICATION))[0] == 42
