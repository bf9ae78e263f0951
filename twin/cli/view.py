"""The live terminal view: per step predicted, measured, residual, mode, advice."""

from __future__ import annotations

import math

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from twin.cli.keys import HELP
from twin.service import Service
from twin.status import ParameterStatus


def number(value: float) -> str:
    """Four significant digits, a dash where there is no value."""
    return f"{value:.4g}" if math.isfinite(value) else "–"


def _measured(parameter: ParameterStatus) -> Text:
    outside = parameter.limits is not None and not (
        parameter.limits[0] <= parameter.measured <= parameter.limits[1]
    )
    return Text(
        number(parameter.measured),
        "bold red" if outside and math.isfinite(parameter.measured) else "",
    )


def view(service: Service, title: str, ended: bool = False) -> RenderableType:
    """What the line and the twin are doing now; of a line that has `ended` the last it said."""
    core, status = service.core, service.status
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("step")
    table.add_column("mode")
    table.add_column("structure parameter")
    for name in ("predicted", "measured", "residual", "target"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    for step_name, step in core.line.steps.items():
        mode = core.trust.mode(step_name)
        first = True
        for output in step.outputs:
            parameter = status.parameters[f"{step_name}.{output}"]
            target = "" if parameter.target is None else number(parameter.target)
            table.add_row(
                step_name if first else "",
                Text(mode, "green" if mode in ("advisory", "twin") else "dim") if first else "",
                output.replace("_", " "),
                number(parameter.predicted),
                _measured(parameter),
                number(parameter.residual),
                target,
                parameter.unit.replace("dimensionless", ""),
            )
            first = False
        table.add_section()
    return Group(table, *_lines(service, ended))


def _lines(service: Service, ended: bool) -> list[RenderableType]:
    core, status = service.core, service.status
    lines: list[RenderableType] = []
    for recommendation in status.recommendations.values():
        changes = ", ".join(
            f"{tag.name} {number(tag.from_si(change.before))} → "
            f"{number(tag.from_si(change.after))} {tag.unit}"
            for change in recommendation.changes
            for tag in (core.tags[change.tag],)
        )
        style = {"verified": "green", "failed": "bold red", "proposed": "yellow"}
        state = recommendation.state
        lines.append(Text.assemble((f"{state:<12}", style.get(state, "dim")), changes))
        why = Text(recommendation.note or recommendation.reason, "dim")
        lines.append(Padding(why, (0, 0, 0, 12)))
        if state == "proposed":
            lines.append(Padding(Text(HELP), (0, 0, 0, 12)))
    for step in core.line.steps:
        reason = core.trust.reason(step)
        if reason:
            lines.append(Text(f"{step} kept in shadow: {reason}", "yellow"))
    for source in service.sources:
        connection = source.state
        if not connection.connected and not ended:
            said = connection.error or "connecting"
            lines.append(Text(f"{connection.name}: {said}", "bold red"))
    store = service.store
    if store.error is not None:
        waiting = f"historian: {store.error}; {store.waiting:,} samples wait"
        lines.append(Text(waiting, "bold red"))
    if store.dropped:
        lines.append(Text(f"historian behind: {store.dropped:,} samples lost", "bold red"))
    rejected = ", ".join(f"{count:,} {why}" for why, count in service.rejected.most_common())
    lines.append(
        Text(
            f"{status.metres:.1f} m coated   {core.received:,} samples received   "
            f"{store.stored:,} stored   rejected: {rejected or 'none'}",
            "dim",
        )
    )
    return lines
