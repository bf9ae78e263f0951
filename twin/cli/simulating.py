"""`twin simulate`: the virtual line alone."""

from __future__ import annotations

import typer

from simulators.__main__ import main

simulate = typer.Typer(rich_markup_mode=None)


@simulate.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def alone(context: typer.Context) -> None:
    """Run the virtual line alone, for any OPC UA or MQTT client.

    Its options are told by `twin simulate -- --help`.
    """
    raise typer.Exit(main(context.args))
