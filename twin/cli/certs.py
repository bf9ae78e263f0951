"""`twin certs`: certificates for the twin and for what it connects to."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from pydantic import ValidationError

from connectors.authority import Authority
from twin.app.line import read_line
from twin.cli.terminal import Json, out
from twin.configuration.models import OpcUaConnector
from twin.configuration.sentences import in_a_sentence


def certs(
    folder: Annotated[Path, typer.Argument(help="Folder for keys and certificates.")],
    line: Annotated[
        Path | None, typer.Option(help="Line configuration: one for every host that it names.")
    ] = None,
    server: Annotated[
        list[str] | None, typer.Option(help="NAME=HOST,…: one for a server or broker there.")
    ] = None,
    client: Annotated[
        list[str] | None, typer.Option(help="NAME: one for another client than the twin.")
    ] = None,
    days: Annotated[float, typer.Option(help="How long they hold.", min=1)] = 730.0,
    as_json: Json = False,
) -> None:
    """Make an authority and its certificates; what is there already stays.

    The twin's own is twin.der with twin.key.pem. Every machine gets its own three files, and ca.der
    into its trust list.
    """
    authority = Authority(folder)
    here = socket.gethostname()
    made = [
        name
        for name in ("twin", *(client or ()))
        if authority.issue(name, f"urn:{here}:{name}", [here], "client", days)
    ]
    hosts = {**_hosts(line), **dict(map(_named, server or ()))}
    made += [
        name
        for name, reached in hosts.items()
        if authority.issue(name, f"urn:{reached[0]}:{name}", reached, "server", days)
    ]
    if as_json:
        typer.echo(json.dumps({"authority": str(authority.certificate), "made": made}))
        return
    for name in made:
        out.print(f"{folder / name}.der, .pem and .key.pem", highlight=False)
    kept = [name for name in ("twin", *(client or ()), *hosts) if name not in made]
    if kept:
        out.print(f"already there: {', '.join(kept)}", highlight=False)
    out.print(f"to be trusted by everybody: {authority.certificate}", highlight=False)


def _hosts(line: Path | None) -> dict[str, list[str]]:
    if line is None:
        return {}
    return {
        name: [
            (urlsplit(connector.url).hostname or "")
            if isinstance(connector, OpcUaConnector)
            else connector.host
        ]
        for name, connector in read_line(line).connectors.items()
    }


def _named(text: str) -> tuple[str, list[str]]:
    name, sign, hosts = text.partition("=")
    reached = [host for host in hosts.split(",") if host]
    if not (name and sign and reached):
        raise ValueError(f"--server {text}: write NAME=HOST, or NAME=HOST,HOST")
    return name, reached


def shown_to(url: str, folder: Path | None, user: str | None, password_env: str) -> OpcUaConnector:
    """How to connect to a server with the certificates of a folder, before there is a line.

    Raises:
        ValueError: that is no address, or no user.
    """
    security = (
        None
        if folder is None
        else {
            "certificate": folder / "twin.der",
            "key": folder / "twin.key.pem",
            "trusts": [folder / "ca.der"],
        }
    )
    login = None if user is None else {"name": user, "password": {"env": password_env}}
    try:
        return OpcUaConnector.model_validate(
            {"kind": "opcua", "url": url, "security": security or "none", "user": login}
        )
    except ValidationError as error:
        raise ValueError(in_a_sentence(error)) from None
