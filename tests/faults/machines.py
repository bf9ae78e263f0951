"""A machine in a process that a test may kill, and what a historian has of what it said."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from tests.faults.machine_process import DECOY, TICK, Machine
from tests.faults.scene import Reckoning
from tests.system.twin_program import ROOT, environment

TAGS, KEPT = 10, 5


class MachineProcess:
    """An OPC UA server of `TAGS` tags, of which the first `KEPT` have a history in its memory."""

    def __init__(self, host: str, port: int, folder: Path, within: Sequence[str] = ()) -> None:
        self.start_time = time.time_ns() // TICK * TICK
        self.machine = Machine(
            f"opc.tcp://{host}:{port}/faults",
            self.start_time,
            TAGS,
            KEPT,
            str(folder / "ticks"),
        )
        self._within = within

    def __enter__(self) -> MachineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, before: tuple[str, ...] = ()) -> None:
        """Come back when it serves."""
        described = replace(self.machine, before=before).json()
        self._process = subprocess.Popen(
            [*self._within, sys.executable, "-m", "tests.faults.machine_process", described],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answered()

    def tell(self, command: str) -> None:
        """`forget` or `rest`; come back when it is done."""
        assert self._process.stdin is not None
        print(command, file=self._process.stdin, flush=True)
        self._answered()

    def kill(self) -> None:
        """kill -9"""
        self._process.kill()
        self._process.communicate()

    def _answered(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "{}\n"

    def ticks(self) -> list[int]:
        """All that were, over all starts."""
        return [int(tick) for tick in Path(self.machine.log).read_text().split()]


class Account:
    """What a historian has of a machine's tags.

    Args:
        since: only ticks after this time count, ns: when the twin was there.
    """

    def __init__(self, historian: Path, machine: MachineProcess, since: int) -> None:
        start = machine.start_time
        self._sent = {tick for tick in machine.ticks() if start + tick * TICK > since}
        self._start = start
        with duckdb.connect(str(historian), read_only=True) as database:
            rows = database.execute(
                "SELECT name, time, value FROM samples JOIN tags ON tag = id WHERE NOT isnan(value)"
            ).fetchall()
        self.wrong = sum(value == DECOY for _, _, value in rows)
        self._found = [
            (str(tag), int(value))
            for tag, time, value in rows
            if int(value) in self._sent and time == start + int(value) * TICK
        ]

    def of(self, tags: range) -> Reckoning:
        """The account of some tags."""
        names = {f"t{number}" for number in tags}
        found = [each for each in self._found if each[0] in names]
        distinct = set(found)
        return Reckoning(len(self._sent) * len(tags), len(distinct), len(found) - len(distinct))

    def lost_at(self, tags: range) -> list[int]:
        """When what is lost was said, ns, in order."""
        found = set(self._found)
        lost = {
            tick
            for tick in self._sent
            for number in tags
            if (f"t{number}", tick) not in found
        }  # fmt: skip
        return [self._start + tick * TICK for tick in sorted(lost)]
