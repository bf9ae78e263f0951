"""What every response says to browsers, and how much a request may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin.api.problems import problem

LARGEST: Final = 256 * 1024
"""Bytes of a request's body."""
API: Final = "/api/"
Refused = Callable[[str, str], None]
_EVERYWHERE: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_OF_API: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_OF_PAGES: Final = (
    # pages come with scripts and styles inside them; nothing comes from another origin
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_YEAR: Final = "max-age=31536000"


class Headers:
    """ASGI middleware: security headers on every response, no large request, no path that climbs.

    Args:
        app: what it wraps.
        secure: served over TLS.
        refused: takes why, and the address, of what is refused here.
    """

    def __init__(self, app: ASGIApp, secure: bool, refused: Refused) -> None:
        self._app = app
        self._secure = secure
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api = scope["path"].startswith(API)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add(MutableHeaders(scope=message), api)
            await send(message)

        address = scope["client"][0] if scope.get("client") else "unknown"
        if ".." in scope["path"].split("/"):
            self._refused("path refused", address)
            await problem(400, "path", "a path has no '..'")(scope, receive, answer)
            return
        if not api:
            await self._app(scope, receive, answer)
            return
        taken = 0
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and int(length) > LARGEST:
            self._refused("large request refused", address)
            said = f"a request has at most {LARGEST} bytes"
            refused = problem(413, "too-large", said, {"Connection": "close"})
            await refused(scope, receive, answer)
            return

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > LARGEST:
                raise HTTPException(413, f"a request has at most {LARGEST} bytes")
            return message

        await self._app(scope, bounded, answer)

    def _add(self, headers: MutableHeaders, api: bool) -> None:
        for name, value in _EVERYWHERE.items():
            headers.setdefault(name, value)
        headers.setdefault("Content-Security-Policy", _OF_API if api else _OF_PAGES)
        if api:
            headers.setdefault("Cache-Control", "no-store")
        if self._secure:
            headers.setdefault("Strict-Transport-Security", _YEAR)
