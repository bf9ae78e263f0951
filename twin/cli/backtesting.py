"""`twin backtest`: champion and challengers on the same recorded material, and a verdict."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from connectors.recording import MANIFEST, Recording, RecordingError, for_one_line
from surrogates.onnx_model import OnnxSurrogate
from twin.app.line import model_files, read_line
from twin.app.logs import configure_logging
from twin.backtest import Backtest, Material, compare_advice
from twin.cli.terminal import Json, err, out, span
from twin.configuration import bundled
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.files import program, sha256
from twin.ingest import NANOSECONDS
from twin.intervention import Arrivals
from twin.judgement import BLOCK, Judge, rule
from twin.replay import Follower
from twin.units import parse
from twin.verdict import (
    BacktestReport,
    Candidate,
    Challenger,
    ModelTried,
    RecordingTried,
    Scores,
    Verdict,
)

CHAMPION: Final = "champion"
PATIENCE: Final = 2.0
"""Seconds after which a bar shows how far it is."""
STYLES: Final[Mapping[Verdict, str]] = {
    "better": "bold green",
    "worse": "bold red",
    "no difference": "bold",
    "too little material": "bold yellow",
}


@dataclass(frozen=True, slots=True)
class Entrant:
    """A challenger: the models that it has in place of the champion's."""

    label: str
    files: dict[str, Path] = field(default_factory=dict)
    """By step."""


def entrants(texts: Sequence[str]) -> list[Entrant]:
    """The challengers that `--model` names, as STEP=FILE or LABEL:STEP=FILE.

    Raises:
        ValueError: it is neither, or two challengers would have the same label.
    """
    found: dict[str, Entrant] = {}
    named: set[str] = set()
    for text in texts:
        name, sign, file = text.partition("=")
        label, colon, step = name.rpartition(":")
        if not (sign and step and file) or (colon and not label):
            raise ValueError(f"--model {text}: write STEP=FILE, or LABEL:STEP=FILE")
        if not colon:
            stem = Path(file).stem
            label = step if stem == step else f"{step} {stem}"
        if label in (CHAMPION, "persistence"):
            raise ValueError(f"--model {text}: the report needs the label {label} for itself")
        if (label in found and not (colon and label in named)) or step in _files(found, label):
            raise ValueError(
                f"--model {text}: there is a challenger {label} already; write LABEL:{step}={file} "
                "with another label, or with the same label and another step for one of several"
            )
        if colon:
            named.add(label)
        found.setdefault(label, Entrant(label)).files[step] = Path(file)
    return list(found.values())


def _files(found: Mapping[str, Entrant], label: str) -> Mapping[str, Path]:
    return found[label].files if label in found else {}


def open_recordings(folders: Sequence[Path], config: Path | None) -> list[Recording]:
    """The recordings, all for the same line: the recorded one, or that of a configuration.

    Raises:
        RecordingError: one is damaged or empty, or was made with another configuration.
    """
    recordings = [Recording.open(folder) for folder in folders]
    for recording in recordings:
        if not recording.manifest.samples:
            raise RecordingError(f"{recording.folder} holds no sample")
    return for_one_line(recordings, None if config is None else read_line(config))


def champion_files(recordings: Sequence[Recording], config: Path | None) -> dict[str, Path]:
    """The model of every step: the last that was used in the recordings, else the line's.

    Raises:
        ValueError: a model is nowhere.
    """
    line = recordings[0].line
    beside = (config or bundled("line.yaml")).parent
    files = model_files(line, beside)
    for recording in recordings:
        files |= recording.last_models
    for step in line.steps:
        if not files[step].is_file():
            raise ValueError(
                f"the recording holds no model of {step}, and there is none at {files[step]}; "
                "name with --line the configuration that has one"
            )
    return files


def load_challenger(
    entrant: Entrant, champion: Mapping[str, OnnxSurrogate]
) -> dict[str, OnnxSurrogate]:
    """The challenger's own models, by step.

    Raises:
        ValueError: there is no such step, or the model takes or gives something else.
    """
    found = {}
    for step, file in entrant.files.items():
        if step not in champion:
            raise ValueError(f"the line has no step {step}; it has {', '.join(champion)}")
        model, before = OnnxSurrogate.load(file), champion[step]
        for what, mine, its in (
            ("takes", before.inputs, model.inputs),
            ("gives", before.outputs, model.outputs),
        ):
            if mine != its:
                raise ValueError(
                    f"{file} {what} {', '.join(its)}; the champion of {step} {what} "
                    f"{', '.join(mine)}, in this order: a challenger must do the same"
                )
        found[step] = model
    return found


