"""The feed of the pages, over a real WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.service_in_process import ServedLine, served_line
from twin.api import Server
from twin.api.access import COOKIE
from twin.screen.serve import ASSETS, Screen
from twin.users import User

OTTO = User("otto", "operator")


class Site:
    """The data of the pages, served."""

    def __init__(self, line: ServedLine) -> None:
        self.line = line
        app = FastAPI()
        self.screen = Screen(line.desk)
        self.screen._data(app)
        self._server = Server(app, "127.0.0.1", 0)
        line.desk.door.users.add(OTTO.name, OTTO.role, "correct horse battery")
        self._session = line.desk.door.users.open_session(OTTO)
        self._task = asyncio.create_task(self._server.run())

    async def first(self, query: str = "", session: str | None = None) -> dict[str, Any]:
        """What a page is told when it connects."""
        url = self._server.url.replace("http", "ws", 1) + f"/screen/feed?{query}"
        cookie = {"Cookie": f"{COOKIE}={self._session if session is None else session}"}
        async with connect(url, additional_headers=cookie) as socket:
            message: dict[str, Any] = json.loads(await socket.recv())
            return message

    async def status(self, path: str) -> int:
        """How a request with the session is answered."""
        async with httpx.AsyncClient(base_url=self._server.url, trust_env=False) as browser:
            cookie = {"Cookie": f"{COOKIE}={self._session}"}
            return (await browser.get(f"/screen/data/{path}", headers=cookie)).status_code

    async def close(self) -> None:
        self.screen.close()
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with served_line(tmp_path) as line:
        found = Site(line)
        yield found
        await found.close()


async def test_a_page_that_comes_back_is_told_what_happened_meanwhile(site: Site) -> None:
    await site.line.advised()
    seen = (await site.first())["now"]
    await site.line.advance(5)
    standing = next(iter(await site.line.desk.recommendations("open")))
    await site.line.desk.reject(OTTO, standing.id, "the slurry is changed soon")
    await site.line.advance(5)
    script = (ASSETS / "screen.js").read_text()
    asked = re.search(r'query\.set\("(\w+)", String\(seen\.line\)\)', script)
    assert asked is not None
    told = (await site.first(f"{asked[1]}={seen}"))["meanwhile"]
    assert any("rejected" in each.lower() and "otto" in each for each in told), told
    assert (await site.first())["meanwhile"] == []


async def test_nobody_sees_it_without_a_session(site: Site) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        await site.first(session="made up")
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


async def test_no_span_is_too_long_to_answer(site: Site) -> None:
    asked = "trend?name=coating.mass_loading&span="
    assert await site.status(asked + "600") == 200
    for span in ("inf", "nan", "1e300", "-1"):
        assert await site.status(asked + span) == 422
