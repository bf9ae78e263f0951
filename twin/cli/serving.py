"""`twin replay --serve`: a recording acts as a line for any OPC UA or MQTT client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.recording import Recording
from connectors.serving import LEAD, ServedLine
from twin.cli.terminal import err, out
from twin.ingest import NANOSECONDS

REFRESH: Final = 0.25


def serve(recording: Recording, speed: float, as_json: bool) -> None:
    """Serve a recording to its end, on the addresses of its line.

    Args:
        recording: for the line whose addresses are served.
        speed: seconds of line time per second.
        as_json: print two lines of JSON, one when it is ready and one at the end.

    Raises:
        OSError, ValueError: it cannot be served there.
    """
    summary = asyncio.run(_until_interrupted(recording, speed, as_json))
    if summary is None:
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps(summary))
        return
    counts = ", ".join(f"{count:,} by {name}" for name, count in summary["published"].items())
    out.print(f"published: {counts}; at most {summary['lag_seconds']:.2f} s late")
    lost, refused = summary["dropped"], summary["writes_refused"]
    if lost:
        out.print(f"{lost:,} messages were lost while a broker was away", style="red")
    if refused:
        out.print(f"{refused} writes were refused: a recording cannot answer to new setpoints")


async def _until_interrupted(
    recording: Recording, speed: float, as_json: bool
) -> dict[str, Any] | None:
    """The summary; None where somebody interrupted it."""
    serving = asyncio.create_task(_serve(recording, speed, as_json))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        return await serving
    return None


async def _serve(recording: Recording, speed: float, as_json: bool) -> dict[str, Any]:
    console = err if as_json else out
    began = time.monotonic()
    async with ServedLine(recording, speed) as line:
        if as_json:
            typer.echo(json.dumps(_ready(line)))
        else:
            _introduce(line, console)
        async with _shown(line, console):
            await line.run()
        return {
            "published": dict(line.published),
            "dropped": line.dropped,
            "writes_refused": line.refused,
            "lag_seconds": line.lag,
            "line_seconds": (line.now - line.first) / NANOSECONDS,
            "seconds": time.monotonic() - began,
        }


def _ready(line: ServedLine) -> dict[str, Any]:
    return {
        "ready": True,
        "acceleration": line.clock.acceleration,
        "epoch_ns": line.clock.epoch,
        "shift_ns": line.shift,
        "endpoints": line.endpoints,
    }


def _introduce(line: ServedLine, console: Console) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"REPLAY, not live: it begins in {LEAD:g} s, and every write is refused")
    for name, url in line.endpoints.items():
        say(f"  {name}: {url}")
    acceleration, epoch = line.clock.acceleration, line.clock.epoch
    say(f"a twin beside it: twin run LINE.yaml --acceleration {acceleration:g} --epoch-ns {epoch}")


@contextlib.asynccontextmanager
async def _shown(line: ServedLine, console: Console) -> AsyncIterator[None]:
    """A bar that moves with the line while inside."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("serve", total=max(line.last - line.first, 1))

        def refresh() -> None:
            when = datetime.fromtimestamp(line.now / NANOSECONDS, UTC)
            text = f"{when:%Y-%m-%d %H:%M:%S} UTC"
            progress.update(task, completed=line.now - line.first, description=text)

        async def follow() -> None:
            while True:
                refresh()
                await asyncio.sleep(REFRESH)

        following = asyncio.create_task(follow(), name="progress")
        try:
            yield
        finally:
            following.cancel()
            refresh()
