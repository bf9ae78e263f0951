"""Laboratory: values measured offline, for a metre of a roll or a slurry batch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

from nicegui import ui

from twin.desk import DecidedError, Entry, ImplausibleError, UnknownError
from twin.desk.views import LaboratoryChoice, LaboratoryEntry
from twin.screen.parts import button, confirm, el, empty, panel, put, say, table
from twin.screen.visit import Visit
from twin.screen.words import digits
from twin.users import NotAllowedError, User


async def show(visit: Visit) -> None:
    """Build the page."""
    words = visit.words
    choices, _ = await visit.desk.laboratory(1)
    if not choices:
        with panel():
            empty("science", words("no_choices"))
        return

    @ui.refreshable
    async def entries() -> None:
        _, found = await visit.desk.laboratory()
        with panel(words("entries")):
            _entries(visit, found)

    with el("div", classes="columns wide"):
        await _Form(visit, choices).show()
        with el("div", classes="stack"):
            await entries()
    visit.follow(("laboratory",), entries.refresh)


class _Form:
    """One value: which, how much, of what material, taken when."""

    def __init__(self, visit: Visit, choices: tuple[LaboratoryChoice, ...]) -> None:
        self._visit = visit
        self._choices = {each.tag: each for each in choices}

    async def show(self) -> None:
        words = self._visit.words
        names = {tag: words.full(each.parameter) for tag, each in self._choices.items()}
        allowed = self._visit.may("operator") and self._visit.live
        with panel(words("enter")), el("div", classes="stack"):
            self._what = ui.select(
                names, value=next(iter(names)), label=words("quantity_of"), on_change=self._chosen
            )
            self._what.props("outlined").style("width:100%")
            with el("div", classes="flow"):
                self._value = ui.number(words("value")).props("outlined").style("flex:2 1 8rem")
                self._unit = (
                    ui.select([], label=words("unit")).props("outlined").style("flex:1 1 6rem")
                )
            self._plausible = el("p", classes="small soft")
            with el("div", classes="flow"):
                self._roll = (
                    ui.number(words("roll"), format="%d", min=1)
                    .props("outlined")
                    .style("flex:1 1 7rem")
                )
                self._metre = (
                    ui.number(words("metre"), min=0, suffix="m")
                    .props("outlined")
                    .style("flex:1 1 7rem")
                )
                self._batch = (
                    ui.number(words("batch"), format="%d", min=1)
                    .props("outlined")
                    .style("flex:1 1 7rem")
                )
            now = (await self._visit.reader.line()).time
            self._sampled = ui.input(words("sampled"), value=words.typed(now))
            self._sampled.props("outlined type=datetime-local step=1 stack-label").style(
                "width:100%"
            )
            self._note = ui.input(words("note")).props("outlined").style("width:100%")
            with el("div", classes="flow"):
                button(words("save"), self._save, "primary big", "save", not allowed)
                if not allowed:
                    text = (
                        words("needs_operator", role=words(f"role_{self._visit.user.role}"))
                        if self._visit.live
                        else words("in_replay")
                    )
                    el("span", text, "soft")
        self._chosen()

    def _chosen(self) -> None:
        words, chosen = self._visit.words, self._choices[self._what.value]
        self._unit.set_options(
            {unit: words.unit(unit) or "–" for unit in chosen.units}, value=chosen.unit
        )
        on_roll = chosen.material == "roll"
        self._roll.set_visibility(on_roll)
        self._metre.set_visibility(on_roll)
        self._batch.set_visibility(not on_roll)
        text = ""
        if chosen.limits is not None:
            places = digits(*chosen.limits)
            low, high = (words.number(each, places) for each in chosen.limits)
            text = words("plausible", low=low, high=high, unit=words.unit(chosen.unit))
        put(self._plausible, text)

    async def _save(self) -> None:
        words = self._visit.words
        on_roll = self._choices[self._what.value].material == "roll"
        needed = [self._value, *((self._roll, self._metre) if on_roll else (self._batch,))]
        for field in needed:
            field.error = words("needed") if field.value is None else None
        if any(field.value is None for field in needed):
            return
        try:
            sampled = int(words.moment(self._sampled.value).timestamp() * 1e9)
        except (TypeError, ValueError):
            self._sampled.error = words("needed")
            return
        entry = Entry(
            tag=self._what.value,
            value=float(self._value.value),
            unit=self._unit.value,
            sampled=sampled,
            roll=int(self._roll.value) if on_roll else None,
            metre=float(self._metre.value) if on_roll else None,
            batch=None if on_roll else int(self._batch.value),
            note=self._note.value or "",
        )
        if await _enter(
            self._visit,
            lambda user, sure: self._visit.desk.enter_laboratory(user, entry, sure),
        ):
            self._value.value = None
            self._note.value = ""


async def _enter(visit: Visit, send: Callable[[User, bool], Awaitable[object]]) -> bool:
    """Enter, and ask once more where it is implausible; whether it was taken."""
    words = visit.words
    try:
        try:
            await send(await visit.person(), False)
        except ImplausibleError as error:
            text = "; ".join(words.sentence(each) for each in error.doubts)
            if not await confirm(
                f"{text}. {words('implausible_sure')}",
                words("save_anyway"),
                words("cancel"),
                "danger",
            ):
                return False
            await send(await visit.person(), True)
    except (NotAllowedError, UnknownError, DecidedError, ValueError) as error:
        say(words("failed_to", why=words.sentence(str(error))), bad=True)
        return False
    say(words("saved"))
    return True


def _entries(visit: Visit, entries: tuple[LaboratoryEntry, ...]) -> None:
    words = visit.words
    if not entries:
        empty("science", words("no_entries"))
        return
    allowed = visit.may("operator") and visit.live

    def value(each: LaboratoryEntry) -> None:
        text = f"{words.number(each.value, digits(each.value))} {words.unit(each.unit)}"
        el("span", text, "old number" if each.corrected_by else "number")
        if each.corrected_by:
            el("span", f" {words('corrected')} ({each.corrected_by})", "small")
        if each.corrects:
            el("span", f" {words('corrects', id=each.corrects)}", "small soft")

    def material(each: LaboratoryEntry) -> str:
        if each.batch is not None:
            return words("of_batch", batch=each.batch)
        return words("at_metre", roll=each.roll, metre=words.number(each.metre, 1))

    def correct(each: LaboratoryEntry) -> None:
        if allowed and each.corrected_by is None:
            button(words("correct"), partial(_correct, visit, each), "flat")

    table(
        [
            "#",
            words("quantity_of"),
            words("value"),
            words("material"),
            words("sampled"),
            words("by"),
            words("note"),
            "",
        ],
        [
            [
                str(each.id),
                words.full(each.parameter),
                partial(value, each),
                material(each),
                words.time(each.sampled),
                each.by,
                each.note,
                partial(correct, each),
            ]
            for each in entries
        ],
        right=(2,),
        classes=["gone" if each.corrected_by else "" for each in entries],
        caption=words("entries"),
    )


async def _correct(visit: Visit, entry: LaboratoryEntry) -> None:
    words = visit.words

    async def save() -> None:
        note.error = None if note.value and note.value.strip() else words("reason_needed")
        value.error = words("not_a_number") if value.value is None else None
        if note.error or value.error or value.value is None:
            return
        number, why = float(value.value), str(note.value)
        if await _enter(
            visit,
            lambda user, sure: visit.desk.correct_laboratory(
                user, entry.id, number, entry.unit, why, sure
            ),
        ):
            dialog.close()

    with ui.dialog() as dialog, ui.card().classes("dialog"):
        el("h2", words("correct_title", id=entry.id))
        value = ui.number(
            f"{words.full(entry.parameter)}, {words.unit(entry.unit)}", value=entry.value
        )
        value.props("outlined autofocus").style("width:100%")
        note = ui.input(words("reason")).props("outlined").style("width:100%")
        with el("div", classes="flow"):
            button(words("save"), save, "primary big", "save")
            button(words("cancel"), dialog.close, "big")
    dialog.open()
