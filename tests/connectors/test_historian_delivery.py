"""Store, spool and a server that is away, killed and back: all is there, once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from connectors import influxdb, victoria_server
from connectors.influxdb import InfluxHistorian
from connectors.victoria_metrics import VictoriaMetricsHistorian
from tests.connectors import test_influxdb, test_victoria_metrics
from tests.servers import until
from tests.stores import InfluxDB1, Server, VictoriaMetrics
from tests.twin.historian_contract import SECOND, START, TAGS, batch
from twin.ports import HistorianError
from twin.spool import Spool
from twin.store import Store

PATIENCE = 60.0


async def in_a_thread(work: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, work)


def started(kind: str, folder: Path) -> Server:
    """A server that is not running yet."""
    folder /= "server"
    return InfluxDB1(folder) if kind == "influxdb" else VictoriaMetrics(folder)


def historian_of(server: Server) -> InfluxHistorian | VictoriaMetricsHistorian:
    """The historian for a server."""
    if isinstance(server, InfluxDB1):
        return InfluxHistorian(test_influxdb.at(server), "line", TAGS)
    return VictoriaMetricsHistorian(test_victoria_metrics.at(server.url), "line", TAGS)


@pytest.mark.parametrize("kind", ["victoria_metrics", "influxdb"])
async def test_what_a_killed_server_had_lost_is_delivered_again(kind: str, tmp_path: Path) -> None:
    server = started(kind, tmp_path)
    historian = historian_of(server)
    spool = Spool(tmp_path / "spool", [tag.name for tag in TAGS], historian.settles)
    store = Store(historian, len(TAGS), spool, pause=0.05)
    running = asyncio.create_task(store.run())
    try:
        # it is away from the start, and nobody waits for it
        store.put(batch(*((0, second, float(second)) for second in range(100))))
        await until(lambda: store.error is not None, PATIENCE)
        await in_a_thread(server.start)
        await until(lambda: store.stored >= 100, PATIENCE)
        store.put(batch(*((1, second, float(second)) for second in range(100))))
        await until(lambda: store.stored >= 200, PATIENCE)
        # what it has said to have taken may not be on its disk
        began = int(time.time())
        server.kill()
        # VictoriaMetrics knows its start to the second
        await until(lambda: int(time.time()) > began, PATIENCE)
        await in_a_thread(server.start)
        store.put(batch((0, 200, 200.0)))
        await until(lambda: store.stored >= 201 and not store.waiting, PATIENCE)
        found = await store.call(lambda: historian.read([0, 1, 2], START, START + 999 * SECOND))
        assert sorted(zip(found.tag.tolist(), found.value.tolist(), strict=True)) == [
            *((0, float(second)) for second in range(100)),
            (0, 200.0),
            *((1, float(second)) for second in range(100)),
        ]
        assert store.dropped == 0
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        store.close()
        server.kill()


@pytest.mark.parametrize("kind", ["victoria_metrics", "influxdb"])
def test_questions_to_a_server_that_does_not_answer_wait_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(victoria_server, "_ANSWERS", 0.3)
    monkeypatch.setattr(influxdb, "_TIMEOUT", (300, 300))
    server = started(kind, tmp_path)
    historian = historian_of(server)
    with server:
        if isinstance(server, VictoriaMetrics):
            server.outlive()
        historian.append(batch((0, 1, 1.0)))
        server.pause()
        for work in (
            lambda: historian.append(batch((0, 2, 2.0))),
            # asked, each would wait in a row with the others
            lambda: historian.read([0], START, START + 9 * SECOND),
            lambda: historian.events(START, START + 9 * SECOND),
            lambda: historian.buckets([0], START, START + 9 * SECOND, 3),
        ):
            with pytest.raises(HistorianError, match=r"timed out|timeout"):
                work()
        server.resume()
        with pytest.raises(HistorianError):
            historian.read([0], START, START + 9 * SECOND)
        historian.append(batch((0, 2, 2.0)))
        found = historian.read([0], START, START + 9 * SECOND)
        assert found.value.tolist() == [1.0, 2.0]
    historian.close()
