"""`twin`: demo, run, simulate, train, check, doctor, browse, export."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from asyncua.ua.uaerrors import UaError
from rich import box
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connectors.importing import DataError
from connectors.opcua_browse import browse as browse_server
from connectors.opcua_browse import tag_configuration
from connectors.recording import RecordingError
from simulators.__main__ import main as simulate_main
from simulators.scenario import ScenarioError
from surrogates import DEFAULT_SAMPLES, DEFAULT_SEED
from twin.app import (
    build_desk,
    build_service,
    configure_logging,
    load_challengers,
    open_registry,
    read_line,
    serve_api,
)
from twin.backup import BackupError
from twin.cli.assessment.command import assess, scenario_file
from twin.cli.auditing import audit
from twin.cli.backtesting import backtest
from twin.cli.calibrating import calibrate_command
from twin.cli.certs import certs as make_certs
from twin.cli.certs import shown_to
from twin.cli.cluster import Dask, computing_on
from twin.cli.demo import DemoOptions, run_demo
from twin.cli.designing import design, sensitivity
from twin.cli.doctor import Finding, examine
from twin.cli.export import export_samples
from twin.cli.importing import import_
from twin.cli.keys import DECISIONS, decide, pressed
from twin.cli.operating import backup, operated, reload, restore, status
from twin.cli.planning import plan
from twin.cli.processes import LineFailedError
from twin.cli.promoting import models, promote, rollback
from twin.cli.recording import RecordingSwitch, record
from twin.cli.replaying import replay
from twin.cli.terminal import Config, Json, err, finite, out, print_errors, print_samples
from twin.cli.users import introduce, users
from twin.cli.view import view
from twin.clock import LineClock
from twin.configuration import ConfigurationError, bundled
from twin.configuration.models import LineConfiguration
from twin.control import ControlError
from twin.logs import log_to
from twin.migrating import LedgerError
from twin.ports import ConfigurationMismatch, HistorianError
from twin.spool import SpoolError

app = typer.Typer(
    help="The digital twin of a battery pilot line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
log = structlog.get_logger()
for command in (record, replay, backtest, assess):
    app.command()(command)
app.command("import")(import_)
app.command("certs")(make_certs)
app.command()(status)
app.command()(reload)
app.command()(backup)
app.command()(restore)
app.add_typer(audit, name="audit")
app.command("calibrate")(calibrate_command)
app.command()(design)
app.command()(sensitivity)
app.command()(plan)
app.command()(promote)
app.command()(rollback)
app.command()(models)
app.add_typer(users, name="users")


def main() -> None:
    """Entry point: errors of people are sentences, not tracebacks."""
    try:
        app()
    except* (
        BackupError,
        ConfigurationError,
        ConfigurationMismatch,
        ControlError,
        DataError,
        HistorianError,
        SpoolError,
        LedgerError,
        LineFailedError,
        RecordingError,
        ScenarioError,
        UaError,
        ValueError,
        OSError,
    ) as group:
        for error in _leaves(group):
            problems = error.problems if isinstance(error, ConfigurationError) else [error]
            for problem in problems:
                said = str(problem) or type(problem).__name__
                err.print(said, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves


@app.command()
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


@app.command()
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
        int | None, typer.Option(help="Of dashboard and API, instead of the configured one.")
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
    desk = build_desk(service, registry, folder)
    address = serve_api(service, desk, line.api, port)
    for said in introduce(desk, address, folder):
        log.info("api", said=said)
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, service.stop)
    switch = RecordingSwitch(service, folder / "recordings")

    def press(key: str) -> None:
        switch.press(key)
        decide(service, key)

    try:
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
    finally:
        switch.stop()
        desk.close()
        service.store.close()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def simulate(context: typer.Context) -> None:
    """Run the virtual line alone, for any OPC UA or MQTT client (see `twin simulate -- --help`)."""
    raise typer.Exit(simulate_main(context.args))


@app.command()
def train(
    steps: Annotated[list[str] | None, typer.Argument(help="Steps; all without one.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for models and cards.")] = Path("models"),
    seed: Annotated[int, typer.Option(help="Of design, split and fit.")] = DEFAULT_SEED,
    samples: Annotated[int, typer.Option(help="Designed samples per step.", min=64)] = (
        DEFAULT_SAMPLES
    ),
    dask: Dask = None,
    as_json: Json = False,
) -> None:
    """Train surrogates on designed samples of the physics and export them as ONNX with cards."""
    from surrogates.training import train_models  # scikit-learn takes a second to load

    names = steps or ["mixing", "coating", "drying", "calendering"]
    output.mkdir(parents=True, exist_ok=True)
    with Progress(
        TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn(), console=err
    ) as progress:
        tasks = {name: progress.add_task(name, total=1.0) for name in names}

        def report(step: str, share: float) -> None:
            progress.update(tasks[step], completed=share)

        with computing_on(dask):
            cards = train_models(output, names, seed, samples, report, here=dask is None)
    if as_json:
        typer.echo(json.dumps([card.model_dump(mode="json") for card in cards]))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("model", "output", "R2", "mean absolute error", "unit"):
        table.add_column(
            column, justify="right" if column in ("R2", "mean absolute error") else "left"
        )
    for card in cards:
        for quantity in card.outputs:
            error = card.errors[quantity.name]
            table.add_row(
                card.name, quantity.name, f"{error.r2:.5f}", f"{error.mae:.3g}", quantity.unit
            )
    out.print(table)


@app.command()
def check(config: Config = None, as_json: Json = False) -> None:
    """Validate a configuration: every problem with file, line and remedy."""
    path = config or bundled("line.yaml")
    try:
        line = read_line(path)
    except ConfigurationError as error:
        if not as_json:
            raise
        problems = [
            {"file": str(p.file), "line": p.line, "what": p.what, "remedy": p.remedy}
            for p in error.problems
        ]
        typer.echo(json.dumps({"ok": False, "problems": problems}))
        raise typer.Exit(2) from None
    counts = {
        "connectors": len(line.connectors),
        "tags": len(line.tags),
        "webs": len(line.webs),
        "steps": len(line.steps),
    }
    if as_json:
        typer.echo(json.dumps({"ok": True, "problems": [], **counts}))
    else:
        out.print(f"{path}: fine, " + ", ".join(f"{n} {name}" for name, n in counts.items()))


@app.command()
def doctor(config: Config = None, as_json: Json = False) -> None:
    """Try every connection and print what is wrong."""
    configure_logging(sys.stderr)
    path = config or bundled("line.yaml")
    line = read_line(path)
    with err.status("trying every connection …"):
        findings = asyncio.run(examine(line))
    if as_json:
        typer.echo(json.dumps([_finding(finding) for finding in findings]))
    else:
        for finding in findings:
            mark, style = ("ok", "green") if finding.ok else ("no", "red")
            out.print(f"[{style}]{mark}[/]  {finding.what:<14} ", end="")
            out.print(finding.said, markup=False, highlight=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _finding(finding: Finding) -> dict[str, object]:
    return {"what": finding.what, "ok": finding.ok, "said": finding.said}


@app.command()
def browse(
    url: Annotated[str, typer.Argument(help="Endpoint, e.g. opc.tcp://host:4840/machine.")],
    connector: Annotated[str, typer.Option(help="Name of the connector in the configuration.")] = (
        "machine"
    ),
    certs: Annotated[
        Path | None, typer.Option(help="Folder of `twin certs`: signed and encrypted.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="As whom to log in.")] = None,
    password_env: Annotated[
        str, typer.Option(help="Environment variable that holds the password.")
    ] = "LINETWIN_PASSWORD",
    as_json: Json = False,
) -> None:
    """Print a ready tag configuration of everything that an OPC UA server offers."""

    configure_logging(sys.stderr)
    found = asyncio.run(browse_server(url, connector=shown_to(url, certs, user, password_env)))
    if as_json:
        typer.echo(json.dumps([asdict(variable) for variable in found]))
    else:
        typer.echo(tag_configuration(found, connector))


@app.command()
def export(
    output: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    data: Annotated[Path, typer.Option(help="Folder of the stopped service.")] = Path("var"),
    config: Annotated[Path | None, typer.Option(help="Line configuration.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Tags; all without one.")] = None,
    start: Annotated[datetime | None, typer.Option(help="UTC.")] = None,
    end: Annotated[datetime | None, typer.Option(help="UTC.")] = None,
    as_json: Json = False,
) -> None:
    """Export stored samples in their own units."""
    line = read_line(config or bundled("line.yaml"))
    began = time.monotonic()
    rows = export_samples(line, data, output, tag, start, end)
    if as_json:
        typer.echo(json.dumps({"file": str(output), "rows": rows}))
    else:
        out.print(f"{rows:,} samples in {output} after {time.monotonic() - began:.1f} s")
