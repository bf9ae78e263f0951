"""What all commands share: the two consoles, options, and the way in which numbers are printed."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

out = Console(width=None if sys.stdout.isatty() else 110)
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Config = Annotated[
    Path | None, typer.Argument(help="Line configuration; the bundled virtual line without one.")
]


def number(value: float) -> str:
    """Four significant digits, a dash where there is no value."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def finite(value: Any) -> Any:
    """JSON has no word for NaN and infinity: None."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_errors(summary: dict[str, Any]) -> None:
    """The table of predicted against measured, from the summary of a run."""
    table = Table(title="Predicted against measured", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("structure parameter")
    table.add_column("mean absolute error", justify="right")
    table.add_column("mean residual", justify="right")
    table.add_column("unit")
    for name, error in summary["mae"].items():
        unit = summary["units"][name]
        table.add_row(name, number(error), number(summary["residual_bias"][name]), unit)
    out.print(table)


def print_samples(summary: dict[str, Any]) -> None:
    """What was advised, received and refused, from the summary of a run."""
    advice = ", ".join(f"{count} {state}" for state, count in summary["recommendations"].items())
    out.print(f"recommendations: {advice or 'none'}")
    samples = summary["samples"]
    rejected = ", ".join(f"{n:,} {reason}" for reason, n in samples["rejected"].items())
    out.print(
        f"samples: {samples['received']:,} received, {samples['stored']:,} stored, "
        f"rejected: {rejected or 'none'}"
    )


def span(seconds: float | None) -> str:
    """A stretch of time in seconds or, from ten minutes on, in minutes."""
    if seconds is None:
        return "–"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
