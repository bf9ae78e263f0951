"""`twin calibrate`: a step's model fitted to recorded material, and judged on rolls held out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from connectors.recording import MANIFEST, Recording, for_one_line
from surrogates.card import Card, Method, Quantity, Source
from surrogates.onnx_model import OnnxSurrogate
from twin.app.line import model_path
from twin.cli.terminal import Json, err, finite, number, out
from twin.configuration import bundled, load
from twin.configuration.models import LineConfiguration
from twin.dataset import NoModel, StepData, collect
from twin.files import sha256
from twin.ports import Surrogate
from twin.units import si_unit, to_si

if TYPE_CHECKING:
    from surrogates.calibration import Calibration, Judged


def calibrate_command(
    step: Annotated[str, typer.Argument(help="Step whose model is calibrated.")],
    recordings: Annotated[list[Path], typer.Argument(help="Folders of recordings.")],
    method: Annotated[Method, typer.Option(help="What is fitted: see docs/calibrate.md.")] = "bias",
    line: Annotated[
        Path | None, typer.Option(help="Configuration; that of the recordings without one.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the model and its card.")] = Path(
        "models"
    ),
    seed: Annotated[int, typer.Option(help="Of the networks and the design.", min=0)] = 1,
    as_json: Json = False,
) -> None:
    """Fit a step's model to recorded material; exported where it is better on rolls held out."""
    from surrogates.composition import export_calibrated  # scikit-learn takes a second to load

    opened = open_for(step, recordings, line)
    folder = (line or bundled("line.yaml")).parent
    champion = champion_file(step, opened, folder)
    with err.status("running the recorded material through the twin …"):
        data = StepData.join([step_data(step, each, champion, folder) for each in opened])
    with err.status("fitting, and judging on held-out material …"):
        found = fit(step, opened[0].line, data, champion, method, seed)
    file = None
    if not found.objection:
        sources = [
            Source(
                name=each.folder.name,
                manifest_sha256=sha256(each.folder / MANIFEST),
                samples=each.manifest.samples,
            )
            for each in opened
        ]
        file = export_calibrated(found, champion, sources, output)
    units = _units(opened[0].line, found.card)
    if as_json:
        typer.echo(json.dumps(finite(_document(found, file, units))))
    else:
        _print(found, file, units)
    if file is None:
        raise typer.Exit(1)


def open_for(step: str, folders: Sequence[Path], config: Path | None) -> list[Recording]:
    """The recordings, all for one line; the models that a configuration names may be missing.

    Raises:
        ConfigurationError: the configuration cannot be used.
        RecordingError: one is damaged, or was made with another configuration than the first.
        ValueError: there is no such step on a web.
    """
    opened = for_one_line(
        [Recording.open(folder) for folder in folders], None if config is None else load(config)
    )
    line = opened[0].line
    if step not in line.steps:
        raise ValueError(f"there is no step {step}; choose from {', '.join(line.steps)}")
    if line.steps[step].runs_on not in line.webs:
        raise ValueError(
            f"{step} runs on batches, whose measurements are too few to fit a model to; "
            "calibrate a step on a web"
        )
    return opened


def champion_file(step: str, recordings: Sequence[Recording], beside: Path) -> Path | None:
    """The model that the recordings used last, else that of the line; None where it has none."""
    for recording in reversed(recordings):
        if step in recording.last_models:
            return recording.last_models[step]
    file = model_path(recordings[0].line.steps[step].model, beside)
    return file if file.is_file() else None


def step_data(step: str, recording: Recording, champion: Path | None, beside: Path) -> StepData:
    """What happened to the material of one recording in a step, as the champion sees it.

    Raises:
        ValueError: the model of another step is nowhere.
    """
    line = recording.line
    first = recording.first_models
    surrogates: dict[str, Surrogate] = {}
    for name, config in line.steps.items():
        file = champion if name == step else first.get(name) or model_path(config.model, beside)
        if file is not None and file.is_file():
            surrogates[name] = OnnxSurrogate.load(file)
        else:
            surrogates[name] = NoModel(tuple(config.inputs), tuple(config.outputs))

    def changed(name: str, version: str) -> Surrogate:
        return OnnxSurrogate.load(recording.model_file(name, version))

    return collect(line, surrogates, changed, recording.stream(), step)


