"""Servers that speak to nobody unknown: keys and certificates from a folder (`twin certs`)."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from paho.mqtt import client as mqtt


class SecuredFolder(UserManager):
    """A folder with ca.der, and NAME.der and NAME.key.pem for every server.

    Clients come with a certificate that `ca` signed; others are refused, and so is a connection in
    the clear. As a user manager of asyncua it judges the certificate of the secure channel.
    """

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            OSError: there is no authority that can be read.
        """
        self._folder = folder
        self._authority = self._read("ca")

    async def secure(self, server: Server, name: str) -> None:
        """Let a server show its certificate, and offer encrypted connections only.

        Raises:
            OSError: there is no certificate or key that can be read.
        """
        server.iserver.certificate = certificate = self._read(name)
        await server.load_private_key(self._folder / f"{name}.key.pem")
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (uri,) = names.get_values_for_type(x509.UniformResourceIdentifier)
        await server.set_application_uri(uri)
        server.set_security_policy(
            [
                ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
                ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ]
        )
        server.set_identity_tokens([ua.AnonymousIdentityToken])
        server.iserver.certificate_validator = self._judge
        server.iserver.user_manager = self

    async def _judge(self, certificate: x509.Certificate, _: ua.ApplicationDescription) -> None:
        now = datetime.now(UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise ServiceError(StatusCodes.BadCertificateTimeInvalid)
        if not self._signed(certificate):
            raise ServiceError(StatusCodes.BadCertificateUntrusted)

    def get_user(
        self,
        iserver: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        """Who comes with a certificate of the authority; nobody over a channel in the clear."""
        if certificate and self._signed(x509.load_der_x509_certificate(certificate)):
            return User(UserRole.User)
        return None

    def _read(self, name: str) -> x509.Certificate:
        file = self._folder / f"{name}.der"
        try:
            return x509.load_der_x509_certificate(file.read_bytes())
        except ValueError as error:
            raise OSError(f"{file} is no certificate in DER") from error

    def _signed(self, certificate: x509.Certificate) -> bool:
        try:
            certificate.verify_directly_issued_by(self._authority)
        except (InvalidSignature, TypeError, ValueError):
            return False
        return True

    def secure_client(self, client: mqtt.Client, name: str) -> None:
        """Let an MQTT client speak TLS, and show a certificate where there is one of that name.

        Raises:
            OSError: a file cannot be read, or holds something else.
        """
        context = ssl.create_default_context(cafile=self._folder / "ca.pem")
        if (self._folder / f"{name}.pem").exists():
            key = self._folder / f"{name}.key.pem"
            context.load_cert_chain(self._folder / f"{name}.pem", key)
        client.tls_set_context(context)