def moment(text: str | None, first: int, option: str) -> int | None:
    """A line time from ISO 8601 (UTC without a zone), or from seconds or a duration after `first`.

    Raises:
        ValueError: it is neither.
    """
    if text is None:
        return None
    with suppress(ValueError, OverflowError):
        return first + int(float(text) * NANOSECONDS)
    with suppress(ValueError):
        return first + int(parse(text, "s") * NANOSECONDS)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{option} {text}: write 2026-11-21T10:15:00, or '8 h' after the start"
        ) from None
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return int(np.datetime64(found.astimezone(UTC).replace(tzinfo=None), "ns").astype(np.int64))


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for."""

    folders: list[Path]
    models: list[str]
    config: Path | None
    since: str | None
    until: str | None
    disturbance: str | None
    block: int


@dataclass(frozen=True, slots=True)
class Found:
    """A backtest's report, and the material that it rests on."""

    report: BacktestReport
    material: Material


def run_backtest(options: Options, progress: Callable[[int, int], None]) -> Found:
    """Let champion and challengers follow the recordings, and judge them.

    Args:
        options: what the command line asks for.
        progress: told samples done and samples in all.

    Raises:
        RecordingError, ValueError: a recording or a model cannot be used.
    """
    recordings = open_recordings(options.folders, options.config)
    line = recordings[0].line
    champion = {
        step: OnnxSurrogate.load(file)
        for step, file in champion_files(recordings, options.config).items()
    }
    own = {CHAMPION: champion} | {
        entrant.label: load_challenger(entrant, champion) for entrant in entrants(options.models)
    }
    whole = {label: {**champion, **models} for label, models in own.items()}
    first = min(recording.manifest.first or 0 for recording in recordings)
    since = moment(options.since, first, "--from") or 0
    until = moment(options.until, first, "--to")
    disturbance = moment(options.disturbance, first, "--disturbance")

    backtest = Backtest(list(own), {step: model.outputs for step, model in champion.items()})
    total, done = sum(recording.manifest.samples for recording in recordings), 0
    for recording in recordings:
        backtest.open({label: _follower(line, models) for label, models in whole.items()})
        for arrivals in _until(recording.stream(), until):
            backtest.feed(arrivals, since)
            done += len(arrivals.batch)
            progress(done, total)

    tracks = {label: notes.tracks(since) for label, notes in backtest.notes.items()}
    judge = Judge(line, tracks[CHAMPION], rule(options.block), disturbance)
    tags = line.tag_table()
    tried = {label: _tried(models) for label, models in own.items()}
    report = BacktestReport(
        program=program(),
        line=line.name,
        recordings=tuple(_used(recording, since, until) for recording in recordings),
        disturbance=disturbance,
        rule=rule(options.block),
        champion=judge.candidate(CHAMPION, tried[CHAMPION], tracks[CHAMPION]),
        challengers=tuple(
            judge.challenger(
                label,
                tried[label],
                tracks[label],
                compare_advice(backtest.notes[CHAMPION], backtest.notes[label], line, tags),
            )
            for label in own
            if label != CHAMPION
        ),
        persistence=judge.persistence(),
    )
    return Found(report, Material(line, tracks, backtest.notes[CHAMPION].rolls))


def _follower(line: LineConfiguration, models: Mapping[str, OnnxSurrogate]) -> Follower:
    """A fresh core; where another model was taken while it was recorded, it keeps its own."""
    return Follower(Core(line, models), lambda step, _: models[step], with_decisions=False)


def _until(stream: Iterator[Arrivals], until: int | None) -> Iterator[Arrivals]:
    """What arrived up to a time, ns."""
    for arrivals in stream:
        if until is None or not len(arrivals.arrived) or int(arrivals.arrived[-1]) <= until:
            yield arrivals
            continue
        count = int(np.searchsorted(arrivals.arrived, until, "right"))
        if count:
            yield arrivals.split(count)[0]
        return


def _tried(models: Mapping[str, OnnxSurrogate]) -> dict[str, ModelTried]:
    return {
        step: ModelTried(version=model.version, sha256=sha256(model.file))
        for step, model in models.items()
    }


