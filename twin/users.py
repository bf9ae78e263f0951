"""Users: who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

Role = Literal["viewer", "operator", "engineer"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
"""Each may do what those before it may."""


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
