"""`twin status`, `reload`, `backup`, `restore`, and what a running service answers to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from sdnotify import SystemdNotifier

from twin.app.line import read_line
from twin.backup import restore as put_back
from twin.cli.terminal import Json, err, out
from twin.configuration import ConfigurationError, bundled
from twin.configuration.loading import load
from twin.control import Answer, ControlError, ask, running, served
from twin.health import examine
from twin.metrics import render
from twin.notifying import notify
from twin.reloading import ReloadError
from twin.service import Service
from twin.upkeep import back_up_to

log = structlog.get_logger()
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder of the store; else as configured.")
]
Line = Annotated[Path | None, typer.Option("--config", help="Line configuration.")]


@contextlib.asynccontextmanager
async def operated(service: Service, config: Path, folder: Path) -> AsyncIterator[None]:
    """While inside, the service answers commands and SIGHUP, and systemd is told how it is.

    Args:
        service: runs inside.
        config: file that it was made from, read again for a reload.
        folder: of its store.

    Raises:
        ControlError: another service runs on this folder.
    """

    async def reload(by: str) -> list[str]:
        try:
            # models are opened to check it: not in the loop
            line = await asyncio.to_thread(read_line, config)
            return service.reload(line, by)
        except ConfigurationError as error:
            problems = [str(problem) for problem in error.problems]
            raise ExceptionGroup("refused", list(map(ValueError, problems))) from None
        except ReloadError as error:
            raise ExceptionGroup("refused", list(map(ValueError, error.problems))) from None

    async def on_hangup() -> None:
        try:
            await reload("SIGHUP")
        except ExceptionGroup as refused:
            problems = [str(error) for error in refused.exceptions]
            log.error("reload", refused=problems)
        except Exception:  # nobody waits for an answer; the line is followed on as before
            log.exception("reload")

    async def answer_reload(request: Mapping[str, Any]) -> Answer:
        return {"changed": await reload(str(request.get("by", "twin reload")))}

    async def answer_backup(request: Mapping[str, Any]) -> Answer:
        return {"folder": str(await back_up_to(service, folder, Path(request["folder"])))}

    async def answer_status(_: Mapping[str, Any]) -> Answer:
        return status_of(service)

    async def answer_metrics(_: Mapping[str, Any]) -> Answer:
        return {"text": render(service).decode()}

    handlers = {
        "reload": answer_reload,
        "backup": answer_backup,
        "status": answer_status,
        "metrics": answer_metrics,
    }
    loop = asyncio.get_running_loop()
    async with served(folder, handlers), asyncio.TaskGroup() as tasks:
        notifying = tasks.create_task(notify(service, SystemdNotifier()), name="systemd")
        loop.add_signal_handler(signal.SIGHUP, lambda: tasks.create_task(on_hangup()))
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)
            notifying.cancel()


def status_of(service: Service) -> Answer:
    """What `twin status` shows."""
    health, core = examine(service), service.core
    return {
        "version": version("linetwin"),
        "line": core.line.name,
        "live": health.live,
        "ready": health.ready,
        "reasons": list(health.reasons),
        "metres": service.status.metres,
        "samples": core.received,
        "modes": {step: core.trust.mode(step) for step in core.line.steps},
        "jobs": {
            name: {"runs": job.runs, "failures": job.failures, "error": job.error}
            for name, job in service.jobs.states.items()
        },
    }


def status(
    data: Data = None,
    config: Line = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Its metrics, as Prometheus reads them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Ask a running service how it is; ends with 1 where it is not ready."""
    if metrics:
        typer.echo(_ask(_folder(data, config), {"do": "metrics"}, 10.0)["text"])
        return
    said = _ask(_folder(data, config), {"do": "status"}, 10.0)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        out.print(f"{said['line']}: {'ready' if said['ready'] else 'not ready'}")
        for reason in said["reasons"]:
            out.print(f"  {reason}", markup=False, highlight=False, soft_wrap=True)
        modes = ", ".join(f"{step} in {mode}" for step, mode in said["modes"].items())
        out.print(f"  {said['samples']:,} samples, {said['metres']:.1f} m; {modes}")
    if not said["ready"]:
        raise typer.Exit(1)


def reload(data: Data = None, config: Line = None, as_json: Json = False) -> None:
    """Let a running service read its configuration again; it is refused as a whole if wrong."""
    said = _ask(_folder(data, config), {"do": "reload"}, 60.0)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        out.print("changed: " + (", ".join(said["changed"]) or "nothing"), soft_wrap=True)


def backup(
    folder: Annotated[Path, typer.Argument(help="New folder for the backup.")],
    data: Data = None,
    config: Line = None,
    as_json: Json = False,
) -> None:
    """Back up everything that a running service keeps, without stopping it."""
    request = {"do": "backup", "folder": str(folder.resolve())}
    with err.status("copying …"):
        said = _ask(_folder(data, config), request, None)
    if as_json:
        typer.echo(json.dumps(said))
    else:
        out.print(f"backed up in {said['folder']}", soft_wrap=True)


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    data: Data = None,
    config: Line = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of a stopped service's store; what was there is kept beside it."""
    store = _folder(data, config)
    if running(store):
        raise ControlError(f"a service runs on {store}: stop it first")
    aside = put_back(folder, store, f"before-{datetime.now(UTC):%Y-%m-%d-%H%M%S}")
    if as_json:
        typer.echo(json.dumps({"store": str(store), "aside": str(aside) if aside else None}))
    else:
        out.print(f"restored to {store}", soft_wrap=True)
        if aside is not None:
            out.print(f"what was there is in {aside}", soft_wrap=True)


def _folder(data: Path | None, config: Path | None) -> Path:
    return data or load(config or bundled("line.yaml"), None).store.folder


def _ask(folder: Path, request: Mapping[str, Any], patience: float | None) -> Answer:
    said = ask(folder, request, patience)
    if not said["ok"]:
        raise ExceptionGroup("refused", [ControlError(problem) for problem in said["problems"]])
    return said
