"""Sign in: a plain form, so that browsers keep passwords and a keyboard is enough."""

from __future__ import annotations

from nicegui import ui

from twin.screen.parts import el
from twin.screen.words import Words

ENTER = """
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches(".login form")) return;
  event.preventDefault();
  const body = JSON.stringify(Object.fromEntries(new FormData(form)));
  const headers = { "content-type": "application/json" };
  const answer = await fetch("/screen/login", { method: "POST", body, headers });
  if (answer.ok) { location.href = form.dataset.to; return; }
  const wrong = form.querySelector("[role=alert]");
  wrong.textContent = (await answer.json()).why;
  form.querySelector("[name=password]").select();
});
"""


def show(words: Words, name: str, to: str, note: str = "") -> None:
    """Build the page; `to` is where the person wanted to go."""
    ui.add_head_html(f"<script>{ENTER}</script>")
    with el("section", classes="panel login"):
        el("h1", name)
        el("p", words("login"), "soft")
        with el("form", classes="stack", data_to=to, method="post"):
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
        if note:
            el("p", note, "small soft pre")
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
