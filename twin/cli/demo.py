"""`twin demo`: the virtual line and the twin that follows it, and what the advice was worth."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from simulators.runner import run_headless
from simulators.scenario import Scenario, load_scenario
from twin.app.line import load_challengers, read_line
from twin.app.logs import configure_logging
from twin.app.service import build_service, start_recording
from twin.app.stores import open_registry
from twin.cli.assessment.command import scenario_file
from twin.cli.desk import build_desk, serve_api
from twin.cli.keys import DECISIONS, decide, pressed
from twin.cli.processes import LineFailedError, broker, free_ports, virtual_line
from twin.cli.terminal import Json, err, finite, out, print_errors, print_samples
from twin.cli.view import view
from twin.clock import LineClock
from twin.configuration import bundled
from twin.configuration.models import ApiConfiguration, LineConfiguration
from twin.samples import Floats
from twin.service import Service
from twin.users import new_password

START_DELAY = 4.0
"""Wall seconds from the start of the demo until the web moves: the twin is connected by then."""
DRAIN = 1.5
"""Wall seconds that the twin listens after the line has ended."""
DEMO = "demo"
"""The operator of the demo; has another password every time."""
TRUTH_UNITS = {"porosity": 100.0, "dry_porosity": 100.0, "residual_solvent": 100.0}
"""The truth gives these as fractions, the line's configuration in percent."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asks for."""

    metres: float
    scenario: Path
    seed: int
    acceleration: float
    auto_accept: bool
    data: Path | None
    """Folder for historian, ledger and truth; None for a temporary one."""
    picture: Path | None = None
    """Where the last view goes as SVG."""
    record: Path | None = None
    """Folder for a recording."""
    port: int = 0
    """Of dashboard and API; 0 takes a free one."""
    config: Path | None = None
    """Another configuration of the bundled line, such as one with another historian."""


def accelerated(
    line: LineConfiguration, acceleration: float, ports: Mapping[str, int]
) -> LineConfiguration:
    """The line on other ports, with tolerances that hold when its clock runs faster.

    Delays of computer and network are wall time: a tenth of a second is six on a line at 60 x.
    """
    connectors: dict[str, Any] = {}
    for name, connector in line.connectors.items():
        if connector.kind == "mqtt":
            connectors[name] = connector.model_copy(update={"port": ports["mqtt"]})
        else:
            url = f"opc.tcp://127.0.0.1:{ports[name]}/{connector.url.rpartition('/')[2]}"
            connectors[name] = connector.model_copy(update={"url": url})
    return line.model_copy(
        update={
            "connectors": connectors,
            "lateness": max(line.lateness, 0.25 * acceleration),
            "stale_after": max(line.stale_after, 2.0 * acceleration),
            "clock_tolerance": max(line.clock_tolerance, 2 * START_DELAY * acceleration),
            "oldest": max(line.oldest, 60.0 * acceleration),
        }
    )


def _without_sessions(line: LineConfiguration) -> LineConfiguration:
    """The broker ends with the demo, and the embedded one is slow where it must wait."""
    connectors = {
        name: connector.model_copy(update={"session_expiry": 0.0})
        if connector.kind == "mqtt"
        else connector
        for name, connector in line.connectors.items()
    }
    return line.model_copy(update={"connectors": connectors})


def in_specification(line: LineConfiguration, truth: Mapping[str, Floats]) -> tuple[float, float]:
    """Metres that were calendered, and metres of them with all parameters inside their limits."""
    made = np.isfinite(truth["calendered_thickness"])
    inside = made.copy()
    for step in line.steps.values():
        for name, output in step.outputs.items():
            if output.limits is not None and name in truth:
                value = truth[name] * TRUTH_UNITS.get(name, 1.0)
                inside &= (value >= output.limits[0]) & (value <= output.limits[1])
    return float(made.sum()) * line.segment, float(inside.sum()) * line.segment


def _without_advice(
    line: LineConfiguration, scenario: Scenario, seed: int, metres: float
) -> tuple[float, float]:
    os.nice(10)
    return in_specification(line, run_headless(scenario, seed, metres).segments)  # type: ignore[arg-type]  # numeric columns only are used


