"""How the twin comes to a broker: over TLS where configured, by name and password where asked."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.serialization import Encoding
from paho.mqtt.reasoncodes import ReasonCode

from connectors.certificates import (
    CertificateRefusedError,
    out_of_time,
    read_certificates,
    read_trusted,
)
from connectors.refusal import RefusedError
from twin.configuration.models import MqttConnector
from twin.configuration.security import MqttSecurity

_LOGIN_REFUSED: Final = frozenset(
    {
        "Bad user name or password",
        "Not authorized",
        "Banned",
        "Bad authentication method",
        "Client identifier not valid",
    }
)


class _Socket(ssl.SSLSocket):
    """Closes where the peer is refused: paho leaves it open."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def secure(client: paho.Client, connector: MqttConnector) -> None:
    """Prepare a client for its broker; reads files.

    Raises:
        RefusedError: a certificate of the configuration cannot be used.
        SecretError: a password is not where it should be.
    """
    if isinstance(connector.security, MqttSecurity):
        client.tls_set_context(_context(connector.security))
    if connector.user is not None:
        client.username_pw_set(connector.user.name, connector.user.password.read())


def _context(security: MqttSecurity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # asks for a certificate of the host's name
    context.sslsocket_class = _Socket
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # who is in the list is trusted, whether it is an authority or the broker itself
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for trusted in read_trusted(security.trusts):
        context.load_verify_locations(cadata=trusted.public_bytes(Encoding.PEM).decode())
    if security.certificate is None or security.key is None:
        return context
    own = read_certificates(security.certificate)[0]
    if problem := out_of_time(own, datetime.now(UTC)):
        raise CertificateRefusedError(
            f"the twin's own certificate {security.certificate} {problem}"
        )
    # without one OpenSSL would ask on the terminal
    password = security.key_password.read() if security.key_password is not None else ""
    try:
        context.load_cert_chain(security.certificate, security.key, password)
    except (OSError, ValueError) as error:
        raise CertificateRefusedError(
            f"{security.certificate} and {security.key} are no certificate and key in PEM that "
            f"belong together, or the key's password is another one ({_reason(error)})"
        ) from None
    return context


@contextmanager
def explained(connector: MqttConnector) -> Iterator[None]:
    """What TLS has against a broker, as a sentence.

    Raises:
        RefusedError: instead of what `ssl` raises.
    """
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(
            "peer refused",
            f"the certificate of {connector.host}:{connector.port} is refused: "
            f"{error.verify_message}",
        ) from None
    except ssl.SSLError as error:
        raise RefusedError(
            "peer refused",
            f"{connector.host}:{connector.port} does not speak TLS as it should: {_reason(error)}",
        ) from None


def refusal(connector: MqttConnector, reason: ReasonCode) -> ConnectionError:
    """What a broker answers to a connection that it does not accept."""
    if str(reason) not in _LOGIN_REFUSED:
        return ConnectionError(f"the broker refuses the connection: {reason}")
    who = "who comes without a name"
    if connector.user is not None:
        who = f"the user {connector.user.name!r} with this password"
    return RefusedError(
        "refused by peer", f"{connector.host}:{connector.port} refuses {who} ({reason})"
    )


def broken_off(connector: MqttConnector, said: str) -> ConnectionError:
    """What it means that a broker breaks off before it answered the first packet."""
    security = connector.security
    if not isinstance(security, MqttSecurity):
        return ConnectionError(said)
    # TLS 1.3: whether a certificate is accepted turns out only after the client thinks it is done
    shown = "a certificate" if security.certificate is None else "another certificate than this"
    return RefusedError(
        "refused by peer",
        f"{connector.host}:{connector.port} broke off before it answered; a broker that asks for "
        f"{shown} does that",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or type(error).__name__
