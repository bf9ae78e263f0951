"""An application without a network, and those who ask it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI

from tests.service_in_process import ServedLine, served_line
from twin.api import make_app
from twin.users import Role

API = "http://twin.test/api/v1"
PASSWORD = "correct horse battery"


@dataclass
class Asked:
    """A line, its application, and a client with a token per role."""

    served: ServedLine
    app: FastAPI
    viewer: httpx.AsyncClient
    operator: httpx.AsyncClient
    engineer: httpx.AsyncClient
    nobody: httpx.AsyncClient

    async def audited(self) -> list[tuple[str, str]]:
        """Who did what, newest first."""
        return [(each.who, each.what) for each in await self.served.desk.audit()]


@contextlib.asynccontextmanager
async def asked(folder: Path) -> AsyncIterator[Asked]:
    """A service with its application, asked without a network."""
    async with served_line(folder) as served, contextlib.AsyncExitStack() as stack:
        app = make_app(served.desk)
        users = served.desk.door.users

        async def client(role: Role | None) -> httpx.AsyncClient:
            headers = {}
            if role is not None:
                headers["Authorization"] = f"Bearer {users.issue_token(role, role, 1)}"
            transport = httpx.ASGITransport(app, client=("192.0.2.7", 4711))
            made = httpx.AsyncClient(transport=transport, base_url=API, headers=headers)
            return await stack.enter_async_context(made)

        clients = [await client(role) for role in ("viewer", "operator", "engineer", None)]
        yield Asked(served, app, *clients)
