"""`twin doctor`: try every connection and say what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass

import typer

from connectors.mqtt import MqttSource
from connectors.opcua import OpcUaSource
from twin.app.line import read_line
from twin.app.logs import configure_logging
from twin.app.stores import ask_historian
from twin.cli.terminal import Config, Json, err, out
from twin.clock import LineClock
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration, OpcUaConnector
from twin.ports import ConfigurationMismatch, HistorianError

PATIENCE = 6.0
"""Seconds that a connection and its first value may take."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a connection had to say."""

    what: str
    ok: bool
    said: str


async def examine(line: LineConfiguration) -> list[Finding]:
    """Connect to every peer at once and wait for first values; ask the historian."""
    clock = LineClock()
    findings = list(
        await asyncio.gather(
            asyncio.to_thread(_try_historian, line),
            *(
                _try(
                    OpcUaSource(name, line, clock)
                    if isinstance(connector, OpcUaConnector)
                    else MqttSource(name, line, clock),
                    sum(tag.connector == name for tag in line.tags.values()),
                )
                for name, connector in line.connectors.items()
            ),
        )
    )
    return [finding for finding in findings if finding is not None]


def _try_historian(line: LineConfiguration) -> Finding | None:
    try:
        said = ask_historian(line)
    except (HistorianError, OSError, ValueError) as error:
        return Finding("historian", False, str(error))
    return None if said is None else Finding("historian", True, said)


async def _try(source: OpcUaSource | MqttSource, tags: int) -> Finding:
    seen: set[int] = set()

    async def listen() -> None:
        async for batch in source.batches():
            seen.update(batch.tag.tolist())
            if len(seen) == tags:
                return

    running = asyncio.create_task(source.run())
    listening = asyncio.create_task(listen())
    try:
        await asyncio.wait({running, listening}, timeout=PATIENCE, return_when="FIRST_COMPLETED")
        if running.done():
            await running
        state = source.state
        if not state.connected:
            return Finding(source.name, False, state.error or "no answer")
        refused = "".join(f", {count} messages with {why}" for why, count in state.refused.items())
        return Finding(
            source.name, True, f"connected, {len(seen)} of {tags} tags heard so far{refused}"
        )
    except ConfigurationMismatch as mismatch:
        return Finding(source.name, False, "; ".join(mismatch.problems))
    finally:
        for task in (running, listening):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConfigurationMismatch):
                await task


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Try every connection and print what is wrong."""
    configure_logging(sys.stderr)
    path = config or bundled("line.yaml")
    line = read_line(path)
    with err.status("trying every connection …"):
        findings = asyncio.run(examine(line))
    if as_json:
        typer.echo(json.dumps([_finding(finding) for finding in findings]))
    else:
        for finding in findings:
            mark, style = ("ok", "green") if finding.ok else ("no", "red")
            out.print(f"[{style}]{mark}[/]  {finding.what:<14} ", end="")
            out.print(finding.said, markup=False, highlight=False, soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _finding(finding: Finding) -> dict[str, object]:
    return {"what": finding.what, "ok": finding.ok, "said": finding.said}
