"""MQTT over TLS against a real mosquitto: who is refused, and that it is said and noted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from connectors.mqtt import MqttSource
from tests.certificates import PASSWORD, WRONG, Certificates
from tests.connectors.reading import line, reading
from tests.servers import Broker, until
from twin.clock import LineClock
from twin.ports import Incident

TAGS = {
    "thickness": {
        "unit": "um",
        "class": "SP",
        "role": "measurement",
        "connector": "gauges",
        "address": {"topic": "thickness", "time_unit": "s"},
    }
}


def listener(certificates: Certificates, shown: str = "machine") -> str:
    plant = certificates.plant
    return f"certfile {plant / f'{shown}.pem'}\nkeyfile {plant / f'{shown}.key.pem'}\n"


@pytest.fixture
def private(tmp_path: Path, certificates: Certificates) -> Iterator[Broker]:
    """A broker over TLS, for one user with a certificate and a password."""
    passwords = tmp_path / "passwords"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "twin", PASSWORD],
        check=True,
        capture_output=True,
    )
    broker = Broker(
        tmp_path,
        listener(certificates)
        + f"cafile {certificates.plant / 'ca.pem'}\nrequire_certificate true\n"
        + f"allow_anonymous false\npassword_file {passwords}\n",
    )
    broker.start()
    yield broker
    broker.stop()


def source(port: int, security: object, user: object = None) -> MqttSource:
    connector = {
        "kind": "mqtt",
        "host": "127.0.0.1",
        "port": port,
        "reconnect_max_delay": "0.1 s",
        "security": security,
        "user": user,
    }
    return MqttSource("gauges", line({"gauges": connector}, TAGS), LineClock())


async def refused(source: MqttSource, words: str) -> Incident:
    async with reading(source):
        await until(lambda: words in (source.state.error or ""), 20)
        assert not source.state.connected
        incident = source.state.incidents[-1]
    assert words in incident.said
    assert PASSWORD not in repr(source.state)
    assert WRONG not in repr(source.state)
    return incident


def in_pem(certificates: Certificates, folder: Path | None = None) -> dict[str, Any]:
    own = folder or certificates.plant
    return certificates.security(certificate=str(own / "twin.pem"), key=str(own / "twin.key.pem"))


async def test_only_who_has_certificate_and_password_is_let_in(
    private: Broker,
    certificates: Certificates,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "password"
    kept.write_text(PASSWORD)
    user = {"name": "twin", "password": {"file": str(kept)}}
    security = in_pem(certificates)
    nothing_shown = {"trusts": security["trusts"]}
    assert (await refused(source(private.port, nothing_shown, user), "asks for a certificate")).what
    stranger = in_pem(certificates, certificates.stranger)
    await refused(source(private.port, stranger, user), "another certificate than this")
    said = await refused(source(private.port, security), "who comes without a name")
    assert said.what == "refused by peer"

    monkeypatch.setenv("GAUGES_PASSWORD", WRONG)
    wrong = {"name": "twin", "password": {"env": "GAUGES_PASSWORD"}}
    await refused(source(private.port, security, wrong), "refuses the user 'twin'")

    right = source(private.port, security, user)
    async with reading(right) as read:
        await read.connected()
        # more than the connector takes at once: TLS has decrypted what no selector sees
        sender = paho.Client(CallbackAPIVersion.VERSION2, "sender")
        plant = certificates.plant
        sender.tls_set(plant / "ca.pem", plant / "twin.pem", plant / "twin.key.pem")
        sender.username_pw_set("twin", PASSWORD)
        sender.connect("127.0.0.1", private.port)
        sender.loop_start()
        for number in range(1000):
            at = read.source.state.since / 1e9 + number
            sender.publish("thickness", f'{{"time": {at!r}, "value": {number}}}')
        await until(lambda: len(read.rows(0)) == 1000, 20)
        sender.disconnect()
        sender.loop_stop()
        assert await right.publish("answer", b"{}")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("expired", "certificate has expired"),
        ("elsewhere", "IP address mismatch"),
        ("../stranger/machine", "unable to get local issuer certificate"),
    ],
)
async def test_a_broker_that_is_not_who_it_should_be_is_refused(
    tmp_path: Path, certificates: Certificates, shown: str, words: str
) -> None:
    broker = Broker(tmp_path, listener(certificates, shown) + "allow_anonymous true\n")
    broker.start()
    try:
        trusts = {"trusts": [str(certificates.plant / "ca.pem")]}
        said = await refused(source(broker.port, trusts), words)
        assert said.what == "peer refused"
        # pinned, its own name does not matter less: it must be the host's
        pinned = {"trusts": [str(certificates.plant / f"{shown}.pem")]}
        if "stranger" in shown:
            async with reading(source(broker.port, pinned)) as read:
                await read.connected()
        else:
            await refused(source(broker.port, pinned), words)
    finally:
        broker.stop()


async def test_what_is_no_tls_is_said(broker: Broker, certificates: Certificates) -> None:
    trusts = {"trusts": [str(certificates.plant / "ca.pem")]}
    # mosquitto waits for more of the packet that it takes the greeting for
    async with reading(source(broker.port, trusts)) as read:
        await until(lambda: str(broker.port) in (read.source.state.error or ""), 20)


async def test_what_the_twin_cannot_use_itself_is_said(certificates: Certificates) -> None:
    plant = certificates.plant
    for own, words in (
        ({"certificate": str(plant / "old-twin.pem")}, "own certificate"),
        ({"key": str(plant / "machine.key.pem")}, "belong together"),
        ({"certificate": str(plant / "twin.der")}, "in PEM"),
        ({"trusts": [str(plant / "nothing")]}, "No such file"),
    ):
        await refused(source(1, in_pem(certificates) | own), words)
