# ruff: noqa: T201
"""An OPC UA server whose tags count: `PORT TAGS RATE SECONDS`.

It says when it is there, begins when it reads a line, tells how often each tag changed, and stays
until it reads another line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime, timedelta

from asyncua import Server, ua

from tests.faults.scene import OPCUA_URI, opcua_url


async def serve(port: int, tags: int, rate: int, seconds: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(opcua_url(port))
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(OPCUA_URI)
    start = datetime.now(UTC).replace(microsecond=0)
    ids = [ua.NodeId(f"T{number}", index) for number in range(tags)]
    for number, node in enumerate(ids):
        await server.nodes.objects.add_variable(node, f"T{number}", -1.0)
    loop = asyncio.get_running_loop()
    async with server:
        print(json.dumps({"start": int(start.timestamp()) * 10**9}), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)
        began = time.perf_counter()
        for turn in range(rate * seconds):
            # a millisecond of source time for every change, as the reckoning wants it
            at = start + timedelta(milliseconds=turn)
            value = ua.DataValue(
                ua.Variant(float(turn), ua.VariantType.Double), ua.StatusCode(), at, at
            )
            for number, node in enumerate(ids):
                await server.iserver.write_attribute_value(node, value)
                if number % 50 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(max(0.0, began + (turn + 1) / rate - time.perf_counter()))
        print(json.dumps({"turns": rate * seconds}), flush=True)
        await loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
