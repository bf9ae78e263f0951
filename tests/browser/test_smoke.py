"""The shortest way through the screen: sign in, accept, see what came of it."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.browser.page_server import PASSWORD
from tests.browser.site import Guest, Site

Visit = Callable[..., Guest]


def test_sign_in_accept_and_read_back(site: Site, visit: Visit) -> None:
    identity = site.tell("advised")["advice"]
    otto = visit("")
    page = otto.page
    # whoever is not known is asked who they are, and then gets what they wanted
    page.goto(f"{site.url}/advice")
    expect(page).to_have_url(f"{site.url}/login?to=/advice")
    page.get_by_label("User").fill("otto")
    page.get_by_label("Password").fill("not it, sorry")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    assert otto.wrong.pop().startswith("console: ")
    assert otto.wrong.pop() == f"answer: 401 {site.url}/api/v1/session"
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/advice")

    # the page shows what the API gives
    advice = otto.context.request.get(f"{site.url}/api/v1/recommendations").json()[0]
    change = advice["changes"][0]
    card = page.locator(f"[data-advice='{identity}']")
    expect(card.locator(".to")).to_have_text(f"{change['after']:.1f}")

    card.get_by_role("button", name="Accept").click()
    page.get_by_role("button", name="Write now").click()
    done = page.locator("details.past").first
    expect(done).to_contain_text("Verified")
    expect(done).to_contain_text("by otto")
    done.locator("summary").click()
    expect(done).to_contain_text(f"read back {change['after']:.1f} mL/min")
    expect(done).to_contain_text("applied")


def test_the_line_shows_what_the_api_says(site: Site, visit: Visit) -> None:
    site.tell("advance", 240)  # the beta gauge has read something
    emil = visit("emil")
    page = emil.go("/")
    line = emil.context.request.get(f"{site.url}/api/v1/line").json()
    shown = page.evaluate("() => window.twin.state.values")
    compared = 0
    for step in line["steps"]:
        for each in step["parameters"]:
            assert shown[each["name"]]["m"] == each["measured"]["value"]
            assert shown[each["name"]]["p"] == each["predicted"]["value"]
            compared += each["measured"]["value"] is not None
    assert compared >= 3
    loading = page.locator("[data-state-of='coating.mass_loading'] .value")
    expect(loading).to_have_text(f"{shown['coating.mass_loading']['m']:.1f}")
