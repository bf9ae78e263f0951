"""`twin import`: what was understood of foreign data, as a table or as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from connectors.importing import Summary, import_files, load_mapping
from connectors.importing.stream import Progress as Report
from connectors.importing.summary import SignalSummary
from connectors.importing.times import show
from connectors.recording import MANIFEST, RecordingError
from twin.cli.terminal import Json, err, number, out
from twin.configuration import load

_PATIENCE: Final = 2.0
"""Seconds until progress is shown."""
_GAPS: Final = 5
"""Gaps that are shown; the recording names all."""


def import_(
    files: Annotated[list[Path], typer.Argument(help="CSV, workbooks, Parquet, InfluxDB.")],
    line: Annotated[Path, typer.Option(help="Line configuration, whose tags the data are of.")],
    mapping: Annotated[Path, typer.Option(help="What the columns are; see docs/import.md.")],
    output: Annotated[
        Path | None, typer.Option(help="New folder for the recording.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what was understood, and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a recording of CSV, Excel, Parquet or InfluxDB data."""
    if output is None and not dry_run:
        raise ValueError("name a new folder with --output, or say --dry-run")
    folder = None if dry_run else output
    with progress_after_a_while(err) as progress:
        summary = import_data(files, line, mapping, folder, progress)
    if as_json:
        typer.echo(as_document(summary, folder))
    else:
        print_summary(summary, folder, out)


def import_data(
    files: list[Path],
    line_file: Path,
    mapping_file: Path,
    output: Path | None,
    progress: Report,
) -> Summary:
    """Import files into a recording; without an output nothing is written.

    Raises:
        ConfigurationError: the line or the mapping cannot be used.
        DataError: a file cannot be used.
        RecordingError: the output holds something.
        OSError: the disk refuses.
    """
    if output is not None and output.exists():
        if not output.is_dir():
            raise RecordingError(f"{output} is a file; name a new folder for the recording")
        if any(output.iterdir()):
            raise RecordingError(f"{output} is not empty; name a new folder for the recording")
    line = load(line_file)
    imported = import_files(files, load_mapping(mapping_file, line), line, progress)
    if output is not None:
        imported.write(output, progress)
    return imported.summary


@contextmanager
def progress_after_a_while(console: Console) -> Iterator[Report]:
    """A bar on a console, for what takes longer than two seconds."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    began = time.monotonic()
    task = bar.add_task("", total=1.0)

    def report(what: str, share: float) -> None:
        bar.update(task, description=what, completed=share)
        if not bar.live.is_started and time.monotonic() - began > _PATIENCE:
            bar.start()

    try:
        yield report
    finally:
        if bar.live.is_started:
            bar.stop()


def as_document(summary: Summary, output: Path | None) -> str:
    """The summary for machines."""
    recording = None if output is None else str(output)
    return json.dumps({"recording": recording, **summary.model_dump(mode="json")})


def print_summary(summary: Summary, output: Path | None, console: Console) -> None:
    """What was understood; shorter where it was written too."""
    for each in summary.files:
        found = "".join(
            f", {key} {word!r}" if key == "delimiter" and len(word) == 1 else f", {key} {word}"
            for key, word in each.understood.items()
        )
        _say(console, f"{each.file}: {each.layout}{found}, times: {each.zone}, {each.rows:,} rows")
        if each.out_of_order:
            _say(console, f"  {each.out_of_order:,} rows out of order, sorted by time")
    if output is None:
        console.print(_table(summary.signals))
    _print_times(summary, console)
    for name in summary.unseen:
        _say(console, f"there is no {name!r}, which the mapping names")
    duplicates = sum(each.duplicates for each in summary.signals)
    if duplicates:
        _say(console, f"{duplicates:,} values came twice for the same tag and time: kept the last")
    missing = sum(each.missing for each in summary.signals)
    laboratory = sum(each.values for each in summary.signals if each.laboratory)
    counts = f"{summary.samples:,} samples of {len(summary.signals)} signals, {missing:,} missing"
    if laboratory:
        counts += f"; {laboratory:,} laboratory values"
    where = "nothing was written" if output is None else f"recorded in {output / MANIFEST}"
    _say(console, f"{counts}; {where}")


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(signals: tuple[SignalSummary, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("in the file", "tag", "unit"):
        table.add_column(name, overflow="fold")
    for name in ("values", "missing", "min", "mean", "max"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("in")
    table.add_column("outside", justify="right")
    for each in signals:
        numbers = ["" if one is None else number(one) for one in (each.low, each.mean, each.high)]
        outside = "" if each.outside is None else f"{100 * each.outside:.3g} %"
        cells = [
            each.origin,
            each.tag,
            f"{_plain(each.unit)} → {_plain(each.si)}",
            f"{each.values:,}",
            f"{each.missing:,}",
            *numbers,
            _plain(each.shown_in),
            outside,
        ]
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _plain(unit: str) -> str:
    return "1" if unit == "dimensionless" else unit


def _print_times(summary: Summary, console: Console) -> None:
    if summary.first is None or summary.last is None:
        return
    intervals = sorted({each.interval for each in summary.signals if each.interval is not None})
    every = " to ".join(dict.fromkeys(map(_span, [*intervals[:1], *intervals[-1:]])))
    said = f"{show(summary.first)} to {show(summary.last)}"
    _say(console, f"{said}, one value every {every}" if every else said)
    for gap in summary.gaps[:_GAPS]:
        span = _span((gap.until - gap.since) / 1e9)
        _say(console, f"gap of {span} after {show(gap.since)}: {gap.what}")
    if len(summary.gaps) > _GAPS:
        _say(console, f"and {len(summary.gaps) - _GAPS:,} gaps more")


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"
