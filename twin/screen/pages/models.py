"""Models: which predicts, on what evidence, and the way back to the one before."""

from __future__ import annotations

from functools import partial

from nicegui import ui

from twin.desk import UnknownError
from twin.desk.views import ModelUse
from twin.screen.pages.step import card, units_of
from twin.screen.parts import Cell, button, confirm, el, number, panel, say, table
from twin.screen.visit import Visit
from twin.screen.words import digits
from twin.users import NotAllowedError

CONFIGURED = "configuration"
"""Who is said to have chosen a model that nobody promoted."""


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words

    @ui.refreshable
    async def used() -> None:
        found = await visit.desk.models()
        with el("div", classes="columns wide"):
            for use in found:
                await _model(visit, use, used.refresh)

    await used()
    if not visit.may("engineer"):
        el("p", words("needs_engineer", role=words(f"role_{visit.user.role}")), "soft")
    visit.follow(("model",), used.refresh)


async def _model(visit: Visit, use: ModelUse, again: object) -> None:
    words = visit.words

    async def back() -> None:
        if not await confirm(
            words("roll_back_sure", step=words.name(use.step)),
            words("roll_back"),
            words("cancel"),
            "danger",
        ):
            return
        try:
            await visit.desk.roll_back_model(await visit.person(), use.step)
        except (NotAllowedError, UnknownError, ValueError) as error:
            say(words("failed_to", why=words.sentence(str(error))), bad=True)
            return
        say(words("changed"))
        assert callable(again)
        again()

    step = await visit.reader.step(use.step)
    with panel():
        with el("div", classes="bar-of-title"):
            el("h2", words.name(use.step))
            el("strong", use.version, "number")
            el("span", classes="grow")
            if visit.live:
                button(
                    words("roll_back"),
                    back,
                    sign="undo",
                    disabled=not visit.may("engineer") or use.by in ("", CONFIGURED),
                )
        since = f"{words('since')} {words.time(use.since)}" if use.since else words("configured")
        by = f" {words('decided_by', by=use.by)}" if use.since and use.by else ""
        el("p", since + by, "soft small")
        judged = [each for each in step.overview.parameters if each.compared]
        if judged:

            def error(name: str, unit: str, places: int, field: str) -> None:
                number(f"{name}|{field}", places)
                el("span", f" {words.unit(unit)}", "soft small")

            columns = [words("output"), words("error")]
            challenged = any(each.challenger_error is not None for each in judged)
            if challenged:
                columns.append(words("challenger_error"))
            rows: list[list[Cell]] = []
            for each in judged:
                places = digits(each.mean_absolute_error)
                cells: list[Cell] = [
                    words.last(each.name),
                    partial(error, each.name, each.unit, places, "e"),
                ]
                if challenged:
                    cells.append(partial(error, each.name, each.unit, places, "ce"))
                rows.append(cells)
            table(columns, rows, right=(1, 2), caption=words("in_use"))
        if use.card is not None:
            with el("details"):
                el("summary", words("card"))
                card(words, use.card, units_of(step.overview))
        if use.challenger is not None:
            el("h3", f"{words('challenger')}: {use.challenger.version}")
            with el("details"):
                el("summary", words("card"))
                card(words, use.challenger, units_of(step.overview))
