"""Secrets: a configuration says where each one is kept, never what it is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from twin.files import Beside

_PLACES: Final = "{env: NAME}, {file: PATH} or {credential: NAME}"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class SecretError(ValueError):
    """A secret is not where the configuration says that it is kept."""


class Secret(BaseModel):
    """Where a password, token or passphrase is kept: exactly one of the three.

    It holds no secret itself, so it may be printed, logged and recorded.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    env: str | None = Field(None, description="name of an environment variable")
    file: Beside | None = Field(
        None, description="a file that holds nothing else; beside the configuration"
    )
    credential: str | None = Field(
        None, description="name of a systemd credential (LoadCredential=)"
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_what_is_written_out(cls, value: Any) -> Any:
        # the sentence must not repeat what stands there: it may be the secret
        if not isinstance(value, dict | Secret):
            raise ValueError(
                f"a secret is not written into a configuration; say where it is kept: {_PLACES}"
            )
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [self.env, self.file, self.credential].count(None) != 2:
            raise ValueError(f"a secret is kept in exactly one place; write {_PLACES}")
        if self.env is not None and not _VARIABLE.fullmatch(self.env):
            raise ValueError("that is no environment variable; write its name: {env: NAME}")
        if self.credential is not None and not _CREDENTIAL.fullmatch(self.credential):
            raise ValueError("that is no name of a credential; write {credential: NAME}")
        return self

    def read(self) -> str:
        """The secret itself, anew each time, without the line break at the end of a file.

        Raises:
            SecretError: it is not there; the sentence says where it was looked for.
        """
        if self.env is not None:
            found = os.environ.get(self.env, "")
            if not found:
                raise SecretError(f"the environment variable {self.env} is not set or empty")
            return found
        return _read(self._path())

    def _path(self) -> Path:
        if self.file is not None:
            return self.file
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise SecretError(
                f"the credential {self.credential} is given by systemd only; write "
                f"LoadCredential={self.credential}:PATH into the unit, or use env or file"
            )
        return Path(folder) / str(self.credential)


def _read(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SecretError(f"the secret in {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretError(f"the secret in {path} is not text (UTF-8)") from None
    found = found.removesuffix("\n").removesuffix("\r")
    if not found:
        raise SecretError(f"the secret in {path} is empty")
    return found