def _used(recording: Recording, since: int, until: int | None) -> RecordingTried:
    manifest = recording.manifest
    first, last = manifest.first or 0, manifest.last or 0
    return RecordingTried(
        name=recording.folder.resolve().name,
        manifest_sha256=sha256(recording.folder / MANIFEST),
        samples=manifest.samples,
        since=max(first, since),
        until=last if until is None else min(last, until),
    )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for what takes longer than `PATIENCE`."""
    bar = Progress(
        TextColumn("backtest"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    task = bar.add_task("backtest")
    began = time.monotonic()

    def told(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if time.monotonic() - began > PATIENCE and not bar.live.is_started:
            bar.start()

    try:
        yield told
    finally:
        if bar.live.is_started:
            bar.stop()


def backtest(
    recordings: Annotated[list[Path], typer.Argument(help="Folders of recordings.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="A challenger: STEP=FILE; LABEL:STEP=FILE for one of several steps."),
    ] = None,
    line: Annotated[
        Path | None,
        typer.Option("--line", "--config", help="Line configuration instead of the recorded one."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Score from here: UTC, or '2 h' after the start.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Likewise.")] = None,
    disturbance: Annotated[
        str | None, typer.Option(help="When a known fault began: UTC, or '8 h' after the start.")
    ] = None,
    block: Annotated[
        int, typer.Option(help="Segments that the bootstrap draws together.", min=2)
    ] = BLOCK,
    report: Annotated[Path | None, typer.Option(help="Write a report, HTML.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report as JSON.")] = None,
    as_json: Json = False,
) -> None:
    """Try models beside those in use on recorded material, and say whether they are better."""
    configure_logging(sys.stderr)
    options = Options(recordings, model or [], line, start, end, disturbance, block)
    with _bar() as progress:
        found = run_backtest(options, progress)
    if output is not None:
        output.write_text(found.report.text() + "\n", encoding="utf-8")
    if report is not None:
        # what draws takes a second to load, and other commands need none of it
        from twin.cli.backtest_page import page

        report.write_text(page(found.report, found.material), encoding="utf-8")
    if as_json:
        typer.echo(found.report.text())
    else:
        _print(found.report)


def _print(report: BacktestReport) -> None:
    candidates: list[Candidate] = [report.champion, *report.challengers]
    table = Table(
        title=f"Backtest of {report.line}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
    )
    table.add_column("structure parameter", no_wrap=True)
    for name in ("error (95 %)", "bias", "R2", "in 90 %", "alone", "out", "drift"):
        table.add_column(name, justify="right", no_wrap=True)
    step = ""
    for name, first in report.champion.parameters.items():
        before, (step, _, output) = step, name.partition(".")
        if step != before:
            table.add_section()
            table.add_row(step, style="bold")
        unit = first.unit.replace("dimensionless", "")
        table.add_row(f"{output.replace('_', ' ')}  {unit}", style="bold")
        for each in candidates:
            scores = each.parameters.get(name)
            if scores is not None and (each is report.champion or scores != first):
                table.add_row(
                    f"  {each.label}",
                    *_scores(scores.corrected),
                    _value(scores.alone.mae.value),
                    _share(scores.out_of_domain),
                    str(scores.drift.alarms),
                )
        if name in report.persistence:
            table.add_row("  persistence", *_scores(report.persistence[name]), style="dim")
    table.add_section()
    table.add_row("overall, in its errors", style="bold")
    for each in candidates:
        table.add_row(
            f"  {each.label}",
            *_scores(each.overall.corrected),
            _value(each.overall.alone.mae.value),
            _share(each.overall.out_of_domain),
            str(each.overall.drift_alarms),
        )
    out.print(table)
    out.print(
        "error: mean absolute, of corrected predictions; in 90 %: measured in the stated interval; "
        "alone: error of the model alone (overall: in those of the champion's); out: of its "
        "domain; drift: alarms. A challenger without a row says what the champion says.",
        style="dim",
    )
    for challenger in report.challengers:
        _print_verdict(challenger)
    if report.disturbance is not None:
        for candidate in candidates:
            _print_alarms(candidate)
    out.print(report.note, style="dim")


def _scores(scores: Scores) -> list[str]:
    mae = scores.mae
    interval = (
        "" if mae.low is None or mae.high is None else f" ({_value(mae.low)}–{_value(mae.high)})"
    )
    r2 = scores.r2.value
    return [
        _value(mae.value) + interval,
        "–" if scores.bias.value is None else f"{scores.bias.value:+.2g}",
        "–" if r2 is None else f"{r2:.3g}",
        "" if scores.coverage is None else _share(scores.coverage.value),
    ]


def _print_verdict(challenger: Challenger) -> None:
    out.print(
        Text.assemble(f"\n{challenger.label}: ", (challenger.verdict, STYLES[challenger.verdict]))
    )
    for reason in challenger.reasons:
        out.print(f"  {reason}", highlight=False, markup=False)
    advice = challenger.advice
    if advice.would_differ is not None:
        out.print(
            f"  advice would differ in {_share(advice.would_differ)}: {advice.alike} alike, "
            f"{advice.different} different, {advice.only_champion} only by the champion, "
            f"{advice.only_candidate} only by the challenger",
            highlight=False,
        )


def _print_alarms(candidate: Candidate) -> None:
    drifts = [parameter.drift for parameter in candidate.parameters.values()]
    delays = [drift.delay for drift in drifts if drift.delay is not None]
    first = f"first alarm {span(min(delays))} after it" if delays else "no alarm after it"
    false = sum(drift.false_alarms or 0 for drift in drifts)
    out.print(
        f"disturbance, {candidate.label}: {false} false alarms before it, {first}", highlight=False
    )


def _value(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"
