"""The parts that pages are made of: elements, values bound to the feed, chips, tables, dialogs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import isawaitable
from typing import Literal

from nicegui import context, html, ui
from nicegui.element import Element

from twin.desk.views import Parameter
from twin.screen.words import Words, digits, meaningful

Handler = Callable[[], object]
READ = 0.1
"""Share of the range between limits as which a value is uncertain to somebody who reads it."""
Cell = str | Callable[[], object]
"""A text, or what puts something into the cell."""


def el(tag: str, text: str = "", classes: str = "", **attributes: object) -> Element:
    """A plain element; `data_v` becomes `data-v`, attributes that are None are left out."""
    # nicegui names those that Python would misread with a line below
    kind = getattr(html, tag, None) or getattr(html, f"{tag}_")
    element: Element = kind(text or None)
    if classes:
        element.classes(classes)
    for name, value in attributes.items():
        if value is not None:
            element.props[name.strip("_").replace("_", "-")] = value
    return element


def put(element: Element, text: str) -> None:
    """Another text in a plain element."""
    if element._text != text:
        element._text = text
        element.update()


def number(
    key: str, decimals: int, classes: str = "number", sign: bool = False, before: str | None = None
) -> Element:
    """A number of the feed, `key|field`, kept up in the browser; `before` goes with it or not."""
    text = "" if before is not None else "–"
    shown = "1" if sign else None
    return el(
        "span", text, classes, data_v=key, data_d=decimals, data_sign=shown, data_before=before
    )


def aged(key: str) -> Element:
    """How old something of the feed is by now, from the time that it has as `t`."""
    return el("span", "–", "number", data_v=f"{key}|t", data_age="1")


def said(key: str, classes: str = "", tag: str = "span") -> Element:
    """A text of the feed, with the class that comes with it."""
    return el(tag, "", classes, data_x=key, data_class=classes)


def icon(name: str) -> Element:
    """A sign that says nothing that the text beside it does not say."""
    return el("i", name, "material-icons", aria_hidden="true")


def panel(title: str = "", classes: str = "panel") -> Element:
    """A section with a heading."""
    section = el("section", classes=classes)
    if title:
        with section:
            el("h2", title)
    return section


def empty(sign: str, text: str, why: str = "") -> None:
    """What stands where there is nothing."""
    with el("div", classes="empty"):
        icon(sign)
        el("p", text)
        if why:
            el("p", why, "small")


def on_page(do: Handler) -> Callable[[], Awaitable[None]]:
    """A handler that goes on although what it hangs on is drawn anew meanwhile."""
    client = context.client

    async def handle() -> None:
        with client:
            found = do()
            if isawaitable(found):
                await found

    return handle


def button(
    text: str,
    do: Handler | None = None,
    classes: str = "",
    sign: str = "",
    disabled: bool = False,
    label: str = "",
) -> ui.button:
    """A button of at least 44 px."""
    made = ui.button(
        text, on_click=None if do is None else on_page(do), icon=sign or None, color=None
    )
    made.props("flat no-caps unelevated").classes(classes)
    if label:
        made.props["aria-label"] = label
    made.set_enabled(not disabled)
    return made


def link(text: str, target: str, classes: str = "button-link", sign: str = "") -> Element:
    """A link that looks like a button."""
    made = el("a", "", classes, href=target)
    with made:
        if sign:
            icon(sign)
        el("span", text)
    return made


def choice(title: str, entries: Sequence[tuple[str, str, bool]]) -> Element:
    """Links of which one is where we are: text, target, whether it is that one."""
    group = el("div", classes="segments", role="group", aria_label=title)
    with group:
        for text, target, current in entries:
            el("a", text, href=target, aria_current="true" if current else None)
    return group


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    right: Sequence[int] = (),
    classes: Sequence[str] = (),
    caption: str = "",
) -> Element:
    """A table of texts, and of what a function puts into a cell.

    Args:
        columns: headings.
        rows: cells in the order of the columns.
        right: columns of numbers.
        classes: of the rows, where they have one.
        caption: for those who do not see it.
    """
    scroll = el(
        "div", classes="table-scroll", tabindex="0", role="region", aria_label=caption or ""
    )
    with scroll, el("table", classes="list"):
        if caption:
            el("caption", caption, "sr")
        with el("thead"), el("tr"):
            for index, title in enumerate(columns):
                el("th", title, "right" if index in right else "", scope="col")
        with el("tbody"):
            for number_, cells in enumerate(rows):
                with el("tr", classes=classes[number_] if number_ < len(classes) else ""):
                    for index, cell in enumerate(cells):
                        kind = "right number" if index in right else ""
                        if isinstance(cell, str):
                            el("td", cell, kind)
                        else:
                            with el("td", classes=kind):
                                cell()
    return scroll


def scale(parameter: Parameter) -> tuple[float, float] | None:
    """The ends of the bar that a parameter is read on; None where nothing fixes them."""
    if parameter.limits is not None:
        low, high = parameter.limits
        room = 0.6 * (high - low)
        return low - room, high + room
    middle = next(
        (
            value
            for value in (parameter.target, parameter.measured.value, parameter.predicted.value)
            if value is not None
        ),
        None,
    )
    if middle is None:
        return None
    reach = 0.1 * abs(middle) or 1.0
    return middle - reach, middle + reach


def decimals(parameter: Parameter) -> int:
    """With how many decimals a parameter is read: no finer than people need."""
    if parameter.limits is not None:
        return meaningful(READ * (parameter.limits[1] - parameter.limits[0]))
    return digits(parameter.target, parameter.measured.value, parameter.predicted.value)


def bar(words: Words, parameter: Parameter) -> None:
    """The bar: limits, target, what is predicted with its interval, what is measured."""
    ends = scale(parameter)
    if ends is None:
        return
    low, high = ends

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    places = decimals(parameter)
    track = el(
        "div",
        classes="track" + ("" if parameter.limits else " free"),
        data_track=parameter.name,
        data_low=low,
        data_high=high,
        aria_hidden="true",
    )
    with track:
        el("div", classes="rail")
        if parameter.limits:
            left, right = (at(limit) for limit in parameter.limits)
            el("div", classes="inside").style(f"left:{left};width:calc({right} - {left})")
        if parameter.target is not None:
            el("div", classes="target").style(f"left:{at(parameter.target)}")
        el("div", classes="band hide")
        el("div", classes="said hide")
        el("div", classes="read hide")
    marks = [*(parameter.limits or ()), *([] if parameter.target is None else [parameter.target])]
    if marks:
        with el("div", classes="scale number", aria_hidden="true"):
            for value in marks:
                el("span", words.number(value, places)).style(f"left:{at(value)}")


def static_bar(
    ends: tuple[float, float],
    limits: tuple[float, float] | None = None,
    target: float | None = None,
    band: tuple[float, float] | None = None,
    said: float | None = None,
    read: float | None = None,
) -> None:
    """The same bar for what does not change: what is expected, not what is measured."""
    low, high = ends

    def at(value: float) -> str:
        return f"{min(100.0, max(0.0, 100 * (value - low) / (high - low))):.2f}%"

    def from_to(ends_: tuple[float, float]) -> str:
        left, right = (at(each) for each in ends_)
        return f"left:{left};width:calc({right} - {left})"

    with el("div", classes="track" + ("" if limits else " free"), aria_hidden="true"):
        el("div", classes="rail")
        if limits is not None:
            el("div", classes="inside").style(from_to(limits))
        if target is not None:
            el("div", classes="target").style(f"left:{at(target)}")
        if band is not None:
            el("div", classes="band").style(from_to(band))
        if said is not None:
            el("div", classes="said").style(f"left:{at(said)}")
        if read is not None:
            el("div", classes="read").style(f"left:{at(read)}")


def parameter_value(words: Words, parameter: Parameter, with_bar: bool = True) -> Element:
    """A structure parameter: measured large, predicted small, its bar, its age where it is old."""
    key, places = parameter.name, decimals(parameter)
    unit = words.unit(parameter.unit)
    # what no gauge reads is read as it is predicted
    shown = "m" if parameter.measured.state != "missing" or parameter.compared else "b"
    box = el("div", classes="parameter", data_state_of=key, data_state="none")
    with box:
        el("div", words.last(key), "label")
        with el("div"):
            number(f"{key}|{shown}", places, "value number")
            el("span", unit, "unit")
        if with_bar:
            bar(words, parameter)
        with el("div", classes="second"):
            with el("span"):
                el("span", words("predicted") + " ", "twin-ink")
                number(f"{key}|p", places, "number twin-ink")
                number(f"{key}|pm", places, "number twin-ink", before=" ± ")
            with el("span", classes="age"):
                el("span", words("stale") + " ")
                aged(key)
            if parameter.limits:
                limits = [words.number(limit, places) for limit in parameter.limits]
                el("span", f"{words('limits')} {limits[0]} – {limits[1]}", "sr")
            if parameter.target is not None:
                el("span", f"{words('target')} {words.number(parameter.target, places)}", "sr")
            said(f"outside.{key}")
    return box


def key(words: Words) -> None:
    """What lines and marks mean: the same on every page."""
    with el("div", classes="flow", aria_label=words("key"), role="note"):
        el("span", words("measured"), "key")
        el("span", words("predicted"), "key said")
        el("span", words("interval"), "key band")
        el("span", words("target"), "key target")
        el("span", words("limits"), "key limit")


def chart(
    words: Words,
    kind: Literal["trend", "residual", "control", "map", "series"],
    title: str,
    source: str,
    classes: str = "chart",
    follows: str = "",
    axis: str = "time",
    span: float = 0.0,
) -> Element:
    """A chart that fetches its history and appends what the feed brings.

    Args:
        words: for what stands where there are no values.
        kind: which.
        title: for those who do not see it.
        source: address of its history.
        classes: its height.
        follows: `step.output` of the feed.
        axis: time or web.
        span: what is shown, ms or m.
    """
    wrap = el("div", classes="chart-wrap")
    with wrap:
        el(
            "div",
            classes=classes,
            data_chart=kind,
            data_source=source,
            data_follows=follows or None,
            data_axis=axis,
            data_span=span or None,
            data_title=title,
            role="img",
            aria_label=title,
        )
        el("p", words("nothing_yet"), "none hidden")
    return wrap


def mode_chip(words: Words, step: str) -> None:
    """The mode of a step, kept up by the feed."""
    said(f"mode.{step}", "chip")


def say(text: str, bad: bool = False) -> None:
    """Tell the person what came of what they did."""
    ui.notify(
        text,
        position="top",
        timeout=9000 if bad else 5000,
        classes="bad" if bad else "",
        close_button="×",
    )


async def confirm(text: str, yes: str, no: str, classes: str = "primary") -> bool:
    """Ask before something that cannot be taken back."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", text)
        with el("div", classes="flow"):
            button(yes, lambda: dialog.submit(True), classes)
            button(no, lambda: dialog.submit(False))
    answer = await dialog
    dialog.delete()
    return bool(answer)
