"""Users and their roles: passwords, tokens for machines, sessions of browsers; in the ledger.

Passwords are kept as Argon2id hashes with the parameters of RFC 9106 for little memory. Tokens and
sessions are 256 random bits, of which only the SHA-256 is kept: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from twin.ledger import SESSIONS, TOKENS, TWIN, USERS, Ledger

Role = Literal["viewer", "operator", "engineer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may do what those before it may."""
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
SHORTEST: Final = 10
"""Characters of a password."""
LONGEST: Final = 256
SESSION: Final = 12 * 3600 * 10**9
"""How long a browser stays logged in, ns: a long shift."""
LONGEST_TOKEN: Final = 366
"""Days."""
PREFIX: Final = "linetwin_"
"""Of tokens, so that secret scanners find them."""
_DAY: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class User:
    """A person or a machine that has shown who it is."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this user may do what takes a role."""
        return ROLES.index(self.role) >= ROLES.index(role)


class NotAllowedError(PermissionError):
    """A user asked for what takes a higher role."""

    def __init__(self, user: User, what: str, role: Role) -> None:
        super().__init__(f"{user.name} is {user.role}; to {what} takes the role {role}")
        self.user = user
        self.role = role


@dataclass(frozen=True, slots=True)
class Account:
    """A user or a token, without its secret."""

    name: str
    kind: Literal["user", "token"]
    role: Role
    since: int
    """ns since the epoch (UTC)."""
    expires: int | None
    """ns; None for a user."""


