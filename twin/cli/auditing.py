"""`twin audit`: who did what, and whether anybody has changed the trail since."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from twin.app.stores import open_ledger, require_store
from twin.audit import verify as follow
from twin.cli.terminal import Json, out
from twin.ingest import NANOSECONDS
from twin.ledger import Ledger

audit = typer.Typer(
    help="The audit trail: who did what, and whether it is as it was written.",
    no_args_is_help=True,
)
Data = Annotated[Path, typer.Option(help="Folder of the service's store.")]


@audit.command()
def verify(
    data: Data = Path("var"),
    head: Annotated[
        str | None, typer.Option(help="A hash that was printed or logged before: it must be there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Follow the chain of hashes; name every row that was changed, removed or inserted."""
    with _ledger(data) as ledger:
        verdict = follow(ledger.audit_rows(), ledger.audit_head(), head)
    if as_json:
        typer.echo(json.dumps({"ok": not verdict.problems, **asdict(verdict)}))
    else:
        for problem in verdict.problems:
            out.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
        said = "not as it was written" if verdict.problems else "as it was written"
        out.print(f"{verdict.rows:,} rows, {said}; head {verdict.head}", soft_wrap=True)
    if verdict.problems:
        raise typer.Exit(1)


@audit.command()
def show(
    data: Data = Path("var"),
    last: Annotated[int, typer.Option(help="How many rows, the newest first.", min=1)] = 30,
    as_json: Json = False,
) -> None:
    """Print the last rows."""
    with _ledger(data) as ledger:
        rows = ledger.audited(last)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("row", "time (UTC)", "who", "what", "details"):
        table.add_column(column)
    for row in rows:
        said = ", ".join(f"{name}: {each}" for name, each in row["details"].items())
        table.add_row(str(row["number"]), _moment(row["time"]), row["who"], row["what"], said)
    out.print(table, markup=False)


@audit.command()
def export(
    output: Annotated[Path, typer.Argument(help="File to write: .csv or .jsonl.")],
    data: Data = Path("var"),
) -> None:
    """Write the whole trail with its hashes, for whoever keeps it elsewhere."""
    if output.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"{output}: name a .csv or .jsonl file")
    with _ledger(data) as ledger, output.open("w", encoding="utf-8", newline="") as stream:
        rows: Iterator[dict[str, Any]] = (asdict(row) for row in ledger.audit_rows())
        if output.suffix == ".jsonl":
            count = sum(1 for row in rows if stream.write(json.dumps(row) + "\n"))
        else:
            names = ["number", "time", "who", "what", "details", "previous", "hash"]
            writer = csv.DictWriter(stream, names)
            writer.writeheader()
            count = sum(1 for row in rows if writer.writerow(row))
    out.print(f"{count:,} rows in {output}", highlight=False)


@contextmanager
def _ledger(data: Path) -> Iterator[Ledger]:
    """The ledger of a store, whether a service runs on it or not."""
    require_store(data)
    with open_ledger(data) as ledger:
        yield ledger


def _moment(time: int) -> str:
    return f"{datetime.fromtimestamp(time / NANOSECONDS, UTC):%Y-%m-%d %H:%M:%S}"
