# ruff: noqa: T201
"""What it costs to be safe: the spool in front of DuckDB, and MQTT acknowledged afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from connectors.mqtt import MqttSource
from tests.faults.scene import FIELDS, line
from tests.servers import Broker, broker, until
from twin.clock import LineClock
from twin.historian import DuckDBHistorian
from twin.samples import SampleBatch
from twin.spool import Spool
from twin.store import Store
from twin.tags import Tag, TagTable

__all__ = ["broker"]

TAGS = TagTable([Tag(f"tag{number}", "m", "MP", "actual") for number in range(250)])
BATCHES = 20
"""Batches per second, each with a sample of every tag: 5 000 samples per second."""
SECONDS = 10


async def drive(
    folder: Path, spooled: bool, seconds: int = SECONDS
) -> tuple[float, list[float], list[float]]:
    """CPU seconds per second of line; how long every batch took to be safe, and how late the event
    loop woke for it, s.
    """
    spool = Spool(folder / "spool", [tag.name for tag in TAGS]) if spooled else None
    store = Store(DuckDBHistorian(folder / "historian.duckdb", TAGS), len(TAGS), spool)
    running = asyncio.create_task(store.run())
    took: list[float] = []
    late: list[float] = []
    tags, good = np.arange(len(TAGS), dtype=np.int32), np.zeros(len(TAGS), np.uint32)
    values = np.random.default_rng(1).normal(size=len(TAGS))
    start, cpu = time.perf_counter(), time.process_time()
    for number in range(BATCHES * seconds):
        await asyncio.sleep(max(0.0, start + number / BATCHES - time.perf_counter()))
        late.append(time.perf_counter() - start - number / BATCHES)
        batch = SampleBatch(tags, np.full(len(TAGS), number), values, good)
        began = time.perf_counter()
        store.put(batch, safe=lambda began=began: took.append(time.perf_counter() - began))
    await until(lambda: len(took) == BATCHES * seconds and not store.waiting)
    cpu = time.process_time() - cpu
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    store.close()
    assert store.stored == BATCHES * seconds * len(TAGS)
    return cpu / seconds, took, late


@pytest.mark.bench
async def test_spool_beside_duckdb_alone(tmp_path: Path) -> None:
    await drive(tmp_path / "warm", True, 1)  # what is loaded and made once is nobody's cost
    (direct, alone, lag), (spooled, safe, lag_spooled) = [
        await drive(tmp_path / name, name == "spool") for name in ("direct", "spool")
    ]
    print(f"\n{len(TAGS) * BATCHES} samples/s in {BATCHES} batches/s")
    print(
        f"CPU with spool {spooled * 100:.1f} %, DuckDB alone {direct * 100:.1f} %,"
        f" ratio {spooled / direct:.2f}"
    )
    for share in (50, 99, 100):
        ours, theirs = np.percentile(safe, share), np.percentile(alone, share)
        print(
            f"safe after, p{share}: with spool {ours * 1e3:.0f} ms, DuckDB alone"
            f" {theirs * 1e3:.0f} ms, ratio {ours / theirs:.2f}"
        )
    ours, theirs = np.percentile(lag_spooled, 99), np.percentile(lag, 99)
    print(
        f"event loop late, p99: with spool {ours * 1e3:.1f} ms, DuckDB alone"
        f" {theirs * 1e3:.1f} ms, ratio {ours / theirs:.2f}"
    )


def publish(port: int, count: int) -> None:
    """As fast as the broker takes it."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.max_inflight_messages_set(500)
    client.connect("127.0.0.1", port)
    client.loop_start()
    for number in range(count):
        message = dict.fromkeys(FIELDS, number) | {"t": 10**18 + number}
        sent = client.publish("line/all", json.dumps(message), 1)
    sent.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


@pytest.mark.bench
async def test_acknowledging_later(broker: Broker) -> None:
    count = 10_000
    cpu: dict[bool, float] = {}
    for lasting in (False, True):
        source = MqttSource("gauges", line(broker.port), LineClock(), linger=0.02, lasting=lasting)
        messages = 0

        async def follow(source: MqttSource = source, lasting: bool = lasting) -> None:
            nonlocal messages
            async for batch in source.batches():
                messages += len(batch) // len(FIELDS)
                if lasting:
                    asyncio.get_running_loop().call_later(0.05, source.safe)

        tasks = [asyncio.create_task(source.run()), asyncio.create_task(follow())]
        await until(lambda: source.state.connected)  # noqa: B023
        publisher = threading.Thread(target=publish, args=(broker.port, count))
        began = time.thread_time()  # of the event loop's thread alone
        publisher.start()
        await until(lambda: messages >= count, 120)  # noqa: B023
        await asyncio.sleep(0.2)
        cpu[lasting] = (time.thread_time() - began) / count
        publisher.join()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    print(
        f"\nMQTT: {cpu[True] * 1e6:.0f} us a message acknowledged when safe,"
        f" {cpu[False] * 1e6:.0f} us at once, ratio {cpu[True] / cpu[False]:.2f}"
    )
