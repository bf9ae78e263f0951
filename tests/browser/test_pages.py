"""Every page as people see it: both themes, three sizes, both languages, without a fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SCREENS
from tests.browser.site import PAGES, SIZES, Guest, Site

pytestmark = pytest.mark.browser
Visit = Callable[..., Guest]
SERIOUS = ("serious", "critical")
TOO_WIDE = """() => document.documentElement.scrollWidth > innerWidth
  ? [...document.querySelectorAll("main *")]
      .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
      .filter((e) => !e.closest(".table-scroll, .sr"))
      .map((e) => `${e.tagName}.${e.className}`).slice(0, 5)
  : []"""
"""What is wider than the window."""
TOO_SMALL = """() => [...document.querySelectorAll(
    "button, a[href], summary, [role=button], input:not([type=hidden])")]
  .filter((e) => e.offsetParent)
  .filter((e) => !e.closest(".skip, .step-card h2, table.list td, .q-field, .q-slider"))
  .map((e) => [e, e.getBoundingClientRect()])
  .filter(([e, box]) => box.width && (box.height < 43.5 || box.width < 43.5))
  .map(([e, box]) => `${e.tagName}.${e.className} ${e.textContent} ${box.width}x${box.height}`)"""
"""Controls that a glove misses; of fields the whole field is the target."""
REACHABLE = """() => [...document.querySelectorAll(
    "button:not([disabled]), a[href], input, summary, [tabindex='0']")]
  .filter((e) => e.offsetParent && e.tabIndex >= 0).length"""
"""How many controls there are for the keyboard."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A line whose calender has run, with a recording; advice waits, some was decided."""
    found = Site(tmp_path_factory.mktemp("pages"))
    found.tell("record", "night-shift", 900)
    found.tell("advised")
    yield found
    found.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_whole(visit: Visit, theme: str, size: str) -> None:
    language = "de" if theme == "dark" else "en"
    emil = visit("emil", theme=theme, size=size, language=language)
    for name, path in PAGES.items():
        page = emil.go(path)
        keep(page, f"{name}-{theme}-{size}")
        assert not overflowing(page), f"{name}: {overflowing(page)}"
        assert page.evaluate("() => document.documentElement.lang") == language
    signed_out = visit("", theme=theme, size=size, language=language)
    signed_out.page.goto(f"{signed_out.site.url}/login")
    expect(signed_out.page.locator("[name=password]")).to_be_visible()
    keep(signed_out.page, f"login-{theme}-{size}")


def keep(page: Page, name: str) -> None:
    """A screenshot of what is seen."""
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}.png", animations="disabled")


def overflowing(page: Page) -> list[str]:
    """What is wider than the window, or whose text is cut off without a way to see it."""
    found: list[str] = page.evaluate(TOO_WIDE)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_shut_out(visit: Visit, axe: str, theme: str) -> None:
    emil = visit("emil", theme=theme, language="de")
    for name, path in {**PAGES, "login": "/login"}.items():
        emil.page.goto(emil.site.url + path)
        if name != "login":
            emil.drawn()
        faults = accessibility(emil.page, axe)
        assert not faults, f"{name}: {faults}"


def accessibility(page: Page, axe: str) -> list[str]:
    """Serious faults that axe finds."""
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {json.dumps([node['target'] for node in each['nodes'][:3]])} "
        f"{each['nodes'][0].get('failureSummary', '')[:300]}"
        for each in found["violations"]
        if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("size", ["1366x768", "tablet"])
def test_a_finger_with_a_glove_finds_every_control(visit: Visit, size: str) -> None:
    emil = visit("emil", size=size, language="de")
    for name, path in PAGES.items():
        small = emil.go(path).evaluate(TOO_SMALL)
        assert not small, f"{name}: {small}"


def test_the_keyboard_reaches_every_control(visit: Visit) -> None:
    emil = visit("emil")
    for path in ("/", "/advice", "/step", "/what-if"):
        page = emil.go(path)
        wanted = page.evaluate(REACHABLE)
        page.evaluate("() => { document.activeElement?.blur(); window.reached = new Set(); }")
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            page.evaluate("() => window.reached.add(document.activeElement)")
        reached = page.evaluate("() => (window.reached.delete(document.body), window.reached.size)")
        assert reached >= wanted - 1, path
        ring = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert ring != "none", path
