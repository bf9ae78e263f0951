"""Roll map: structure parameters along a roll, and the stretches to cut out."""

from __future__ import annotations

from urllib.parse import urlencode

from twin.desk import UnknownError
from twin.desk.views import RollMap, RollParameter, RollView, Stretch
from twin.screen.parts import chart, choice, el, empty, link, panel, table
from twin.screen.visit import Visit
from twin.screen.words import Words, digits

MOST_ROLLS = 12


async def show(visit: Visit, web: str = "", number: int | None = None) -> None:
    """Build the page of a roll; the newest without a number."""
    words = visit.words
    rolls = [each for each in await visit.reader.rolls() if each.start is not None]
    if not rolls:
        with panel():
            empty("album", words("no_rolls"))
        return
    chosen = next(
        (each for each in rolls if each.number == number and (not web or each.web == web)), rolls[0]
    )
    with el("div", classes="title"):
        choice(
            words("choose_roll"),
            [
                (
                    f"{words.name(each.web)} {each.number}",
                    visit.path("/rolls")
                    + "?"
                    + urlencode({"web": each.web, "number": each.number}),
                    each is chosen,
                )
                for each in rolls[:MOST_ROLLS]
            ],
        )
    try:
        found = await visit.reader.roll_map(chosen.number, chosen.web)
    except UnknownError:
        with panel():
            empty("album", words("no_rolls"))
        return
    with el("div", classes="split"):
        with panel():
            _head(words, chosen)
            for parameter in _ranked(found):
                _strip(visit, chosen, parameter.name, "measured", words.last(parameter.name))
                if parameter.limits is not None:
                    title = f"{words.last(parameter.name)}, {words('residual')}"
                    _strip(visit, chosen, parameter.name, "residual", title)
            if not found.parameters:
                empty("album", words("nothing_yet"))
        with panel(words("outside_stretches")):
            _outside(visit, found)


def _strip(visit: Visit, roll: RollView, name: str, kind: str, title: str) -> None:
    asked = {"web": roll.web, "number": roll.number, "name": name, "kind": kind}
    el("h3", title)
    described = visit.words("along_roll", name=title)
    height = "chart strip" if kind == "measured" else "chart strip thin"
    chart(visit.words, "map", described, visit.data("roll", asked), height)


def _ranked(found: RollMap) -> list[RollParameter]:
    """Parameters with measurements, those with limits first."""
    known = [each for each in found.parameters if any(value is not None for value in each.measured)]
    return sorted(known, key=lambda each: each.limits is None)


def _head(words: Words, roll: RollView) -> None:
    with el("div", classes="facts"):
        el("h2", f"{words.name(roll.web)}, {words('roll')} {roll.number}")
        el("span", words("wound") if roll.wound else words("winding"), "chip")
        if roll.length is not None:
            el("span", f"{words('length')} {words.number(roll.length, 1)} m", "number")
        el("span", words.time(roll.began), "soft number")


def good_length(found: RollMap) -> float | None:
    """Length of the roll without what is out of specification, m."""
    if found.roll.length is None:
        return None
    end = 0.0
    bad = 0.0
    for each in sorted(found.outside, key=lambda each: each.begin):
        bad += max(0.0, each.end - max(each.begin, end))
        end = max(end, each.end)
    return max(0.0, found.roll.length - bad)


def _outside(visit: Visit, found: RollMap) -> None:
    words = visit.words
    good = good_length(found)
    if good is not None and found.roll.length is not None:
        text = words(
            "good_length", length=words.number(good, 1), all=words.number(found.roll.length, 1)
        )
        el("p", text, "number").style("font-size:1.3rem")
    if not found.outside:
        empty("task_alt", words("none_outside"))
        return
    table(
        [words("from_metre"), words("to_metre"), words("quantity"), words("worst")],
        [_row(words, each) for each in found.outside],
        right=(0, 1, 3),
        caption=words("outside_stretches"),
    )
    asked = {"web": found.roll.web, "number": found.roll.number}
    address = visit.data("roll.csv", asked)
    with el("p").style("margin-top:0.8rem"):
        link(words("csv"), address, sign="download").props["download"] = (
            f"roll-{found.roll.web}-{found.roll.number}.csv"
        )


def _row(words: Words, each: Stretch) -> list[str]:
    places = digits(*each.limits)
    return [
        f"{words.number(each.begin, 1)} m",
        f"{words.number(each.end, 1)} m",
        words.last(each.parameter),
        f"{words.number(each.worst, places)} {words.unit(each.unit)}",
    ]
