"""`twin promote`, `twin rollback` and `twin models`: which model predicts a step, and why."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from twin.app.stores import open_registry, require_store
from twin.cli.terminal import Json, out
from twin.configuration import bundled, load
from twin.registry import Registry

Step = Annotated[str, typer.Argument(help="Step whose model is meant.")]
Data = Annotated[Path | None, typer.Option(help="Folder of the service's store, as for twin run.")]
Line = Annotated[
    Path | None, typer.Option(help="Line configuration; the bundled virtual line without one.")
]
By = Annotated[str | None, typer.Option(help="Who decides; the user of this computer without.")]


def promote(
    step: Step,
    file: Annotated[Path, typer.Argument(help="Model, .onnx with its card.")],
    backtest: Annotated[Path, typer.Option(help="Report of twin backtest on this very file.")],
    data: Data = None,
    line: Line = None,
    by: By = None,
) -> None:
    """Let a model that a backtest calls better predict a step; a running service takes it too."""
    with _registry(line, data) as registry:
        version = registry.promote(time.time_ns(), step, file, backtest, by or _user())
    out.print(f"{step} is predicted by model {version} from now on", highlight=False)


def rollback(step: Step, data: Data = None, line: Line = None, by: By = None) -> None:
    """Return to the model that predicted a step before the last promotion."""
    with _registry(line, data, kept=True) as registry:
        version = registry.roll_back(time.time_ns(), step, by or _user())
    out.print(f"{step} is predicted by model {version} again", highlight=False)


def models(data: Data = None, line: Line = None, as_json: Json = False) -> None:
    """Say which model predicts each step, since when, by whom, and on what evidence."""
    with _registry(line, data, kept=True) as registry:
        listed = [_entry(registry, step) for step in registry.in_use()]
    if as_json:
        typer.echo(json.dumps(listed))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("step", "model", "version", "since (UTC)", "by", "evidence", "before"):
        table.add_column(column)
    for entry in listed:
        since = entry["since_ns"]
        moment = datetime.fromtimestamp(since / 1e9, UTC) if since else None
        table.add_row(
            entry["step"],
            Path(entry["file"]).name,
            entry["version"],
            f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "",
            entry["by"],
            entry["evidence"][:12],
            ", ".join(dict.fromkeys(change["previous"] for change in entry["history"])),
        )
    out.print(table)


def _entry(registry: Registry, step: str) -> dict[str, Any]:
    used = registry.in_use()[step]
    try:
        version = registry.open(step, used).version
    except ValueError as error:
        version = str(error)
    return {
        "step": step,
        "file": str(used.file),
        "version": version,
        "since_ns": used.since,
        "by": used.by,
        "evidence": used.evidence,
        "history": registry.history(step),
    }


@contextmanager
def _registry(config: Path | None, data: Path | None, *, kept: bool = False) -> Iterator[Registry]:
    """The registry in a store, which there has to be where something `kept` is asked for.

    Raises:
        ValueError: there is none.
    """
    path = config or bundled("line.yaml")
    line = load(path)
    folder = data or line.store.folder
    if kept:
        require_store(folder)
    registry = open_registry(line, path.parent, folder)
    with registry.ledger:
        yield registry


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a computer without names
        return "unknown"
