"""What if: machine parameters in, structure parameters out at once; and the other way round."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from nicegui import ui
from nicegui.element import Element

from twin.desk import BusyError, Wish
from twin.desk.views import DesignView, OutputView, VariableView, WhatIf
from twin.screen.parts import button, el, empty, panel, say, static_bar, table
from twin.screen.visit import Visit
from twin.screen.words import Words, digits, meaningful

NEGLIGIBLE = 1e-3
"""Share of a value below which its interval says nothing about its decimals."""
SETTLED = 0.12
"""Seconds without a move of a slider after which the chain is asked."""


async def show(visit: Visit) -> None:
    """Build the page."""
    try:
        answer = await visit.reader.what_if({})
    except (BusyError, ValueError) as error:
        with panel():
            empty("hourglass_empty", visit.words("nothing_yet"), str(error))
        return
    _Questions(visit, answer).show()


def number_of(variable: VariableView | OutputView) -> int:
    """Decimals of a variable or an output: as many as its interval gives a meaning to."""
    if isinstance(variable, VariableView):
        return digits(variable.value, *variable.domain)
    if variable.value is not None and variable.low is not None and variable.high is not None:
        half = (variable.high - variable.low) / 2
        if half > NEGLIGIBLE * abs(variable.value):
            return meaningful(half)
    return digits(variable.value, *(variable.limits or ()))


class _Questions:
    def __init__(self, visit: Visit, answer: WhatIf) -> None:
        self._visit = visit
        self._answer = answer
        self._sliders: dict[str, ui.slider] = {}
        self._fields: dict[str, ui.number] = {}
        self._rows: dict[str, Element] = {}
        self._wishes: dict[str, tuple[ui.number, ui.number]] = {}
        self._asked = 0
        self._quiet = False

    def show(self) -> None:
        words = self._visit.words
        with el("div", classes="split"):
            with panel():
                with el("div", classes="bar-of-title"):
                    el("h2", words("parameters"))
                    el("span", classes="grow")
                    button(words("reset"), self._reset, sign="restart_alt")
                step = ""
                for variable in self._answer.variables:
                    owner = variable.name.partition(".")[0]
                    if owner != step:
                        el("h3", words.name(owner), "soft")
                        step = owner
                    self._slider(variable)
            with el("div", classes="stack sticky"):
                with panel(words("forward")):
                    self._results = el("div", classes="results", aria_live="polite")
                with panel(words("inverse")):
                    self._wanted()
        self._show_answer()

    def _slider(self, variable: VariableView) -> None:
        words = self._visit.words
        if variable.value is None:
            return
        low, high = variable.limits or variable.domain
        low, high = min(low, variable.value), max(high, variable.value)
        places = digits(*variable.domain)
        name = words.last(variable.name)
        unit = words.unit(variable.unit)
        row = self._rows[variable.name] = el("div", classes="slider-row")
        with row:
            with el("span"):
                el("span", name)
                inside = f"{words.between(variable.domain, places)} {unit}"
                el("span", inside, "small soft number", title=words("domain")).style(
                    "display:block"
                )
            slider = ui.slider(
                min=low, max=high, step=(high - low) / 400 or 1.0, value=variable.value
            )
            slider.props["aria-label"] = f"{name}, {unit}"
            field = ui.number(value=round(variable.value, places), step=10.0**-places, suffix=unit)
            field.props("outlined dense debounce=400").props["aria-label"] = f"{name}, {unit}"
        self._sliders[variable.name], self._fields[variable.name] = slider, field
        slider.on(
            "update:model-value",
            lambda event, of=variable.name: self._moved(of, event.args),
            throttle=0.1,
            leading_events=False,
        )
        field.on_value_change(lambda event, of=variable.name: self._typed(of, event.value))

    async def _moved(self, name: str, value: object) -> None:
        if self._quiet or not isinstance(value, int | float):
            return
        self._quiet = True
        self._fields[name].value = round(float(value), 4)
        self._quiet = False
        await self._ask()

    async def _typed(self, name: str, value: float | None) -> None:
        if self._quiet or value is None:
            return
        self._quiet = True
        self._sliders[name].value = value
        self._quiet = False
        await self._ask()

    def _values(self) -> dict[str, float]:
        return {
            variable.name: float(self._fields[variable.name].value)
            for variable in self._answer.variables
            if variable.name in self._fields
            and self._fields[variable.name].value is not None
            and variable.value is not None
        }

    async def _ask(self) -> None:
        """Ask once the sliders rest; a question that others have overtaken is left out."""
        self._asked += 1
        mine = self._asked
        await asyncio.sleep(SETTLED)
        if mine != self._asked:
            return
        try:
            answer = await self._visit.reader.what_if(self._values())
        except (BusyError, ValueError) as error:
            say(self._visit.words("failed_to", why=str(error)), bad=True)
            return
        if mine == self._asked:
            self._answer = answer
            self._show_answer()

    async def _reset(self) -> None:
        answer = await self._visit.reader.what_if({})
        self._answer = answer
        self._put({each.name: each.value for each in answer.variables if each.value is not None})
        self._show_answer()

    def _put(self, values: Mapping[str, float]) -> None:
        self._quiet = True
        for name, value in values.items():
            if name in self._fields:
                self._sliders[name].value = value
                self._fields[name].value = round(value, 4)
        self._quiet = False

    def _show_answer(self) -> None:
        words, answer = self._visit.words, self._answer
        for variable in answer.variables:
            row = self._rows.get(variable.name)
            if row is not None:
                row.props["data-outside"] = "true" if variable.in_domain is False else "false"
        self._results.clear()
        with self._results:
            if answer.outside:
                steps = ", ".join(words.name(each) for each in answer.outside)
                with el("div", classes="step-card"):
                    el("p", words("domain_warning", steps=steps), "reason")
            for output in answer.outputs:
                result(words, output, output.name.partition(".")[0] in answer.outside)

    # the other way round

    def _wanted(self) -> None:
        words = self._visit.words
        shown = [
            each
            for each in self._answer.outputs
            if each.target is not None or each.limits is not None
        ]
        others = [each for each in self._answer.outputs if each not in shown]
        for output in [*shown, *others[: max(0, 4 - len(shown))]]:
            places = number_of(output)
            tolerance = 0.01 * abs(output.value or 1.0)
            if output.limits is not None:
                tolerance = (output.limits[1] - output.limits[0]) / 2
            name, unit = words.last(output.name), words.unit(output.unit)
            with el("div", classes="flow").style("padding:0.3rem 0"):
                el("span", name).style("flex:1 1 9rem")
                value = ui.number(value=output.target, suffix=unit, step=10.0**-places)
                value.props("outlined dense").style("width:8.5rem").props["aria-label"] = (
                    f"{name}, {words('targets')}"
                )
                el("span", "±", aria_hidden="true")
                reach = ui.number(value=round(tolerance, places), step=10.0**-places, min=0)
                reach.props("outlined dense").style("width:6rem").props["aria-label"] = (
                    f"{name}, {words('tolerance')}"
                )
            self._wishes[output.name] = value, reach
        with el("div", classes="flow"):
            self._find = button(words("find"), self._search, "primary", "search")
        self._found = el("div", classes="stack", aria_live="polite")

    async def _search(self) -> None:
        words = self._visit.words
        wishes = {
            name: Wish(float(value.value), float(reach.value) if reach.value else None)
            for name, (value, reach) in self._wishes.items()
            if value.value is not None
        }
        if not wishes:
            say(words("no_targets"), bad=True)
            return
        self._find.set_enabled(False)
        self._found.clear()
        with self._found:
            el("p", words("searching"), "soft")
        try:
            found = await self._visit.reader.design(wishes)
        except (BusyError, ValueError) as error:
            self._found.clear()
            say(words("failed_to", why=str(error)), bad=True)
            return
        finally:
            self._find.set_enabled(True)
        self._found.clear()
        with self._found:
            self._design(found)

    def _design(self, found: DesignView) -> None:
        words = self._visit.words
        el(
            "p",
            words("feasible") if found.feasible else words("infeasible"),
            "chip strong" if found.feasible else "chip warn",
        )
        moved = [each for each in found.proposal.variables if each.name in found.free]
        table(
            [words("name"), words("proposal"), words("limits")],
            [
                [
                    words.last(each.name),
                    f"{words.number(each.value, number_of(each))} {words.unit(each.unit)}",
                    ""
                    if each.limits is None
                    else f"{words.number(each.limits[0], 1)} – {words.number(each.limits[1], 1)}",
                ]
                for each in moved
            ],
            right=(1, 2),
            caption=words("proposal"),
        )
        for output in found.proposal.outputs:
            if output.name in found.misses:
                result(words, output, output.name.partition(".")[0] in found.proposal.outside)
        if found.binding:
            el("h3", words("binding"))
            with el("ul"):
                for each in found.binding:
                    bound = ""
                    if each.bound is not None:
                        bound = words.value(each.bound, digits(each.bound), each.unit)
                    el(
                        "li",
                        f"{words.full(each.name)}: {words.sentence(each.why)} {bound}",
                    )
        values = {each.name: each.value for each in moved if each.value is not None}

        async def take() -> None:
            self._put(values)
            await self._ask()

        button(words("take_over"), take, sign="input")


def result(words: Words, output: OutputView, guessed: bool) -> None:
    """What the chain says of a structure parameter, on the bar of its limits."""
    places = number_of(output)
    unit = words.unit(output.unit)
    half = None if output.low is None or output.high is None else (output.high - output.low) / 2
    state = (
        "none"
        if output.value is None
        else "outside"
        if output.in_limits is False
        else "doubt"
        if guessed
        else "ok"
    )
    with el("div", classes="parameter", data_state=state, data_output=output.name):
        el("div", words.full(output.name), "label")
        with el("div", classes="nowrap"):
            el("span", words.number(output.value, places), "value number twin-ink")
            if half is not None:
                el("span", f" ± {words.number(half, places)}", "number twin-ink")
            el("span", unit, "unit")
        if output.limits is not None and output.value is not None:
            room = 0.6 * (output.limits[1] - output.limits[0])
            static_bar(
                (output.limits[0] - room, output.limits[1] + room),
                output.limits,
                output.target,
                None if output.low is None or output.high is None else (output.low, output.high),
                output.value,
            )
        with el("div", classes="second"):
            if output.target is not None:
                el("span", f"{words('target')} {words.number(output.target, places)}")
            if output.limits is not None:
                el("span", f"{words('limits')} {words.between(output.limits, places)}")
            if output.in_limits is False:
                el("span", words("outside_limits"), "chip bad")
