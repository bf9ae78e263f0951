"""`twin record`, and the switch of the live view: what a line sends, or a historian holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from connectors.recorder import Recorder, RecordingWriter
from twin.app.line import read_line
from twin.app.logs import configure_logging
from twin.app.service import build_sources, start_recording
from twin.app.stores import open_stored
from twin.cli.terminal import Json, err, out
from twin.clock import Clock, LineClock
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.historian import DuckDBHistorian
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals
from twin.ports import Source
from twin.service import Service
from twin.units import parse

PIECE: Final = 600 * NANOSECONDS
"""Stored time that is read at once."""


async def _record_line(
    line: LineConfiguration, folder: Path, clock: Clock, seconds: float | None, console: Console
) -> int:
    """Record until Ctrl-C or for some line time; how many samples came.

    Raises:
        RecordingError: the folder holds something.
    """
    recorder = Recorder(RecordingWriter(folder, line, "twin record"))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    count = 0

    async def take(source: Source) -> None:
        nonlocal count
        async for batch in source.batches():
            recorder.append(Arrivals.at(clock.now(), batch))
            count += len(batch)

    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    )
    try:
        with progress:
            task = progress.add_task("connecting")
            async with asyncio.TaskGroup() as tasks:
                sources = build_sources(line, clock)
                workers = [
                    tasks.create_task(work)
                    for source in sources
                    for work in (source.run(), take(source))
                ]
                began = clock.now()
                while not stop.is_set():
                    if seconds is not None and clock.now() - began >= seconds * NANOSECONDS:
                        break
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), 0.25)
                    recorder.tick(clock.now())
                    away = [each.name for each in sources if not each.state.connected]
                    missing = f", not connected: {', '.join(away)}" if away else ""
                    progress.update(task, description=f"{count:,} samples{missing}")
                for worker in workers:
                    worker.cancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        recorder.close()
    return count


def _record_stored(
    line: LineConfiguration,
    data: Path,
    folder: Path,
    start: datetime,
    end: datetime,
    console: Console,
) -> int:
    """Make a recording of stored samples; how many. Arrival is not stored: the source time is it.

    Raises:
        ValueError: there is no such store, or the end is not after the start.
        RecordingError: the folder holds something.
    """
    first, last = (
        int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1e9)
        for moment in (start, end)
    )
    if last <= first:
        raise ValueError(f"{end} is not after {start}; write the earlier time first")
    kind = line.store.historian.kind
    count = 0
    bar = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        contextlib.closing(open_stored(line, data)) as store,
        RecordingWriter(folder, line, f"historian {kind}", live=False) as writer,
        Progress(*bar, console=console) as progress,
    ):
        held = store.span() if isinstance(store, DuckDBHistorian) else None
        if held is not None:
            first, last = max(first, held[0]), min(last, held[1] + 1)
        task = progress.add_task("reading", total=max(last - first, 1))
        for moment in range(first, last, PIECE):
            samples = store.read(range(len(line.tags)), moment, min(moment + PIECE, last))
            writer.append(Arrivals(samples, samples.time))
            count += len(samples)
            progress.update(task, completed=min(moment + PIECE, last) - first)
    return count


class RecordingSwitch:
    """Turns the recording of a running service on and off.

    Args:
        service: what is recorded.
        folder: where recordings without a name of their own go.
    """

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._recorder: Recorder | None = None

    def start(self, folder: Path | None = None) -> None:
        """Record from now on.

        Raises:
            RecordingError: the folder holds something.
        """
        when = datetime.fromtimestamp(self._service.clock.now() / NANOSECONDS, UTC)
        self._recorder = start_recording(
            self._service, folder or self._folder / f"{when:%Y%m%dT%H%M%S}"
        )

    def stop(self) -> None:
        """Record no longer, and write the rest."""
        if self._recorder is not None:
            self._service.record(None)
            self._recorder.close()
            self._recorder = None

    def press(self, key: str) -> None:
        """`c` starts and stops."""
        if key == "c":
            self.start() if self._recorder is None else self.stop()

    def text(self) -> Text:
        """What is recorded, and what can be done about it."""
        if self._recorder is None:
            return Text("c record", "dim")
        if self._recorder.error is not None:
            return Text(f"not recorded: {self._recorder.error}", "bold red")
        lost = f", {self._recorder.dropped:,} samples lost" if self._recorder.dropped else ""
        return Text(f"● recording into {self._recorder.folder}{lost}   c stop", "red")


def record(
    output: Annotated[Path, typer.Argument(help="New folder for the recording.")],
    config: Annotated[Path | None, typer.Option(help="Line configuration.")] = None,
    duration: Annotated[
        str | None, typer.Option("--for", help="Line time, e.g. '10 min'; else until Ctrl-C.")
    ] = None,
    from_historian: Annotated[
        tuple[datetime, datetime] | None,
        typer.Option(help="Instead of a line: START END of stored data, UTC."),
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder of the stopped service.")] = Path("var"),
    acceleration: Annotated[
        float, typer.Option(help="Of a virtual line whose clock runs faster.", min=1)
    ] = 1.0,
    epoch_ns: Annotated[
        int, typer.Option(help="Moment at which line and wall clock agree, ns (UTC).")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Record what a line sends, without a twin; or what a historian holds."""
    configure_logging(sys.stderr)
    line = read_line(config or bundled("line.yaml"))
    if from_historian is not None:
        count = _record_stored(line, data, output, *from_historian, err)
    else:
        seconds = None if duration is None else parse(duration, "s")
        clock = LineClock(acceleration, epoch_ns)
        count = asyncio.run(_record_line(line, output, clock, seconds, err))
    if as_json:
        typer.echo(json.dumps({"recording": str(output), "samples": count}))
    else:
        out.print(f"{count:,} samples in {output}", highlight=False)
