# ruff: noqa: T201
"""An OPC UA server whose tags count what time it is: a `Machine` as JSON.

At tick n, which is at `start` + n ticks, every tag has the value n, with that as its source time.
It says when it is there, writes the ticks that it has had into a file as it goes, and takes lines:
`forget` drops all subscriptions of clients, `rest` ends the counting. It stays until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asyncua import Server, ua

from tests.faults.scene import OPCUA_URI

TICK = 100_000_000
"""ns"""
DECOY = -999.0
"""What a tag's namesakes in other namespaces say."""


@dataclass(frozen=True)
class Machine:
    """What is served, and where."""

    url: str
    start: int
    """Time of tick 0, ns."""
    tags: int
    kept: int
    """How many of the tags, the first ones, have a history."""
    log: str
    """File of the ticks that were."""
    before: tuple[str, ...] = ()
    """Namespaces that get their index before ours: each has namesakes of our nodes."""

    def json(self) -> str:
        """As the process reads it."""
        return json.dumps(asdict(self))


async def serve(machine: Machine) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(machine.url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    for uri in machine.before:
        index = await server.register_namespace(uri)
        for number in range(machine.tags):
            name = f"T{number}"
            await server.nodes.objects.add_variable(ua.NodeId(name, index), name, DECOY)
    index = await server.register_namespace(OPCUA_URI)
    nodes = [
        await server.nodes.objects.add_variable(ua.NodeId(f"T{number}", index), f"T{number}", -1.0)
        for number in range(machine.tags)
    ]
    async with server:
        for node in nodes[: machine.kept]:
            await server.historize_node_data_change(node, period=None)
        ours = set(server.iserver.subscription_service.subscriptions)
        counting = asyncio.create_task(count(machine, server, [node.nodeid for node in nodes]))
        print("{}", flush=True)
        while command := await asyncio.to_thread(sys.stdin.readline):
            if command.strip() == "forget":
                service = server.iserver.subscription_service
                await service.delete_subscriptions([*set(service.subscriptions) - ours])
            else:
                counting.cancel()
                with suppress(asyncio.CancelledError):
                    await counting
            print("{}", flush=True)


async def count(machine: Machine, server: Server, nodes: list[ua.NodeId]) -> None:
    tick = (time.time_ns() - machine.start) // TICK
    with Path(machine.log).open("a") as log:  # noqa: ASYNC230
        while True:
            tick += 1
            # a computer that was busy makes up for it: no tick is left out
            await asyncio.sleep(max(0.0, (machine.start + tick * TICK - time.time_ns()) / 1e9))
            at = datetime.fromtimestamp(machine.start / 1e9, UTC)
            at += timedelta(microseconds=tick * TICK // 1000)
            value = ua.DataValue(
                ua.Variant(float(tick), ua.VariantType.Double), ua.StatusCode(), at, at
            )
            for node in nodes:
                await server.iserver.write_attribute_value(node, value)
            log.write(f"{tick}\n")
            log.flush()


if __name__ == "__main__":
    asyncio.run(serve(Machine(**json.loads(sys.argv[1]))))
