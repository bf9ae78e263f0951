"""Line: the line as it runs, and the one most important thing to do now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twin.configuration.models import LineConfiguration
from twin.desk.views import LineView, StepOverview, WebOverview
from twin.screen.parts import aged, el, key, link, mode_chip, number, panel, parameter_value, said
from twin.screen.visit import Visit
from twin.screen.words import Words

MOST_SHOWN = 3
"""Structure parameters per step; those with a specification come first."""
EDGE = 0.04
"""Share of a path at whose ends names do not stand out of the panel."""
LETTER = 0.0165
"""Width of a letter as a share of the narrowest path."""


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words
    line = await visit.reader.line()
    _now(visit)
    with el("div", classes="web"):
        for web in line.webs:
            _web(words, visit.reader.configuration, web)
    with el("div", classes="steps"):
        for step in line.steps:
            _step(visit, step)
    with el("div", classes="panel flow"):
        key(words)
        el("span", classes="grow")
        _connections(words, line)


def _now(visit: Visit) -> None:
    words = visit.words
    with el(
        "section", classes="now", data_kind_of="todo", aria_label=words("now"), aria_live="polite"
    ):
        with el("div", classes="what"):
            said("todo", tag="div")
            said("todo_why", "why", tag="div")
        look = link(words("look"), visit.path("/"), "button-link big hidden", "arrow_forward")
        look.props["data-href-of"] = "todo"


def _connections(words: Words, line: LineView) -> None:
    with el("div", classes="facts", role="group", aria_label=words("connections")):
        for connector in line.connectors:
            with el("span", classes="fact small"):
                said(f"dot.{connector.name}", "dot")
                el("span", words.name(connector.name))
                said(f"connector.{connector.name}")
                aged(f"connector.{connector.name}")


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    start: float
    end: float
    gauge: bool


def _places(line: LineConfiguration, web: str) -> list[_Place]:
    gauges = {
        tag.station for tag in line.tags.values() if tag.role == "measurement" and tag.station
    }
    found = []
    for name, place in line.webs[web].stations.items():
        start, end = place if isinstance(place, tuple) else (place, place)
        found.append(_Place(name, start, end, name in gauges))
    return sorted(found, key=lambda each: (each.start, -each.end))


def _levels(words: Words, places: Sequence[_Place], low: float, span: float) -> dict[str, str]:
    """Above or below the web, how far, and at which edge, so that no name covers another."""
    free = dict.fromkeys(("down", "up", "down two", "up two"), -1.0)
    found = {}
    for place in places:
        at = ((place.start + place.end) / 2 - low) / span
        width = LETTER * (len(words.name(place.name)) + 1)
        edge = " first" if at < EDGE else " last" if at > 1 - EDGE else ""
        begin = at if edge == " first" else at - width if edge == " last" else at - width / 2
        level = next(
            (each for each, end in free.items() if end <= begin), min(free, key=free.__getitem__)
        )
        free[level] = begin + width
        found[place.name] = level + edge
    return found


def _web(words: Words, line: LineConfiguration, web: WebOverview) -> None:
    places = _places(line, web.name)
    if not places:
        return
    low, high = min(each.start for each in places), max(each.end for each in places)
    span = high - low or 1.0
    holds = [
        each
        for each in places
        if any(
            other is not each
            and other.end > other.start
            and each.start <= other.start
            and other.end <= each.end
            for other in places
        )
        and each.end > each.start
    ]
    shown = [each for each in places if each not in holds]
    levels = _levels(words, shown, low, span)
    with panel(classes="panel"):
        with el("div", classes="bar-of-title"):
            el("h2", words.name(web.name))
            said(f"moving.{web.name}", "chip")
            el("span", classes="grow")
            with el("div", classes="facts"):
                with el("span", classes="fact"):
                    number(f"web.{web.name}|speed", 2, "is number")
                    el("span", "m/min", "soft small")
                with el("span", classes="fact"):
                    said(f"roll.{web.name}")
                    number(f"web.{web.name}|metre", 1, "is number")
                    el("span", "m", "soft small")
        label = words("stations", web=words.name(web.name))
        with el(
            "div",
            classes="path",
            role="img",
            aria_label=f"{label}: " + ", ".join(words.name(each.name) for each in shown),
        ):
            el("div", classes="foil")
            for each in shown:
                _station(words, each, levels[each.name], low, span)


def _station(words: Words, place: _Place, level: str, low: float, span: float) -> None:
    left = 100 * (place.start - low) / span
    width = 100 * (place.end - place.start) / span
    if width:
        el("div", classes="machine").style(f"left:{left:.2f}%;width:{width:.2f}%")
    station = el("div", classes="station" + (" gauge" if place.gauge else ""))
    station.style(f"left:{left + width / 2:.2f}%")
    with station:
        edge = (
            " first"
            if left + width / 2 < EDGE
            else " last"
            if left + width / 2 > 100 - EDGE
            else ""
        )
        el("span", words.name(place.name), level + edge)


def _step(visit: Visit, step: StepOverview) -> None:
    words = visit.words
    with el("section", classes="panel step-card"):
        with el("header"):
            with el("h2"):
                el("a", words.name(step.name), href=visit.path(f"/step/{step.name}"))
            mode_chip(words, step.name)
        said(f"doubt.{step.name}", "reason", tag="p")
        ranked = sorted(
            step.parameters,
            key=lambda each: (
                each.limits is None and each.target is None,
                not each.compared and each.measured.value is None,
            ),
        )
        for parameter in ranked[:MOST_SHOWN]:
            parameter_value(
                words, parameter, with_bar=parameter.limits is not None or parameter.compared > 0
            )
