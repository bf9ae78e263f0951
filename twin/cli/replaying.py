"""`twin replay`: a recording through the twin, at any speed, on the screen or as a summary."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from connectors.recording import Recording, RecordingError, differences
from twin.app.line import load_surrogates, read_line, recorded_surrogates
from twin.app.logs import configure_logging
from twin.app.replay import build_replay
from twin.cli.keys import pressed
from twin.cli.serving import serve
from twin.cli.terminal import Json, err, finite, out, print_errors, print_samples
from twin.cli.view import view
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.historian import DuckDBHistorian
from twin.ingest import NANOSECONDS
from twin.replay import Replay
from twin.replay_screen import FULL, ReplayScreen
from twin.store import Store

KEYS: Final = "space pause   s step   ← → 1 min   - + speed   Ctrl-C end"
JUMP: Final = 60 * NANOSECONDS


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What the command line asks for."""

    recording: Path
    speed: float
    start: str | None
    end: str | None
    with_decisions: bool
    config: Path | None
    mapped: bool
    renamed: dict[str, str]
    data: Path | None
    """Folder for a historian; None for none."""


def open_recording(options: ReplayOptions) -> tuple[Recording, Path]:
    """The recording, for the line that is asked for, and the folder beside which models lie.

    Raises:
        RecordingError: it is damaged, or was made with another configuration and is not mapped.
    """
    recording = Recording.open(options.recording)
    if options.config is None:
        return recording, bundled("line.yaml").parent
    line = read_line(options.config)
    different = differences(recording.line, line)
    if different and not (options.mapped or options.renamed):
        shown = "\n  ".join(different[:20])
        more = f"\n  and {len(different) - 20} more" if len(different) > 20 else ""
        raise RecordingError(
            f"{options.recording} was made with another configuration than {options.config}:\n"
            f"  {shown}{more}\nReplay it with its own (leave --config out), or say --map to find "
            "its tags by name in this one, and --rename OLD=NEW for tags that are called otherwise"
        )
    return recording.for_line(line, options.renamed), options.config.parent


def moment(text: str | None, replay: Replay) -> int | None:
    """A line time from ISO 8601 (UTC without a zone), or from seconds after the start, ns.

    Raises:
        ValueError: it is neither.
    """
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        return replay.span.first + int(float(text) * NANOSECONDS)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time; write 2026-11-21T10:15:00, or seconds after the start"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(np.datetime64(found.astimezone(UTC).replace(tzinfo=None), "ns").astype(np.int64))


async def run_replay(options: ReplayOptions, console: Console, live: bool) -> dict[str, Any] | None:
    """Play a recording to its end; None where somebody interrupted it.

    Raises:
        RecordingError, ValueError: the recording cannot be replayed as asked.
    """
    recording, beside = open_recording(options)
    line = recording.line
    surrogates = (
        recorded_surrogates(recording, line, beside)
        if options.config is None
        else load_surrogates(line, beside)
    )
    store: Store | None = None
    writing: asyncio.Task[None] | None = None
    if options.data is not None:
        options.data.mkdir(parents=True, exist_ok=True)
        historian = DuckDBHistorian(options.data / "historian.duckdb", line.tag_table())
        store = Store(historian, len(line.tags), capacity=4 * FULL)
        writing = asyncio.create_task(store.run(), name="store")
    screen = ReplayScreen(line, store)
    replay = build_replay(recording, surrogates, screen, options.speed, options.with_decisions)
    began = time.monotonic()
    try:
        start, end = moment(options.start, replay), moment(options.end, replay)
        if start is not None:
            replay.seek(start)
        ended = await _play(replay, screen, end, console, live, _title(options, line))
    finally:
        if store is not None and writing is not None:
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writing
            store.close()
    return _summary(replay, screen, time.monotonic() - began) if ended else None


def _title(options: ReplayOptions, line: LineConfiguration) -> str:
    what = "its decisions" if options.with_decisions else "no decisions"
    return f"REPLAY, not live: {options.recording.name} of {line.name}, with {what}"


async def _play(
    replay: Replay,
    screen: ReplayScreen,
    end: int | None,
    console: Console,
    live: bool,
    title: str,
) -> bool:
    """Until it has ended; False where somebody interrupted it."""
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    running = asyncio.create_task(replay.run(end))
    stopped = asyncio.create_task(interrupted.wait())
    try:
        with _shown(replay, screen, end, console, live, title) as refresh:
            while not (running.done() or stopped.done()):
                await asyncio.wait(
                    {running, stopped}, timeout=0.25, return_when=asyncio.FIRST_COMPLETED
                )
                refresh()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        stopped.cancel()
        if not running.done():
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    return not interrupted.is_set()


@contextlib.contextmanager
def _shown(
    replay: Replay,
    screen: ReplayScreen,
    end: int | None,
    console: Console,
    live: bool,
    title: str,
) -> Iterator[Any]:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
    )
    last = replay.span.last if end is None else min(end, replay.span.last)
    task = progress.add_task("replay", total=max(last - replay.span.first, 1))
    if not live:
        with progress:
            yield lambda: _advance(progress, task, replay)
        return
    with (
        pressed(lambda key: _press(replay, key)),
        Live(console=console, auto_refresh=False) as display,
    ):

        def refresh() -> None:
            _advance(progress, task, replay)
            display.update(_picture(replay, screen, progress, title), refresh=True)

        yield refresh


