"""Step: predicted against measured, residuals, inputs and the model's domain, model, estimate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Literal

from nicegui import ui
from nicegui.element import Element

from twin.configuration.models import Mode
from twin.control_chart import SLACK, WEIGHT
from twin.desk import UnknownError
from twin.desk.views import CardView, EstimateView, InputView, Parameter, StepOverview, StepView
from twin.screen.parts import (
    button,
    chart,
    choice,
    confirm,
    el,
    empty,
    key,
    mode_chip,
    number,
    panel,
    parameter_value,
    said,
    say,
    table,
)
from twin.screen.visit import Source, Visit
from twin.screen.words import Words, digits, meaningful
from twin.units import to_si

SPANS: Final = {"last_10min": 600, "last_1h": 3600, "last_8h": 28_800, "last_24h": 86_400}
MOST_SIGNALS: Final = 6
MODES: Final[tuple[Mode, ...]] = ("model", "shadow", "advisory", "twin")


def favourite(parameters: tuple[Parameter, ...]) -> Parameter:
    """The parameter that is shown first: with a target and a gauge, if one has them."""
    return min(
        parameters,
        key=lambda each: (
            each.target is None,
            each.limits is None,
            each.measured.value is None and not each.compared,
        ),
    )


async def first(reader: Source) -> str:
    """The step that is shown where none is named: the first with a target."""
    steps = (await reader.line()).steps
    return min(steps, key=lambda each: all(one.target is None for one in each.parameters)).name


async def show(visit: Visit, name: str) -> None:
    """Build the page of a step."""
    words = visit.words
    line = await visit.reader.line()
    tags = visit.reader.configuration.tags
    try:
        step = await visit.reader.step(name)
    except UnknownError:
        empty("search_off", words("not_found"))
        return
    with el("div", classes="title"):
        choice(
            words("steps"),
            [
                (words.name(each.name), visit.path(f"/step/{each.name}"), each.name == name)
                for each in line.steps
            ],
        )
        mode_chip(words, name)
        el("span", classes="grow")
        if visit.live and visit.may("engineer"):
            _modes(visit, step)
    said(f"doubt.{name}", "notice", tag="p").props["data-show"] = f"doubt.{name}"
    with el("div", classes="split"):
        with el("div", classes="stack"):
            trends = _Trends(visit, step)
            trends.show()
            _inputs(words, step)
            trends.show_signals([each.source for each in step.inputs if each.source in tags])
        with el("div", classes="stack"):
            with panel(words("results")):
                for parameter in step.overview.parameters:
                    parameter_value(words, parameter)
            _estimates(words, step.estimates)
            _model(words, step)


class _Trends:
    """The two charts, and what people choose above them."""

    def __init__(self, visit: Visit, step: StepView) -> None:
        self._visit = visit
        self._step = step.overview.name
        self._parameters = {each.name: each for each in step.overview.parameters}
        self._shown = favourite(step.overview.parameters).name
        self._axis = "time"
        self._span = "last_1h"
        self._charts: list[Element] = []
        self._machines: Element | None = None
        self._tags: Sequence[str] = ()
        self._segments: list[tuple[ui.button, str, str]] = []

    def show(self) -> None:
        words = self._visit.words
        with panel():
            with el("div", classes="bar-of-title"):
                el("h2", words("trend"))
                el("span", classes="grow")
                key(words)
            with el("div", classes="flow"):
                if len(self._parameters) > 1:
                    self._choice(
                        "shown",
                        words("choose_parameter"),
                        {name: words.last(name) for name in self._parameters},
                    )
                self._choice(
                    "axis",
                    words("abscissa"),
                    {"time": words("along_time"), "web": words("along_web")},
                )
                self._choice("span", words("time_span"), {each: words(each) for each in SPANS})
            self._charts.append(self._chart("trend", words("trend"), "chart"))
            el("h3", words("residuals"))
            self._charts.append(self._chart("residual", words("residuals"), "chart low"))
            el("h3", words("control_charts"))
            self._charts.append(self._chart("control", words("control_charts"), "chart low"))
            weight, slack = (words.number(each, 1) for each in (WEIGHT, SLACK))
            el("p", words("control_help", weight=weight, slack=slack), "small soft")
            el("p", words("chart_help"), "small soft")

    def _chart(
        self, kind: Literal["trend", "residual", "control"], title: str, classes: str
    ) -> Element:
        wrap = chart(
            self._visit.words,
            kind,
            title,
            self._source(),
            classes,
            follows=self._shown,
            axis=self._axis,
            span=1000.0 * SPANS[self._span],
        )
        return wrap.default_slot.children[0]

    def _source(self) -> str:
        asked = {"name": self._shown, "along": self._axis, "span": SPANS[self._span]}
        return self._visit.data("trend", asked)

    def show_signals(self, tags: Sequence[str]) -> None:
        """What machines told over the same time."""
        if not tags:
            return
        self._tags = tags[:MOST_SIGNALS]
        words = self._visit.words
        with panel(words("tags")):
            wrap = chart(words, "series", words("tags"), self._signals(), "chart signals")
            self._machines = wrap.default_slot.children[0]

    def _signals(self) -> str:
        asked = {"name": ",".join(self._tags), "span": SPANS[self._span]}
        return self._visit.data("series", asked)

    def _choice(self, kind: str, title: str, entries: dict[str, str]) -> None:
        with el("div", classes="segments", role="group", aria_label=title):
            for value, text in entries.items():
                made = button(text, partial(self._choose, kind, value), "flat")
                made.props["aria-pressed"] = (
                    "true" if value == getattr(self, f"_{kind}") else "false"
                )
                self._segments.append((made, kind, value))

    def _choose(self, kind: str, value: str) -> None:
        setattr(self, f"_{kind}", value)
        for made, of, each in self._segments:
            if of == kind:
                made.props["aria-pressed"] = "true" if each == value else "false"
        for each_chart in self._charts:
            each_chart.props.update(
                {
                    "data-follows": self._shown,
                    "data-axis": self._axis,
                    "data-span": 1000.0 * SPANS[self._span],
                    "data-source": self._source(),
                }
            )
        if self._machines is not None:
            self._machines.props["data-source"] = self._signals()


def _inputs(words: Words, step: StepView) -> None:
    name = step.overview.name

    def value(each: InputView) -> None:
        with el("span", data_state_of=f"input.{name}.{each.name}", classes="flow nowrap"):
            number(f"input.{name}.{each.name}|m", _places(each))
            el("span", words.unit(each.unit), "soft small")

    def domain(each: InputView) -> None:
        low, high = each.domain
        room = 0.15 * (high - low) or 1.0
        track = el(
            "div",
            classes="track",
            data_track=f"input.{name}.{each.name}",
            data_low=low - room,
            data_high=high + room,
            aria_hidden="true",
        ).style("min-width:9rem")
        with track:
            el("div", classes="rail")
            el("div", classes="inside").style("left:11.54%;width:76.92%")
            el("div", classes="read hide")
        el(
            "span",
            words(
                "within",
                low=words.number(low, _places(each)),
                high=words.number(high, _places(each)),
            ),
            "small soft number",
        )

    with panel(words("inputs")):
        table(
            [words("name"), words("value"), words("domain"), words("source")],
            [
                [
                    words.name(each.name),
                    partial(value, each),
                    partial(domain, each),
                    words("constant")
                    if each.source == "constant"
                    else words.full(each.source)
                    if "." in each.source
                    else each.source,
                ]
                for each in step.inputs
            ],
            caption=words("inputs"),
        )


def _places(each: InputView) -> int:
    return min(digits(each.value, *each.domain), 4)


def _estimates(words: Words, estimates: tuple[EstimateView, ...]) -> None:
    with panel(words("estimate")):
        known = [each for each in estimates if each.bias is not None]
        if not known:
            el("p", words("nothing_yet"), "soft")
            return
        columns = [words("name"), words("bias"), words("sigma"), words("measurements")]
        rows = [_estimate(words, each) for each in known]
        table(columns, rows, right=(1, 2, 3), caption=words("estimate"))


def _estimate(words: Words, each: EstimateView) -> list[str]:
    name = words.last(each.parameter)
    if each.correction not in ("offset", "relative"):
        name += f", {words('correction_input', name=words.name(each.correction))}"
    places = meaningful(each.sigma) if each.sigma else digits(each.bias)
    return [
        name,
        words.value(each.bias, places, each.unit),
        words.number(each.sigma, places),
        words.number(each.measurements, 0),
    ]


def _model(words: Words, step: StepView) -> None:
    use = step.model
    with panel(words("model")):
        with el("p"):
            el("strong", use.version)
            if use.by and use.since:
                el("span", f" {words('decided_by', by=use.by)}", "soft")
        if use.card is not None:
            card(words, use.card, units_of(step.overview))
        el("h3", words("challenger"))
        if use.challenger is None:
            el("p", words("no_challenger"), "soft small")
        else:
            card(words, use.challenger, units_of(step.overview))


def card(words: Words, view: CardView, units: Mapping[str, str]) -> None:
    """What a model says of itself: errors first, the whole card on demand.

    Args:
        words: of the page.
        view: the card.
        units: in which people read the outputs; the card is in SI.
    """
    rows = []
    for each in view.errors:
        unit = units.get(each.output, each.unit)
        scale = to_si(unit)[0] / to_si(each.unit)[0]
        error = each.mae / scale
        shown = f"{words.small(error)} {words.unit(unit)}"
        rows.append([words.name(each.output), words.number(each.r2, 4), shown])
    columns = [words("output"), words("r2"), words("mae")]
    table(columns, rows, right=(1, 2), caption=words("card"))
    with el("details"):
        el("summary", words("card"))
        el("p", f"{view.kind}. {words('trained_on')}: {view.trained_on}", "small soft")
        el("div", view.text, "pre")


def units_of(step: StepOverview) -> dict[str, str]:
    """In which units people read what a step makes."""
    return {each.name.partition(".")[2]: each.unit for each in step.parameters}


def _modes(visit: Visit, step: StepView) -> None:
    words, name = visit.words, step.overview.name

    async def change(mode: Mode) -> None:
        said_ = words(f"mode_{mode}")
        if not await confirm(
            words("set_mode_sure", step=words.name(name), mode=said_),
            words("set_mode"),
            words("cancel"),
        ):
            return
        try:
            await visit.desk.set_mode(await visit.person(), name, mode)
        except Exception as error:  # whatever refuses it, the person has to know
            say(words("failed_to", why=str(error)), bad=True)
            return
        say(words("mode_set", step=words.name(name), mode=said_))

    with el("div", classes="flow"):
        if not visit.may("engineer"):
            el("span", words("needs_engineer", role=words(f"role_{visit.user.role}")), "small soft")
        with el("div", classes="segments", role="group", aria_label=words("set_mode")):
            for mode in MODES:
                made = button(
                    words(f"mode_{mode}"),
                    partial(change, mode),
                    "flat",
                    disabled=not visit.may("engineer"),
                )
                made.props["aria-pressed"] = "true" if step.overview.wanted == mode else "false"
                made.props["title"] = words(f"mode_{mode}_means")
