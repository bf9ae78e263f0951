"""The service beside the virtual line while servers go, people decide and nonsense arrives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from connectors.mqtt import MqttSource
from tests.servers import Broker, Relay, broker, free_port, until
from tests.system.twin_program import environment
from twin.app.line import load_surrogates, read_line
from twin.app.service import build_service
from twin.cli.demo import accelerated
from twin.clock import LineClock
from twin.configuration import bundled
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.ports import Buckets, Event
from twin.recommendation import Change, Recommendation
from twin.samples import SampleBatch
from twin.service import Service
from twin.store import Store

__all__ = ["broker"]

ACCELERATION = 30.0
ADVICE = "linetwin/recommendations/coater"
LOADING = "virtual-line/gauges/mass_loading"
PATIENCE = 40.0


class Client:
    """An MQTT client of somebody else."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[dict[str, Any], bool]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_message = lambda _, __, message: self.messages.append(
            (json.loads(message.payload), message.retain)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def listen(self, topic: str) -> None:
        self._client.subscribe(topic, 1)

    def publish(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, 1)


@dataclass
class Running:
    """A service, and what it talks to."""

    service: Service
    coater: Relay
    broker: Broker
    folder: Path

    def source(self, name: str) -> Any:
        return next(source for source in self.service.sources if source.name == name)

    def count(self, parameter: str = "coating.mass_loading") -> int:
        return self.service.status.parameters[parameter].count

    async def goes_on(self, parameter: str = "coating.mass_loading", rows: int = 3) -> None:
        """Wait until more material was predicted, measured and compared."""
        before = self.count(parameter)
        await until(lambda: self.count(parameter) >= before + rows, PATIENCE)

    async def proposed(self) -> Recommendation:
        """Wait until there is something to decide."""
        found = self.service.core.open
        await until(lambda: "coater" in found and found["coater"].state == "proposed", PATIENCE)
        return found["coater"]

    async def becomes(self, state: str) -> Recommendation:
        """Wait until the last recommendation has a state."""
        last = self.service.status.recommendations
        await until(lambda: last["coater"].state == state, PATIENCE)
        return last["coater"]


@pytest.fixture
async def running(broker: Broker, tmp_path: Path) -> AsyncIterator[Running]:
    machines = {name: free_port() for name in ("mixer", "coater", "calender")}
    epoch = time.time_ns() + 3_000_000_000
    arguments = ["--seed", "2", "--acceleration", str(ACCELERATION), "--epoch-ns", str(epoch)]
    arguments += ["--metres", "1000", "--mqtt-port", str(broker.port)]
    for name, port in machines.items():
        arguments += [f"--{name}-port", str(port)]
    simulator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulators", *arguments),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
    )
    relay = Relay(machines["coater"])
    try:
        assert simulator.stdout is not None
        assert json.loads(await simulator.stdout.readline())["ready"]
        await relay.open()
        ports = machines | {"coater": relay.port, "mqtt": broker.port}
        path = bundled("line.yaml")
        line = accelerated(read_line(path), ACCELERATION, ports)
        clock = LineClock(ACCELERATION, epoch)
        service = build_service(line, load_surrogates(line, path.parent), clock, tmp_path)
        task = asyncio.create_task(service.run())
        try:
            yield Running(service, relay, broker, tmp_path)
        finally:
            asked = time.monotonic()
            service.stop()
            await task
            assert time.monotonic() - asked < 2.0
            service.store.close()
    finally:
        simulator.kill()
        await simulator.wait()
        await relay.cut()


async def test_a_machine_and_the_broker_go_away_and_come_back(running: Running) -> None:
    await running.goes_on()
    coater, gauges, mixer = (running.source(name) for name in ("coater", "gauges", "mixer"))

    await running.coater.cut()
    await until(lambda: not coater.state.connected)
    assert coater.state.error
    heard = gauges.state.received
    await until(lambda: gauges.state.received > heard + 10)
    assert mixer.state.connected
    await running.coater.open()
    await until(lambda: bool(coater.state.connected), PATIENCE)
    await running.goes_on()

    running.broker.stop()
    await until(lambda: not gauges.state.connected)
    heard = coater.state.received
    await until(lambda: coater.state.received > heard + 10)
    running.broker.start()
    await until(lambda: bool(gauges.state.connected), PATIENCE)
    await running.goes_on()

    running.service.stop()
    await until(lambda: running.service.store.waiting == 0)
    assert running.service.store.dropped == 0


