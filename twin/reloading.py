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
    if fixed:
        raise ReloadError([f"{path} needs a restart" for path in fixed])
    return found


def _differences(path: str, before: object, after: object) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            inner = f"{path}.{name}" if path else str(name)
            if name not in before or name not in after:
                yield inner
            else:
                yield from _differences(inner, before[name], after[name])
    elif before != after:
        yield path
