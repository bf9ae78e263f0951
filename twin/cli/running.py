"""`twin run`: the service beside a line."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from twin.app.line import load_challengers, read_line
from twin.app.logs import configure_logging
from twin.app.service import RECORDINGS, build_service
from twin.app.stores import open_registry
from twin.cli.desk import build_desk, serve_api
from twin.cli.keys import DECISIONS, decide, pressed
from twin.cli.operating import operated
from twin.cli.recording import RecordingSwitch
from twin.cli.terminal import Config, out
from twin.cli.users import introduce
from twin.cli.view import view
from twin.clock import LineClock
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.logs import log_to

log = structlog.get_logger()


def run(
    config: Config = None,
    data: Annotated[Path | None, typer.Option(help="Instead of the configured folder.")] = None,
    auto_accept: Annotated[
        bool, typer.Option("--auto-accept", help="Accept every recommendation.")
    ] = False,
    acceleration: Annotated[
        float, typer.Option(help="Of a virtual line whose clock runs faster.", min=1)
    ] = 1.0,
    epoch_ns: Annotated[
        int, typer.Option(help="Moment at which line and wall clock agree, ns (UTC).")
    ] = 0,
    record: Annotated[Path | None, typer.Option(help="Record into this new folder.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help="Of dashboard and API, instead of the configured one; 0 takes a free one.",
            min=0,
            max=65_535,
        ),
    ] = None,
) -> None:
    """Run the twin beside a line until Ctrl-C."""
    path = config or bundled("line.yaml")
    line = read_line(path)
    folder = data or line.store.folder
    folder.mkdir(parents=True, exist_ok=True)
    live = out.is_terminal
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context((folder / "twin.log").open("a")) if live else sys.stderr
        configure_logging(stream)
        if line.operation.log_file is not None:
            log_to(line.operation.log_file)
        clock = LineClock(acceleration, epoch_ns)
        asyncio.run(_run(line, path, clock, folder, auto_accept, live, record, port))


async def _run(
    line: LineConfiguration,
    path: Path,
    clock: LineClock,
    folder: Path,
    auto_accept: bool,
    live: bool,
    record: Path | None,
    port: int | None,
) -> None:
    registry = open_registry(line, path.parent, folder)
    service = build_service(
        line,
        registry.start(),
        clock,
        folder,
        "auto-accept" if auto_accept else None,
        registry,
        load_challengers(line, path.parent),
    )
    with contextlib.ExitStack() as stack:
        stack.callback(service.store.close)
        desk = build_desk(service, registry, folder)
        stack.callback(desk.close)
        address = serve_api(service, desk, line.api, port)
        for said in introduce(desk, address, folder):
            log.info("api", said=said)
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, service.stop)
        switch = RecordingSwitch(service, folder / RECORDINGS)
        stack.callback(switch.stop)

        def press(key: str) -> None:
            switch.press(key)
            decide(service, key)

        if record is not None:
            switch.start(record)
        async with operated(service, path, folder), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(service.run())
            if live:
                with (
                    pressed(press),
                    Live(console=out, auto_refresh=False) as display,
                ):
                    while not running.done():
                        picture = view(service, line.name, keys=DECISIONS)
                        display.update(Group(picture, switch.text(), Text(address)), refresh=True)
                        await asyncio.wait({running}, timeout=0.5)
