"""Deciding: reject, change, refuse by role, and two people at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Guest, Site

pytestmark = pytest.mark.browser
Visit = Callable[..., Guest]


def waiting(site: Site, someone: Guest) -> tuple[Page, Locator]:
    """The page with what waits for a decision, and its card."""
    site.tell("advised")
    page = someone.go("/advice")
    card = page.locator("[data-advice].advice").first
    expect(card.get_by_role("button", name="Accept")).to_be_visible()
    return page, card


def test_rejecting_takes_a_reason(site: Site, visit: Visit) -> None:
    page, card = waiting(site, visit("otto"))
    card.get_by_role("button", name="Reject").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Reject").click()
    expect(dialog).to_contain_text("Please say why.")
    dialog.get_by_label("Reason").fill("the pump is being cleaned")
    dialog.get_by_role("button", name="Reject").click()
    past = page.locator("details.past").first
    expect(past).to_contain_text("Rejected")
    past.locator("summary").click()
    expect(past).to_contain_text("The pump is being cleaned")


def test_changing_before_accepting_shows_what_would_come_of_it(site: Site, visit: Visit) -> None:
    page, card = waiting(site, visit("otto"))
    card.get_by_role("button", name="Change").click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_role("spinbutton")
    advised = float(field.input_value())
    # beyond the largest step: the guard says so before anything is written
    field.fill(f"{advised + 100:.2f}")
    expect(dialog).to_contain_text("It would be refused")
    expect(dialog.get_by_role("button", name="Accept changed")).to_be_disabled()
    field.fill(f"{advised + 0.4:.2f}")
    expect(dialog.get_by_role("button", name="Accept changed")).to_be_enabled()
    expect(dialog).not_to_contain_text("It would be refused")
    dialog.get_by_role("button", name="Accept changed").click()
    past = page.locator("details.past").first
    expect(past).to_contain_text("Verified")
    expect(past).to_contain_text(f"{advised + 0.4:.1f}")


def test_a_viewer_decides_nothing(site: Site, visit: Visit) -> None:
    page, card = waiting(site, visit("vera"))
    for name in ("Accept", "Change", "Reject"):
        expect(card.get_by_role("button", name=name)).to_be_disabled()
    expect(card).to_contain_text("Deciding needs an operator; you are signed in as Viewer.")
    # nor by leaving the page out
    identity = card.get_attribute("data-advice")
    answer = page.context.request.post(
        f"{site.url}/api/v1/recommendations/{identity}/accept",
        data={},
        headers={"origin": site.url},
    )
    assert answer.status == 403


def test_only_an_engineer_sets_modes(site: Site, visit: Visit) -> None:
    otto = visit("otto").go("/step/drying")
    expect(otto.get_by_role("group", name="Set mode")).to_have_count(0)
    page = visit("emil").go("/step/drying")
    modes = page.get_by_role("group", name="Set mode")
    expect(modes.get_by_role("button", name="Shadow")).to_have_attribute("aria-pressed", "true")
    modes.get_by_role("button", name="Advisory").click()
    page.get_by_role("dialog").get_by_role("button", name="Set mode").click()
    expect(page.locator("[data-x='mode.drying']").first).to_have_text("Advisory")
    expect(otto.locator("[data-x='mode.drying']").first).to_have_text("Advisory")


def test_of_two_people_the_second_sees_what_the_first_did(site: Site, visit: Visit) -> None:
    first, card = waiting(site, visit("otto"))
    second = visit("olga").go("/advice")
    other = second.locator("[data-advice].advice").first
    # both have been asked whether they are sure
    card.get_by_role("button", name="Accept").click()
    other.get_by_role("button", name="Accept").click()
    first.get_by_role("button", name="Write now").click()
    expect(first.locator("details.past").first).to_contain_text("by otto")
    second.get_by_role("button", name="Write now").click()
    expect(second.locator(".q-notification").first).to_contain_text("otto has already decided")
    expect(second.locator("details.past").first).to_contain_text("by otto")
