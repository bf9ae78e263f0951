"""`twin train`: surrogates from the physics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from surrogates import DEFAULT_SAMPLES, DEFAULT_SEED
from surrogates.training import train_models
from twin.cli.cluster import Dask, computing_on
from twin.cli.terminal import Json, err, out


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
