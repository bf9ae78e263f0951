"""`twin`: its commands, each loaded when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from twin.cli.terminal import err


@dataclass(frozen=True, slots=True)
class Late:
    """Where a command is: a function, or the typer program that it is."""

    module: str
    name: str
    help: str
    """The first line of what it says of itself."""


COMMANDS: Final = {
    "demo": Late(
        "demo",
        "demo",
        "Run the virtual line and the twin that follows it, and say what the advice was worth.",
    ),
    "run": Late("running", "run", "Run the twin beside a line until Ctrl-C."),
    "simulate": Late(
        "simulating",
        "simulate",
        "Run the virtual line alone, for any OPC UA or MQTT client.",
    ),
    "train": Late(
        "training",
        "train",
        "Train surrogates on designed samples of the physics and export them as ONNX with cards.",
    ),
    "check": Late(
        "checking", "check", "Validate a configuration: every problem with file, line and remedy."
    ),
    "doctor": Late("doctor", "doctor", "Try every connection and print what is wrong."),
    "browse": Late(
        "browsing",
        "browse",
        "Print a ready tag configuration of everything that an OPC UA server offers.",
    ),
    "export": Late("export", "export", "Export stored samples in their own units."),
    "record": Late(
        "recording",
        "record",
        "Record what a line sends, without a twin; or what a historian holds.",
    ),
    "replay": Late(
        "replaying",
        "replay",
        "Replay a recording through the twin: what it said live, it says again.",
    ),
    "backtest": Late(
        "backtesting",
        "backtest",
        "Try models beside those in use on recorded material, and say whether they are better.",
    ),
    "assess": Late(
        "assessment.command",
        "assess",
        "Run the virtual line under the twin and its alternatives, and say what each made of it.",
    ),
    "import": Late(
        "importing", "import_", "Make a recording of CSV, Excel, Parquet or InfluxDB data."
    ),
    "certs": Late(
        "certs", "certs", "Make an authority and its certificates; what is there already stays."
    ),
    "status": Late(
        "operating", "status", "Ask a running service how it is; ends with 1 where it is not ready."
    ),
    "reload": Late(
        "operating",
        "reload",
        "Let a running service read its configuration again; it is refused as a whole if wrong.",
    ),
    "backup": Late(
        "operating",
        "backup",
        "Back up everything that a running service keeps, without stopping it.",
    ),
    "restore": Late(
        "operating",
        "restore",
        "Put a backup in the place of a stopped service's store; what was there is kept beside it.",
    ),
    "audit": Late(
        "auditing", "audit", "The audit trail: who did what, and whether it is as it was written."
    ),
    "calibrate": Late(
        "calibrating",
        "calibrate_command",
        "Fit a step's model to recorded material; exported where it is better on rolls held out.",
    ),
    "design": Late(
        "designing",
        "design",
        "Find the machine parameters for wanted structure parameters (docs/design.md).",
    ),
    "sensitivity": Late(
        "designing",
        "sensitivity",
        "Say which machine parameters a structure parameter depends on: Sobol indices.",
    ),
    "plan": Late(
        "planning",
        "plan",
        "Propose the next trials towards wanted structure parameters (docs/design.md).",
    ),
    "promote": Late(
        "promoting",
        "promote",
        "Let a model that a backtest calls better predict a step; a running service takes it too.",
    ),
    "rollback": Late(
        "promoting",
        "rollback",
        "Return to the model that predicted a step before the last promotion.",
    ),
    "models": Late(
        "promoting",
        "models",
        "Say which model predicts each step, since when, by whom, and on what evidence.",
    ),
    "users": Late(
        "users", "users", "Who may log in to dashboard and API, and tokens for machines."
    ),
}


class _Late(TyperGroup):
    """Knows all commands by name, and loads the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, late in COMMANDS.items():
            self.add_command(TyperCommand(name, help=late.help, rich_markup_mode=None))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _loaded(name), rest


def _loaded(name: str) -> Any:
    """A command with its options, as typer makes it."""
    late = COMMANDS[name]
    found = getattr(import_module(f"twin.cli.{late.module}"), late.name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    alone.command(name)(found)
    return get_command(alone)


app = typer.Typer(
    cls=_Late,
    help="The digital twin of a battery pilot line.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _twin() -> None:
    """What all commands have in common: nothing yet."""


def main() -> None:
    """Entry point: errors of people are sentences, not tracebacks."""
    # matrices here are small: more threads of OpenBLAS only spin, a third of what the core costs
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        app()
    except Exception as error:
        group = error if isinstance(error, ExceptionGroup) else ExceptionGroup("", [error])
        explained, others = group.split(_errors_of_people())
        if explained is None or others is not None:
            raise
        for said in _sentences(explained):
            err.print(said, style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _sentences(group: ExceptionGroup[Exception]) -> Iterator[str]:
    from twin.configuration import ConfigurationError

    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _sentences(error)
            continue
        for problem in error.problems if isinstance(error, ConfigurationError) else [error]:
            yield str(problem) or type(problem).__name__


def _errors_of_people() -> tuple[type[Exception], ...]:
    """What is explained in a sentence; asked for only once something was raised."""
    from asyncua.ua.uaerrors import UaError

    from connectors.importing import DataError
    from connectors.recording import RecordingError
    from simulators.scenario import ScenarioError
    from twin.backup import BackupError
    from twin.cli.processes import LineFailedError
    from twin.configuration import ConfigurationError
    from twin.control import ControlError
    from twin.migrating import LedgerError
    from twin.ports import ConfigurationMismatch, HistorianError
    from twin.spool import SpoolError

    return (
        BackupError,
        ConfigurationError,
        ConfigurationMismatch,
        ControlError,
        DataError,
        HistorianError,
        SpoolError,
        LedgerError,
        LineFailedError,
        RecordingError,
        ScenarioError,
        UaError,
        ValueError,
        OSError,
    )
