"""Certificates: read, and judged before anything is said to who shows one."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID

from connectors.refusal import RefusedError
from twin.secrets import Secret

_SUFFIXES: Final = frozenset({".pem", ".der", ".crt", ".cer"})
_PEM: Final = b"-----BEGIN"


class CertificateRefusedError(RefusedError):
    """A certificate that must not be used; the sentence says whose, and why."""

    def __init__(self, said: str) -> None:
        super().__init__("peer refused", said)


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate of one's own, with its key."""

    certificate: x509.Certificate
    key: RSAPrivateKey


def read_certificates(path: Path) -> list[x509.Certificate]:
    """The certificates in a file, DER or PEM, or in the files of a folder.

    Raises:
        CertificateRefusedError: there is none, or it cannot be read.
    """
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
            found = [each for file in files for each in _parse(file.read_bytes())]
        else:
            found = _parse(path.read_bytes())
    except OSError as error:
        raise CertificateRefusedError(
            f"the certificate {path} cannot be read: {error.strerror}"
        ) from None
    except ValueError:
        raise CertificateRefusedError(
            f"{path} holds something else than certificates in DER or PEM"
        ) from None
    if not found:
        raise CertificateRefusedError(f"{path} holds no certificate")
    return found


def _parse(content: bytes) -> list[x509.Certificate]:
    if _PEM in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def read_trusted(paths: Sequence[Path]) -> list[x509.Certificate]:
    """The certificates in all of the files and folders.

    Raises:
        CertificateRefusedError: one holds none, or cannot be read.
    """
    return [each for path in paths for each in read_certificates(path)]


def first_certificate(content: bytes) -> x509.Certificate:
    """The holder's own of a chain of certificates, DER one after the other.

    Raises:
        CertificateRefusedError: it is none.
    """
    # a SEQUENCE with a length of two bytes, as every certificate of an RSA key has
    size = 4 + int.from_bytes(content[2:4], "big")
    try:
        return x509.load_der_x509_certificate(content[:size])
    except ValueError:
        raise CertificateRefusedError("the server shows a certificate that is none") from None


def read_identity(
    certificate: Path, key: Path, password: Secret | None, now: datetime | None = None
) -> Identity:
    """A certificate of the twin's own and its RSA key.

    Raises:
        CertificateRefusedError: one cannot be read, they do not belong together, or it is expired.
        SecretError: the key's password is not where it should be.
    """
    own = read_certificates(certificate)[0]
    if problem := out_of_time(own, now or datetime.now(UTC)):
        raise CertificateRefusedError(f"the twin's own certificate {certificate} {problem}")
    secret = None if password is None else password.read().encode()
    try:
        content = key.read_bytes()
        load = (
            serialization.load_pem_private_key
            if _PEM in content
            else serialization.load_der_private_key
        )
        private = load(content, secret)
    except OSError as error:
        raise CertificateRefusedError(f"the key {key} cannot be read: {error.strerror}") from None
    except (TypeError, ValueError):
        raise CertificateRefusedError(
            f"{key} is no private key, or its password is another one"
        ) from None
    if not isinstance(private, RSAPrivateKey):
        raise CertificateRefusedError(f"{key} is no RSA key, which OPC UA asks for")
    if private.public_key() != own.public_key():
        raise CertificateRefusedError(f"{key} is not the key of the certificate {certificate}")
    return Identity(own, private)


def out_of_time(certificate: x509.Certificate, now: datetime) -> str:
    """Why a certificate does not hold now; empty where it does."""
    if now > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return f"holds only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
    return ""


def name_of(certificate: x509.Certificate) -> str:
    """The name that a certificate gives its holder."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def application_uri(certificate: x509.Certificate) -> str | None:
    """The URI by which OPC UA knows the holder; None where the certificate has none."""
    uris = _alternatives(certificate).get_values_for_type(x509.UniformResourceIdentifier)
    return uris[0] if uris else None


def judge(
    certificate: x509.Certificate,
    trusted: Sequence[x509.Certificate],
    host: str,
    now: datetime | None = None,
) -> None:
    """Accept a peer's certificate that is in the list, or that one of the list signed for its host.

    Raises:
        CertificateRefusedError: it must not be trusted.
    """
    now = now or datetime.now(UTC)
    whose = f"the certificate of {host} ({name_of(certificate)})"
    if problem := out_of_time(certificate, now):
        raise CertificateRefusedError(f"{whose} {problem}")
    if certificate in trusted:
        return
    authorities = [each for each in trusted if _signed(each, certificate)]
    if not authorities:
        raise CertificateRefusedError(
            f"{whose} is not trusted: it is not in `trusts`, and nobody there signed it; its "
            f"SHA-256 is {fingerprint(certificate)}"
        )
    if all(problem := out_of_time(each, now) for each in authorities):
        raise CertificateRefusedError(
            f"the authority that signed {whose} ({name_of(authorities[0])}) {problem}"
        )
    # an authority signs for many: each may only be who it is
    if not _speaks_for(certificate, host):
        raise CertificateRefusedError(f"{whose} is that of another host: it does not name {host}")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate, hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _signed(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not basic.ca:
            return False
        certificate.verify_directly_issued_by(authority)
    except (x509.ExtensionNotFound, InvalidSignature, TypeError, ValueError):
        return False
    return True


def _speaks_for(certificate: x509.Certificate, host: str) -> bool:
    names = _alternatives(certificate)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() in [each.lower() for each in names.get_values_for_type(x509.DNSName)]
    return address in names.get_values_for_type(x509.IPAddress)


def _alternatives(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])
