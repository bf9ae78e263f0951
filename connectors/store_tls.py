"""TLS to a time-series store."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from connectors.certificates import read_trusted


def tls_context(trusts: Sequence[Path]) -> ssl.SSLContext:
    """A client's context that asks for a certificate of the server's name.

    Args:
        trusts: files or folders of certificates; the machine's own authorities where empty.

    Raises:
        OSError, ValueError: a file cannot be read.
    """
    if not trusts:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # the server's own certificate may be trusted without the authority behind it
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for certificate in read_trusted(trusts):
        context.load_verify_locations(cadata=certificate.public_bytes(Encoding.DER))
    return context
