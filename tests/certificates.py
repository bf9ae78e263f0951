"""Certificates for tests: an authority with whoever it vouches for, and whoever it does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.user_managers import UserManager

from connectors import authority
from connectors.authority import Authority

PASSWORD = "correct-horse-battery-staple"
WRONG = "hunter2-was-a-bad-idea"


@dataclass(frozen=True)
class Certificates:
    """Two folders as `twin certs` makes them: the plant's, and a stranger's."""

    plant: Path
    stranger: Path

    def security(self, **other: object) -> dict[str, object]:
        """A `security:` section of the twin's own, OPC UA or MQTT."""
        return {
            "certificate": str(self.plant / "twin.der"),
            "key": str(self.plant / "twin.key.pem"),
            "trusts": [str(self.plant / "ca.der")],
        } | other


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    made = Certificates(folder / "plant", folder / "stranger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authority, "BITS", 2048)  # the smallest that OPC UA takes, and quick to make
        for own in (made.plant, made.stranger):
            for name, role in (("twin", "client"), ("machine", "server")):
                hosts = ["127.0.0.1", "localhost"]
                Authority(own).issue(name, f"urn:test:{name}", hosts, role, 30)  # type: ignore[arg-type]
        plant = Authority(made.plant)
        long_ago = datetime.now(UTC) - timedelta(days=60)
        plant.issue("expired", "urn:test:machine", ["127.0.0.1"], "server", 30, long_ago)
        plant.issue("old-twin", "urn:test:twin", ["127.0.0.1"], "client", 30, long_ago)
        plant.issue("elsewhere", "urn:test:machine", ["10.9.8.7", "other"], "server", 30)
    return made


class Users(UserManager):
    """Lets in who knows the password, or shows the certificate of a user."""

    def __init__(self, names: dict[str, str], certificates: tuple[bytes, ...] = ()) -> None:
        self.names = names
        self.certificates = certificates

    def get_user(
        self,
        iserver: object,
        username: str | None = None,
        password: str | None = None,
        certificate: bytes | None = None,
    ) -> User | None:
        # who comes by name comes over a channel with a certificate too, which is no proof of him
        if username is None:
            known = certificate in self.certificates
        else:
            known = self.names.get(username) == password
        return User(UserRole.User) if known else None