async def test_people_decide(running: Running) -> None:
    first = await running.proposed()
    with Client(running.broker.port) as listener:
        listener.listen(ADVICE)
        await until(lambda: bool(listener.messages))
        with Client(running.broker.port) as later:
            later.listen(ADVICE)
            await until(lambda: bool(later.messages))
        document, retained = later.messages[0]
        assert retained
        assert document["schema"] == "linetwin/recommendation/1"
        required = {"id", "time_ns", "web", "state", "by", "reason", "note", "changes", "expected"}
        assert set(document) == required | {"schema"}
        (change,) = document["changes"]
        assert set(change) == {"step", "setpoint", "unit", "from", "to"}
        assert change["setpoint"] == "coater.pump_flow_setpoint"
        fields = {"parameter", "unit", "now", "expected", "sigma", "target"}
        assert all(set(effect) == fields for effect in document["expected"])

        first = await running.proposed()
        running.service.reject(first.id, "operator", "not now")
        assert running.service.status.recommendations["coater"].state == "rejected"
        await until(lambda: any(m["state"] == "rejected" for m, _ in listener.messages))
        with pytest.raises(KeyError):
            running.service.accept(first.id, "operator")

    second = await running.proposed()
    assert second.id != first.id
    running.service.accept(second.id, "operator")
    done = await running.becomes("verified")
    assert done.by == "operator"

    running.service.set_mode("coating", "shadow", "operator")
    assert running.service.core.trust.mode("coating") == "shadow"
    running.service.set_mode("coating", "advisory", "operator")
    assert running.service.core.trust.mode("coating") == "advisory"


async def test_a_write_that_fails_puts_the_step_in_shadow(running: Running) -> None:
    standing = await running.proposed()
    # the guard still finds all well; the line is cut before the write has left
    running.service.accept(standing.id, "operator")
    await running.coater.cut()
    failed = await running.becomes("failed")
    assert "not connected" in failed.note
    trust = running.service.core.trust
    assert trust.mode("coating") == "shadow"
    assert "a write failed" in trust.reason("coating")
    await running.coater.open()
    await running.goes_on()
    assert trust.mode("coating") == "shadow"
    assert "coater" not in running.service.core.open
    running.service.set_mode("coating", "advisory", "operator")
    await running.service.store.on_ledger(lambda: None)  # it is written behind, in order
    with Ledger(f"sqlite:///{running.folder / 'ledger.sqlite'}") as ledger:
        found = next(each for each in ledger.recommendations() if each["id"] == failed.id)
        assert [entry["state"] for entry in found["history"]] == ["proposed", "accepted", "failed"]
        assert any("a write failed" in change["reason"] for change in ledger.mode_changes())


