# ruff: noqa: T201
"""The processes of the OPC UA benchmark: `server PORT`, `naive PORT`, `source PORT`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from asyncua import Client, Server, ua

from connectors.opcua import OpcUaSource
from twin.clock import LineClock
from twin.configuration.models import LineConfiguration

TAGS = 1_000
RATE = 10
SECONDS = 20
URI = "urn:linetwin:load"


def url(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/load"


async def serve(port: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(url(port))
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    nodes = [
        await server.nodes.objects.add_variable(ua.NodeId(f"T{n}", index), f"T{n}", -1.0)
        for n in range(TAGS)
    ]
    async with server:
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        start = time.perf_counter()
        for turn in range(RATE * SECONDS):
            now = datetime.now(UTC)
            value = ua.DataValue(
                ua.Variant(float(turn), ua.VariantType.Double), ua.StatusCode(), now, now
            )
            for at, node in enumerate(nodes):
                await server.iserver.write_attribute_value(node.nodeid, value)
                if at % 50 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(max(0.0, start + (turn + 1) / RATE - time.perf_counter()))
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def measure(connected: Awaitable[None], count: Callable[[], int]) -> None:
    """Count from the first turn on; what was there before it does not matter."""
    await connected
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    cpu = time.process_time()
    last, since = count(), time.perf_counter()
    while time.perf_counter() - since < 3.0:
        await asyncio.sleep(0.25)
        if count() != last:
            last, since = count(), time.perf_counter()
    print(json.dumps({"cpu": time.process_time() - cpu, "count": count()}), flush=True)


class Naive:
    """What one writes first: a handler per item."""

    def __init__(self) -> None:
        self.count = 0
        self.latest: dict[Any, Any] = {}

    def datachange_notification(self, node: Any, value: Any, data: Any) -> None:
        if value >= 0:
            self.count += 1
            stamp = data.monitored_item.Value.SourceTimestamp
            self.latest[node] = (stamp, value)


async def naive(port: int) -> None:
    handler = Naive()
    async with Client(url(port)) as client:
        subscription = await client.create_subscription(50, handler)

        async def connect() -> None:
            index = await client.get_namespace_index(URI)
            nodes = [client.get_node(ua.NodeId(f"T{n}", index)) for n in range(TAGS)]
            await subscription.subscribe_data_change(nodes, queuesize=1_000)

        await measure(connect(), lambda: handler.count)


async def source(port: int) -> None:
    tags = {
        f"t{n}": {
            "unit": "m/min",
            "class": "MP",
            "role": "actual",
            "connector": "load",
            "address": {"node": f"nsu={URI};s=T{n}"},
        }
        for n in range(TAGS)
    }
    line = LineConfiguration.model_validate(
        {
            "name": "load",
            "connectors": {"load": {"kind": "opcua", "security": "none", "url": url(port)}},
            "tags": tags,
            "webs": {},
            "steps": {},
        }
    )
    reader = OpcUaSource("load", line, LineClock())
    taken = [0]

    async def collect() -> None:
        async for batch in reader.batches():
            taken[0] += int((batch.value >= 0).sum())

    async def connected() -> None:
        while not reader.state.connected:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    tasks = [asyncio.create_task(reader.run()), asyncio.create_task(collect())]
    await measure(connected(), lambda: taken[0])
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    role, port = sys.argv[1], int(sys.argv[2])
    asyncio.run({"server": serve, "naive": naive, "source": source}[role](port))
