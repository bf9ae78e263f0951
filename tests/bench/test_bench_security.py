# ruff: noqa: T201
"""What encryption costs beside the same in the clear: OPC UA writes, MQTT messages."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import pytest
from asyncua import ua

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from tests.certificates import Certificates, certificates
from tests.connectors.reading import reading
from tests.connectors.test_mqtt_security import in_pem, listener
from tests.connectors.test_mqtt_security import source as mqtt_source
from tests.connectors.test_opcua_security import AES, BASIC, CLEAR, showing
from tests.connectors.test_opcua_security import source as opcua_source
from tests.servers import Broker, Machine, until
from twin.ports import Write

__all__ = ["certificates"]

ROUNDS, WRITES, MESSAGES = 5, 40, 20_000


def table(title: str, latency: dict[str, list[float]], cpu: dict[str, list[float]]) -> None:
    """Medians, and their ratios to the first."""
    print(f"\n{title}")
    first = next(iter(latency))
    for name in latency:
        took, used = statistics.median(latency[name]), statistics.median(cpu[name])
        ratios = took / statistics.median(latency[first]), used / statistics.median(cpu[first])
        print(
            f"  {name:<20} {took * 1e6:8.0f} us, ratio {ratios[0]:.2f}; "
            f"CPU {used * 1e6:7.1f} us, ratio {ratios[1]:.2f}"
        )


@pytest.mark.bench
async def test_write_and_read_back(certificates: Certificates) -> None:
    offered = {"in the clear": CLEAR, "Basic256Sha256": BASIC, "Aes256Sha256RsaPss": AES}
    sources: dict[str, OpcUaSource] = {}
    latency: dict[str, list[float]] = {name: [] for name in offered}
    cpu: dict[str, list[float]] = {name: [] for name in offered}
    async with AsyncExitStack() as stack:
        for name, policy in offered.items():
            machine = Machine()
            machine.secure = showing(certificates.plant / "machine.der", [policy])
            await machine.has("Speed", 1.0, "m/min", writable=True).start()
            stack.push_async_callback(machine.stop)
            security = (
                "none" if policy is ua.SecurityPolicyType.NoSecurity else certificates.security()
            )
            sources[name] = opcua_source(machine, security=security)
            read = await stack.enter_async_context(reading(sources[name]))
            await read.connected()
        for turn in range(ROUNDS):
            for name, source in sources.items():
                used = time.process_time()
                for number in range(WRITES):
                    began = time.perf_counter()
                    outcome = await source.write(Write(0, 0.1 + 1e-4 * (number + turn)))
                    latency[name].append(time.perf_counter() - began)
                    assert outcome.status == "applied"
                cpu[name].append((time.process_time() - used) / WRITES)
    table("write and read back, server in the same process (CPU of both)", latency, cpu)


@contextmanager
def sending(folder: Path, broker: Broker, more: list[str]) -> Iterator[None]:
    """Messages from a client of its own process."""
    lines = folder / "lines"
    at = 1_772_366_400
    text = "".join(f'{{"time": {at + n / 100}, "value": {n % 100}}}\n' for n in range(MESSAGES))
    lines.write_text(text)
    command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.port), "-t", "thickness"]
    with lines.open() as stream, subprocess.Popen([*command, *more, "-l"], stdin=stream) as sender:
        yield
        assert sender.wait(timeout=60) == 0


@pytest.mark.bench
async def test_message(tmp_path: Path, certificates: Certificates) -> None:
    plant = certificates.plant
    (tmp_path / "plain").mkdir()
    (tmp_path / "tls").mkdir()
    brokers = {
        "in the clear": Broker(tmp_path / "plain"),
        "TLS": Broker(
            tmp_path / "tls",
            listener(certificates)
            + f"cafile {plant / 'ca.pem'}\nrequire_certificate true\nallow_anonymous true\n",
        ),
    }
    own = ["--cert", str(plant / "twin.pem"), "--key", str(plant / "twin.key.pem")]
    options = {"in the clear": [], "TLS": ["--cafile", str(plant / "ca.pem"), *own]}
    latency: dict[str, list[float]] = {name: [] for name in brokers}
    cpu: dict[str, list[float]] = {name: [] for name in brokers}
    for broker in brokers.values():
        broker.start()
    try:
        for _ in range(3):
            for name, broker in brokers.items():
                security = None if name == "in the clear" else in_pem(certificates)
                source: MqttSource = mqtt_source(broker.port, security)
                async with reading(source) as read:
                    await read.connected()
                    used = time.process_time()
                    with sending(tmp_path, broker, options[name]):
                        await until(lambda: source.state.received >= MESSAGES, 60)  # noqa: B023
                    cpu[name].append((time.process_time() - used) / MESSAGES)
                    for _ in range(100):
                        began = time.perf_counter()
                        assert await source.publish("answer", b"{}")
                        latency[name].append(time.perf_counter() - began)
                    await asyncio.sleep(0)
    finally:
        for broker in brokers.values():
            broker.stop()
    table("message: publication until it is acknowledged; CPU of one received", latency, cpu)
