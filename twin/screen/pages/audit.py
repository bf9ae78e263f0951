"""Audit: what people and the twin did, newest first."""

from __future__ import annotations

from nicegui import ui

from twin.screen.parts import el, empty, panel, table
from twin.screen.visit import Visit

MOST = 200


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words

    @ui.refreshable
    async def entries() -> None:
        found = await visit.desk.audit(MOST)
        with panel(words("audit")):
            if not found:
                empty("receipt_long", words("no_audit"))
                return
            table(
                [words("time"), words("who"), words("what"), words("details")],
                [
                    [
                        words.time(each.time),
                        each.who,
                        words.act(each.what),
                        ", ".join(
                            f"{name}: {value}"
                            for name, value in each.details.items()
                            if value not in (None, "", {}, [])
                        ),
                    ]
                    for each in found
                ],
                classes=["refused" if each.what.startswith("refused") else "" for each in found],
                caption=words("audit"),
            )

    with el("div", classes="stack"):
        await entries()
    visit.follow(("recommendation", "mode", "laboratory", "alarm", "model"), entries.refresh)
