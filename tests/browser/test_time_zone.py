"""One clock: a screen shows and reads times in the zone of the site, wherever the browser is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser.site import Guest, Site

pytestmark = pytest.mark.browser
Visit = Callable[..., Guest]
SITE = ZoneInfo("Asia/Tokyo")
BROWSER = "America/New_York"
"""Neither that of the site nor that of the computer that serves it."""
LABELS = """() => [...window.twinCharts.values()].map((chart) =>
  chart.echart.getModel().getComponent("xAxis").axis.getViewLabels()
    .map((each) => [each.tick.value, each.formattedLabel]))"""
TIP = """(index) => {
  const chart = [...window.twinCharts.values()][index];
  const series = chart.echart.getOption().series.findIndex((each) => each.data.length);
  chart.echart.dispatchAction({ type: "showTip", seriesIndex: series, dataIndex: 0 });
  return [chart.echart.getOption().series[series].data[0][0], chart.element.innerText];
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A line in Japan, with a recording."""
    found = Site(tmp_path_factory.mktemp("zone"), zone=SITE.key)
    found.tell("record", "night-shift", 600)
    yield found
    found.close()


def at(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone(SITE)


def line_time(site: Site) -> datetime:
    return at(site.tell("advance", 5)["now"] / 1e6)


@pytest.mark.parametrize(("language", "form"), [("en", "%m/%d/%Y, %T"), ("de", "%d.%m.%Y, %T")])
def test_clock_axes_and_tooltips_agree(site: Site, visit: Visit, language: str, form: str) -> None:
    page = visit("vera", zone=BROWSER, language=language).go("/step/coating")
    expect(page.locator(".head")).to_contain_text(SITE.key)
    now = line_time(site)
    expect(page.locator(".head .clock")).to_have_text(f"{now:%T}")
    charts: list[list[Any]] = page.evaluate(LABELS)
    assert len(charts) > 3
    for index, labels in enumerate(charts):
        assert len(labels) > 2
        for tick, label in labels:
            assert label in (f"{at(tick):%H:%M}", f"{at(tick):%T}")
        moment, said = page.evaluate(TIP, index)
        assert f"{at(moment):{form}}" in said


def test_what_is_typed_in_a_form_is_the_time_of_the_site(site: Site, visit: Visit) -> None:
    otto = visit("otto", zone=BROWSER)
    now = line_time(site)
    page = otto.go("/laboratory")
    field = page.get_by_label("Sampled")
    expect(field).to_have_value(f"{now:%Y-%m-%dT%T}")
    sampled = (now - timedelta(minutes=2)).replace(microsecond=0)
    field.fill(f"{sampled:%Y-%m-%dT%T}")
    page.get_by_label("Value").fill("2.9")
    page.get_by_label("Slurry batch").fill("1")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("table.list tbody tr").first).to_contain_text(f"{sampled:%Y-%m-%d %T}")
    (entry,) = otto.context.request.get(f"{site.url}/api/v1/laboratory").json()["entries"]
    assert datetime.fromisoformat(entry["sampled"]) == sampled


def test_a_recording_is_sought_by_the_time_of_the_site(site: Site, visit: Visit) -> None:
    page = visit("olga", zone=BROWSER).go("/recordings")
    page.get_by_role("button", name="Open").click()
    player = page.locator(".player")
    begin = player.locator(".now-time").inner_text()
    there = datetime.fromisoformat(begin) + timedelta(minutes=3)
    player.get_by_label("Go to").fill(f"{there:%Y-%m-%dT%T}")
    player.get_by_role("button", name="Go to").click()
    expect(player.locator(".now-time")).to_have_text(f"{there:%Y-%m-%d %T}")