def fit(
    step: str,
    line: LineConfiguration,
    data: StepData,
    champion: Path | None,
    method: Method,
    seed: int,
) -> Calibration:
    """Fit and judge; see `surrogates.calibration.calibrate`."""
    from surrogates.calibration import calibrate  # scikit-learn takes a second to load

    card = wanted_card(step, line) if champion is None else OnnxSurrogate.load(champion).card
    outputs = line.steps[step].outputs.items()
    relative = [name for name, output in outputs if output.correction == "relative"]
    return calibrate(data, card, champion is not None, method, relative, seed)


def wanted_card(step: str, line: LineConfiguration) -> Card:
    """Names and units of a model that is yet to be trained; SI."""
    config = line.steps[step]

    def unit(name: str) -> str:
        source = line.source_of(step, name)
        if source.tag is not None:
            return si_unit(line.tags[source.tag].unit)
        if source.output is not None:
            upstream, _, output = source.output.partition(".")
            made = line.steps[upstream]
            if output in made.outputs:
                return si_unit(made.outputs[output].unit)
            passed = line.source_of(upstream, output)
            return si_unit(line.tags[passed.tag].unit) if passed.tag else "dimensionless"
        return "dimensionless"

    return Card(
        name=f"{step} of {line.name}",
        version="none",
        step=step,
        kind="none",
        inputs=tuple(Quantity(name=n, unit=unit(n), low=0.0, high=0.0) for n in config.inputs),
        outputs=tuple(
            Quantity(name=name, unit=si_unit(output.unit), low=0.0, high=0.0)
            for name, output in config.outputs.items()
        ),
    )


def _units(line: LineConfiguration, card: Card) -> dict[str, tuple[float, str]]:
    """Per output the factor from the model's unit to that in which people read, and its name."""
    found = {}
    for quantity in card.outputs:
        config = (
            line.steps[card.step].outputs.get(quantity.name) if card.step in line.steps else None
        )
        unit = quantity.unit if config is None else config.unit
        found[quantity.name] = (to_si(quantity.unit)[0] / to_si(unit)[0], unit)
    return found


def _document(
    found: Calibration, file: Path | None, units: Mapping[str, tuple[float, str]]
) -> dict[str, Any]:
    def scored(judged: Judged) -> dict[str, Any]:
        factor, unit = units[judged.output]
        scores = {
            name: None
            if errors is None
            else {"mae": errors.mae * factor, "rmse": errors.rmse * factor, "r2": finite(errors.r2)}
            for name, errors in (("champion", judged.champion), ("calibrated", judged.calibrated))
        }
        return {
            "rows": judged.rows,
            "unit": unit,
            **scores,
            "better": judged.better,
            "reason": judged.reason,
        }

    return {
        "step": found.step,
        "method": found.method,
        "file": None if file is None else str(file),
        "version": None if file is None else OnnxSurrogate.load(file).version,
        "parent": found.card.version if found.champion else None,
        "rows": len(found.data),
        "rolls": found.folds.rolls,
        "blocks": found.folds.text,
        "outputs": {judged.output: scored(judged) for judged in found.judged},
        "objection": found.objection,
    }


def _print(found: Calibration, file: Path | None, units: Mapping[str, tuple[float, str]]) -> None:
    rolls = found.folds.text
    title = f"{found.step}, {found.method}: {len(found.data)} segments, held out by {rolls}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("output")
    for name in ("MAE before", "after", "RMSE before", "after", "R2 before", "after"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("changed")
    for judged in found.judged:
        factor, unit = units[judged.output]
        cells = []
        for kind in ("mae", "rmse", "r2"):
            for errors in (judged.champion, judged.calibrated):
                by = 1.0 if kind == "r2" else factor
                cells.append("–" if errors is None else number(getattr(errors, kind) * by))
        said = "yes" if judged.better else f"no: {judged.reason}"
        table.add_row(judged.output, *cells, unit.replace("dimensionless", ""), said)
    out.print(table)
    if file is None:
        err.print(f"nothing is exported: {found.objection}", style="red", soft_wrap=True)
    else:
        out.print(f"{file}", markup=False, highlight=False, soft_wrap=True)
