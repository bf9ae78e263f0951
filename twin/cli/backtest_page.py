"""The page of a backtest: one HTML file with its drawings inside, that opens offline and prints."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import ndtri

from twin.backtest import Material, Track
from twin.cli.terminal import span
from twin.ingest import NANOSECONDS
from twin.samples import Floats, Ints
from twin.units import to_si
from twin.verdict import BacktestReport, Estimate

COLOURS: Final = ("#1f4e79", "#c0561c", "#3f7d3f", "#7b4f9d", "#8a6d1d", "#5f5f5f")
MEASURED: Final = "#9aa3ab"
LIMIT: Final = "#b03a3a"
ALONE: Final = (0, (3, 2))
DRAWN: Final = 1200
"""Points of a line along the web; more are averaged in stretches."""
FEWEST: Final = 20
"""Measured segments below which there is nothing to draw."""
MAPPED: Final = 3
"""Candidates whose residuals are mapped."""
LEVELS: Final = np.linspace(0.05, 0.95, 19)
STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "linetwin",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": "#222222",
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def page(report: BacktestReport, material: Material) -> str:
    """The whole page as HTML, without any address outside itself."""
    names = [candidate.label for candidate in (report.champion, *report.challengers)]
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    pictures = {name: _picture(name, report, material, colours) for name in _drawn(material)}
    environment = Environment(
        loader=PackageLoader("twin.cli"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "figure": _figure,
        "interval": _interval,
        "share": _share,
        "signed": _signed,
        "moment": _moment,
        "duration": span,
        "words": lambda name: name.replace(".", ": ").replace("_", " "),
        "unit": _unit,
    }
    return environment.get_template("backtest.html").render(
        report=report,
        candidates=[report.champion, *report.challengers],
        pictures=pictures,
        same={name: _same(name, report) for name in report.champion.parameters},
        colours=colours,
    )


def _unit(unit: str) -> str:
    """As people write it."""
    for name, sign in (
        ("dimensionless", ""), ("percent", "%"), ("degC", "°C"), ("um", "µm"), ("^2", "²"),
        ("^3", "³"), ("*", " "),
    ):  # fmt: skip
        unit = unit.replace(name, sign)
    return unit


def _same(name: str, report: BacktestReport) -> list[str]:
    """Challengers that say of a structure parameter what the champion says."""
    champion = report.champion.parameters.get(name)
    return [each.label for each in report.challengers if each.parameters.get(name) == champion]


def _drawn(material: Material) -> list[str]:
    champion = next(iter(material.tracks.values()))
    return [name for name, track in champion.items() if len(track) >= FEWEST]


def _figure(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:.3g}"


def _signed(estimate: Estimate) -> str:
    return "–" if estimate.value is None else f"{estimate.value:+.2g}"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:.3g} to {estimate.high:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _moment(time: int | None) -> str:
    if time is None:
        return "–"
    return f"{datetime.fromtimestamp(time / NANOSECONDS, UTC):%Y-%m-%d %H:%M:%S}"


def _picture(
    name: str, report: BacktestReport, material: Material, colours: Mapping[str, str]
) -> Markup:
    """All drawings of one structure parameter."""
    step, _, output = name.partition(".")
    config = material.line.steps[step].outputs[output]
    scale, offset = to_si(config.unit)
    unit = _unit(config.unit)
    tracks = {
        label: _in_unit(of[name], scale, offset)
        for label, of in material.tracks.items()
        if name in of and label not in _same(name, report)
    }
    mapped = list(tracks)[:MAPPED]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.2, 8.6), layout="constrained")
        grid = figure.add_gridspec(3, 6, height_ratios=(1.3, 1, 0.7))
        along = figure.add_subplot(grid[0, :])
        _along(along, tracks, material, colours)
        for limit in config.limits or ():
            along.axhline(limit, color=LIMIT, linewidth=0.9, linestyle=(0, (4, 3)))
        if config.target is not None:
            along.axhline(config.target, color=LIMIT, linewidth=0.7, linestyle=(0, (1, 2)))
        along.set_ylabel(f"{output.replace('_', ' ')}, {unit}" if unit else output)
        figure.legend(loc="outside upper left", ncols=2 + len(tracks), handlelength=1.6)
        _histogram(figure.add_subplot(grid[1, :3]), tracks, colours, unit)
        _reliability(figure.add_subplot(grid[1, 3:]), tracks, colours)
        cells = grid[2, :].subgridspec(1, len(mapped))
        reach = _reach([tracks[label] for label in mapped])
        maps: list[Axes] = []
        for index, label in enumerate(mapped):
            maps.append(figure.add_subplot(cells[index]))
            image = _map(maps[-1], tracks[label], material, reach)
            maps[-1].set_title(f"residual, {label}", color=colours[label])
            maps[-1].set_xlabel("metre from the roll's inner end")
        several = len(report.recordings) > 1
        maps[0].set_ylabel("recording.roll" if several else "roll")
        figure.colorbar(image, ax=maps, pad=0.01, label=unit)
        return svg(figure)


def _in_unit(track: Track, scale: float, offset: float) -> Track:
    return Track(
        track.run, track.segment, track.left, track.read,
        (track.measured - offset) / scale, (track.alone - offset) / scale,
        (track.corrected - offset) / scale, track.sigma / scale, track.in_domain,
    )  # fmt: skip


def _along(
    axes: Axes,
    tracks: Mapping[str, Track],
    material: Material,
    colours: Mapping[str, str],
) -> None:
    """Measured, predicted and corrected along the web; recordings one after the other."""
    starts = _starts(list(tracks.values()))
    first = next(iter(tracks.values()))
    where = _web(first, starts, material.line.segment)
    x, y = _thinned(where, first.measured)
    axes.plot(x, y, ".", color=MEASURED, markersize=3.2, label="measured", zorder=1)
    for label, track in tracks.items():
        where = _web(track, starts, material.line.segment)
        x, y = _thinned(where, np.where(np.isfinite(track.sigma), track.corrected, np.nan))
        width, alpha = (2.2, 0.6) if track is first else (1.0, 1.0)
        axes.plot(x, y, color=colours[label], label=label, zorder=3, linewidth=width, alpha=alpha)
    low, high = axes.get_ylim()
    reach = 1.5 * (high - low)
    beyond: list[str] = []
    for label, track in tracks.items():
        where = _web(track, starts, material.line.segment)
        x, y = _thinned(where, track.alone)
        axes.plot(
            x, y, color=colours[label], linewidth=0.8, linestyle=ALONE, alpha=0.75, zorder=2,
        )  # fmt: skip
        seen = y[(y >= low - reach) & (y <= high + reach)]
        if len(seen):
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        else:
            beyond.append(f"{label}, model alone: about {float(np.median(y)):.4g}")
    axes.plot([], [], color="#555555", linewidth=0.8, linestyle=ALONE, label="model alone")
    axes.set_ylim(low, high)
    if beyond:
        axes.set_title("beyond the drawing: " + "; ".join(beyond), color="#444444")
    for start in list(starts.values())[1:]:
        axes.axvline(start * material.line.segment, color="#cccccc", linewidth=0.8)
    axes.set_xlabel("position on the coated web, m")
    axes.margins(x=0.01)


def _starts(tracks: Sequence[Track]) -> dict[int, int]:
    """Where each recording begins on the drawing, in segments."""
    starts: dict[int, int] = {}
    end = 0
    for run in sorted({int(run) for track in tracks for run in np.unique(track.run)}):
        own = np.concatenate([track.segment[track.run == run] for track in tracks])
        starts[run] = end
        end += int(own.max()) + 1
    return starts


def _web(track: Track, starts: Mapping[int, int], segment: float) -> Floats:
    shift = np.array([starts[int(run)] for run in track.run], np.float64)
    return (track.segment + shift + 0.5) * segment


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Means over stretches, so that a page stays small however long the web."""
    stretch = -(-len(x) // DRAWN)
    if stretch <= 1:
        return x, y
    edges = np.arange(0, len(x), stretch)
    count = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / count, np.add.reduceat(y, edges) / count


def _residual(track: Track) -> Floats:
    residual: Floats = (track.measured - track.corrected)[np.isfinite(track.sigma)]
    return residual


def _reach(tracks: Sequence[Track]) -> float:
    """Residuals that 95 % do not exceed."""
    sizes = np.abs(np.concatenate([_residual(track) for track in tracks]))
    return float(np.quantile(sizes, 0.95)) if len(sizes) and sizes.max() > 0 else 1.0


def _histogram(
    axes: Axes, tracks: Mapping[str, Track], colours: Mapping[str, str], unit: str
) -> None:
    reach = 1.6 * _reach(list(tracks.values()))
    edges = np.linspace(-reach, reach, 42).tolist()
    for label, track in tracks.items():
        residual = np.clip(_residual(track), -reach, reach)
        if len(residual):
            axes.hist(
                residual, edges, histtype="stepfilled", alpha=0.12, color=colours[label],
                weights=np.full(len(residual), 100 / len(residual)),
            )  # fmt: skip
            axes.hist(
                residual, edges, histtype="step", linewidth=1.2, color=colours[label],
                weights=np.full(len(residual), 100 / len(residual)),
            )  # fmt: skip
    axes.axvline(0, color="#777777", linewidth=0.7)
    axes.set_title("measured minus corrected prediction")
    axes.set_xlabel(unit)
    axes.set_ylabel("% of segments")


def _reliability(axes: Axes, tracks: Mapping[str, Track], colours: Mapping[str, str]) -> None:
    axes.plot((0, 100), (0, 100), color="#999999", linewidth=0.8)
    for label, track in tracks.items():
        known = np.isfinite(track.sigma)
        if not known.any():
            continue
        ratio = np.abs(_residual(track)) / track.sigma[known]
        inside = [100 * float((ratio <= ndtri(0.5 * (1 + level))).mean()) for level in LEVELS]
        axes.plot(100 * LEVELS, inside, color=colours[label], linewidth=1.3)
    axes.axvline(90, color="#cccccc", linewidth=0.8)
    axes.set(xlim=(0, 100), ylim=(0, 101), xlabel="stated interval, %", ylabel="measured in it, %")
    axes.set_title("coverage: below the line is too sure")


def _map(axes: Axes, track: Track, material: Material, reach: float) -> Any:
    """Residuals by roll and metre."""
    roll, metre = material.place(track)
    on = (roll >= 0) & np.isfinite(track.sigma)
    rolls: Ints = np.unique(roll[on])
    width = max(material.line.segment, float(metre[on].max()) / 400) if on.any() else 1.0
    columns = int(metre[on].max() / width) + 1 if on.any() else 1
    total, count = np.zeros((max(len(rolls), 1), columns)), np.zeros((max(len(rolls), 1), columns))
    place = np.searchsorted(rolls, roll[on]), (metre[on] / width).astype(np.int64)
    np.add.at(total, place, (track.measured - track.corrected)[on])
    np.add.at(count, place, 1)
    with np.errstate(invalid="ignore"):
        mean = total / count
    image = axes.imshow(
        mean, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest",
        origin="lower", extent=(0, columns * width, -0.5, len(mean) - 0.5),
    )  # fmt: skip
    axes.set_facecolor("#f0f0f0")
    labels = [material.rolls[index] for index in rolls.tolist()]
    several = len({start.run for start in material.rolls}) > 1
    names = [f"{s.run + 1}.{s.number}" if several else str(s.number) for s in labels]
    every = max(1, -(-len(names) // 6))
    axes.set_yticks(range(0, len(names), every), names[::every])
    return image


def svg(figure: Figure) -> Markup:
    """The figure as an element of the page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', text, count=1)
    return Markup(text)
