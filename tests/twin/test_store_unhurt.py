"""A disk that cannot be read, a core that cannot follow: nothing ends silently or is lost."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import NoReturn

import pytest

from tests.in_process import line_configuration, make_core
from tests.servers import until
from tests.twin.test_store import Recalcitrant, at, storing
from twin.app.line import load_surrogates
from twin.clock import ManualClock
from twin.configuration import bundled
from twin.ledger import Ledger
from twin.samples import SampleBatch
from twin.service import Service
from twin.spool import Position, Spool
from twin.store import Store


async def test_a_spool_that_cannot_be_read_for_a_while_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True
    read = Spool._bytes

    def fail(spool: Spool, at: Position, size: int) -> bytes:
        if broken:
            raise OSError(errno.EIO, "the disk does not give it")
        return read(spool, at, size)

    historian = Recalcitrant()
    async with storing(historian, tmp_path) as store:
        store.put(at(1))
        await until(lambda: len(historian.samples) == 10)
        monkeypatch.setattr(Spool, "_bytes", fail)
        store.put(at(2))
        await until(lambda: store.spool_error is not None)
        store.put(at(3))
        await asyncio.sleep(0.1)  # it tries again and again
        broken = False
        await until(lambda: len(historian.samples) == 30)
        store.put(at(4))
        await until(lambda: store.spool_error is None)


def service_on(historian: Recalcitrant, folder: Path) -> Service:
    line = line_configuration()
    clock = ManualClock(0)
    store = Store(historian, len(line.tags), Spool(folder / "spool", list(line.tags)))
    surrogates = load_surrogates(line, bundled("line.yaml").parent)
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    return Service(make_core(line), surrogates, [], {}, None, store, ledger, clock)


async def test_a_store_that_dies_takes_the_service_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_on(Recalcitrant(), tmp_path)

    async def die() -> NoReturn:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(service.store, "run", die)
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(service.run(), 20)
    assert "nobody expected this" in str(caught.value.exceptions)
    service.store.close()


async def test_what_the_core_cannot_judge_is_kept_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = service_on(Recalcitrant(), tmp_path)
    kept: list[SampleBatch] = []
    monkeypatch.setattr(
        service.store, "put", lambda batch, events=(), safe=None: kept.append(batch)
    )
    service.feed(at(1))

    def fail(batch: SampleBatch, now: int) -> NoReturn:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr(service.core._ingest, "judge", fail)
    with pytest.raises(RuntimeError):
        service.feed(at(2))
    assert [batch.time[0] for batch in kept if len(batch)] == [1, 2]
    service.store.close()


async def test_a_historian_that_hangs_holds_up_no_decision(tmp_path: Path) -> None:
    historian = Recalcitrant()
    service = service_on(historian, tmp_path)
    running = asyncio.create_task(service.run())
    historian.hangs.clear()
    try:
        service.feed(at(1))
        await until(lambda: service.store.state.spooled > 0)
        # a setpoint is written once this has returned
        await service.entries.audited("somebody", "write", {"value": 1.0})
        service.set_mode("coating", "shadow", "somebody")
        await until(lambda: service.entries.waiting == 0)
        assert service.store.stored == 0
        assert [entry["what"] for entry in service.ledger.audited(10)]
    finally:
        historian.hangs.set()
        service.stop()
        await running
        service.store.close()
