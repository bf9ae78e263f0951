"""deploy/mosquitto: a real mosquitto with these files lets in whom it should, to what it should."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from tests.servers import free_port
from tests.system.twin_program import COMMAND, environment
from twin.app.line import read_line
from twin.configuration import bundled

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE = 30.0


class Installed:
    """What deploy/prepare.sh makes, and a mosquitto on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> str:
        """Run the script, as people do; what it printed."""
        twin = self.folder / "twin"
        twin.write_text(f"#!/bin/sh\nexec {COMMAND[0]} {COMMAND[1]} '{COMMAND[2]}' \"$@\"\n")
        twin.chmod(0o755)
        return subprocess.run(
            [self.folder / "deploy" / "prepare.sh", "localhost"],
            env=environment(TWIN=str(twin), PATH=f"{os.environ['PATH']}:/usr/sbin"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def password(self, user: str) -> str:
        return (self.folder / "deploy/private/secrets" / f"mqtt_{user}").read_text().strip()

    @property
    def authority(self) -> Path:
        return self.folder / "deploy/private/certificates/ca.pem"

    def start(self) -> None:
        deploy = self.folder / "deploy"
        text = (deploy / "mosquitto" / "mosquitto.conf").read_text()
        for inside, outside in {
            "/mosquitto/secrets/passwords": deploy / "private/secrets/mosquitto_passwords",
            "/mosquitto/config/": f"{deploy / 'mosquitto'}/",
            "/mosquitto/certificates/": f"{deploy / 'private/certificates'}/",
            "/mosquitto/data/": f"{self.folder}/",
            "listener 8883": f"listener {self.port} 127.0.0.1",
        }.items():
            assert inside in text
            text = text.replace(inside, str(outside))
        # here it is started by root, or by somebody who cannot become another
        user = "user root\n" if os.geteuid() == 0 else ""
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(user + text)
        program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [program, "-c", str(configuration)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("broker")
    for name in ("prepare.sh", "mosquitto"):
        source, target = DEPLOY / name, folder / "deploy" / name
        target.parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    installed = Installed(folder)
    installed.prepare()
    try:
        installed.start()
        yield installed
    finally:
        installed.stop()


class Peer:
    """An MQTT 5 client that notes what happens to it."""

    def __init__(
        self, broker: Installed, user: str, password: str | None = None, session: int = 0
    ) -> None:
        self.heard: list[str] = []
        self.said: list[str] = []
        self.changed = threading.Condition()
        client = Client(
            CallbackAPIVersion.VERSION2, f"{user}-{session}", protocol=MQTTProtocolVersion.MQTTv5
        )
        client.tls_set(str(broker.authority), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.username_pw_set(user, broker.password(user) if password is None else password)
        client.on_connect = lambda *seen: self._note(f"connected: {seen[3]}")
        client.on_message = self._message
        client.on_publish = lambda *seen: self._note(f"published: {seen[3]}")
        client.on_subscribe = lambda *seen: self._note(f"subscribed: {seen[3][0]}")
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600 if session else 0
        client.connect("localhost", broker.port, clean_start=not session, properties=properties)
        client.loop_start()
        self.client = client

    def _note(self, what: str) -> None:
        with self.changed:
            self.said.append(what)
            self.changed.notify_all()

    def _message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        with self.changed:
            self.heard.append(message.payload.decode())
            self.changed.notify_all()

    def wait(self, what: str) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: what in self.said, PATIENCE), self.said

    def wait_heard(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.heard) >= count, PATIENCE)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def test_each_may_what_it_needs_and_no_more(installed: Installed) -> None:
    gauges, twin, reader = (Peer(installed, user) for user in ("gauges", "twin", "reader"))
    for peer in (gauges, twin, reader):
        peer.wait("connected: Success")
    twin.client.subscribe("virtual-line/#", 1)
    twin.wait("subscribed: Granted QoS 1")
    reader.client.subscribe("#", 1)
    reader.wait("subscribed: Granted QoS 1")
    gauges.client.publish("virtual-line/gauges/mass_loading", "from a gauge", 1)
    twin.wait_heard(1)
    gauges.client.publish("linetwin/recommendations/x", "from no twin", 1)
    gauges.wait("published: Not authorized")
    twin.client.publish("virtual-line/gauges/mass_loading", "from no gauge", 1)
    twin.wait("published: Not authorized")
    twin.client.publish("linetwin/recommendations/x", "advice", 1)
    reader.wait_heard(1)
    assert reader.heard == ["advice"]
    assert twin.heard == ["from a gauge"]
    for peer in (gauges, twin, reader):
        peer.close()


def test_nobody_comes_without_name_password_and_tls(installed: Installed) -> None:
    for user, password in (("gauges", "wrong"), ("somebody", ""), ("twin", "")):
        peer = Peer(installed, user, password)
        peer.wait("connected: Not authorized")
        peer.close()
    plain = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    codes: list[ReasonCode] = []
    plain.on_connect = lambda *seen: codes.append(seen[3])
    plain.username_pw_set("gauges", installed.password("gauges"))
    plain.connect("localhost", installed.port)
    deadline = time.monotonic() + PATIENCE
    while plain.loop(0.1) == 0:
        assert time.monotonic() < deadline, "it was not shown the door"
    assert codes == []


def test_messages_wait_for_a_twin_that_is_away_also_through_a_restart(
    installed: Installed,
) -> None:
    count = 3_000
    twin = Peer(installed, "twin", session=7)
    twin.wait("connected: Success")
    twin.client.subscribe("virtual-line/gauges/+", 1)
    twin.wait("subscribed: Granted QoS 1")
    twin.close()
    gauges = Peer(installed, "gauges")
    gauges.wait("connected: Success")
    for number in range(count):
        gauges.client.publish("virtual-line/gauges/mass_loading", str(number), 1)
    with gauges.changed:
        gauges.changed.wait_for(lambda: gauges.said.count("published: Success") == count, PATIENCE)
    gauges.close()
    installed.stop()
    installed.start()
    twin = Peer(installed, "twin", session=7)
    twin.wait_heard(count)
    assert twin.heard == [str(number) for number in range(count)]
    twin.close()


def test_the_script_keeps_what_is_there(installed: Installed) -> None:
    private = installed.folder / "deploy" / "private"
    before = {file: file.read_bytes() for file in private.rglob("*") if file.is_file()}
    assert "already there: twin, broker, dashboard" in installed.prepare()
    assert {file: file.read_bytes() for file in before} == before
    assert private.stat().st_mode & 0o077 == 0
    assert (private / "certificates" / "ca.key.pem").stat().st_mode & 0o077 == 0
    passwords = (private / "secrets" / "mosquitto_passwords").read_text()
    assert installed.password("twin") not in passwords


def test_the_line_in_the_manual_is_one(installed: Installed, tmp_path: Path) -> None:
    text = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    shown = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    document = yaml.safe_load(bundled("line.yaml").read_text())
    document["connectors"] |= shown["connectors"]
    document |= {"store": shown["store"], "api": shown["api"]}
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    line = read_line(file)
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    influxdb = compose["services"]["influxdb"]["environment"]
    at = line.store.historian
    assert at.kind == "influxdb"
    assert (at.database, at.organisation) == (
        influxdb["DOCKER_INFLUXDB_INIT_BUCKET"],
        influxdb["DOCKER_INFLUXDB_INIT_ORG"],
    )
    mounted = {mount.split(":")[1] for mount in compose["services"]["twin"]["volumes"]}
    assert at.token is not None
    secrets = {f"/run/secrets/{name}" for name in compose["services"]["twin"]["secrets"]}
    assert str(at.token.file) in secrets
    for each in shown["api"]["tls"].values():
        assert f"/etc/linetwin/{each}" in mounted
    for name, connector in shown["connectors"].items():
        for trusted in connector["security"]["trusts"]:
            assert f"/etc/linetwin/{trusted}" in mounted, name
