"""Promotion: on evidence only, taken by a running service, recorded, and replayed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from connectors.recorder import Recorder, RecordingWriter
from connectors.recording import Recording
from simulators.scenario import parse_scenario
from surrogates.calibration import Affine, Calibration, calibrate
from surrogates.composition import export_calibrated
from surrogates.onnx_model import OnnxSurrogate
from tests.in_process import ROOT, LineInProcess, line_configuration, make_core
from tests.plants import WORN
from tests.servers import until
from tests.surrogates.test_calibration import made
from tests.twin.streams import Heard
from twin.alarms import Alarm
from twin.app.line import load_surrogates
from twin.app.stores import open_registry
from twin.challenger import Challengers
from twin.clock import ManualClock
from twin.core import CoreEvent
from twin.historian import DuckDBHistorian
from twin.jobs import Job, every
from twin.registry import Registry
from twin.replay import Follower
from twin.service import Service
from twin.store import Store
from twin.verdict import (
    Advice,
    BacktestReport,
    Candidate,
    Challenger,
    Difference,
    Estimate,
    ModelTried,
    Overall,
    Rule,
    Scores,
    Verdict,
)

CHAMPION = ROOT / "surrogates" / "models" / "coating.onnx"
NONE = Estimate(value=None, low=None, high=None)


def calibrated() -> Calibration:
    return calibrate(made(), OnnxSurrogate.load(CHAMPION).card, True, "bias")


def better_model(folder: Path, gain: float = 0.95) -> Path:
    """A model with a gain of its own, as a calibration would write it."""
    found = replace(calibrated(), learnt={"mass_loading": Affine(0.0, gain)})
    return export_calibrated(found, CHAMPION, (), folder)


def report(
    file: Path,
    model: Path,
    verdict: Verdict = "better",
    step: str = "coating",
    champion: Path = CHAMPION,
) -> Path:
    """A backtest's report on a model, as far as promotion reads it."""
    tried, before = (
        ModelTried(version="x", sha256=hashlib.sha256(each.read_bytes()).hexdigest())
        for each in (model, champion)
    )
    scores = Scores(mae=NONE, bias=NONE, r2=NONE, coverage=None)
    overall = Overall(corrected=scores, alone=scores, out_of_domain=None, drift_alarms=0)
    challenger = Challenger(
        label="x",
        models={step: tried},
        parameters={},
        overall=overall,
        advice=Advice(
            proposals=0,
            alike=0,
            different=0,
            only_champion=0,
            only_candidate=0,
            would_differ=None,
        ),
        difference=Difference(corrected=NONE, alone=NONE, segments=0, blocks=0.0),
        differences={},
        verdict=verdict,
        reasons=("for a reason",),
    )
    found = BacktestReport(
        program="test",
        line="test",
        recordings=(),
        disturbance=None,
        rule=Rule(text="", block=1, resamples=1, seed=1, minimum_segments=1, minimum_blocks=1),
        champion=Candidate(label="champion", models={step: before}, parameters={}, overall=overall),
        challengers=(challenger,),
        persistence={},
    )
    file.write_text(found.text())
    return file


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(line_configuration(), ROOT, tmp_path / "store")


