"""The network between a machine or a broker and the twin is cut, and nobody is told."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.machines import KEPT, TAGS, Account, MachineProcess
from tests.faults.network import MACHINE, Network, network
from tests.faults.scene import Gauges, Twin, line, opcua_line, reckon, wait_for

__all__ = ["network"]

pytestmark = pytest.mark.faults

SECOND = 10**9
NOTICED_OPCUA, NOTICED_MQTT = 10.0, 30.0
"""Seconds within which the twin says that a silent peer is away; it asks every 1 and 10 s."""
ONE_VALUE = {"queue_size": 1, "sampling_interval": "0 s", "reconnect_max_delay": "1 s"}
"""What is missed is in the server's history or nowhere."""


@pytest.mark.parametrize("silently", [False, True], ids=["plug pulled", "half-open"])
@pytest.mark.parametrize("seconds", [5, 60])
def test_a_machine_that_is_cut_off(
    network: Network, tmp_path: Path, seconds: int, silently: bool
) -> None:
    server = MachineProcess(MACHINE, 4840, tmp_path, network.within("machine"))
    configured = opcua_line(4840, TAGS, server.machine.url, **ONE_VALUE)
    with server, Twin(configured, tmp_path / "twin", within=network.within("twin")) as twin:
        server.start()
        twin.start()
        wait_for(lambda: twin.figures()["received"] > 10 * TAGS)
        there = time.time_ns()
        time.sleep(2.0)
        cut = time.time_ns()
        network.swallow() if silently else network.pull()
        wait_for(lambda: not twin.figures()["connected"])
        noticed = (time.time_ns() - cut) / SECOND
        time.sleep(max(0.0, seconds - noticed))
        network.mend()
        mended = time.time_ns()
        wait_for(lambda: twin.figures()["connected"])
        wait_for(lambda: len(twin.figures()["gaps"]) == 1)
        back = (time.time_ns() - mended) / SECOND
        time.sleep(2.0)
        server.tell("rest")
        twin.quiet()
        (gap,) = twin.figures()["gaps"]
        twin.stop()
    account = Account(tmp_path / "twin" / "historian.duckdb", server, there)
    times = {"noticed after": f"{noticed:.1f} s", "back after": f"{back:.1f} s"}
    kept, forgotten = account.of(range(KEPT)), account.of(range(KEPT, TAGS))
    lost = account.lost_at(range(KEPT, TAGS))
    what = f"network {'half-open' if silently else 'cut'} for {seconds} s"
    kept.more = {**times, "read from history": gap["recovered"]}
    kept.show(f"{what}, server with history")
    early, late = (cut - gap["since"]) / SECOND, (gap["until"] - mended) / SECOND
    forgotten.more = {
        "gap from": f"{early:.2f} s before the cut", "until": f"{late:.2f} s after its end"
    }  # fmt: skip
    forgotten.show(f"{what}, without history")
    assert (kept.lost, kept.duplicated) == (0, 0)
    assert forgotten.duplicated == account.wrong == 0
    assert noticed < NOTICED_OPCUA
    # the gap holds all that is lost, and begins with the last word that came through
    assert lost
    assert gap["since"] <= lost[0] <= lost[-1] <= gap["until"]
    assert -0.5 < early < 2.0
    assert late < back + 0.5


def test_a_broker_that_is_cut_off(network: Network, tmp_path: Path) -> None:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    address = tmp_path / "broker"
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(
        f"user root\nlistener 1883 {MACHINE}\nlistener 0 {address}\nallow_anonymous true\n"
        "max_queued_messages 1000000\nmax_inflight_messages 1000\nlog_dest none\n"
    )
    broker = subprocess.Popen([*network.within("machine"), program, "-c", configuration])
    wait_for(lambda: reached(address))
    configured = line(1883, MACHINE)
    try:
        with Twin(configured, tmp_path / "twin", within=network.within("twin")) as twin:
            twin.start()
            # through no network: a file
            gauges = Gauges(0, 200, str(address))
            wait_for(lambda: twin.figures()["received"] > 1_000)
            cut = time.time_ns()
            network.swallow()
            wait_for(lambda: not twin.figures()["connected"])
            noticed = (time.time_ns() - cut) / SECOND
            time.sleep(5.0)
            network.mend()
            mended = time.time_ns()
            wait_for(lambda: twin.figures()["connected"])
            back = (time.time_ns() - mended) / SECOND
            sent = gauges.stop()
            twin.quiet()
            (gap,) = twin.figures()["gaps"]
            twin.stop()
    finally:
        broker.kill()
        broker.wait()
    reckoning = reckon(tmp_path / "twin" / "historian.duckdb", gauges.start, sent)
    early = (cut - gap["since"]) / SECOND
    reckoning.more = {
        "noticed after": f"{noticed:.1f} s",
        "back after": f"{back:.1f} s",
        "gap from": f"{early:.2f} s before the cut",
    }
    reckoning.show("network to the broker half-open, MQTT at QoS 1")
    assert (reckoning.lost, reckoning.duplicated) == (0, 0)
    assert noticed < NOTICED_MQTT
    assert -0.5 < early < 2.0


def reached(address: Path) -> bool:
    """Whether somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0
