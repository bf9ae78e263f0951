"""The way that docs/tour.md describes, from its command to the effect of the advice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENS
from tests.browser.site import ARGUMENTS, PATIENCE, ROOT

pytestmark = pytest.mark.browser
TOUR = ROOT / "docs" / "tour.md"
LONG = 6 * PATIENCE


def blocks() -> list[str]:
    """What stands between three backticks."""
    return re.findall(r"```\n(.*?)\n```", TOUR.read_text(), re.DOTALL)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """The demo as the tour starts it: its address, and with what to sign in."""
    words = blocks()[0].split()
    assert words[:2] == ["twin", "demo"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from twin.cli import main; main()", *words[1:]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    assert process.stdout is not None
    said = process.stdout.readline()
    found = re.fullmatch(r"(http://\S+)   log in as (\w+) with (\S+)\s*", said)
    assert found, said
    assert re.fullmatch(r"http://\S+   log in as \w+ with \S+", blocks()[1])
    yield found[1], found[2], found[3]
    process.terminate()
    process.communicate(timeout=60)


def test_the_tour(demo: tuple[str, str, str], browser: Browser) -> None:
    assert ARGUMENTS
    address, name, password = demo
    page = browser.new_page(viewport={"width": 1366, "height": 768}, locale="en")
    page.goto(address)
    page.get_by_label("User").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    now = page.get_by_role("region", name="To do now")
    expect(now).to_contain_text("Pump flow setpoint", timeout=LONG)
    keep(page, "tour-line")
    now.get_by_role("link", name="Look at it").click()
    card = page.locator("[data-advice].advice").filter(has_text="The next mass loading would be")
    expect(card).to_contain_text("Expected effect")
    keep(page, "tour-advice")
    card.get_by_role("button", name="Accept").click()
    page.get_by_role("button", name="Write now").click()
    entry = page.locator("details.past").filter(has_text="Pump flow").first
    expect(entry).to_contain_text("Verified", timeout=LONG)
    expect(entry).to_contain_text(f"by {name}")
    entry.locator("summary").click()
    expect(entry).to_contain_text("read back")
    keep(page, "tour-verified")
    page.get_by_role("link", name="Step", exact=True).click()
    page.get_by_role("link", name="Coating", exact=True).click()
    loading = page.locator("[data-state-of='coating.mass_loading']")
    expect(loading).to_have_attribute("data-state", re.compile("ok|doubt"), timeout=LONG)
    page.get_by_role("button", name="10 min").click()
    page.wait_for_timeout(1000)
    keep(page, "tour-effect")
    page.goto(f"{address}/alarms")
    page.wait_for_timeout(1000)
    keep(page, "alarms-live")


def keep(page: Page, name: str) -> None:
    """A screenshot for the tour."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", animations="disabled")