def summarise(
    service: Service,
    options: DemoOptions,
    scenario: Scenario,
    truth: tuple[float, float],
    baseline: tuple[float, float],
) -> dict[str, Any]:
    """The demo's summary, as `--json` prints it."""
    status, core = service.status, service.core
    judged = {name: parameter for name, parameter in status.parameters.items() if parameter.count}
    states = status.states
    return {
        "metres": truth[0],
        "in_spec_metres": truth[1],
        "in_spec_metres_without_advice": baseline[1],
        "mae": {name: parameter.mean_absolute_error for name, parameter in judged.items()},
        "residual_bias": {name: parameter.bias for name, parameter in judged.items()},
        "units": {name: parameter.unit for name, parameter in judged.items()},
        "recommendations": {
            state: states[state]
            for state in ("proposed", "accepted", "written", "verified", "failed")
        },
        "samples": {
            "received": core.received,
            "stored": service.store.stored,
            "rejected": dict(service.rejected),
        },
        "seed": options.seed,
        "scenario": scenario.name,
    }


async def run_demo(options: DemoOptions, console: Console, live: bool) -> dict[str, Any] | None:
    """Run the demo to its end; None if it was interrupted.

    Raises:
        ConfigurationError, ScenarioError, LineFailedError: the demo lacks something.
    """
    scenario = load_scenario(options.scenario)
    path = options.config or bundled("line.yaml")
    import twin.screen  # noqa: F401  # it takes a second to load, which the line does not wait for

    async with contextlib.AsyncExitStack() as stack:
        folder = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = ("mixer", "coater", "calender", "mqtt")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        line = _without_sessions(accelerated(read_line(path), options.acceleration, ports))
        pool = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        broker_name = await stack.enter_async_context(broker(ports["mqtt"]))
        epoch = time.time_ns() + int(START_DELAY * 1e9)
        simulator = await stack.enter_async_context(
            virtual_line(
                [
                    *("--scenario", str(options.scenario), "--seed", str(options.seed)),
                    *("--acceleration", str(options.acceleration), "--epoch-ns", str(epoch)),
                    *("--metres", str(options.metres), "--truth", str(folder / "truth")),
                    *(word for name in names[:3] for word in (f"--{name}-port", str(ports[name]))),
                    *("--mqtt-port", str(ports["mqtt"])),
                ]
            )
        )
        registry = open_registry(line, path.parent, folder / "store")
        service = build_service(
            line,
            registry.start(),
            LineClock(options.acceleration, epoch),
            folder / "store",
            "auto-accept" if options.auto_accept else None,
            registry,
            load_challengers(line, path.parent),
        )
        stack.callback(service.store.close)
        desk = build_desk(service, registry, folder / "store")
        stack.callback(desk.close)
        address = serve_api(service, desk, ApiConfiguration(), options.port)
        password = new_password()
        desk.door.users.replace(DEMO, "operator", password)
        console.print(f"{address}   log in as {DEMO} with {password}", highlight=False)
        if options.record is not None:
            stack.callback(start_recording(service, options.record).close)
        loop = asyncio.get_running_loop()
        # the terminal tells all processes of Ctrl-C; the demo ends this one, which keeps the mask
        unmasked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        baseline = loop.run_in_executor(
            pool, _without_advice, line, scenario, options.seed, options.metres
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, unmasked)
        title = (
            f"{line.name}, scenario {scenario.name}, seed {options.seed}, "
            f"{options.acceleration:g} x, {broker_name}"
        )
        stay = address if live and not options.auto_accept else ""
        interrupted = await _follow(service, simulator, options.metres, console, live, title, stay)
        if interrupted:
            baseline.cancel()
            workers = list(pool._processes.values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers:
                process.terminate()
            return None
        if simulator.returncode:
            raise LineFailedError(
                f"the virtual line ended with exit code {simulator.returncode} before it was done"
            )
        if options.picture is not None:
            _draw(service, title, options.picture)
        table = pq.read_table(folder / "truth" / "segments.parquet")
        truth = in_specification(
            line, {name: table[name].to_numpy() for name in table.column_names}
        )
        with console.status("the same seed without advice …"):
            return summarise(service, options, scenario, truth, await baseline)


async def _follow(
    service: Service,
    simulator: asyncio.subprocess.Process,
    metres: float,
    console: Console,
    live: bool,
    title: str,
    stay: str,
) -> bool:
    """Run the service until the line has ended; whether somebody interrupted it.

    Where people decide they may look on at the address `stay` until they press Ctrl-C.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted.set)
    running = asyncio.create_task(service.run())
    ended = asyncio.create_task(simulator.wait())
    stopped = asyncio.create_task(interrupted.wait())
    try:
        with _shown(service, metres, console, live, title) as refresh:
            while not (ended.done() or stopped.done() or running.done()):
                await asyncio.wait(
                    {running, ended, stopped}, timeout=0.25, return_when="FIRST_COMPLETED"
                )
                refresh(False)
            if ended.done():
                await asyncio.wait({running, stopped}, timeout=DRAIN, return_when="FIRST_COMPLETED")
                refresh(True)
                if stay:
                    console.print(f"the line has ended; {stay} stays until Ctrl-C", highlight=False)
                    await asyncio.wait({running, stopped}, return_when="FIRST_COMPLETED")
                    interrupted.clear()
    finally:
        service.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        stopped.cancel()
        ended.cancel()
        await running
    return interrupted.is_set()


@contextlib.contextmanager
def _shown(
    service: Service, metres: float, console: Console, live: bool, title: str
) -> Iterator[Callable[[bool], None]]:
    """A view to be refreshed; the last time with True, as the line has then ended."""
    if live:
        with (
            pressed(lambda key: decide(service, key)),
            Live(console=console, auto_refresh=False) as display,
        ):
            yield lambda ended: display.update(view(service, title, ended, DECISIONS), refresh=True)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} m"),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        task = progress.add_task("coating", total=metres)
        yield lambda _: progress.update(task, completed=min(service.status.metres, metres))


def _draw(service: Service, title: str, file: Path) -> None:
    """The last view as a picture, SVG."""
    canvas = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    canvas.print(view(service, title, ended=True))
    canvas.save_svg(str(file), title="twin demo")


def demo(
    metres: Annotated[float, typer.Option(help="Web to coat, dry and calender, m.", min=5)] = 300.0,
    auto_accept: Annotated[
        bool, typer.Option("--auto-accept", help="Accept every recommendation.")
    ] = False,
    scenario: Annotated[
        str | None, typer.Option(help="Scenario file, or the name of a bundled one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the virtual line.", min=0)] = 1,
    acceleration: Annotated[
        float, typer.Option(help="How much faster than life the line runs.", min=1, max=200)
    ] = 60.0,
    data: Annotated[
        Path | None, typer.Option(help="Keep historian, ledger and truth in this folder.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Save the last view as a picture, SVG.")
    ] = None,
    record: Annotated[Path | None, typer.Option(help="Record into this new folder.")] = None,
    port: Annotated[
        int, typer.Option(help="TCP port of dashboard and API; 0 is a free one.", min=0, max=65535)
    ] = 0,
    config: Annotated[
        Path | None, typer.Option(help="Another configuration of the bundled line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the virtual line and the twin that follows it, and say what the advice was worth."""
    options = DemoOptions(
        metres,
        scenario_file(scenario or "nominal"),
        seed,
        acceleration,
        auto_accept,
        data,
        picture,
        record,
        port,
        config,
    )
    file = (data / "twin.log") if data else Path(os.devnull)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        configure_logging(stream)
        console = err if as_json else out
        summary = asyncio.run(run_demo(options, console, live=console.is_terminal and not as_json))
    if summary is None:
        raise typer.Exit(130)
    if as_json:
        typer.echo(json.dumps(finite(summary)))
    else:
        _print_summary(summary)


def _print_summary(summary: dict[str, Any]) -> None:
    print_errors(summary)
    metres = summary["metres"]
    for label, inside in (
        ("with advice", summary["in_spec_metres"]),
        ("without", summary["in_spec_metres_without_advice"]),
    ):
        share = 100 * inside / metres if metres else 0.0
        out.print(f"{inside:7.1f} m of {metres:.1f} m in specification {label} ({share:.0f} %)")
    print_samples(summary)
