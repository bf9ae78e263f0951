"""Working with it: laboratory, what if and back, replay, alarms, users, roll map."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.site import Guest, Site

pytestmark = pytest.mark.browser
Visit = Callable[..., Guest]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A line with a recording of its first quarter of an hour."""
    found = Site(tmp_path_factory.mktemp("working"))
    found.tell("record", "night-shift", 900)
    yield found
    found.close()


def test_a_laboratory_value_is_doubted_entered_and_corrected(site: Site, visit: Visit) -> None:
    page = visit("otto").go("/laboratory")
    page.get_by_label("Value").fill("290")
    page.get_by_label("Slurry batch").fill("1")
    page.get_by_role("button", name="Save").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("far from")
    dialog.get_by_role("button", name="Cancel").click()
    page.get_by_label("Value").fill("2.9")
    page.get_by_label("Note").fill("rheometer 2")
    page.get_by_role("button", name="Save").click()
    row = page.locator("table.list tbody tr").first
    expect(row).to_contain_text("2.90 Pa s")
    expect(row).to_contain_text("otto")
    row.get_by_role("button", name="Correct").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("spinbutton").fill("2.7")
    dialog.get_by_label("Reason").fill("read from the wrong line")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator("table.list tbody tr").first).to_contain_text("2.70 Pa s")
    expect(page.locator("table.list tbody tr .old")).to_have_text("2.90 Pa s")


def test_what_if_answers_a_slider_and_finds_the_way_back(site: Site, visit: Visit) -> None:
    page = visit("vera").go("/what-if")
    loading = page.locator(".results [data-output='coating.mass_loading'] .value")
    before = float(loading.inner_text())
    slider = page.get_by_role("slider", name=re.compile("Pump flow"))
    slider.locator("[tabindex]").focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    expect(loading).not_to_have_text(f"{before:.1f}")
    assert float(loading.inner_text()) > before
    field = page.get_by_role("spinbutton", name=re.compile("Solids content"))
    field.fill("80")
    expect(page.locator(".results")).to_contain_text("The models were never shown this")
    page.get_by_role("button", name="As on the line now").click()
    expect(page.locator(".results")).not_to_contain_text("The models were never shown this")
    # and back: which pump flow gives 185?
    page.get_by_label("Mass loading, Wanted").fill("181")
    page.get_by_label("Calendered thickness, Wanted").fill("")
    page.get_by_role("button", name="Find parameters").click()
    expect(page.get_by_text("Feasible", exact=True)).to_be_visible()
    page.get_by_role("button", name="Put into the sliders").click()
    expect(loading).to_have_text(re.compile(r"18[01]\.\d"))


def test_a_recording_is_played_and_cannot_be_mistaken(site: Site, visit: Visit) -> None:
    olga = visit("olga")
    page = olga.go("/recordings")
    page.get_by_role("button", name="Open").click()
    player = page.locator(".player")
    expect(player).to_contain_text("REPLAY")
    player.get_by_role("button", name="as fast as it can").click()
    player.get_by_role("button", name="Play", exact=True).click()
    expect(player).to_contain_text("ended")
    end = player.locator(".now-time").inner_text()
    # back to the middle, and on from there as slow as life
    player.get_by_role("button", name="1 times life", exact=True).click()
    slider = player.get_by_role("slider", name="Position")
    box = slider.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(player.locator(".now-time")).not_to_have_text(end)
    middle = player.locator(".now-time").inner_text()
    assert middle < end
    player.get_by_role("link", name="Line").click()
    olga.drawn()
    banner = page.locator(".replay-banner")
    expect(banner).to_contain_text("REPLAY")
    expect(banner).to_contain_text("night-shift, not live")
    assert "repeating-linear-gradient" in banner.evaluate(
        "e => getComputedStyle(e).backgroundImage"
    )
    expect(page.locator(".head")).not_to_contain_text("Live")
    page.locator(".nav").get_by_role("link", name="Advice").click()
    olga.drawn()
    expect(page.locator(".replay-banner")).to_be_visible()
    expect(page.get_by_role("button", name="Accept")).to_have_count(0)
    page.locator(".nav").get_by_role("link", name="Roll map").click()
    olga.drawn()
    expect(page.locator(".replay-banner")).to_be_visible()
    page.get_by_role("link", name="Back to live").click()
    olga.drawn()
    expect(page.locator(".replay-banner")).to_have_count(0)


def test_a_roll_shows_what_to_cut_out(site: Site, visit: Visit) -> None:
    vera = visit("vera")
    page = vera.go("/rolls?web=coater&number=1")
    expect(page.locator("[data-chart='map']").first).to_be_visible()
    expect(page.locator("table.list tbody tr").first).to_contain_text("Mass loading")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV for the slitter").click()
    lines = download.value.path().read_text().splitlines()
    assert lines[0] == "roll,from_m,to_m,parameter,worst,unit,low_limit,high_limit"
    assert "coating.mass_loading" in lines[1]


def test_trends_go_along_time_and_along_the_web(site: Site, visit: Visit) -> None:
    vera = visit("vera")
    page = vera.go("/step/coating")
    rows = "() => [...window.twinCharts.values()][0].points"
    assert len(page.evaluate(rows)) > 50
    page.get_by_role("button", name="Along the web").click()
    page.wait_for_function("() => [...window.twinCharts.values()][0].points.at(-1)?.[0] < 1000")
    page.get_by_role("button", name="Wet thickness").click()
    page.wait_for_function(
        "() => [...window.twinCharts.values()][0].source.includes('wet_thickness')"
    )
    vera.drawn()
    before = len(page.evaluate(rows))
    # what comes is appended, not sent again
    asked: list[str] = []
    page.on("request", lambda each: asked.append(each.url))
    site.tell("advance", 120)
    page.wait_for_function(f"() => [...window.twinCharts.values()][0].points.length > {before}")
    assert not asked


def test_an_engineer_adds_a_user_who_can_sign_in(site: Site, visit: Visit) -> None:
    page = visit("emil").go("/users")
    page.get_by_label("Name").fill("ines")
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_role("button", name="Add a user").click()
    expect(page.locator(".q-notification").first).to_contain_text("characters")
    page.get_by_label("Password", exact=True).fill("clever-horse-7")
    page.get_by_role("button", name="Add a user").click()
    expect(page.locator("table.list").first).to_contain_text("ines")
    ines = visit("ines").go("/users")
    expect(ines.get_by_role("button", name="Add a user")).to_have_count(0)
    audit = visit("emil").go("/audit")
    expect(audit.locator("table.list")).to_contain_text("add user")
