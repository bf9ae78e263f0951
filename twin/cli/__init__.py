"""The command line."""

from twin.cli.commands import app, main

__all__ = ["app", "main"]
