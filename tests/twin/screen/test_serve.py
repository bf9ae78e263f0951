"""The screen on the API's application: what is no page and no part of the API costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from nicegui import Client

from tests.service_in_process import served_line
from twin.api import make_app
from twin.screen import Screen


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    # nicegui has one application per process: one test of this module may have it
    async with served_line(tmp_path) as served:
        app = make_app(served.desk)
        Screen(served.desk).serve(app)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://twin.test") as made:
            yield made


async def test_what_is_not_there_is_said_and_not_kept(browser: httpx.AsyncClient) -> None:
    kept = len(Client.instances)
    for method, path in (
        ("GET", "/api/v1/nope"),
        ("POST", "/api/v1/line/"),
        ("GET", "/api/v2/line"),
        ("PROPFIND", "/api/"),
    ):
        unknown = await browser.request(method, path)
        assert unknown.status_code == 404, path
        assert unknown.headers["content-type"] == "application/problem+json"
        assert unknown.json()["type"] == "urn:linetwin:problem:unknown"
        assert unknown.json()["detail"].startswith(f"there is nothing at {path}; ")
    for method, path, allowed in (
        ("DELETE", "/api/v1/line", "GET"),
        ("HEAD", "/api/v1/line", "GET"),
        ("OPTIONS", "/api/v1/session", "DELETE, GET, POST"),
        ("BREW", "/api/v1/alarms/some/shelve", "POST"),
        ("PUT", "/api/v1/openapi.json", "GET"),
        ("POST", "/healthz", "GET"),
        ("DELETE", "/metrics", "GET"),
    ):
        wrong = await browser.request(method, path)
        assert (wrong.status_code, wrong.headers.get("allow")) == (405, allowed), path
        assert wrong.headers["content-type"] == "application/problem+json"
    for path in ("/nope", "/api", "/step/a/b", "/_nicegui/nope", "/replay/1/x"):
        nowhere = await browser.get(path, headers={"Accept-Language": "de"})
        assert nowhere.status_code == 404, path
        assert "Diese Seite gibt es nicht." in nowhere.text
        assert nowhere.headers["content-security-policy"].startswith("default-src 'self'")
    assert len(Client.instances) == kept
    # what there is, is found
    assert (await browser.get("/api/v1/line")).status_code == 401
    assert (await browser.get("/api/v1/openapi.json")).status_code == 200
    assert (await browser.get("/healthz")).status_code in (200, 503)
    assert (await browser.get("/login")).status_code == 200
