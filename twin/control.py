"""The control socket: what `twin status`, `reload` and `backup` say to a running service.

A Unix socket in the folder of the store, for its owner only. One line of JSON asks, one answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import structlog

SOCKET: Final = "control.sock"
_LONGEST: Final = 65_536
Answer = dict[str, Any]
Handler = Callable[[Mapping[str, Any]], Awaitable[Answer]]
log = structlog.get_logger()


class ControlError(Exception):
    """No service answers, or it refuses; the message says what."""


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's address, however long the path is: addresses end at 107 bytes."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET}"
    finally:
        os.close(opened)


@contextlib.asynccontextmanager
async def served(folder: Path, handlers: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer requests while inside.

    Args:
        folder: of the store.
        handlers: by what is asked for.

    Raises:
        ControlError: another service answers there.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = await _handle(await reader.readline(), handlers)
            writer.write(json.dumps(said).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:
            log.warning("control", problem=str(error))
        finally:
            writer.close()

    if running(folder):
        raise ControlError(f"another service runs on {folder}; stop it, or name another folder")
    (folder / SOCKET).unlink(missing_ok=True)
    with _address(folder) as address:
        before = os.umask(0o177)
        try:
            server = await asyncio.start_unix_server(answer, address, limit=_LONGEST)
        finally:
            os.umask(before)
    try:
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            (folder / SOCKET).unlink()


async def _handle(line: bytes, handlers: Mapping[str, Handler]) -> Answer:
    try:
        request = json.loads(line)
        handler = handlers.get(request["do"])
    except (ValueError, KeyError, TypeError) as error:
        return {"ok": False, "problems": [f"not understood: {error!r}"]}
    if handler is None:
        return {"ok": False, "problems": [f"{request['do']!r} is not one of {sorted(handlers)}"]}
    try:
        return {"ok": True, **await handler(request)}
    except ExceptionGroup as group:
        return {"ok": False, "problems": [str(error) for error in group.exceptions]}
    except Exception as error:  # whatever goes wrong, the one who asks is told, and not the line
        return {"ok": False, "problems": [str(error) or type(error).__name__]}


def running(folder: Path) -> bool:
    """Whether a service answers in the folder of a store."""
    if not folder.is_dir():
        return False
    with _address(folder) as address, socket.socket(socket.AF_UNIX) as peer:
        return peer.connect_ex(address) == 0


def ask(folder: Path, request: Mapping[str, Any], patience: float | None) -> Answer:
    """Ask the service in the folder of a store, and wait for its answer.

    Args:
        folder: of the store.
        request: `do`, and what it needs.
        patience: seconds without an answer; None waits as long as it takes.

    Raises:
        ControlError: no service answers there.
    """
    try:
        with _address(folder) as address, socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(patience)
            peer.connect(address)
            peer.sendall(json.dumps(request).encode() + b"\n")
            with peer.makefile("rb") as stream:
                line = stream.readline()
    except OSError as error:
        raise ControlError(
            f"no service answers in {folder} ({error.strerror or error}); is it running, and is "
            "this its folder?"
        ) from error
    if not line:
        raise ControlError(f"the service in {folder} ended before it answered")
    answer: Answer = json.loads(line)
    return answer
