"""A page server and a real Chromium: what the tests of the screen look at."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.page_server import PASSWORD

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
SIZES = {"1920x1080": (1920, 1080), "1366x768": (1366, 768), "tablet": (820, 1180)}
PAGES = {
    "line": "/", "step": "/step", "advice": "/advice", "rolls": "/rolls", "what-if": "/what-if",
    "replay": "/recordings", "laboratory": "/laboratory", "alarms": "/alarms", "models": "/models",
    "audit": "/audit", "health": "/health", "users": "/users",
}  # fmt: skip
PATIENCE = 30_000
"""Milliseconds: the machine may be busy with other things."""
expect.set_options(timeout=PATIENCE)


@dataclass
class Site:
    """A page server as a program of its own."""

    folder: Path
    scenario: str = ""
    seed: int = 1
    zone: str = "UTC"
    port: int = 0
    url: str = field(init=False, default="")
    process: subprocess.Popen[str] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = [str(self.folder), str(self.port), self.scenario, str(self.seed), self.zone]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.page_server", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NICEGUI_STORAGE_PATH": str(self.folder)},
        )
        self.url = self.answer()["url"]
        self.port = urlsplit(self.url).port or 0

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the page server ended with {self.process.wait()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, *command: object) -> dict[str, Any]:
        """Have it do something; its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, command)) + "\n")
        self.process.stdin.flush()
        return self.answer()

    def kill(self) -> None:
        """As a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self._let_go()

    def close(self) -> None:
        """End it politely."""
        if self.process.poll() is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self._let_go()

    def _let_go(self) -> None:
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


@dataclass
class Guest:
    """Somebody at a browser, and what went wrong in it."""

    context: BrowserContext
    page: Page
    site: Site
    wrong: list[str] = field(default_factory=list)
    """Errors on the console, exceptions, answers of 400 and more, requests to elsewhere."""

    def go(self, path: str) -> Page:
        """Open a page and wait until it is kept up by its feed."""
        self.page.goto(self.site.url + path, wait_until="load")
        self.drawn()
        return self.page

    def drawn(self) -> None:
        """Wait until the page has heard from its feed, and its charts are drawn."""
        self.page.wait_for_function(
            "() => !!window.twin?.state.now && "
            "[...document.querySelectorAll('[data-chart]')].every((chart) => chart.dataset.ready)",
            timeout=PATIENCE,
        )


@contextmanager
def chromium() -> Iterator[Browser]:
    """A real browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


def guest(
    browser: Browser,
    site: Site,
    name: str = "",
    *,
    size: str = "1366x768",
    theme: str = "light",
    language: str = "en",
    zone: str = "UTC",
) -> Guest:
    """Somebody who looks at a site; signed in where a name is given."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        locale=language,
        timezone_id=zone,
        reduced_motion="reduce",
        has_touch=size == "tablet",
    )
    context.set_default_timeout(PATIENCE)
    context.add_cookies(
        [
            {"name": "twin-theme", "value": theme, "url": site.url},
            {"name": "twin-language", "value": language, "url": site.url},
        ]
    )
    if name:
        answer = context.request.post(
            f"{site.url}/api/v1/session", data={"name": name, "password": PASSWORD}
        )
        assert answer.ok, answer.text()
    found = Guest(context, context.new_page(), site)
    watch(found)
    return found


def watch(found: Guest) -> None:
    """Note what goes wrong on a page."""

    def note(kind: str, text: str) -> None:
        found.wrong.append(f"{kind}: {text}")

    page = found.page
    page.on("console", lambda each: note("console", each.text) if each.type == "error" else None)
    page.on("pageerror", lambda error: note("exception", str(error)))
    page.on(
        "response",
        lambda each: note("answer", f"{each.status} {each.url}") if each.status >= 400 else None,
    )

    def left(url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).port != found.site.port:
            note("left the machine", url)

    page.on("request", lambda each: left(each.url))
    page.on("websocket", lambda each: left(each.url))
