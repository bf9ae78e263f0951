"""The server: uvicorn in the loop of the service, on a socket that is open before it starts."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.types import ASGIApp

log = structlog.get_logger()
GOODBYE: Final = 1
"""Seconds that requests under way have when the service ends."""
MOST_CONNECTIONS: Final = 500
AGAIN: Final = 1.0
"""Seconds after which a server that failed is started again."""


class Server:
    """Serves an application until cancelled.

    Args:
        app: the application.
        host: name or address to listen on.
        port: TCP port; 0 takes a free one.
        tls: certificate and key files, PEM.

    Raises:
        OSError: the port is taken, or a file cannot be read.
        ValueError: certificate and key do not fit.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._app = app
        self._tls = tls
        if tls is not None:
            _check(*tls)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=256)
        except OSError as error:
            raise OSError(f"the API cannot listen on {host}, port {port}: {error}") from error
        self._socket.setblocking(False)
        # its connections inherit it, and asyncio sets it for sockets of another make only: without
        # it the body of an answer waits 40 ms for the acknowledgement of its head
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        scheme, name = "http" if tls is None else "https", f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{name}:{self._socket.getsockname()[1]}"
        """Where it is."""

    async def run(self) -> None:
        """Serve until cancelled; the line goes on whatever happens here."""
        try:
            while True:
                try:
                    await self._serve()
                except Exception as error:
                    log.error("api", problem=str(error) or type(error).__name__)
                await asyncio.sleep(AGAIN)
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        certificate, key = self._tls or (None, None)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=GOODBYE,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        server = _Quiet(config)
        # uvicorn closes the socket that it is given
        serving = asyncio.create_task(server.serve([self._socket.dup()]), name="uvicorn")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise


class _Quiet(uvicorn.Server):
    """Leaves signals to the service, and no connection behind."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # what did not end in time is cut off: a stream that nobody reads
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)


def _check(certificate: Path, key: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise ValueError(
            f"{certificate} and {key} are no certificate with its key: {error}"
        ) from error
