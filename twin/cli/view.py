"""The live terminal view: per step predicted, measured, residual, mode, advice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from twin.cli.terminal import number
from twin.core import Core
from twin.ports import ConnectionState
from twin.status import LineStatus, ParameterStatus
from twin.store import Store


class Connected(Protocol):
    """What a view asks of a connector."""

    @property
    def state(self) -> ConnectionState: ...


class Shown(Protocol):
    """What a view asks of a service or a replay."""

    @property
    def core(self) -> Core: ...

    @property
    def status(self) -> LineStatus: ...

    @property
    def sources(self) -> Sequence[Connected]: ...

    @property
    def store(self) -> Store | None: ...

    @property
    def rejected(self) -> Counter[str]: ...


def _errors(status: LineStatus, name: str) -> tuple[str, ...]:
    """Mean absolute errors of the model in use and of the challengers, where there are any."""
    if status.challenger is None:
        return ()
    both = status.parameters[name], status.challenger.parameters[name]
    return tuple(number(each.mean_absolute_error) for each in both)


def _measured(parameter: ParameterStatus) -> Text:
    outside = parameter.limits is not None and not (
        parameter.limits[0] <= parameter.measured <= parameter.limits[1]
    )
    return Text(
        number(parameter.measured),
        "bold red" if outside and math.isfinite(parameter.measured) else "",
    )


def view(shown: Shown, title: str, ended: bool = False, keys: str = "") -> RenderableType:
    """What the line and the twin are doing now; of a line that has `ended` the last it said.

    Args:
        shown: a service or a replay.
        title: above it.
        ended: connections that are gone are then no news.
        keys: what a person can press about a recommendation that waits.
    """
    core, status = shown.core, shown.status
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("step")
    table.add_column("mode")
    table.add_column("structure parameter")
    for name in ("predicted", "measured", "residual", "target"):
        table.add_column(name, justify="right")
    if status.challenger is not None:
        for name in ("error", "challenger's"):
            table.add_column(name, justify="right", style="dim")
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
                *_errors(status, f"{step_name}.{output}"),
                parameter.unit.replace("dimensionless", ""),
            )
            first = False
        table.add_section()
    return Group(table, *_lines(shown, ended, keys))


def _lines(shown: Shown, ended: bool, keys: str) -> list[RenderableType]:
    core, status = shown.core, shown.status
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
        if state == "proposed" and keys:
            lines.append(Padding(Text(keys), (0, 0, 0, 12)))
    for step in core.line.steps:
        reason = core.trust.reason(step)
        if reason:
            lines.append(Text(f"{step} kept in shadow: {reason}", "yellow"))
    for source in shown.sources:
        connection = source.state
        if not connection.connected and not ended:
            said = connection.error or "connecting"
            lines.append(Text(f"{connection.name}: {said}", "bold red"))
    stored = ""
    if shown.store is not None:
        store = shown.store
        stored = f"{store.stored:,} stored   "
        if store.error is not None:
            waiting = f"historian: {store.error}; {store.waiting:,} samples wait"
            lines.append(Text(waiting, "bold red"))
        if store.dropped:
            lines.append(Text(f"historian behind: {store.dropped:,} samples lost", "bold red"))
    rejected = ", ".join(f"{count:,} {why}" for why, count in shown.rejected.most_common())
    lines.append(
        Text(
            f"{status.metres:.1f} m coated   {core.received:,} samples received   "
            f"{stored}rejected: {rejected or 'none'}",
            "dim",
        )
    )
    return lines
