"""The service beside the virtual line in one process, without protocols: for tests of its shell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simulators.line import VirtualLine
from simulators.scenario import parse_scenario
from surrogates.onnx_model import OnnxSurrogate
from tests.in_process import EPOCH, ROOT, line_configuration
from tests.servers import until
from twin.app.line import model_files
from twin.cli.assessment.wire import Wire
from twin.cli.desk import build_desk
from twin.clock import ManualClock
from twin.core import Core
from twin.desk import Desk
from twin.historian import DuckDBHistorian
from twin.ledger import Ledger
from twin.ports import Write, WriteOutcome
from twin.registry import Registry
from twin.service import Service
from twin.store import Store

WORN = """
name: a worn pump that slips
metres: 300
plant:
  coater: {roll_length_m: 20}
  laboratory: {delay_min: 2}
  deviations: {pump_slip: 0.06, pump_error: [0.0, 0.004], coefficient_spread: 0.01}
"""
"""The twin has something to advise as soon as the beta gauge has read some of the web."""
STEP = 5
"""Line seconds that arrive at once."""


@dataclass(eq=False)
class ServedLine:
    """A service, its desk, and the line that it follows when it is told to."""

    service: Service
    desk: Desk
    line: VirtualLine
    clock: ManualClock
    wire: Wire
    folder: Path

    async def advance(self, seconds: float, until_: Callable[[], bool] = lambda: False) -> None:
        """Follow the line for so many seconds of line time, or until something is so."""
        for _ in range(round(seconds / STEP)):
            now = self.line.now_ns + STEP * 1_000_000_000
            batch = self.wire.batch(self.line.advance(now))
            self.clock.time = self.line.now_ns
            self.service.feed(batch)
            await asyncio.sleep(0)
            if until_():
                break
        # what was said is in the historian and the ledger
        await until(
            lambda: not self.service.store.waiting and not self.service.entries.waiting, 20.0
        )
        await self.service.store.on_ledger(lambda: None)

    async def write(self, write: Write) -> WriteOutcome:
        """The sink of all setpoints."""
        return self.wire.write(write)

    async def confirm(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """The line keeps what it has taken."""
        return [WriteOutcome(write, "applied", write.value) for write in writes]

    async def advised(self) -> str:
        """Follow the line until something waits for a decision; which."""
        found = self.service.core.open

        def waits() -> bool:
            return any(each.state == "proposed" for each in found.values())

        await self.advance(2400, waits)
        return next(each.id for each in found.values() if each.state == "proposed")


@contextlib.asynccontextmanager
async def served_line(
    folder: Path, scenario: str = WORN, seed: int = 1, zone: str = "UTC"
) -> AsyncIterator[ServedLine]:
    """A running service with its desk; the line stands until it is advanced."""
    configuration = line_configuration(operation={"time_zone": zone})
    line = VirtualLine(parse_scenario(scenario), seed, EPOCH, None)
    configured = model_files(configuration, ROOT)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    registry = Registry(ledger, folder, configured, OnnxSurrogate.load)
    core = Core(configuration, registry.start())
    store = Store(DuckDBHistorian(folder / "historian.duckdb", core.tags), len(configuration.tags))
    clock = ManualClock(EPOCH)
    sinks: dict[int, ServedLine] = {}
    service = Service(core, core.surrogates, [], sinks, None, store, ledger, clock, None, registry)
    desk = build_desk(service, registry, folder)
    served = ServedLine(service, desk, line, clock, Wire(line, configuration), folder)
    for step in configuration.steps.values():
        for setpoint in step.setpoints.values():
            sinks[core.tags.index(setpoint.tag)] = served
    task = asyncio.create_task(service.run())
    try:
        await asyncio.sleep(0)
        yield served
    finally:
        service.stop()
        await task
        desk.close()
        store.close()
