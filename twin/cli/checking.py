"""`twin check`: a configuration, with every problem in it."""

from __future__ import annotations

import json

import typer

from twin.app.line import read_line
from twin.cli.terminal import Config, Json, out
from twin.configuration import ConfigurationError, bundled


def check(config: Config = None, as_json: Json = False) -> None:
    """Validate a configuration: every problem with file, line and remedy."""
    path = config or bundled("line.yaml")
    try:
        line = read_line(path)
    except ConfigurationError as error:
        if not as_json:
            raise
        problems = [
            {"file": str(p.file), "line": p.line, "what": p.what, "remedy": p.remedy}
            for p in error.problems
        ]
        typer.echo(json.dumps({"ok": False, "problems": problems}))
        raise typer.Exit(2) from None
    counts = {
        "connectors": len(line.connectors),
        "tags": len(line.tags),
        "webs": len(line.webs),
        "steps": len(line.steps),
    }
    if as_json:
        typer.echo(json.dumps({"ok": True, "problems": [], **counts}))
    else:
        out.print(f"{path}: fine, " + ", ".join(f"{n} {name}" for name, n in counts.items()))
