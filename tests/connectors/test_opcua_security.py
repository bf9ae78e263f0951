"""OPC UA in private: who is who, what is refused, and that it is said and noted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.certificates import application_uri, read_certificates
from connectors.opcua import OpcUaSource
from connectors.opcua.browsing import browse
from connectors.refusal import RefusedError
from simulators.secured import SecuredFolder
from tests.certificates import PASSWORD, WRONG, Certificates, Users
from tests.connectors.reading import line, opcua_tag, reading
from tests.servers import Machine, until
from twin.app.service import build_service
from twin.cli.certs import shown_to
from twin.clock import LineClock
from twin.configuration.models import LineConfiguration
from twin.ports import Incident, Write

AES = ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt
BASIC = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
SIGNED = ua.SecurityPolicyType.Basic256Sha256_Sign
CLEAR = ua.SecurityPolicyType.NoSecurity
CLOCK = LineClock()


def showing(
    certificate: Path,
    policies: Sequence[ua.SecurityPolicyType] = (AES, BASIC),
    users: Users | None = None,
    tokens: Sequence[type] = (ua.AnonymousIdentityToken,),
) -> Callable[[Server], Awaitable[None]]:
    """A server with that certificate, for users that it knows where it knows any."""

    has_one = certificate.exists()

    async def secure(server: Server) -> None:
        if has_one:
            await server.load_certificate(certificate)
            await server.load_private_key(certificate.with_suffix(".key.pem"))
            await server.set_application_uri(
                application_uri(read_certificates(certificate)[0]) or ""
            )
        server.set_security_policy(list(policies))
        if users is not None:
            server.iserver.user_manager = users
            server.set_identity_tokens(list(tokens))

    return secure


def source(machine: Machine, **more: Any) -> OpcUaSource:
    connector = {
        "kind": "opcua",
        "url": machine.url,
        "publishing_interval": "20 ms",
        "reconnect_max_delay": "0.1 s",
        **more,
    }
    tag = opcua_tag("Speed", "m/min", "setpoint", limits=[0, 30])
    return OpcUaSource("machine", line({"machine": connector}, {"speed": tag}), CLOCK)


async def refused(source: OpcUaSource, words: str) -> Incident:
    """What the source says of a peer that it is refused by, or refuses; said again and again."""
    async with reading(source):
        await until(lambda: words in (source.state.error or ""), 20)
        assert not source.state.connected
        (incident,) = source.state.incidents
    assert words in incident.said
    return incident


@pytest.mark.parametrize(
    ("offered", "used", "trusted"),
    [
        ((CLEAR, SIGNED, BASIC, AES), "#Aes256_Sha256_RsaPss", "ca.der"),
        ((CLEAR, SIGNED, BASIC), "#Basic256Sha256", "machine.der"),
    ],
)
async def test_the_best_policy_that_both_have_is_used(
    machine: Machine,
    certificates: Certificates,
    offered: Sequence[ua.SecurityPolicyType],
    used: str,
    trusted: str,
) -> None:
    machine.secure = showing(certificates.plant / "machine.der", offered)
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    trusts = [str(certificates.plant / trusted)]  # the authority, or this very certificate
    secured = source(machine, security=certificates.security(trusts=trusts))
    async with reading(secured) as read:
        await read.value(0, 1 / 60)
        assert (await secured.write(Write(0, 0.1))).status == "applied"
        assert secured._session is not None
        policy = secured._session.client.security_policy
        assert policy.URI.endswith(used)
        assert policy.Mode is ua.MessageSecurityMode.SignAndEncrypt
    assert secured.state.incidents == ()


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ("stranger/machine.der", "is not trusted"),
        ("plant/expired.der", "expired on"),
        ("plant/nothing.der", "offers neither"),
    ],
)
async def test_a_server_that_is_not_who_it_should_be_is_refused(
    machine: Machine, certificates: Certificates, shown: str, words: str
) -> None:
    machine.secure = showing(certificates.plant.parent / shown, (CLEAR, SIGNED, BASIC, AES))
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    said = await refused(source(machine, security=certificates.security()), words)
    assert said.what == "peer refused"
    assert await machine.get("Speed") == 1.0


async def test_the_others_run_on_beside_an_expired_certificate(
    machine: Machine, certificates: Certificates, tmp_path: Path
) -> None:
    machine.secure = showing(certificates.plant / "expired.der")
    await machine.has("Speed", 1.0).start()
    other = Machine()
    await other.has("Length", 0.0).start()
    secured = {"kind": "opcua", "url": machine.url, "security": certificates.security()}
    clear = {"kind": "opcua", "url": other.url, "security": "none"}
    tags = {
        "speed": opcua_tag("Speed", "m/s"),
        "length": opcua_tag("Length", "m", "counter", connector="other"),
        "roll": opcua_tag("Length", "m", "counter", connector="other"),
    }
    web = {"encoder": "length", "roll": "roll", "stations": {"head": "0 m"}}
    configured = LineConfiguration.model_validate(
        {
            "name": "test",
            "connectors": {"machine": secured, "other": clear},
            "tags": tags,
            "webs": {"web": web},
            "steps": {},
        }
    )
    service = build_service(configured, {}, LineClock(), tmp_path / "twin")
    running = asyncio.create_task(service.run())
    expired, good = service.sources
    try:
        await until(lambda: "expired on" in (expired.state.error or ""), 20)
        received = good.state.received
        await other.set("Length", 1.0)
        await until(lambda: good.state.connected and good.state.received > received, 20)
        assert expired.state.received == 0
        assert not running.done()
    finally:
        service.stop()
        await running
        service.store.close()
        await other.stop()


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"certificate": "old-twin.der", "key": "old-twin.key.pem"}, "twin's own certificate"),
        ({"key": "machine.key.pem"}, "is not the key of"),
        ({"key": "twin.der"}, "no private key"),
        ({"key": "nothing.pem"}, "No such file"),
        ({"trusts": ["twin.key.pem"]}, "something else than certificates"),
        ({"trusts": ["nothing.der"]}, "No such file"),
    ],
)
async def test_what_the_twin_cannot_use_itself_is_said(
    certificates: Certificates, own: dict[str, Any], words: str
) -> None:
    beside = {
        key: [str(certificates.plant / name) for name in each]
        if isinstance(each, list)
        else str(certificates.plant / each)
        for key, each in own.items()
    }
    nobody = Machine()  # it is not even asked
    await refused(source(nobody, security=certificates.security(**beside)), words)


async def test_a_server_that_does_not_trust_the_twin_is_told_apart_from_the_network(
    machine: Machine, certificates: Certificates
) -> None:
    folder = SecuredFolder(certificates.plant)
    machine.secure = lambda server: folder.secure(server, "machine")
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    stranger = certificates.security(
        certificate=str(certificates.stranger / "twin.der"),
        key=str(certificates.stranger / "twin.key.pem"),
    )
    said = await refused(source(machine, security=stranger), "does not trust the twin's")
    assert said.what == "refused by peer"


async def test_better_security_cannot_be_hidden_from_the_twin(
    machine: Machine, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.secure = showing(certificates.plant / "machine.der")
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    asked = Client.connect_and_get_server_endpoints

    async def changed_on_the_way(client: Client) -> list[ua.EndpointDescription]:
        return [each for each in await asked(client) if "Aes256" not in each.SecurityPolicyUri]

    monkeypatch.setattr(Client, "connect_and_get_server_endpoints", changed_on_the_way)
    await refused(source(machine, security=certificates.security()), "somebody between")


async def test_a_secured_server_can_be_browsed(
    machine: Machine, certificates: Certificates
) -> None:
    folder = SecuredFolder(certificates.plant)
    machine.secure = lambda server: folder.secure(server, "machine")
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    found = await browse(
        machine.url, connector=shown_to(machine.url, certificates.plant, None, "-")
    )
    assert [variable.path[-1] for variable in found] == ["Speed"]
    with pytest.raises(RefusedError, match="is not trusted"):
        await browse(machine.url, connector=shown_to(machine.url, certificates.stranger, None, "-"))
    with pytest.raises(UaError):
        await browse(machine.url)


async def test_only_users_that_the_server_knows_are_let_in(
    machine: Machine, certificates: Certificates, tmp_path: Path
) -> None:
    known = (certificates.plant / "twin.der").read_bytes()
    machine.secure = showing(
        certificates.plant / "machine.der",
        users=Users({"twin": PASSWORD}, (known,)),
        tokens=(ua.UserNameIdentityToken, ua.X509IdentityToken),
    )
    await machine.has("Speed", 1.0, "m/min", writable=True).start()
    secured = {"security": certificates.security()}
    said = await refused(source(machine, **secured), "no user is configured")
    assert said.what == "refused by peer"

    def certified(folder: Path) -> dict[str, Any]:
        return {"certificate": str(folder / "twin.der"), "key": str(folder / "twin.key.pem")}

    stranger = source(machine, **secured, user=certified(certificates.stranger))
    await refused(stranger, "refuses the user of the certificate")
    async with reading(source(machine, **secured, user=certified(certificates.plant))) as read:
        await read.value(0, 1 / 60)

    kept = tmp_path / "password"
    kept.write_text(WRONG)
    named = source(machine, **secured, user={"name": "twin", "password": {"file": str(kept)}})
    async with reading(named) as read:
        await until(lambda: "refuses the user 'twin'" in (named.state.error or ""), 20)
        (incident,) = named.state.incidents
        kept.write_text(PASSWORD)  # no restart: the next attempt takes it
        await read.value(0, 1 / 60)
    for secret in (WRONG, PASSWORD):
        assert secret not in repr((incident, named.state))