def test_promotions_lie_on_each_other_and_are_taken_back_one_by_one(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = (better_model(tmp_path, gain) for gain in (0.95, 0.94))
    for time, (champion, model) in enumerate(((CHAMPION, first), (first, second))):
        evidence = report(tmp_path / "report.json", model, champion=champion)
        registry.promote(time, "coating", model, evidence, "anna")
    used = registry.in_use()["coating"]
    assert (used.by, used.since) == ("anna", 1)
    assert used.evidence == hashlib.sha256(evidence.read_bytes()).hexdigest()
    versions = [OnnxSurrogate.load(each).version for each in (CHAMPION, first, second)]
    assert registry.open("coating", used).version == versions[2]
    # copies of its own: those of the calibration may go
    first.unlink()
    second.unlink()
    assert registry.roll_back(2, "coating", "bert") == versions[1]
    assert registry.start()["coating"].version == versions[1]
    assert registry.roll_back(3, "coating", "bert") == versions[0]
    with pytest.raises(ValueError, match="nothing to take back"):
        registry.roll_back(4, "coating", "bert")
    registry.ledger.close()


def test_what_must_not_be_promoted_is_refused_with_a_sentence(
    registry: Registry, tmp_path: Path
) -> None:
    model = better_model(tmp_path)
    other = better_model(tmp_path, 0.9)
    evidence = tmp_path / "report.json"
    refusals = [
        ("coating", model, tmp_path / "nowhere.json", "there is no report"),
        ("coating", model, report(tmp_path / "a", other), "does not judge this model"),
        ("coating", model, report(tmp_path / "b", model, "worse"), "says: worse; for a reason"),
        ("coating", model, report(tmp_path / "e", model, champion=other), "which is not in use"),
        ("coating", model, report(tmp_path / "c", model, step="drying"), "does not judge this"),
        ("coating", tmp_path / "nowhere.onnx", report(evidence, model), "there is no model"),
        ("coating", CHAMPION, evidence, "predicts coating already"),
        ("drying", model, evidence, "takes pump_flow"),
        ("baking", model, evidence, "no step baking"),
    ]
    (tmp_path / "d").write_bytes(orjson.dumps({"verdict": "better"}))
    refusals.append(("coating", model, tmp_path / "d", "no report of a backtest"))
    for step, file, on, sentence in refusals:
        with pytest.raises(ValueError, match=sentence):
            registry.promote(1, step, file, on, "anna")
    assert registry.ledger.model_changes() == []
    assert not (tmp_path / "store" / "models").exists()
    registry.promote(1, "coating", model, evidence, "anna")
    used = registry.in_use()["coating"].file
    used.write_bytes(used.read_bytes() + b" ")
    with pytest.raises(ValueError, match="missing or was changed"):
        registry.start()
    registry.ledger.close()


async def test_a_running_service_takes_a_promotion_which_is_recorded_and_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_configuration()
    scenario = parse_scenario(WORN.format(metres=40))
    plant = LineInProcess(scenario, seed=3, line=line)
    registry = open_registry(line, ROOT, tmp_path)
    core = make_core(line)
    models = {
        step: (surrogate.version, surrogate.file)
        for step, surrogate in load_surrogates(line, ROOT).items()
    }
    recorder = Recorder(RecordingWriter(tmp_path / "recording", line, "test", models))
    store = Store(DuckDBHistorian(tmp_path / "historian.duckdb", core.tags), len(line.tags))
    clock = ManualClock(plant.line.now_ns)
    service = Service(
        core,
        core.surrogates,
        [],
        {},
        None,
        store,
        registry.ledger,
        clock,
        registry=registry,
        upkeep=lambda service: [Job("models", every(0.02), service.follow_models)],
    )
    live = Heard(core)
    carry_out = service.carry_out

    def listening(events: Sequence[CoreEvent]) -> None:
        for event in events:
            live.take(event)
        carry_out(events)

    monkeypatch.setattr(service, "carry_out", listening)
    service.record(recorder)
    running = asyncio.create_task(service.run())
    before = core.surrogates["coating"].version
    registry.start()
    person = open_registry(line, ROOT, tmp_path)
    changes = {
        12.0: lambda: _promote(person, tmp_path),
        26.0: lambda: person.roll_back(clock.now(), "coating", "bert"),
    }
    for batch in plant.recorded():
        clock.time = plant.line.now_ns
        service.feed(batch)
        if changes and service.status.metres >= min(changes):
            wanted = changes.pop(min(changes))()
            await until(lambda wanted=wanted: core.surrogates["coating"].version == wanted)
    service.stop()
    await running
    recorder.close()
    store.close()
    used = [row["version"] for row in reversed(person.ledger.models()) if row["step"] == "coating"]
    person.ledger.close()
    assert [used[0], used[2]] == [before, before]
    assert used[1] != before
    recording = Recording.open(tmp_path / "recording")
    files = {(model.step, model.version): model.file for model in recording.manifest.models}
    assert ("coating", used[1]) in files

    def load(step: str, version: str) -> OnnxSurrogate:
        return OnnxSurrogate.load(recording.folder / files[step, version])

    heard = Heard(make_core(recording.line))
    follower = Follower(heard.core, load)
    for arrivals in recording.stream():
        for event in follower.feed(arrivals):
            heard.take(event)
    heard.same_as(live)


def _promote(registry: Registry, folder: Path) -> str:
    model = better_model(folder)
    return registry.promote(1, "coating", model, report(folder / "report.json", model), "anna")


def test_a_promoted_model_is_no_fault_of_a_gauge(tmp_path: Path) -> None:
    other = OnnxSurrogate.load(better_model(tmp_path))
    run = LineInProcess(parse_scenario(WORN.format(metres=60)), seed=3)
    for batch in run.recorded():
        run.deliver(batch)
        if len(run.comparisons["coating.mass_loading"]) == 20:
            run.core.use_model("coating", other)
    assert run.core.surrogates["coating"].version == other.version
    assert len(run.comparisons["coating.mass_loading"]) > 80
    assert not [each for each in run.events if isinstance(each, Alarm)]


@pytest.mark.long
def test_a_challenger_follows_in_the_shadow(tmp_path: Path) -> None:
    model = better_model(tmp_path, 0.95)
    text = line_configuration().model_dump(mode="json", by_alias=True)
    text["steps"]["coating"]["challenger"] = str(model)
    line = line_configuration(steps=text["steps"])
    surrogates = load_surrogates(line, ROOT)
    tags = line.tag_table()
    challengers = Challengers(line, tags, surrogates, {"coating": OnnxSurrogate.load(model)})
    champions = make_core(line)
    plant = LineInProcess(parse_scenario(WORN.format(metres=30)), seed=3, line=line)
    kept = []
    for batch in plant.recorded():
        now = plant.line.now_ns
        champions.feed(batch, now)
        kept.append(challengers.feed(batch, now))
    errors = challengers.status.parameters["coating.mass_loading"]
    assert errors.count > 20
    assert np.isfinite(errors.mean_absolute_error)
    assert not challengers.status.recommendations
    samples = [each for each in kept if len(each)]
    names = {tags[tag].name for each in samples for tag in each.tag.tolist()}
    assert names == {"coating.mass_loading.challenger", "coating.wet_thickness.challenger"}
    assert "drying.dry_thickness.challenger" not in tags
    # one that fails ends the challenge, not the line
    broken = surrogates["coating"]
    challengers = Challengers(line, tags, surrogates, {"coating": broken})
    challengers._core.tracker.add = None  # type: ignore[union-attr,assignment,method-assign]
    assert not len(challengers.feed(batch, now))
    assert not len(challengers.feed(batch, now))
