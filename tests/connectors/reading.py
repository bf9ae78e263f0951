"""A source that runs beside a test, and a line that has only connectors and tags."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from asyncua.server.uaprocessor import UaProcessor

from tests.servers import URI, until
from twin.configuration.models import LineConfiguration
from twin.ports import Source
from twin.samples import OfflineMeasurement, SampleBatch


class Reading:
    """Everything that a source delivered so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.batches: list[SampleBatch] = []
        self.task: asyncio.Task[None] | None = None

    def rows(self, tag: int | None = None) -> list[tuple[int, float, int]]:
        """Time, value and quality of a tag's samples in order of arrival."""
        found = []
        for batch in self.batches:
            mask = np.ones(len(batch), bool) if tag is None else batch.tag == tag
            found += list(
                zip(
                    batch.time[mask].tolist(),
                    batch.value[mask].tolist(),
                    batch.quality[mask].tolist(),
                    strict=True,
                )
            )
        return found

    def offline(self) -> list[OfflineMeasurement]:
        return [measurement for batch in self.batches for measurement in batch.offline]

    async def connected(self) -> None:
        await until(lambda: self.source.state.connected)

    async def value(self, tag: int, value: float) -> tuple[int, float, int]:
        """Wait until the tag had that value."""

        def found() -> list[tuple[int, float, int]]:
            return [
                row for row in self.rows(tag) if abs(row[1] - value) <= 1e-9 + 1e-9 * abs(value)
            ]

        await until(lambda: bool(found()))
        return found()[0]

    async def quality(self, tag: int, quality: int) -> tuple[int, float, int]:
        """Wait until the tag had that quality."""

        def found() -> list[tuple[int, float, int]]:
            return [row for row in self.rows(tag) if row[2] == quality]

        await until(lambda: bool(found()))
        return found()[0]


@asynccontextmanager
async def reading(source: Source) -> AsyncIterator[Reading]:
    """Run a source and read it."""
    read = Reading(source)

    async def collect() -> None:
        async for batch in source.batches():
            read.batches.append(batch)

    tasks = [asyncio.create_task(source.run()), asyncio.create_task(collect())]
    read.task = tasks[0]
    try:
        yield read
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def line(connectors: dict[str, Any], tags: dict[str, Any], **more: Any) -> LineConfiguration:
    """A line without webs and steps."""
    return LineConfiguration.model_validate(
        {"name": "test", "connectors": connectors, "tags": tags, "webs": {}, "steps": {}, **more}
    )


def opcua_tag(node: str, unit: str, role: str = "actual", **more: Any) -> dict[str, Any]:
    deadband = more.pop("deadband", 0.0)
    node = node if "=" in node else f"nsu={URI};s={node}"
    return {
        "unit": unit,
        "class": "MP",
        "role": role,
        "connector": more.pop("connector", "machine"),
        "address": {"node": node, "deadband": deadband},
        **more,
    }


def set_clock(monkeypatch: pytest.MonkeyPatch, ahead: float) -> Callable[[], datetime]:
    """Have OPC UA servers answer by a clock that is `ahead` (s); gives its time."""
    send = UaProcessor.send_response

    def their_now() -> datetime:
        return datetime.now(UTC) + timedelta(seconds=ahead)

    def stamped(server: UaProcessor, handle: Any, header: Any, response: Any, *kind: Any) -> None:
        response.ResponseHeader.Timestamp = their_now()
        send(server, handle, header, response, *kind)

    monkeypatch.setattr(UaProcessor, "send_response", stamped)
    return their_now
