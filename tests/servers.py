"""Real servers for tests: an OPC UA machine, a mosquitto broker, and what tests wait with."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.common.node import Node

URI = "urn:linetwin:test"


def free_port() -> int:
    """A TCP port that nobody listens on, and that no connection is given meanwhile."""
    while True:
        # below those that the system gives to outgoing connections, of other tests, too
        port = 10_000 + secrets.randbelow(20_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], bool], patience: float = 8.0) -> None:
    """Wait for a condition; fail when it does not come."""
    async with asyncio.timeout(patience):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@dataclass
class Machine:
    """An OPC UA server with variables that can be killed and started again on the same port."""

    port: int = field(default_factory=free_port)
    uri: str = URI
    variables: dict[str, dict[str, Any]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    server: Server | None = None
    secure: Callable[[Server], Awaitable[None]] | None = None
    """What makes the server a secured one, before it starts."""

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/machine"

    def has(
        self,
        name: str,
        value: Any = 0.0,
        unit: str | None = None,
        span: tuple[float, float] | None = None,
        writable: bool = False,
        kind: ua.VariantType | None = None,
    ) -> Machine:
        self.variables[name] = {
            "value": value,
            "unit": unit,
            "span": span,
            "writable": writable,
            "kind": kind,
        }
        return self

    async def start(self) -> None:
        server = Server()
        await server.init()
        server.set_endpoint(self.url)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        if self.secure is not None:
            await self.secure(server)
        index = await server.register_namespace(self.uri)
        machine = await server.nodes.objects.add_object(index, "Machine")
        for name, about in self.variables.items():
            kind = about["kind"] or (
                ua.VariantType.Double if isinstance(about["value"], float) else None
            )
            node = await machine.add_variable(
                ua.NodeId(name, index), name, ua.Variant(about["value"], kind)
            )
            if about["unit"] is not None:
                unit = ua.EUInformation(DisplayName=ua.LocalizedText(about["unit"]))
                await node.add_property(0, "EngineeringUnits", unit)
            if about["span"] is not None:
                await node.add_property(0, "EURange", ua.Range(*about["span"]))
            if about["writable"]:
                await node.set_writable()
            self.nodes[name] = node
        await server.start()
        self.server = server

    async def stop(self) -> None:
        if self.server is not None:
            server, self.server = self.server, None
            clock, server.iserver.time_task = server.iserver.time_task, None
            if clock is not None:  # it would sleep for up to a second
                clock.cancel()
            # no client may come back while the others are sent away: its connection would stay
            if server.bserver is not None and server.bserver._server is not None:
                server.bserver._server.close()
            await server.stop()
            for transport in tuple(server.iserver.asyncio_transports):
                transport.abort()
            await until(lambda: not server.iserver.asyncio_transports)

    async def set(
        self,
        name: str,
        value: Any,
        at: datetime | None = None,
        status: int = 0,
        kind: ua.VariantType | None = None,
    ) -> None:
        assert self.server is not None
        if kind is None and isinstance(value, float):
            kind = ua.VariantType.Double
        at = at or datetime.now(UTC)
        data = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), at, at)
        await self.server.iserver.write_attribute_value(self.nodes[name].nodeid, data)

    async def get(self, name: str) -> Any:
        return await self.nodes[name].read_value()


class Relay:
    """A TCP relay that can go away while the server behind it lives on."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            with contextlib.suppress(OSError):
                writer.close()


class Broker:
    """A mosquitto process that keeps nothing unless asked; for everybody, or as `secured` says."""

    def __init__(self, folder: Path, secured: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\n{secured}persistence false\n"
            "max_queued_messages 1000000\nmax_inflight_messages 1000\nlog_dest none\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        self._process = subprocess.Popen(
            [program, "-c", str(self._configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.02)

    def keep_sessions(self, folder: Path) -> None:
        """Start it anew, such that sessions and what waits in them outlast it."""
        self.stop()
        text = self._configuration.read_text().replace("persistence false", "persistence true")
        self._configuration.write_text(
            f"{text}persistence_location {folder}/\nautosave_interval 1\n"
        )
        self.start()

    def stop(self, decent: bool = False) -> None:
        """kill -9, or ask it to end."""
        if self._process is not None:
            if decent:
                self._process.terminate()
            else:
                self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A mosquitto that a test may stop and start."""
    if shutil.which("mosquitto") is None and not Path("/usr/sbin/mosquitto").exists():
        pytest.fail("mosquitto is not installed: apt-get install mosquitto")
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def mosquitto(broker: Broker) -> int:
    """The port of a mosquitto of the test's own."""
    return broker.port


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    """An OPC UA server that is not started yet: say what it has, then start it."""
    built = Machine()
    yield built
    await built.stop()
