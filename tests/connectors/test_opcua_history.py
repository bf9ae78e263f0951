"""What servers kept while the connection was gone is read, in order, before what holds now."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connectors.opcua import OpcUaSource, nanoseconds
from simulators.line import VariableSample
from simulators.opcua_servers import MachineServers, Ports
from simulators.signals import Machine as Machines
from simulators.signals import signals
from tests.connectors.reading import Reading, line, opcua_tag, reading, set_clock
from tests.servers import Machine, Relay, free_port, until
from twin.clock import LineClock
from twin.configuration.models import LineConfiguration

VALUES = 40


def behind(relay: Relay) -> LineConfiguration:
    """One value in the queue of the server: what is missed is in its history or nowhere."""
    connector = {
        "kind": "opcua", "security": "none", "url": f"opc.tcp://127.0.0.1:{relay.port}/machine",
        "sampling_interval": "50 ms", "publishing_interval": "20 ms", "queue_size": 1,
        "reconnect_max_delay": "0.2 s",
    }  # fmt: skip
    tags = {"kept": opcua_tag("Kept", "m/s"), "forgotten": opcua_tag("Forgotten", "m/s")}
    return line({"machine": connector}, tags)


def good(read: Reading, tag: int) -> dict[int, float]:
    return {time: value for time, value, quality in read.rows(tag) if quality == 0}


@pytest.mark.parametrize(("per_answer", "offset"), [(7, 0), (10_000, 0), (7, -60), (7, 60)])
async def test_what_was_missed_is_read_from_the_history(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, per_answer: int, offset: int
) -> None:
    their_now = set_clock(monkeypatch, offset)
    await machine.has("Kept", 0.0).has("Forgotten", 0.0).start()
    server = machine.server
    assert server is not None
    await server.historize_node_data_change(machine.nodes["Kept"], period=None, count=10_000)
    server.iserver.history_manager.storage.max_history_data_response_size = per_answer
    relay = Relay(machine.port)
    await relay.open()
    async with reading(OpcUaSource("machine", behind(relay), LineClock())) as read:
        await read.connected()
        await relay.cut()
        await until(lambda: not read.source.state.connected)
        start, sent = their_now(), {}
        for step in range(VALUES):
            at = start + timedelta(milliseconds=step)
            sent[nanoseconds(at)] = step + 1.0
            for name in ("Kept", "Forgotten"):
                await machine.set(name, step + 1.0, at)
        await relay.open()
        await until(lambda: read.source.state.connected and bool(read.source.state.gaps))
        await until(lambda: sent.keys() <= good(read, 0).keys())
        kept = good(read, 0)
        assert {time: kept[time] for time in sent} == sent
        # what holds now, stated as of now, comes after what was missed
        missed = [time for time, _, quality in read.rows(0) if quality == 0 and time in sent]
        assert missed == sorted(missed)
        (gap,) = read.source.state.gaps
        assert gap.recovered >= VALUES
        ahead = offset * 10**9
        assert gap.since + ahead < nanoseconds(start) < max(sent) < gap.until + ahead
        assert len(sent.keys() & good(read, 1).keys()) <= 1
    await relay.cut()


async def test_the_virtual_line_keeps_a_history() -> None:
    name = "Coater.WebLength"
    ports = Ports(free_port(), free_port(), free_port())
    clock = LineClock()
    relay = Relay(ports.coater)
    tags = {"length": opcua_tag(f"nsu=urn:linetwin:virtual-line;s={name}", "m", "counter")}
    connector = {
        "kind": "opcua", "security": "none", "url": f"opc.tcp://127.0.0.1:{relay.port}/coater",
        "queue_size": 1, "reconnect_max_delay": "0.2 s",
    }  # fmt: skip
    async with MachineServers(signals(3), lambda *_: None, clock.now, ports=ports) as servers:
        await servers.publish([VariableSample(Machines.COATER, name, clock.now(), 0.0)])
        await relay.open()
        source = OpcUaSource("machine", line({"machine": connector}, tags), clock)
        async with reading(source) as read:
            await read.connected()
            await relay.cut()
            await until(lambda: not source.state.connected)
            start = clock.now()
            # OPC UA counts time in units of 100 ns
            sent = {(start + step * 1_000_000) // 1000 * 1000: step / 10 for step in range(VALUES)}
            for time, value in sent.items():
                await servers.publish([VariableSample(Machines.COATER, name, time, value)])
            await relay.open()
            await until(lambda: sent.keys() <= good(read, 0).keys())
            assert {time: good(read, 0)[time] for time in sent} == sent
        await relay.cut()
