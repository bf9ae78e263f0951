# ruff: noqa: T201
"""A twin in a process that a test may kill: `LINE.json FOLDER`.

It tells its figures, as a line of JSON, once it is connected and then whenever it reads a line. A
number on that line sets its clock so many ns forth.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from tests.faults.set_clock import set_forth
from twin.app.service import build_service
from twin.clock import LineClock
from twin.configuration.models import LineConfiguration


async def serve(line: LineConfiguration, folder: Path) -> None:
    service = build_service(line, {}, LineClock(), folder)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)

    def tell() -> None:
        figures = {
            **asdict(service.store.state),
            "received": service.core.received,
            "connected": all(source.state.connected for source in service.sources),
            "gaps": [asdict(gap) for source in service.sources for gap in source.state.gaps],
        }
        print(json.dumps(figures), flush=True)

    def asked() -> None:
        if text := sys.stdin.readline():
            if text.strip():
                set_forth(int(text))
            tell()
        else:
            loop.remove_reader(sys.stdin)

    running = asyncio.create_task(service.run())
    while not all(source.state.connected for source in service.sources):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    tell()

    loop.add_reader(sys.stdin, asked)
    await running
    loop.remove_reader(sys.stdin)
    service.store.close()
    tell()


if __name__ == "__main__":
    asyncio.run(
        serve(
            LineConfiguration.model_validate_json(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
        )
    )
