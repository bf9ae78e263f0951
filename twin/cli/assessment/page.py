"""The page of an assessment: one HTML file with its drawings inside, that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from twin.cli.assessment.command import COMPARED, against_each, in_words
from twin.cli.assessment.metrics import metrics
from twin.cli.assessment.runs import NAMES, Figures, Run
from twin.cli.backtest_page import COLOURS, LIMIT, STYLE, svg
from twin.configuration.models import LineConfiguration

COLOUR_OF: Final = dict(zip(NAMES, COLOURS, strict=False))


def page(line: LineConfiguration, runs: Sequence[Run], found: Figures) -> str:
    """The whole page as HTML, without any address outside itself."""
    environment = Environment(
        loader=PackageLoader("twin.cli"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["interval"] = in_words
    scenarios = {}
    for scenario in found:
        mine = [run for run in runs if run.scenario == scenario]
        scenarios[scenario] = _draw(line, mine), against_each(runs, scenario)
    return environment.get_template("assess.html").render(
        line=line.name,
        seeds=len({run.seed for run in runs}),
        metrics=metrics(line),
        found=found,
        scenarios=scenarios,
        colours=COLOUR_OF,
    )


def _draw(line: LineConfiguration, runs: Sequence[Run]) -> Markup:
    """Metres out of specification of all seeds, and the course of the first seed."""
    first = min(run.seed for run in runs)
    shown = [run for run in runs if run.seed == first]
    names = list(shown[0].course)
    with mpl.rc_context(STYLE):
        figure = Drawing(figsize=(10.2, 2.6 + 2.6 * len(names)), layout="constrained")
        grid = figure.subplots(1 + len(names), 1, squeeze=False)[:, 0]
        _boxes(grid[0], runs)
        for axes, name in zip(grid[1:], names, strict=True):
            _course(axes, line, name, shown)
            axes.set_title(f"seed {first}")
        grid[-1].set_xlabel("position on the coated web, m")
        return svg(figure)


def _boxes(axes: Axes, runs: Sequence[Run]) -> None:
    """A box per controller with its seeds as points."""
    names = list(dict.fromkeys(run.controller for run in runs))
    for row, name in enumerate(reversed(names)):
        values = [run.figures[COMPARED] for run in runs if run.controller == name]
        colour = COLOUR_OF[name]
        boxes = axes.boxplot(
            values, positions=[row], widths=0.5, orientation="horizontal", showfliers=False,
            patch_artist=True, medianprops={"color": colour, "linewidth": 2.0},
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=colour, alpha=0.2)
        axes.plot(values, np.full(len(values), row), "o", color=colour, markersize=4, alpha=0.7)
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel("metres out of specification")


def _course(axes: Axes, line: LineConfiguration, name: str, runs: Sequence[Run]) -> None:
    step, _, output = name.partition(".")
    config = line.steps[step].outputs[output]
    for run in runs:
        axes.plot(
            run.position, run.course[name], color=COLOUR_OF[run.controller], label=run.controller,
            linewidth=1.0,
        )  # fmt: skip
    for limit in config.limits or ():
        axes.axhline(limit, color=LIMIT, linewidth=0.9, linestyle=(0, (4, 3)))
    if config.target is not None:
        axes.axhline(config.target, color=LIMIT, linewidth=0.7, linestyle=(0, (1, 2)))
    axes.set_ylabel(f"{output.replace('_', ' ')}, {config.unit}")
    axes.margins(x=0.01)
    axes.legend(ncols=len(runs), loc="best")
