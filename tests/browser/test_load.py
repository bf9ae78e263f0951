# ruff: noqa: T201
"""What the screen costs: twenty dashboards at once, a day of six series, the first page."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser

from tests.browser.site import Guest, Site, guest

pytestmark = [pytest.mark.browser, pytest.mark.bench]
DASHBOARDS = 20
WATCHED = float(os.environ.get("WATCHED", "60"))
"""Seconds over which the server's time is measured, twice."""
SPEED = 5
"""Line seconds per second."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A line that goes on by itself."""
    found = Site(tmp_path_factory.mktemp("load"))
    found.tell("advance", 300)
    found.tell("live", SPEED)
    yield found
    found.close()


def share(site: Site, seconds: float) -> tuple[float, int]:
    """Of one core that the page server takes, with the line in it; and its memory, MB."""
    process = psutil.Process(site.process.pid)
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return used / (time.monotonic() - began), process.memory_info().rss // 2**20


def test_twenty_dashboards(site: Site, browser: Browser) -> None:
    alone, _ = share(site, WATCHED / 2)
    pages = ("/", "/step/coating", "/advice", "/alarms")
    guests: list[Guest] = []
    for number in range(DASHBOARDS):
        someone = guest(browser, site, "vera")
        someone.go(pages[number % len(pages)])
        guests.append(someone)
    first, begin = share(site, WATCHED)
    second, end = share(site, WATCHED)
    heard = [each.page.evaluate("() => window.twin.state.now") for each in guests]
    assert max(heard) - min(heard) < 60_000
    for each in guests:
        assert not each.wrong
        each.context.close()
    print(
        f"\nserver without a dashboard {alone:.1%} of a core, with {DASHBOARDS} {first:.1%} and "
        f"{second:.1%}: {(first + second) / 2 - alone:.1%} for all of them together; "
        f"memory {begin} MB, then {end} MB"
    )


@pytest.fixture
def yesterday(tmp_path: Path) -> Iterator[Site]:
    """A line with a day of six series in its historian."""
    found = Site(tmp_path / "site")
    found.tell("day", 6)
    yield found
    found.close()


def test_first_page_and_a_day_of_six_series(browser: Browser, yesterday: Site) -> None:
    vera = guest(browser, yesterday, "vera")
    began = time.monotonic()
    vera.go("/")
    first = time.monotonic() - began
    vera.go("/step/coating")
    page = vera.page
    page.get_by_role("button", name="24 h").click()
    page.wait_for_function(
        "() => window.twinCharts.size && [...window.twinCharts.values()].every((c) => "
        "c.source.includes('span=86400') && c.data && c.asked)"
    )
    page.wait_for_timeout(2000)
    took = page.evaluate(
        "() => Object.fromEntries([...window.twinCharts.values()].map((c) => "
        "[c.kind, [Number(c.element.dataset.ready), Math.round(c.drawn), "
        "c.kind === 'series' ? c.data.series.length : c.points.length]]))"
    )
    print(f"\nfirst page after {first:.2f} s; 24 h by chart (ms to the screen, ms to draw): {took}")
