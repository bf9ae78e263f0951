"""A certificate authority of one's own, in a folder, for a line whose plant has none."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.certificates import Identity, read_identity

BITS: Final = 3072
"""Of RSA keys: OPC UA's policies take 2048 to 4096; 3072 is meant to hold beyond 2030 (BSI)."""
AUTHORITY_DAYS: Final = 3650

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Authority:
    """Opens the authority of a folder, or makes one there; gives certificates to names.

    What is there stays: to renew a certificate, delete its three files, and to end trust in all of
    them, those of `ca` too. The key `ca.key.pem` signs whatever it is asked to: keep the folder on
    a computer that is not the line's.
    """

    def __init__(self, folder: Path, name: str = "linetwin authority") -> None:
        """
        Raises:
            CertificateRefusedError: what is there as `ca` cannot be used.
            OSError: the folder cannot be written.
        """
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.certificate.exists():
            self._write("ca", _authority(name))
        self._identity = read_identity(folder / "ca.pem", folder / "ca.key.pem", None)

    @property
    def certificate(self) -> Path:
        """What others put into their trust lists, DER; ca.pem beside it is the same."""
        return self.folder / "ca.der"

    def issue(
        self,
        name: str,
        uri: str,
        hosts: Sequence[str],
        role: Literal["client", "server"],
        days: float,
        now: datetime | None = None,
    ) -> bool:
        """Make NAME.der, NAME.pem and NAME.key.pem, unless they are there; whether it did.

        Args:
            name: of the files, and of the holder in the certificate.
            uri: by which OPC UA knows the holder.
            hosts: names and addresses under which the holder is reached.
            role: whether it connects or is connected to.
            days: how long it holds.
            now: when it begins to hold.

        Raises:
            ValueError: the name is none that a file may bear.
        """
        if not _NAME.fullmatch(name) or name == "ca":
            raise ValueError(f"{name!r} is no name for a certificate; write letters and digits")
        if (self.folder / f"{name}.der").exists():
            return False
        use = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}
        key = _key()
        begins = now or datetime.now(UTC)
        authority = self._identity.certificate
        certificate = (
            _builder(name, authority.subject, key, begins, timedelta(days=days))
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(uri), *map(_alternative, hosts)]
                ),
                critical=False,
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_others=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([use[role]]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]  # RSA
                critical=False,
            )
            .sign(self._identity.key, hashes.SHA256())
        )
        self._write(name, Identity(certificate, key))
        return True

    def _write(self, name: str, identity: Identity) -> None:
        encoding = serialization.Encoding
        key = identity.key.private_bytes(
            encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # the key first: a certificate without one would look as if all were there
        for suffix, content, mode in (
            ("key.pem", key, 0o600),
            ("pem", identity.certificate.public_bytes(encoding.PEM), 0o644),
            ("der", identity.certificate.public_bytes(encoding.DER), 0o644),
        ):
            path = self.folder / f"{name}.{suffix}"
            path.unlink(missing_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(file, "wb") as stream:
                stream.write(content)


def _authority(name: str) -> Identity:
    key = _key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, subject, key, datetime.now(UTC), timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_others=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Identity(certificate, key)


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=BITS)


def _builder(
    name: str, issuer: x509.Name, key: rsa.RSAPrivateKey, begins: datetime, lasts: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # clocks on a line differ by a few minutes
        .not_valid_before(begins - timedelta(minutes=10))
        .not_valid_after(begins + lasts)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(signs_others: bool) -> x509.KeyUsage:
    """What OPC 10000-6, 6.2.2 asks of an application's certificate, or of an authority's."""
    return x509.KeyUsage(
        digital_signature=not signs_others,
        content_commitment=not signs_others,
        key_encipherment=not signs_others,
        data_encipherment=not signs_others,
        key_agreement=False,
        key_cert_sign=signs_others,
        crl_sign=signs_others,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