class Users:
    """Who may log in, as the ledger keeps it. Synchronous; safe on several threads.

    Args:
        ledger: its database is used.
        now: wall time, ns: sessions do not run faster on an accelerated line.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: from every method, where the database refuses.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], int] = time.time_ns) -> None:
        self._engine = ledger.engine
        self._now = now
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        # as slow as a real one, for names that nobody has
        self._nobody = self._hasher.hash(secrets.token_urlsafe())

    def add(self, name: str, role: Role, password: str) -> None:
        """Add a user.

        Raises:
            ValueError: the name is taken or no name, the role is none, or the password is short.
        """
        _check_name(name)
        _check_role(role)
        row = {"name": name, "role": role, "password": self._hash(password), "added": self._now()}
        with self._engine.begin() as connection:
            if _exists(connection, USERS, name):
                raise ValueError(
                    f"there is a user {name} already; change the password with: "
                    f"twin users password {name}"
                )
            _refuse_shared(connection, TOKENS, "token", name)
            connection.execute(sa.insert(USERS).values(row))

    def replace(self, name: str, role: Role, password: str) -> None:
        """Add a user, in the place of one with that name; ends the sessions of that one.

        Raises:
            ValueError: it is no name, or the password is short.
        """
        if any(each.name == name and each.kind == "user" for each in self.accounts()):
            self.remove(name)
        self.add(name, role, password)

    def remove(self, name: str) -> None:
        """Remove a user or a token; ends the user's sessions.

        Raises:
            ValueError: there is neither.
        """
        with self._engine.begin() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.user == name))
            gone = sum(
                connection.execute(sa.delete(table).where(table.c.name == name)).rowcount
                for table in (USERS, TOKENS)
            )
        if not gone:
            raise ValueError(f"there is no user and no token {name}; `twin users list` has all")

    def set_password(self, name: str, password: str) -> None:
        """Give a user another password; ends the sessions that were opened with the old one.

        Raises:
            ValueError: there is no such user, or the password is short.
        """
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(USERS).where(USERS.c.name == name).values(password=self._hash(password))
            )
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.user == name))
        if not changed.rowcount:
            raise ValueError(f"there is no user {name}; add one with: twin users add {name}")

    def issue_token(self, name: str, role: Role, days: float) -> str:
        """A secret with which a machine shows that it is `name`; it is not kept.

        Raises:
            ValueError: the name is taken or no name, or the life is none or longer than a year.
        """
        _check_name(name)
        _check_role(role)
        if not 0 < days <= LONGEST_TOKEN:
            raise ValueError(f"a token lives for at most {LONGEST_TOKEN} days")
        secret, now = PREFIX + secrets.token_urlsafe(32), self._now()
        row = {
            "name": name,
            "role": role,
            "sha256": _digest(secret),
            "issued": now,
            "expires": now + int(days * _DAY),
        }
        with self._engine.begin() as connection:
            if _exists(connection, TOKENS, name):
                raise ValueError(
                    f"there is a token {name} already; remove it with: twin users remove {name}"
                )
            _refuse_shared(connection, USERS, "user", name)
            connection.execute(sa.insert(TOKENS).values(row))
        return secret

    def accounts(self) -> list[Account]:
        """All users, then all tokens, by name."""
        with self._engine.connect() as connection:
            people = connection.execute(sa.select(USERS).order_by(USERS.c.name)).mappings().all()
            tokens = connection.execute(sa.select(TOKENS).order_by(TOKENS.c.name)).mappings().all()
        return [
            *(Account(each["name"], "user", each["role"], each["added"], None) for each in people),
            *(
                Account(each["name"], "token", each["role"], each["issued"], each["expires"])
                for each in tokens
            ),
        ]

    def check(self, name: str, password: str) -> User | None:
        """The user with this name and password; takes as long where there is none."""
        with self._engine.connect() as connection:
            row = (
                connection.execute(sa.select(USERS).where(USERS.c.name == name)).mappings().first()
            )
        kept = self._nobody if row is None else row["password"]
        try:
            self._hasher.verify(kept, password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return None
        if row is None:
            return None
        if self._hasher.check_needs_rehash(kept):
            with self._engine.begin() as connection:
                connection.execute(
                    sa.update(USERS)
                    .where(USERS.c.name == name, USERS.c.password == kept)
                    .values(password=self._hasher.hash(password))
                )
        return User(row["name"], row["role"])

    def open_session(self, user: User) -> str:
        """A secret for the cookie of a browser; sessions that are over are forgotten."""
        secret, now = secrets.token_urlsafe(32), self._now()
        row = {"sha256": _digest(secret), "user": user.name, "expires": now + SESSION}
        with self._engine.begin() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires <= now))
            connection.execute(sa.insert(SESSIONS).values(row))
        return secret

    def close_session(self, secret: str) -> None:
        """Log out."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.sha256 == _digest(secret)))

    def of_session(self, secret: str) -> User | None:
        """Whose session this is; None where it is over or none."""
        query = (
            sa.select(USERS.c.name, USERS.c.role)
            .join(SESSIONS, SESSIONS.c.user == USERS.c.name)
            .where(SESSIONS.c.sha256 == _digest(secret), SESSIONS.c.expires > self._now())
        )
        return self._user(query)

    def of_token(self, secret: str) -> User | None:
        """Whose token this is; None where it has expired or is none."""
        query = sa.select(TOKENS.c.name, TOKENS.c.role).where(
            TOKENS.c.sha256 == _digest(secret), TOKENS.c.expires > self._now()
        )
        return self._user(query)

    def _user(self, query: sa.Select[tuple[str, str]]) -> User | None:
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else User(row["name"], row["role"])

    def _hash(self, password: str) -> str:
        if not SHORTEST <= len(password) <= LONGEST:
            raise ValueError(f"a password has {SHORTEST} to {LONGEST} characters")
        return self._hasher.hash(password)


def new_password() -> str:
    """A random password that a person can type."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(5)) for _ in range(4))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _exists(connection: sa.Connection, table: sa.Table, name: str) -> bool:
    query = sa.select(table.c.name).where(table.c.name == name)
    return connection.execute(query).first() is not None


def _refuse_shared(connection: sa.Connection, table: sa.Table, kind: str, name: str) -> None:
    """A token with a person's name could change that person's password, and sign for them."""
    if _exists(connection, table, name):
        raise ValueError(f"there is a {kind} {name} already; take another name")


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise ValueError(
            f"{name!r} is no name; it has 1 to 64 letters, digits, dots, dashes, underscores or @"
        )
    if name == TWIN:
        raise ValueError(f"{name} is who the audit trail says when nobody asked; take another name")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ValueError(f"there is no role {role}; choose from {', '.join(ROLES)}")
