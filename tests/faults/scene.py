# ruff: noqa: T201
"""What the fault tests share: a line, gauges that count, a twin to kill, and the reckoning."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.system.twin_program import ROOT, environment
from twin.configuration.models import LineConfiguration

FIELDS = ("length", "roll", "speed", "loading", "thickness")
"""Of a message of the gauges: each is a tag."""
OPCUA_URI = "urn:linetwin:faults"
MILLISECOND = 1_000_000
PATIENCE = 60.0


def line(mqtt_port: int, host: str = "127.0.0.1") -> LineConfiguration:
    """A web whose tags come five to a message."""

    def tag(name: str, unit: str, role: str) -> dict[str, Any]:
        address = {"topic": "line/all", "value": name, "time": "t", "time_unit": "ns"}
        kind = "SP" if role == "measurement" else "MP"
        return {
            "unit": unit,
            "class": kind,
            "role": role,
            "connector": "gauges",
            "address": address,
        }

    return LineConfiguration.model_validate(
        {
            "name": "faults",
            "connectors": {
                "gauges": {
                    "kind": "mqtt",
                    "host": host,
                    "port": mqtt_port,
                    "security": "none",
                    "reconnect_max_delay": "0.2 s",
                }
            },
            "tags": {
                "length": tag("length", "m", "counter"),
                "roll": tag("roll", "dimensionless", "counter"),
                "speed": tag("speed", "m/s", "actual"),
                "loading": tag("loading", "kg/m^2", "measurement"),
                "thickness": tag("thickness", "m", "measurement"),
            },
            "webs": {
                "web": {
                    "encoder": "length",
                    "roll": "roll",
                    "stations": {"head": "0 m", "gauge": "1 m"},
                }
            },
            "steps": {},
        }
    )


def opcua_url(port: int) -> str:
    return f"opc.tcp://127.0.0.1:{port}/faults"


def opcua_line(port: int, tags: int, url: str = "", **connector: Any) -> LineConfiguration:
    """A web whose encoder is the first of so many tags of one server, its roll the second."""
    url = url or opcua_url(port)
    return LineConfiguration.model_validate(
        {
            "name": "faults",
            "connectors": {"load": {"kind": "opcua", "security": "none", "url": url, **connector}},
            "tags": {
                f"t{number}": {
                    "unit": "m",
                    "class": "MP",
                    "role": "counter" if number < 2 else "actual",
                    "connector": "load",
                    "address": {"node": f"nsu={OPCUA_URI};s=T{number}"},
                }
                for number in range(tags)
            },
            "webs": {"web": {"encoder": "t0", "roll": "t1", "stations": {"head": "0 m"}}},
            "steps": {},
        }
    )


class Gauges:
    """Publish numbered messages at QoS 1, until they are told to stop; keep what is not taken.

    Message n is of `start` + n ms, and every value in it is n. Port 0 is a broker's Unix socket.
    """

    def __init__(self, port: int, rate: float, host: str = "127.0.0.1") -> None:
        self.start = time.time_ns() // MILLISECOND * MILLISECOND
        self.sent = 0
        self._acknowledged = 0
        self._period = 1.0 / rate
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "the-gauges", clean_session=False, protocol=paho.MQTTv311,
            transport="tcp" if port else "unix",
        )  # fmt: skip
        self._client.max_inflight_messages_set(1_000)
        self._client.reconnect_delay_set(0.1, 0.2)
        self._client.on_publish = self._published
        self._client.connect(host, port or 1883)
        self._client.loop_start()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _published(self, *_: object) -> None:
        self._acknowledged += 1

    def _publish(self) -> None:
        began = time.monotonic()
        while not self._ended.is_set():
            while self.sent < (time.monotonic() - began) / self._period:
                message = dict.fromkeys(FIELDS, self.sent)
                message["t"] = self.start + self.sent * MILLISECOND
                self._client.publish("line/all", json.dumps(message), 1)
                self.sent += 1
            self._ended.wait(0.01)

    def stop(self) -> int:
        """Stop once the broker has taken everything; how many samples that was."""
        self._ended.set()
        self._thread.join()
        wait_for(lambda: self._acknowledged >= self.sent)
        self._client.disconnect()
        self._client.loop_stop()
        return self.sent * len(FIELDS)


class Twin:
    """A twin in a process of its own; `within` is the command that puts it where it shall run."""

    def __init__(
        self,
        line: LineConfiguration,
        folder: Path,
        file: Path | None = None,
        within: Sequence[str] = (),
    ) -> None:
        self._folder = folder
        self._within = within
        self._file = file or folder.with_suffix(".json")
        self._file.write_text(line.model_dump_json(by_alias=True))

    def __enter__(self) -> Twin:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> dict[str, Any]:
        """Come back when it is connected, with its figures."""
        self._process = subprocess.Popen(
            [*self._within, sys.executable, "-m", "tests.faults.twin_process", self._file,
             self._folder],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        return self._said()

    def figures(self, clock: int | None = None) -> dict[str, Any]:
        """Its figures now, after its clock was set so many ns forth where that is given."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n" if clock is None else f"{clock}\n")
        self._process.stdin.flush()
        return self._said()

    def kill(self) -> None:
        """kill -9"""
        self._process.kill()
        self._process.communicate()

    def stop(self) -> dict[str, Any]:
        """End it as systemd does; its last figures."""
        self._process.terminate()
        figures = self._said()
        assert self._process.wait(PATIENCE) == 0
        self._process.communicate()
        return figures

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            if text.startswith("{"):
                figures: dict[str, Any] = json.loads(text)
                return figures
        raise AssertionError(f"the twin ended: {self._process.wait()}")

    def quiet(self) -> None:
        """Wait until nothing comes any more and nothing waits."""
        before = self.figures()
        deadline = time.monotonic() + PATIENCE
        while True:
            time.sleep(0.5)
            now = self.figures()
            if now["received"] == before["received"] and not now["waiting"] + now["spooled"]:
                return
            assert time.monotonic() < deadline, f"not quiet: {now}"
            before = now


def wait_for(condition: Any, patience: float = PATIENCE) -> None:
    """Wait, without an event loop; fail when it does not come."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass
class Reckoning:
    """What became of the samples."""

    sent: int
    stored: int
    duplicated: int
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        return self.sent - self.stored

    def show(self, what: str) -> None:
        """As a line for people."""
        more = "".join(f", {name} {value}" for name, value in self.more.items())
        print(
            f"\n{what}: sent {self.sent}, stored {self.stored}, lost {self.lost},"
            f" duplicated {self.duplicated}{more}"
        )


def reckon(historian: Path, start: int, sent: int, tags: int = len(FIELDS)) -> Reckoning:
    """Count what a DuckDB historian has of `sent` samples of so many tags, one tick a ms."""
    with duckdb.connect(str(historian), read_only=True) as database:
        row = database.execute(
            "SELECT count(*), count(DISTINCT (tag, time)) FROM samples"
            " WHERE time >= $start AND time < $end AND value = (time - $start) // 1000000",
            {"start": start, "end": start + sent // tags * MILLISECOND},
        ).fetchone()
    assert row is not None
    rows, distinct = row
    return Reckoning(sent, distinct, rows - distinct)
