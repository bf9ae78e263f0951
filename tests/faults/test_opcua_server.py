"""An OPC UA server is killed, comes back another one, and forgets its clients."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.machines import KEPT, TAGS, Account, MachineProcess
from tests.faults.scene import Twin, opcua_line, wait_for
from tests.servers import free_port

pytestmark = pytest.mark.faults


def test_a_server_that_is_killed_and_comes_back_with_other_indices(tmp_path: Path) -> None:
    port = free_port()
    server = MachineProcess("127.0.0.1", port, tmp_path)
    with server, Twin(opcua_line(port, TAGS), tmp_path / "twin") as twin:
        server.start()
        twin.start()
        wait_for(lambda: twin.figures()["received"] > 10 * TAGS)
        there = time.time_ns()
        for before in ((), ("urn:another",), ("urn:another", "urn:third")):
            time.sleep(2.0)
            server.kill()
            wait_for(lambda: not twin.figures()["connected"])
            gaps = len(twin.figures()["gaps"])
            server.start(before)
            wait_for(lambda: len(twin.figures()["gaps"]) > gaps)  # noqa: B023
        time.sleep(2.0)
        server.tell("rest")
        twin.quiet()
        gaps = twin.figures()["gaps"]
        twin.stop()
    account = Account(tmp_path / "twin" / "historian.duckdb", server, there)
    kept, forgotten = account.of(range(KEPT)), account.of(range(KEPT, TAGS))
    what = "server kill -9 3 times, twice back with other namespace indices"
    kept.more = {"of wrong nodes": account.wrong, "gaps": len(gaps)}
    kept.show(f"{what}, history in its memory")
    forgotten.show(f"{what}, without history")
    assert account.wrong == kept.duplicated == forgotten.duplicated == 0
    assert len(gaps) == 3
    # its memory, with what was not sent yet, went with it: a tick each time, two when it is busy
    assert kept.lost <= 3 * 2 * KEPT
    for lost in account.lost_at(range(TAGS)):
        assert any(gap["since"] <= lost <= gap["until"] for gap in gaps)


def test_subscriptions_that_the_server_drops(tmp_path: Path) -> None:
    port = free_port()
    server = MachineProcess("127.0.0.1", port, tmp_path)
    with server, Twin(opcua_line(port, TAGS), tmp_path / "twin") as twin:
        server.start()
        twin.start()
        wait_for(lambda: twin.figures()["received"] > 10 * TAGS)
        there = time.time_ns()
        noticed = []
        for number in range(3):
            time.sleep(2.0)
            server.tell("forget")
            dropped = time.monotonic()
            wait_for(lambda: len(twin.figures()["gaps"]) > number)  # noqa: B023
            noticed.append(time.monotonic() - dropped)
        time.sleep(2.0)
        server.tell("rest")
        twin.quiet()
        gaps = twin.figures()["gaps"]
        twin.stop()
    account = Account(tmp_path / "twin" / "historian.duckdb", server, there)
    kept, forgotten = account.of(range(KEPT)), account.of(range(KEPT, TAGS))
    kept.more = {"back after": f"{max(noticed):.1f} s", "gaps": len(gaps)}
    kept.show("subscription dropped by the server 3 times, server with history")
    forgotten.show("subscription dropped by the server 3 times, without history")
    assert (kept.lost, kept.duplicated) == (0, 0)
    assert forgotten.duplicated == account.wrong == 0
    assert max(noticed) < 20.0
    for lost in account.lost_at(range(KEPT, TAGS)):
        assert any(gap["since"] <= lost <= gap["until"] for gap in gaps)
