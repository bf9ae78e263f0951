"""The frame of every page: who and where we are, what is not live, the way to other pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from nicegui import context, ui

from twin.screen.parts import aged, button, el, icon, said
from twin.screen.visit import Visit
from twin.screen.words import Words

PAGES: Final = (
    ("line", "/", "conveyor_belt"),
    ("step", "/step", "show_chart"),
    ("advice", "/advice", "recommend"),
    ("rolls", "/rolls", "album"),
    ("what_if", "/what-if", "tune"),
    ("replay", "/recordings", "replay"),
    ("laboratory", "/laboratory", "science"),
    ("alarms", "/alarms", "notifications"),
    ("models", "/models", "model_training"),
    ("audit", "/audit", "receipt_long"),
    ("health", "/health", "monitor_heart"),
    ("users", "/users", "group"),
)
"""Key, address and sign of the pages, in the order in which they are needed."""
IN_REPLAY: Final = ("line", "step", "advice", "rolls", "what_if")
"""Pages that show a recording as they show the line."""
BROWSER_WORDS: Final = (
    "lost",
    "back",
    "nothing_meanwhile",
    "predicted",
    "measured",
    "interval",
    "target",
    "control_limit",
    "residual",
    "ewma",
    "cusum",
    "of_limit",
)


def head(words: Words, theme: str, assets: str, feed: str | None, start: str, charts: bool) -> None:
    """What stands in the head of the page, before anything is drawn.

    Args:
        words: of the page.
        theme: light or dark.
        assets: where style and scripts are.
        feed: the query of the feed; None for none.
        start: names this run of the service.
        charts: whether charts may come.
    """
    said_ = {key: words.table[key] for key in BROWSER_WORDS}
    page = {"feed": feed, "start": start, "charts": charts, "zone": str(words.zone)}
    ui.add_head_html(
        f'<script>document.documentElement.lang="{words.language}";'
        f'document.documentElement.dataset.theme="{theme}";</script>'
        f'<link rel="stylesheet" href="{assets}/screen.css">'
        f'<script type="application/json" id="twin-words">{_json(said_)}</script>'
        f'<script type="application/json" id="twin-page">{_json(page)}</script>'
        f'<script type="module" src="{assets}/screen.js"></script>'
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c")


def feed_query(visit: Visit, step: str) -> str:
    """How the feed of a page is asked for."""
    return urlencode({"language": visit.words.language, "step": step, "replay": visit.replay})


def frame(visit: Visit, page: str, logout: Callable[[], object]) -> None:
    """Header, banners and navigation, around the content that follows."""
    words = visit.words
    layout = context.client.layout
    with layout:
        top = el("header", classes="head")
        banner = _replay_banner(visit)
        lost = el("div", classes="lost-banner hidden", role="alert")
        side = el("nav", classes="nav", aria_label=words("navigation"))
    with top:
        el("a", words("to_content"), "skip", href="#content", data_do="skip")
        _head(visit, logout)
    with side:
        _navigation(visit, page)
    for index, each in enumerate((top, banner, lost, side)):
        if each is not None:
            each.move(target_container=layout, target_index=index)
    with el("section", classes="news hidden", role="status"):
        with el("div", classes="grow"):
            el("h2", " ")
            el("ul")
        el("button", words("close"), "q-btn", data_do="close-news", type="button")
    el("h1", words(page), "sr")


def _head(visit: Visit, logout: Callable[[], object]) -> None:
    words = visit.words
    el("span", visit.reader.configuration.name, "name", title=visit.reader.configuration.name)
    with el("span", classes="flow nowrap"):
        said("link", "dot")
        el("strong", words("live") if visit.live else words("not_live"), "while-heard")
        el("strong", words("not_heard"), "while-lost")
    with el("span", classes="flow nowrap", title=words("line_time")):
        icon("schedule")
        el("span", "–", "clock number", data_clock="time")
        el("span", str(words.zone).replace("_", " "), "small soft")
    with el("span", classes="small soft nowrap"):
        el("span", words("age") + " ")
        aged("line")
    el("span", classes="grow")
    with el("div", classes="tools"):
        with el(
            "a",
            classes="tool",
            href=visit.path("/alarms") if visit.live else "/alarms",
            aria_label=words("alarms"),
        ):
            icon("notifications")
            said("alarms", "count-chip")
        el(
            "button",
            words("language"),
            "q-btn flat",
            data_do="language",
            type="button",
            aria_label=words("language_is"),
        )
        with el(
            "button",
            classes="q-btn flat",
            data_do="theme",
            type="button",
            aria_label=words("theme"),
            title=words("theme"),
        ):
            icon("contrast")
        with (
            button(
                visit.user.name,
                classes="flat",
                sign="person",
                label=f"{words('account')}: {visit.user.name}",
            ),
            ui.menu(),
        ):
            ui.menu_item(
                words("signed_in_as", name=visit.user.name, role=words(f"role_{visit.user.role}"))
            ).props("disable")
            ui.menu_item(words("logout"), logout)


def _replay_banner(visit: Visit) -> ui.element | None:
    if visit.live:
        return None
    words = visit.words
    banner = el("div", classes="replay-banner", role="status")
    with banner:
        el("strong", words("not_live"))
        el("span", words("not_live_long", name=visit.recording))
        with el("span", classes="number"):
            el("span", "–", data_clock="date")
        el("span", words("open_loop"), "small")
        el("span", classes="grow")
        el("a", words("replay"), href=f"/recordings?id={visit.replay}")
        el("a", words("to_live"), href="/")
    ui.add_head_html(
        "<script>addEventListener('DOMContentLoaded',()=>document.body.classList.add('replaying'))</script>"
    )
    return banner


def _navigation(visit: Visit, page: str) -> None:
    words = visit.words
    for key, address, sign in PAGES:
        target = visit.path(address) if key in IN_REPLAY else address
        current = "page" if key == page else None
        with el("a", href=target, aria_current=current):
            icon(sign)
            el("span", words(key))
            if key == "advice":
                said("advice", "count")
            elif key == "alarms":
                said("alarms", "count")
