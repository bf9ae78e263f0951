"""A service with its API on a thread of its own, asked over TCP."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from tests.service_in_process import ServedLine, served_line
from twin.api import Server, make_app

Result = TypeVar("Result")


class Served:
    """Runs until closed.

    Args:
        folder: of its stores.
        seconds: of line time that it has followed when it is there.
        tls: certificate and key.
    """

    def __init__(
        self, folder: Path, seconds: float = 400, tls: tuple[Path, Path] | None = None
    ) -> None:
        self._ready: Future[tuple[asyncio.AbstractEventLoop, ServedLine, Server]] = Future()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(folder, seconds, tls)), name="served"
        )
        self._thread.start()
        self.loop, self.line, server = self._ready.result(120)
        self.url = server.url
        self.token = self.line.desk.door.users.issue_token("engineer", "engineer", 1)

    async def _run(self, folder: Path, seconds: float, tls: tuple[Path, Path] | None) -> None:
        try:
            async with served_line(folder) as served:
                await served.advance(seconds)
                server = Server(make_app(served.desk, tls is not None), "127.0.0.1", 0, tls)
                serving = asyncio.create_task(server.run())
                self._ready.set_result((asyncio.get_running_loop(), served, server))
                await self._stop.wait()
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def there(self, work: Callable[[], Coroutine[None, None, Result]]) -> Result:
        """Have something done on the service's loop."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(120)

    def close(self) -> None:
        """End it, and wait for it."""
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
