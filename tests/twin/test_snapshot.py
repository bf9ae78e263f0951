"""Snapshots: a new core that takes one goes on as if there had been no end."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulators.scenario import Scenario, parse_scenario
from tests.in_process import LineInProcess, line_configuration, make_core
from tests.twin.streams import BUSY, Heard, busy_stream, cut, end_of, joined
from tests.twin.test_parity import REVERSAL
from twin import batches, snapshot
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.genealogy import BatchReleased
from twin.recommendation import Recommendation
from twin.samples import SampleBatch
from twin.snapshot import SnapshotError

S = 1_000_000_000
STANDING = """
name: coater and calender stand while material is in them, and go on
metres: 40
plant:
  coater: {roll_length_m: 12}
  laboratory: {delay_min: 1}
actions:
  - {at: {metre: 14}, do: stop, machine: coater, duration: 90 s}
  - {at: {metre: 22}, do: slurry_batch, solids: 0.63, reported_solids: 0.66}
  - {at: {time: 6 min}, do: stop, machine: calender, duration: 60 s}
  - {at: {metre: 30}, do: stop, machine: coater, duration: 30 s}
"""


class Restarted(Heard):
    """What cores said, each of which went on from a snapshot file of the one before."""

    def __init__(
        self,
        pieces: Sequence[SampleBatch],
        stops: Sequence[int],
        folder: Path,
        configuration: LineConfiguration | None = None,
    ) -> None:
        self._line = configuration or line_configuration()
        self._file = folder / "state.npz"
        super().__init__(make_core(self._line))
        latest = 0
        for number, piece in enumerate(pieces):
            if number in stops:
                self._restart()
            latest = max(latest, int(piece.time.max()))
            for event in self.core.feed(piece, latest):
                self.take(event)
                if isinstance(event, Recommendation) and self.core.open.get(event.web) is event:
                    self._accept(event)

    def _accept(self, advice: Recommendation) -> None:
        for said in self.core.decide(advice.id, True, "test", advice.time):
            self.take(said)
        if advice.web in self.core.open:
            for said in self.core.wrote(advice.id, (), advice.time):
                self.take(said)

    def _restart(self) -> None:
        snapshot.write(self._file, self.core.snapshot())
        self.core = make_core(self._line)
        self.core.restore(snapshot.read(self._file))
        self._listen()


@cache
def stream_of(text: str) -> SampleBatch:
    """The recorded stream of a scenario."""
    scenario: Scenario = parse_scenario(text)
    return joined(LineInProcess(scenario, accept=False).recorded())


def pieces_of(stream: SampleBatch, size: int) -> list[SampleBatch]:
    return [*cut(stream, range(0, len(stream), size)), end_of(stream)]


@pytest.mark.parametrize("text", [BUSY, REVERSAL, STANDING], ids=["busy", "reversal", "standing"])
def test_a_new_core_goes_on_as_the_old_one_would_have(text: str, tmp_path: Path) -> None:
    pieces = pieces_of(stream_of(text), 700)
    whole = Restarted(pieces, (), tmp_path)
    again = Restarted(pieces, range(1, len(pieces), 9), tmp_path)
    again.same_as(whole)
    assert whole.recommendations
    assert again.core.received == whole.core.received
    assert again.core.refused() == whole.core.refused()


@pytest.mark.long
@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(300, 3000))
def test_wherever_it_is_stopped(tmp_path: Path, stops: list[int], size: int) -> None:
    pieces = pieces_of(busy_stream(), size)
    Restarted(pieces, stops, tmp_path).same_as(_whole(size, tmp_path))


@cache
def _whole(size: int, folder: Path) -> Restarted:
    return Restarted(pieces_of(busy_stream(), size), (), folder)


def fed(line: LineConfiguration | None = None) -> Core:
    core = make_core(line or line_configuration())
    for piece in pieces_of(busy_stream(), 4000)[:-1]:
        core.feed(piece, int(piece.time.max()))
    return core


def test_a_file_is_refused_where_it_is_damaged_cut_or_of_another_version(tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    size = snapshot.write(file, fed().snapshot())
    assert file.stat().st_size == size
    content = file.read_bytes()

    broken = bytearray(content)
    broken[size // 2] ^= 1
    file.write_bytes(broken)
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.read(file)
    file.write_bytes(content[: size // 2])
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.read(file)
    file.write_bytes(b"")
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.read(file)
    np.savez(file, tree=np.frombuffer(b'{"format": "linetwin/state/9"}', np.uint8))
    with pytest.raises(SnapshotError, match=r"'linetwin/state/9', this program reads"):
        snapshot.read(file)
    np.savez(file, tree=np.array([{"format": snapshot.FORMAT}], object), allow_pickle=True)
    with pytest.raises(SnapshotError, match="damaged"):
        snapshot.read(file)
    with pytest.raises(FileNotFoundError):
        snapshot.read(tmp_path / "nothing.npz")


def test_a_file_says_what_it_is_to_any_numpy(tmp_path: Path) -> None:
    file = tmp_path / "state.npz"
    snapshot.write(file, {"a": np.arange(3), "b": [1, {"c": None, "d": np.nan}], "e": "text"})
    with zipfile.ZipFile(file) as archive:
        assert set(archive.namelist()) == {"a0.npy", "tree.npy"}
    found = snapshot.read(file)
    assert found["a"].tolist() == [0, 1, 2]
    assert np.isnan(found["b"][1]["d"])
    assert found["e"] == "text"


def changed(path: str, value: object) -> LineConfiguration:
    """The bundled line with one thing changed."""
    content = line_configuration().model_dump(mode="json", by_alias=True)
    *sections, last = path.split("/")
    part = content
    for section in sections:
        part = part[section]
    part[last] = value
    return LineConfiguration.model_validate(content)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("segment", "0.25 m", "segment"),
        ("webs/coater/stations/beta", "11 m", "webs.coater"),
        ("batches/slurry/hose_volume", "3 l", "batches.slurry"),
        ("steps/coating/outputs/mass_loading/correction", "offset", "steps.coating"),
        ("tags/gauges.mass_loading/station", "exit_gauge", "tags.gauges.mass_loading"),
    ],
)
def test_what_means_something_else_now_is_refused_by_name(
    path: str, value: object, named: str
) -> None:
    before = make_core(line_configuration())
    with pytest.raises(SnapshotError, match=named):
        make_core(changed(path, value)).restore(before.snapshot())


def test_limits_targets_and_modes_may_change_between_two_starts() -> None:
    before = fed()
    before.set_mode("drying", "advisory", "operator", 0)
    line = changed("steps/coating/outputs/mass_loading/target", 150.0)
    line = LineConfiguration.model_validate(
        {**line.model_dump(mode="json", by_alias=True), "stale_after": "5 s"}
    )
    after = make_core(line)
    after.restore(before.snapshot())
    assert after.tracker.frontier == before.tracker.frontier
    assert after.trust.wanted("drying") == "advisory"
    assert after.trust.wanted("coating") == before.trust.wanted("coating")


def test_a_mode_that_the_configuration_changed_since_is_the_new_one() -> None:
    before = make_core(line_configuration())
    before.set_mode("coating", "advisory", "operator", 0)
    after = make_core(changed("steps/coating/mode", "model"))
    after.restore(before.snapshot())
    assert after.trust.wanted("coating") == "model"


def test_a_gauge_that_is_no_longer_followed_bars_its_step_no_longer() -> None:
    target = "steps/coating/outputs/mass_loading/target"
    before = make_core(line_configuration())
    *pieces, last = pieces_of(busy_stream(), 4000)
    gauge = before.tags.index("gauges.mass_loading")
    for piece in pieces[:3]:
        before.feed(piece.where(piece.tag != gauge), int(piece.time.max()))
    before.set_mode("coating", "advisory", "operator", before.tracker.frontier)
    assert "no reading of mass_loading" in before.trust.reason("coating")
    after = make_core(changed(target, None))
    after.restore(before.snapshot())
    for piece in (*pieces[3:], last):
        after.feed(piece, int(piece.time.max()))
    assert "mass_loading" not in after.trust.reason("coating")


def test_tags_may_come_go_and_change_their_order(tmp_path: Path) -> None:
    pieces = pieces_of(busy_stream(), 2000)
    half = len(pieces) // 2
    names = list(line_configuration().tags)
    content = line_configuration().model_dump(mode="json", by_alias=True)
    first = names.index("coater.web_length")
    order = [*names[first:], *names[:first]]
    content["tags"] = {
        "new.tag": {**content["tags"]["gauges.mass_loading"], "address": {"topic": "elsewhere"}},
        **{name: content["tags"][name] for name in order},
    }
    other = LineConfiguration.model_validate(content)
    place = np.array([list(other.tags).index(name) for name in names], np.int32)

    whole, core = Heard(make_core(line_configuration())), make_core(line_configuration())
    for piece in pieces:
        for event in whole.core.feed(piece, int(piece.time.max())):
            whole.take(event)
    parts = Heard(core)
    for piece in pieces[:half]:
        for event in core.feed(piece, int(piece.time.max())):
            parts.take(event)
    parts.core = make_core(other)
    parts.core.restore(core.snapshot())
    parts._listen()
    for piece in pieces[half:]:
        moved = SampleBatch(place[piece.tag], piece.time, piece.value, piece.quality)
        for event in parts.core.feed(moved, int(piece.time.max())):
            parts.take(event)
    assert parts.material.keys() == whole.material.keys()
    for name, rows in whole.material.items():
        assert parts.material[name].keys() == rows.keys(), name


def test_of_batches_the_newest_are_kept_in_three_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_KEPT", 5)
    core = make_core(line_configuration())
    predictor = core.predictor
    inputs = np.array(core.surrogates["mixing"].domain).mean(axis=1)
    for number in range(1, 9):
        predictor.batches.predict("mixing", BatchReleased("slurry", number, number * S, inputs))
        predictor.revise_batch("mixing", "viscosity", number, 5.0, number * S)
    # a number that is used again is the newest
    predictor.batches.predict("mixing", BatchReleased("slurry", 4, 9 * S, inputs))
    again = make_core(line_configuration()).predictor
    again.restore(predictor.snapshot())
    for each in (predictor, again):
        state = each.snapshot()["batches"]
        known = state["known"]["mixing"]
        assert {name: len(of) for name, of in known.items()} == dict.fromkeys(known, 5)
        assert known["numbers"].tolist() == [5, 6, 7, 8, 4]
        assert len(state["revised"]) == 5
        assert np.isnan(each.batches.told("mixing", 3)).all()
        assert each.batches.told("mixing", 4) == inputs.tolist()


def test_of_a_long_standstill_little_is_kept() -> None:
    """A line that stands over night sends the same values on, which nobody will ask for."""
    line = line_configuration()
    core = make_core(line)
    stream = busy_stream()
    middle = stream.time[0] + (stream.time[-1] - stream.time[0]) // 2
    stream = stream.where(stream.time < middle)
    core.feed(stream, int(middle))
    moving = _rows(core)

    tags = np.unique(stream.tag)
    last = {int(tag): float(stream.value[stream.tag == tag][-1]) for tag in tags}
    for minute in range(60):
        times = int(middle) + np.arange(minute * 600, minute * 600 + 600) * S // 10
        core.feed(
            SampleBatch.of(
                np.repeat(tags, len(times)),
                np.tile(times, len(tags)),
                np.repeat([last[int(tag)] for tag in tags], len(times)),
            ),
            int(times[-1]),
        )
    assert _rows(core) < 3 * moving


def _rows(core: Core) -> int:
    state = core.snapshot()["tracker"]
    rows = sum(len(signal["time"]) for _, _, signal in state["signals"])
    return rows + sum(len(web["position"]["knots"]["time"]) for web in state["webs"].values())
