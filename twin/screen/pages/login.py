"""Sign in: a plain form, so that browsers keep passwords and a keyboard is enough."""

from __future__ import annotations

from nicegui import ui

from twin.screen.parts import el
from twin.screen.words import Words


def show(words: Words, name: str, to: str, assets: str) -> None:
    """Build the page; `to` is where the person wanted to go."""
    ui.add_head_html(f'<script type="module" src="{assets}/login.js"></script>')
    with el("section", classes="panel login"):
        el("h1", name)
        el("p", words("login"), "soft")
        with el(
            "form",
            classes="stack",
            data_to=to,
            data_wrong=words("wrong_login"),
            data_wait=words.table["wait_login"],
            method="post",
        ):
            for field, kind, complete in (
                ("name", "text", "username"),
                ("password", "password", "current-password"),
            ):
                with el("label", classes="field"):
                    el("span", words("user" if field == "name" else "password"))
                    el(
                        "input",
                        name=field,
                        type=kind,
                        autocomplete=complete,
                        required=True,
                        autofocus=True if field == "name" else None,
                    )
            el("p", classes="wrong", role="alert")
            el("button", words("sign_in"), "q-btn primary big", type="submit")
        with el("div", classes="flow"):
            el(
                "button",
                words("language"),
                "q-btn flat",
                data_do="language",
                type="button",
                aria_label=words("language_is"),
            )
            el("button", words("theme"), "q-btn flat", data_do="theme", type="button")