def _advance(progress: Progress, task: TaskID, replay: Replay) -> None:
    when = datetime.fromtimestamp(replay.now / NANOSECONDS, UTC)
    text = f"{when:%Y-%m-%d %H:%M:%S} UTC"
    progress.update(task, completed=replay.now - replay.span.first, description=text)


def _picture(
    replay: Replay, screen: ReplayScreen, progress: Progress, title: str
) -> RenderableType:
    speed = f"{replay.speed:g} x" if np.isfinite(replay.speed) else "as fast as it can"
    state = "paused" if replay.paused else speed
    return Group(
        view(screen, title),
        progress.get_renderable(),
        Text(f"{state}   {KEYS}", "bold yellow" if replay.paused else "dim"),
    )


def _press(replay: Replay, key: str) -> None:
    match key:
        case " ":
            replay.resume() if replay.paused else replay.pause()
        case "s":
            replay.step()
        case "right":
            replay.seek(replay.now + JUMP)
        case "left":
            replay.seek(replay.now - JUMP)
        case "+":
            replay.speed = min(replay.speed * 2, 1e6)
        case "-":
            replay.speed = replay.speed / 2 if np.isfinite(replay.speed) else 64.0
        case _:
            pass


def _summary(replay: Replay, screen: ReplayScreen, seconds: float) -> dict[str, Any]:
    status, core = screen.status, screen.core
    judged = {name: each for name, each in status.parameters.items() if each.count}
    return {
        "metres": status.metres,
        "mae": {name: each.mean_absolute_error for name, each in judged.items()},
        "residual_bias": {name: each.bias for name, each in judged.items()},
        "units": {name: each.unit for name, each in judged.items()},
        "recommendations": dict(status.states),
        "decisions_without_advice": replay.follower.unmatched,
        "samples": {
            "received": core.received,
            "stored": 0 if screen.store is None else screen.store.stored,
            "rejected": dict(screen.rejected),
        },
        "line_seconds": (replay.now - replay.span.first) / NANOSECONDS,
        "seconds": seconds,
    }


def replay(
    recording: Annotated[Path, typer.Argument(help="Folder of a recording.")],
    speed: Annotated[
        str | None,
        typer.Option(help="1, 60, … times life, or max.", show_default="max; 1 with --serve"),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="UTC, or seconds after the start.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Likewise.")] = None,
    without_decisions: Annotated[
        bool, typer.Option("--without-decisions", help="What would have been advised?")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Another line configuration than the recorded one.")
    ] = None,
    mapped: Annotated[
        bool, typer.Option("--map", help="Accept that it differs: find tags by name.")
    ] = False,
    rename: Annotated[
        list[str] | None, typer.Option(help="OLD=NEW, for a tag called otherwise; implies --map.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Keep a historian of the replay in this folder.")
    ] = None,
    served: Annotated[
        bool, typer.Option("--serve", help="Act as the line, over OPC UA and MQTT, without a twin.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Replay a recording through the twin: what it said live, it says again."""
    configure_logging(sys.stderr)
    speed = speed or ("1" if served else "max")
    options = ReplayOptions(
        recording,
        math.inf if speed == "max" else _above_nought(speed),
        start,
        end,
        not without_decisions,
        config,
        mapped,
        dict(_pair(each) for each in rename or ()),
        data,
    )
    if served:
        serve(_to_serve(options), options.speed, as_json)
        return
    console = err if as_json else out
    live = console.is_terminal and not as_json and math.isfinite(options.speed)
    summary = asyncio.run(run_replay(options, console, live))
    if summary is None:
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps(finite(summary)))
    else:
        print_errors(summary)
        print_samples(summary)
        hours, took = summary["line_seconds"] / 3600, summary["seconds"]
        out.print(f"{hours:.2f} h of the line in {took:.1f} s; nothing was written to a machine")


def _to_serve(options: ReplayOptions) -> Recording:
    """The recording, where nothing is asked for that a served one cannot do."""
    if not math.isfinite(options.speed):
        raise ValueError("--serve runs at the speed of a clock; write --speed 1, or e.g. 60")
    if options.start or options.end or options.data or not options.with_decisions:
        raise ValueError(
            "--serve sends all of a recording and has no twin; leave out --from, --to, --data and "
            "--without-decisions"
        )
    return open_recording(options)[0]


def _above_nought(speed: str) -> float:
    try:
        found = float(speed)
    except ValueError:
        found = 0.0
    if not found > 0:
        raise ValueError(f"--speed {speed}: write a number above 0, or max")
    return found


def _pair(text: str) -> tuple[str, str]:
    old, sign, new = text.partition("=")
    if not (old and sign and new):
        raise ValueError(f"--rename {text}: write OLD=NEW")
    return old, new
