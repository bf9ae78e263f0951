"""Certificates: whom they are of, until when, who vouches for them, and how they are made."""

from __future__ import annotations

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from connectors.authority import Authority
from connectors.certificates import (
    CertificateRefusedError,
    application_uri,
    first_certificate,
    judge,
    read_certificates,
    read_identity,
    read_trusted,
)
from tests.certificates import PASSWORD, Certificates
from twin.secrets import Secret, SecretError

SOON = timedelta(days=1)


def one(path: Path) -> object:
    return read_certificates(path)[0]


@pytest.mark.parametrize(
    ("shown", "trusted", "host", "after", "words"),
    [
        ("plant/machine.der", "plant/ca.der", "127.0.0.1", SOON, ""),
        ("plant/machine.pem", "plant/ca.pem", "LocalHost", SOON, ""),
        ("plant/machine.der", "plant", "127.0.0.1", SOON, ""),
        ("stranger/machine.der", "stranger/machine.der", "coater.plant", SOON, ""),
        ("plant/machine.der", "plant/ca.der", "coater.plant", SOON, "another host"),
        ("plant/elsewhere.der", "plant/ca.der", "10.9.8.7", SOON, ""),
        ("plant/elsewhere.der", "plant/ca.der", "10.9.8.70", SOON, "another host"),
        ("stranger/machine.der", "plant/ca.der", "127.0.0.1", SOON, "is not trusted"),
        # whoever is trusted himself may not vouch for others
        ("plant/machine.der", "plant/twin.der", "127.0.0.1", SOON, "is not trusted"),
        ("plant/expired.der", "plant/ca.der", "127.0.0.1", SOON, "expired on"),
        ("plant/expired.der", "plant/expired.der", "127.0.0.1", SOON, "expired on"),
        ("plant/machine.der", "plant/ca.der", "127.0.0.1", -SOON, "holds only from"),
    ],
)
def test_who_is_trusted(
    certificates: Certificates, shown: str, trusted: str, host: str, after: timedelta, words: str
) -> None:
    folder = certificates.plant.parent
    (certificate,) = read_certificates(folder / shown)
    trusts = (
        read_trusted([folder / trusted])
        if trusted != "plant"
        else read_trusted([folder / trusted / "ca.der", folder / trusted / "twin.pem"])
    )
    now = datetime.now(UTC) + after
    if not words:
        judge(certificate, trusts, host, now)
        return
    with pytest.raises(CertificateRefusedError, match=words):
        judge(certificate, trusts, host, now)


def test_an_authority_that_has_expired_vouches_for_nobody(certificates: Certificates) -> None:
    authority = read_certificates(certificates.plant / "ca.der")
    (machine,) = read_certificates(certificates.plant / "machine.der")
    # a certificate may outlive who signed it
    late = datetime.now(UTC) + timedelta(days=20)
    judge(machine, authority, "127.0.0.1", late)
    (expired,) = read_certificates(certificates.plant / "expired.der")
    with pytest.raises(CertificateRefusedError, match="expired"):
        judge(expired, authority, "127.0.0.1", late)


def test_the_first_of_a_chain_is_the_holders_own(certificates: Certificates) -> None:
    own = (certificates.plant / "machine.der").read_bytes()
    chain = own + (certificates.plant / "ca.der").read_bytes()
    assert first_certificate(chain) == read_certificates(certificates.plant / "machine.der")[0]
    for nonsense in (b"", b"0", own[:100], b"\x30\x82\xff\xff" + own):
        with pytest.raises(CertificateRefusedError):
            first_certificate(nonsense)


def test_a_key_may_have_a_password(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = certificates.plant
    key = read_identity(plant / "twin.pem", plant / "twin.key.pem", None).key
    locked = tmp_path / "twin.key.der"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSWORD.encode()),
        )
    )
    secret = Secret(env="KEY_PASSWORD")
    with pytest.raises(SecretError, match="KEY_PASSWORD is not set"):
        read_identity(plant / "twin.der", locked, secret)
    monkeypatch.setenv("KEY_PASSWORD", "another")
    with pytest.raises(CertificateRefusedError, match="its password is another"):
        read_identity(plant / "twin.der", locked, secret)
    monkeypatch.setenv("KEY_PASSWORD", PASSWORD)
    found = read_identity(plant / "twin.der", locked, secret).key
    assert found.private_numbers() == key.private_numbers()


def test_keys_are_their_owners_alone_and_what_is_there_stays(
    certificates: Certificates,
) -> None:
    plant = certificates.plant
    assert stat.S_IMODE(plant.stat().st_mode) == 0o700
    for key in plant.glob("*.key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = {file: file.read_bytes() for file in plant.iterdir()}
    authority = Authority(plant)
    assert not authority.issue("machine", "urn:test:machine", ["127.0.0.1"], "server", 30)
    assert {file: file.read_bytes() for file in plant.iterdir()} == before
    for name in ("../machine", "ca", "", ".hidden", "a/b"):
        with pytest.raises(ValueError, match="no name for a certificate"):
            authority.issue(name, "urn:test:x", ["x"], "server", 30)


def test_others_read_what_is_made(certificates: Certificates) -> None:
    plant = certificates.plant
    assert application_uri(read_certificates(plant / "twin.der")[0]) == "urn:test:twin"
    for name, purpose in (("machine", "sslserver"), ("twin", "sslclient")):
        verify = ["openssl", "verify", "-x509_strict", "-purpose", purpose]
        said = subprocess.run(
            [*verify, "-CAfile", plant / "ca.pem", plant / f"{name}.pem"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
