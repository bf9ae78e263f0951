"""What is not live is not shown as live: old values, a lost service, and its return."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.site import Site, guest

pytestmark = pytest.mark.browser
FRESH = re.compile("ok|outside")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Site]:
    """A site that may be killed."""
    found = Site(tmp_path / "site")
    yield found
    found.close()


def test_a_killed_service_is_said_and_found_again(mortal: Site, browser: Browser) -> None:
    mortal.tell("advised")
    otto = guest(browser, mortal, "otto")
    page = otto.go("/")
    loading = page.locator("[data-state-of='coating.mass_loading']")
    expect(loading).to_have_attribute("data-state", FRESH)
    mortal.kill()
    expect(page.locator(".lost-banner")).to_contain_text("Connection lost")
    expect(loading).to_have_attribute("data-state", "stale")
    expect(page.get_by_text("Live", exact=True)).to_be_hidden()
    expect(page.get_by_text("NOT LIVE", exact=True)).to_be_visible()
    crossed = loading.locator(".value").first.evaluate(
        "e => getComputedStyle(e).textDecorationLine"
    )
    assert crossed == "line-through"
    mortal.start()
    mortal.tell("advised")
    # nobody touches the page
    news = page.locator(".news")
    expect(news).to_contain_text("Connected again")
    expect(page.locator(".lost-banner")).to_be_hidden()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    expect(loading).to_have_attribute("data-state", FRESH)
    otto.context.close()


def test_what_a_gauge_no_longer_reads_is_old(mortal: Site, browser: Browser) -> None:
    mortal.tell("advised")
    vera = guest(browser, mortal, "vera")
    page = vera.go("/")
    loading = page.locator("[data-state-of='coating.mass_loading']")
    expect(loading).to_have_attribute("data-state", FRESH)
    mortal.tell("silence", 60)
    expect(loading).to_have_attribute("data-state", "stale")
    expect(loading.locator(".age")).to_contain_text("OLD")
    assert not vera.wrong
    vera.context.close()


def test_whoever_is_removed_sees_no_more(mortal: Site, browser: Browser) -> None:
    olga = guest(browser, mortal, "olga")
    page = olga.go("/")
    expect(page.locator("[data-state-of='coating.mass_loading']")).to_be_visible()
    mortal.tell("live", 5)
    mortal.tell("remove", "olga")
    # nobody touches the page
    page.wait_for_url("**/login**")
    olga.context.close()
