"""Certificates: which of them end soon."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

SOON: Final = timedelta(days=30)


def expiring(files: Iterable[Path], now: datetime) -> list[str]:
    """Sentences on certificates that have ended, end within 30 days, or cannot be read.

    Args:
        files: PEM or DER; of a chain in one file every certificate counts.
        now: with its time zone.
    """
    found = []
    for file in files:
        try:
            certificates = _load(file.read_bytes())
        except (OSError, ValueError) as error:
            found.append(f"{file} cannot be read: {error}")
            continue
        for certificate in certificates:
            end = certificate.not_valid_after_utc
            subject = certificate.subject.rfc4514_string() or "a certificate without a name"
            if end < now:
                found.append(f"{file}: {subject} ended on {end:%Y-%m-%d}; renew it")
            elif end < now + SOON:
                days = (end - now).days
                found.append(f"{file}: {subject} ends on {end:%Y-%m-%d}, in {days} days; renew it")
    return found


def _load(content: bytes) -> list[x509.Certificate]:
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]
