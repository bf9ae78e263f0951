"""`twin users`: who may log in, and tokens for machines."""

from __future__ import annotations

import getpass
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from twin.app.line import read_line
from twin.app.stores import open_ledger, require_store
from twin.cli.terminal import Config, err, out
from twin.configuration import bundled
from twin.desk import Desk
from twin.ledger import Ledger
from twin.users import ROLES, Role, Users, new_password

users = typer.Typer(
    help="Who may log in to dashboard and API, and tokens for machines.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Data = Annotated[Path | None, typer.Option(help="Instead of the configured folder.")]
RoleOption = Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")]
Generate = Annotated[bool, typer.Option("--generate", help="Make a password and print it once.")]


def introduce(desk: Desk, address: str, folder: Path) -> list[str]:
    """Where a service is, and what its first start lacks, as sentences."""
    said = [f"dashboard and API at {address}"]
    if not desk.door.users.accounts():
        said.append(
            "there are no users yet: nobody can log in; add one with: "
            f"twin users add NAME --role engineer --data {folder}"
        )
    return said


def _folder(config: Path | None, data: Path | None) -> Path:
    return data or read_line(config or bundled("line.yaml")).store.folder


def _ledger(config: Path | None, data: Path | None) -> Ledger:
    """The ledger of a store; there need not be one, as people are added before the first start."""
    return open_ledger(_folder(config, data))


def _ledger_kept(config: Path | None, data: Path | None) -> Ledger:
    """The ledger of a store that there is.

    Raises:
        ValueError: there is none.
    """
    folder = _folder(config, data)
    require_store(folder)
    return open_ledger(folder)


def _audit(ledger: Ledger, what: str, name: str, **details: object) -> None:
    ledger.audit(time.time_ns(), getpass.getuser(), what, {"name": name, **details})


def _role(text: str) -> Role:
    found = next((each for each in ROLES if each == text), None)
    if found is None:
        raise ValueError(f"there is no role {text}; choose from {', '.join(ROLES)}")
    return found


def _password(generate: bool) -> str:
    """From the terminal, twice; from a pipe, its first line; or a new one."""
    if generate:
        return new_password()
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != first:
        raise ValueError("the passwords differ; nothing was changed")
    return first


def _tell(generate: bool, password: str) -> None:
    if generate:
        out.print(f"password, shown this once: {password}", highlight=False, soft_wrap=True)


@users.command()
def add(
    name: str,
    role: RoleOption = "operator",
    generate: Generate = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Add a user."""
    with _ledger(config, data) as ledger:
        password = _password(generate)
        Users(ledger).add(name, _role(role), password)
        _audit(ledger, "add user", name, role=role)
    _tell(generate, password)


@users.command("list")
def list_(config: Config = None, data: Data = None) -> None:
    """List users and tokens."""
    with _ledger_kept(config, data) as ledger:
        accounts = Users(ledger).accounts()
    if not accounts:
        err.print("there are no users; add one with: twin users add NAME")
        return
    table = Table("name", "kind", "role", "since (UTC)", "expires (UTC)", box=box.SIMPLE_HEAD)
    for each in accounts:
        expires = "" if each.expires is None else _day(each.expires)
        table.add_row(each.name, each.kind, each.role, _day(each.since), expires)
    out.print(table)


@users.command()
def remove(name: str, config: Config = None, data: Data = None) -> None:
    """Remove a user or a token; open sessions end."""
    with _ledger_kept(config, data) as ledger:
        Users(ledger).remove(name)
        _audit(ledger, "remove user", name)


@users.command()
def password(
    name: str, generate: Generate = False, config: Config = None, data: Data = None
) -> None:
    """Give a user another password; open sessions end."""
    with _ledger_kept(config, data) as ledger:
        chosen = _password(generate)
        Users(ledger).set_password(name, chosen)
        _audit(ledger, "change password", name)
    _tell(generate, chosen)


@users.command()
def token(
    name: str,
    role: RoleOption = "viewer",
    days: Annotated[float, typer.Option(help="How long it can be used.")] = 90,
    config: Config = None,
    data: Data = None,
) -> None:
    """Make a token for a machine and print it once."""
    with _ledger(config, data) as ledger:
        secret = Users(ledger).issue_token(name, _role(role), days)
        _audit(ledger, "issue token", name, role=role, days=days)
    out.print(secret, highlight=False, soft_wrap=True)


def _day(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M}"
