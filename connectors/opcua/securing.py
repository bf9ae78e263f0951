"""A secured connection: who the server is, how it is spoken to, and as whom the twin comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import (
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from connectors.certificates import (
    CertificateRefusedError,
    application_uri,
    first_certificate,
    judge,
    read_identity,
    read_trusted,
)
from connectors.refusal import RefusedError
from twin.configuration.models import OpcUaConnector
from twin.configuration.security import OpcUaSecurity, OpcUaUser

_POLICIES: Final = (SecurityPolicyAes256Sha256RsaPss, SecurityPolicyBasic256Sha256)
"""Best first."""
_MODE: Final = ua.MessageSecurityMode.SignAndEncrypt

_LOGIN_REFUSED: Final = frozenset(
    {
        StatusCodes.BadUserAccessDenied,
        StatusCodes.BadIdentityTokenInvalid,
        StatusCodes.BadIdentityTokenRejected,
    }
)
_CERTIFICATE_REFUSED: Final = frozenset(
    {
        StatusCodes.BadSecurityChecksFailed,
        StatusCodes.BadCertificateInvalid,
        StatusCodes.BadCertificateTimeInvalid,
        StatusCodes.BadCertificateUntrusted,
        StatusCodes.BadCertificateUriInvalid,
        StatusCodes.BadCertificateUseNotAllowed,
        StatusCodes.BadCertificateRevoked,
        StatusCodes.BadCertificateIssuerRevoked,
        StatusCodes.BadCertificateHostNameInvalid,
        StatusCodes.BadCertificateChainIncomplete,
    }
)

Policy = type[SecurityPolicyAes256Sha256RsaPss | SecurityPolicyBasic256Sha256]


@dataclass(frozen=True, slots=True)
class _Choice:
    policy: Policy
    certificate: bytes
    """Of the server, DER."""


async def connect(client: Client, connector: OpcUaConnector) -> None:
    """Connect as the configuration says: secured, or in the clear where it says so in words.

    Raises:
        RefusedError: the server is not trusted, or does not let the twin in.
        OSError, UaError: it cannot be reached, or answers nonsense.
        SecretError: a password is not where it should be.
    """
    security = connector.security
    try:
        chosen = await _secure(client, security) if isinstance(security, OpcUaSecurity) else None
        if connector.user is not None:
            await asyncio.to_thread(_introduce, client, connector.user)
        await client.connect()
        # who answered the first question, which nobody signed, may have hidden the better policy
        if chosen is not None and chosen != _choose(client, await client.get_endpoints()):
            raise CertificateRefusedError(
                f"{_host(client)} offers another security inside the connection than outside: "
                "somebody between changes what it says"
            )
    except UaStatusCodeError as error:
        raise _translated(error, client, connector) from None


async def _secure(client: Client, security: OpcUaSecurity) -> _Choice:
    """Ask what the server offers, judge its certificate, and prepare to speak the best policy."""
    own = await asyncio.to_thread(
        read_identity, security.certificate, security.key, security.key_password
    )
    uri = application_uri(own.certificate)
    if uri is None:
        raise CertificateRefusedError(
            f"the twin's own certificate {security.certificate} names no application (URI), which "
            "OPC UA asks for; make one with: twin certs"
        )
    trusted = await asyncio.to_thread(read_trusted, security.trusts)
    chosen = _choose(client, await client.connect_and_get_server_endpoints())
    certificate = first_certificate(chosen.certificate)
    judge(certificate, trusted, _host(client))
    client.application_uri = uri
    policy = chosen.policy(certificate, own.certificate, own.key, _MODE)
    client.security_policy = policy  # type: ignore[assignment]  # annotated as that of no security
    client.uaclient.set_security(policy)
    return chosen


def _choose(client: Client, endpoints: Sequence[ua.EndpointDescription]) -> _Choice:
    for policy in _POLICIES:
        for each in endpoints:
            if each.SecurityPolicyUri == policy.URI and each.SecurityMode == _MODE:
                return _Choice(policy, each.ServerCertificate or b"")
    offered = dict.fromkeys(
        f"{each.SecurityPolicyUri.rpartition('#')[2]} {each.SecurityMode.name.strip('_')}"
        for each in endpoints
    )
    raise CertificateRefusedError(
        f"{_host(client)} offers neither Aes256Sha256RsaPss nor Basic256Sha256, signed and "
        f"encrypted, but {', '.join(offered) or 'nothing'}; allow one of them on the server, or "
        "write security: none where nobody else can reach the line"
    )


def _introduce(client: Client, user: OpcUaUser) -> None:
    if user.name is not None and user.password is not None:
        client.set_user(user.name)
        client.set_password(user.password.read())
    elif user.certificate is not None and user.key is not None:
        identity = read_identity(user.certificate, user.key, user.key_password)
        client.user_certificate, client.user_private_key = identity.certificate, identity.key


def _translated(
    error: UaStatusCodeError, client: Client, connector: OpcUaConnector
) -> UaStatusCodeError | RefusedError:
    """What a server says when it does not let somebody in, as a sentence."""
    name = ua.StatusCode(error.code).name
    if error.code in _LOGIN_REFUSED:
        user = connector.user
        if user is None:
            who = "anonymous users, and no user is configured"
        elif user.name is not None:
            who = f"the user {user.name!r} with this password"
        else:
            who = f"the user of the certificate {user.certificate}"
        return RefusedError("refused by peer", f"{_host(client)} refuses {who} ({name})")
    if error.code in _CERTIFICATE_REFUSED:
        return RefusedError(
            "refused by peer",
            f"{_host(client)} does not trust the twin's certificate ({name}): put it, or the "
            "authority that signed it, into the server's trust list",
        )
    return error


def _host(client: Client) -> str:
    return client.server_url.hostname or ""
