"""Runs the virtual line: on real servers at any acceleration, or headless as fast as it can."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simulators.clock import NS_PER_SECOND, LineClock
from simulators.line import DEFAULT_METRES, VirtualLine
from simulators.mqtt_gauges import GaugePublisher
from simulators.opcua_servers import MachineServers, Ports
from simulators.scenario import Scenario
from simulators.secured import SecuredFolder
from simulators.truth import Truth

_WALL_STEP_S = 0.03
"""How often the line is advanced and its samples are published [s of wall time]."""
_SLICE_NS = 5 * NS_PER_SECOND
"""Longest stretch of line time simulated without letting the servers answer."""
_TRUTH_EVERY_S = 10.0
"""How often the truth is written while the line runs [s of wall time]."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    metres: float
    """Web coated [m]."""
    finished: bool
    """Everything is coated and calendered; False when it was stopped before."""
    line_seconds: float
    worst_lag_s: float
    """Most that the line was behind its clock [s of line time]."""


def run_headless(scenario: Scenario, seed: int, metres: float | None = None) -> Truth:
    """The scenario with the setpoints of its recipe, without network, as fast as possible."""
    line = VirtualLine(scenario, seed, metres=metres, publish=False)
    line.run_out()
    return line.truth()


async def run_line(
    scenario: Scenario,
    seed: int,
    *,
    acceleration: float = 1.0,
    epoch_ns: int | None = None,
    host: str = "127.0.0.1",
    ports: Ports | None = None,
    mqtt_host: str = "127.0.0.1",
    mqtt_port: int | None = 1883,
    truth_folder: Path | None = None,
    metres: float | None = None,
    secured: SecuredFolder | None = None,
    stop: asyncio.Event | None = None,
    ready: Callable[[dict[str, str]], None] | None = None,
) -> Outcome:
    """Run the line on its OPC UA servers and the broker until it is done or `stop` is set.

    With an epoch in the future the servers are up at once, and the web starts to move at the epoch:
    so clients can connect before anything happens. `mqtt_port=None` leaves the gauges off. With a
    secured folder the servers speak to its holders only, and the gauges over TLS.
    """
    stop = stop or asyncio.Event()
    clock = LineClock.start(epoch_ns, acceleration)
    setpoints: list[tuple[str, float]] = []
    line = VirtualLine(scenario, seed, metres=metres)
    servers = MachineServers(
        line.signals.values(),
        lambda name, value: setpoints.append((name, value)),
        clock.now_ns,
        host,
        ports,
        secured,
    )
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(servers)
        gauges: GaugePublisher | None = None
        endpoints = dict(servers.endpoints)
        if mqtt_port is not None:
            gauges = await stack.enter_async_context(GaugePublisher(mqtt_host, mqtt_port, secured))
            endpoints["mqtt"] = f"mqtt://{mqtt_host}:{mqtt_port}"
        if epoch_ns is None:
            clock = LineClock.start(None, acceleration)
        line = VirtualLine(scenario, seed, max(clock.epoch_ns, clock.now_ns()), metres)
        await servers.publish(line.initial())
        if ready is not None:
            ready(endpoints)
        return await _drive(line, clock, servers, gauges, setpoints, truth_folder, stop)


async def _drive(
    line: VirtualLine,
    clock: LineClock,
    servers: MachineServers,
    gauges: GaugePublisher | None,
    setpoints: list[tuple[str, float]],
    truth_folder: Path | None,
    stop: asyncio.Event,
) -> Outcome:
    """Keep the line abreast of its clock; afterwards write the truth, whatever ended it."""
    worst = 0.0
    written = time.monotonic()
    try:
        while not line.finished and not stop.is_set():
            for name, value in setpoints:
                line.write_setpoint(name, value)
            setpoints.clear()
            target = clock.now_ns()
            sent = line.advance(min(target, line.now_ns + _SLICE_NS))
            await servers.publish(sent.variables)
            if gauges is not None:
                for reading in sent.readings:
                    gauges.publish_reading(reading)
                for result in sent.results:
                    gauges.publish_result(result)
            behind = (clock.now_ns() - line.now_ns) / NS_PER_SECOND
            worst = max(worst, behind)
            if truth_folder is not None and time.monotonic() - written > _TRUTH_EVERY_S:
                await asyncio.to_thread(line.truth().write, truth_folder)
                written = time.monotonic()
            if target - line.now_ns > _SLICE_NS:
                await asyncio.sleep(0)
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _WALL_STEP_S)
    finally:
        if truth_folder is not None:
            line.truth().write(truth_folder)
    metres = line.metres if line.metres is not None and line.finished else math.nan
    coated = line.coater.length if math.isnan(metres) else metres
    return Outcome(coated, line.finished, line.elapsed_s, worst)


__all__ = ["DEFAULT_METRES", "Outcome", "run_headless", "run_line"]
