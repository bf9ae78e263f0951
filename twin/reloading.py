"""Reloading: what of a configuration may change while its line is followed."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from twin.configuration.models import LineConfiguration

CHANGEABLE: Final = (
    "name",
    "lateness",
    "stale_after",
    "clock_tolerance",
    "oldest",
    "store.retention",
    "store.minute_means_after",
    "tags.*.limits",
    "steps.*.mode",
    "steps.*.advise_every",
    "steps.*.outputs.*.uncertainty",
    "steps.*.outputs.*.model_uncertainty",
    "steps.*.outputs.*.target",
    "steps.*.outputs.*.limits",
    "steps.*.outputs.*.weight",
    "steps.*.setpoints.*.limits",
    "steps.*.setpoints.*.max_step",
    "steps.*.setpoints.*.deadband",
    "steps.*.setpoints.*.cost",
)
"""Everything else is what connections, tables and models were made for: it needs a restart."""


class ReloadError(Exception):
    """A configuration was refused; the one before stays as it was."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def changes(before: LineConfiguration, after: LineConfiguration) -> list[str]:
    """Where two configurations differ, by path.

    Raises:
        ReloadError: a difference needs a restart; it names every one.
    """
    found = list(
        _differences(
            "",
            before.model_dump(mode="json", by_alias=True),
            after.model_dump(mode="json", by_alias=True),
        )
    )
    fixed = [path for path in found if not any(fnmatchcase(path, each) for each in CHANGEABLE)]
    fixed += _wider(before, after) if not fixed else []
    if fixed:
        raise ReloadError([f"{path} needs a restart" for path in fixed])
    return found


def _wider(before: LineConfiguration, after: LineConfiguration) -> Iterator[str]:
    """Setpoints that may go further than their connector, which looks at limits too, has agreed
    with the machine."""
    for name, step in before.steps.items():
        for setpoint, old in step.setpoints.items():
            new = after.steps[name].setpoints[setpoint]
            if new.limits[0] < old.limits[0] or new.limits[1] > old.limits[1]:
                yield f"steps.{name}.setpoints.{setpoint}.limits wider than before"


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        if before.keys() == after.keys() and list(before) != list(after):
            yield f"the order of {path}"  # connectors and stores know tags by their number
        for name in dict.fromkeys([*before, *after]):
            inner = f"{path}.{name}" if path else str(name)
            if name not in before or name not in after:
                yield inner
            else:
                yield from _differences(inner, before[name], after[name])
    elif before != after:
        yield path
