"""`twin browse`: what an OPC UA server offers, as tags."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from connectors.opcua.browsing import browse as browse_server
from connectors.opcua.browsing import tag_configuration
from twin.app.logs import configure_logging
from twin.cli.certs import shown_to
from twin.cli.terminal import Json


def browse(
    url: Annotated[str, typer.Argument(help="Endpoint, e.g. opc.tcp://host:4840/machine.")],
    connector: Annotated[str, typer.Option(help="Name of the connector in the configuration.")] = (
        "machine"
    ),
    certs: Annotated[
        Path | None, typer.Option(help="Folder of `twin certs`: signed and encrypted.")
    ] = None,
    user: Annotated[str | None, typer.Option(help="As whom to log in.")] = None,
    password_env: Annotated[
        str, typer.Option(help="Environment variable that holds the password.")
    ] = "LINETWIN_PASSWORD",
    as_json: Json = False,
) -> None:
    """Print a ready tag configuration of everything that an OPC UA server offers."""
    configure_logging(sys.stderr)
    found = asyncio.run(browse_server(url, connector=shown_to(url, certs, user, password_env)))
    if as_json:
        typer.echo(json.dumps([asdict(variable) for variable in found]))
    else:
        typer.echo(tag_configuration(found, connector))
