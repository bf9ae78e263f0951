"""What is wrong with a configuration, said so that a technician can put it right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration file."""

    file: Path
    line: int
    """From 1."""
    column: int
    """From 1."""
    what: str
    """What is wrong, without a full stop."""
    remedy: str
    """What would be right."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.remedy}"


class ConfigurationError(Exception):
    """A configuration that cannot be used, with every mistake found in it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def one_of(wrong: str, names: Iterable[str], kind: str) -> str:
    """A remedy for an unknown name: the nearest one, or else all that there are."""
    known = list(names)
    near = difflib.get_close_matches(wrong, known, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not known:
        return f"there is no {kind} yet: declare one, or leave this out"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"choose from: {shown}"
