"""Sites and guests: what the tests of the screen begin with."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.site import CHROMIUM, Guest, Site, chromium, guest

HERE = Path(__file__).parent
SCREENS = Path(os.environ.get("SCREENS", HERE.parents[1] / "var" / "screens"))
"""Where screenshots go: continuous integration keeps them."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; its loop runs in this thread, so it must be gone before asyncio's tests."""
    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed")
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A line that has been followed for a while: rolls are wound, advice waits."""
    found = Site(tmp_path_factory.mktemp("site"))
    yield found
    found.close()


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Callable[..., Guest]]:
    """Signs somebody in on the module's site; what went wrong in their browser fails the test."""
    guests: list[Guest] = []

    def come(name: str = "otto", **how: str) -> Guest:
        guests.append(guest(browser, site, name, **how))  # type: ignore[arg-type]  # keywords of it
        return guests[-1]

    yield come
    for each in guests:
        each.context.close()
    wrong = [said for each in guests for said in each.wrong]
    assert not wrong, wrong


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, by npm, beside its package.json."""
    file = HERE / "node_modules" / "axe-core" / "axe.min.js"
    if not file.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed")
        command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
        subprocess.run(command, cwd=HERE, check=True, capture_output=True)
    return file.read_text()
