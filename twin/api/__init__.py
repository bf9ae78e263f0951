"""The HTTP API: everything that the desk shows and does, for browsers and machines."""

from twin.api.application import make_app
from twin.api.server import Server

__all__ = ["Server", "make_app"]