async def test_nonsense_is_counted_and_disturbs_nothing(running: Running) -> None:
    await running.goes_on()
    gauges, core = running.source("gauges"), running.service.core
    assert isinstance(gauges, MqttSource)
    rejected = dict(core.rejected)
    day = 86_400

    def message(value: object, ahead: float = 0.0) -> bytes:
        moment = running.service.clock.now() / 1e9 + ahead
        stamp = np.datetime64(int(moment * 1e9), "ns")
        written = {"time": f"{stamp}Z", "value": value, "unit": "g/m^2", "status": "ok"}
        return json.dumps(written).encode()

    with Client(running.broker.port) as client:
        for _ in range(100):
            for value in (float("nan"), float("inf"), "NaN", "heavy", [1], None):
                client.publish(LOADING, message(value))
            client.publish(LOADING, b'{"time": ')
            client.publish(LOADING, b"[1, 2]")
            client.publish(LOADING, message(180.0, 2 * day))
            client.publish(LOADING, message(180.0, -2 * day))
            client.publish(LOADING, b'{"value": 180, "unit": "g/m^2", "status": "ok"}')
            client.publish("virtual-line/laboratory", b'{"parameter": "colour", "value": 1}')
        client.publish(LOADING, b"[" * 10_000_000)
        wanted = {
            "not finite": 300,
            "wrong type": 200,
            "no value": 100,
            "broken JSON": 100,
            "no JSON object": 100,
            "no time": 100,
            "unknown signal": 100,
            "too large": 1,
        }
        await until(
            lambda: all(gauges.state.refused.get(k, 0) >= n for k, n in wanted.items()), PATIENCE
        )
    gauges.receive("virtual-line/nowhere", b"{}")
    refused = gauges.state.refused
    assert {reason: refused[reason] for reason in wanted} == wanted
    assert refused["unknown topic"] == 1
    for reason in ("time in the future", "time in the past"):
        await until(lambda reason=reason: core.rejected[reason] - rejected.get(reason, 0) >= 100)
    for source in running.service.sources:
        assert source.state.connected
    await running.goes_on()
    await running.goes_on("coating.wet_thickness")


class FailingHistorian:
    """A historian whose disk is full until somebody makes room."""

    settles = 0.0

    def __init__(self) -> None:
        self.full = True
        self.taken: list[float] = []

    def append(self, batch: SampleBatch, events: Sequence[Event] = ()) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.taken += batch.value.tolist()

    def read(self, tags: Sequence[int], start: int, end: int) -> SampleBatch:
        raise NotImplementedError

    def latest(self, tags: Sequence[int]) -> SampleBatch:
        raise NotImplementedError

    def buckets(self, tag: int, start: int, end: int, count: int) -> Buckets:
        raise NotImplementedError

    def events(self, start: int, end: int) -> list[Event]:
        raise NotImplementedError

    def retain(self, since: int) -> int:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to let go of."""


@contextlib.asynccontextmanager
async def storing(historian: FailingHistorian) -> AsyncIterator[Store]:
    store = Store(historian, measured=1, capacity=10, pause=0.01)
    task = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        store.close()


async def test_a_full_disk_costs_the_oldest_samples_and_says_so() -> None:
    historian = FailingHistorian()
    put: Callable[[Store, float], None] = lambda store, value: store.put(  # noqa: E731
        SampleBatch.of([0, 0], [1, 2], [value, value])
    )
    async with storing(historian) as store:
        for value in range(8):
            put(store, float(value))
        await until(lambda: store.error is not None)
        assert store.error == "no space left on device"
        put(store, 8.0)
        assert store.waiting <= 10
        assert store.dropped == 8
        historian.full = False
        await until(lambda: store.stored == 10)
        assert historian.taken == [float(value) for value in (4, 4, 5, 5, 6, 6, 7, 7, 8, 8)]
        assert store.error is None
        assert store.waiting == 0


async def test_what_waits_at_the_end_is_stored() -> None:
    historian = FailingHistorian()
    historian.full = False
    async with storing(historian) as store:
        for value in range(3):
            store.put(SampleBatch.of([0], [value], [float(value)]))
            await asyncio.sleep(0)
    assert historian.taken == [0.0, 1.0, 2.0]
    assert store.stored == 3


async def test_advice_that_is_no_longer_open_is_not_accepted(tmp_path: Path) -> None:
    path = bundled("line.yaml")
    line = read_line(path)
    service = build_service(
        line, load_surrogates(line, path.parent), LineClock(), tmp_path, "somebody"
    )
    tag = service.core.tags.index("coater.pump_flow_setpoint")
    gone = Recommendation("coater-1", 1, "coater", (Change("coating", tag, 1e-6, 2e-6),), (), "")
    newer = replace(gone, id="coater-2")
    service.core.open["coater"] = newer
    service.carry_out([gone, gone.become("superseded", note="by coater-2")])
    assert service.core.open["coater"] is newer
    assert service.status.states == {"proposed": 1, "superseded": 1}
    service.store.close()
    with DuckDBHistorian(tmp_path / "historian.duckdb", service.core.tags) as opened:
        assert not len(opened.latest([tag]))
