"""A recommendation that was carried out is judged by the material that met it."""

from __future__ import annotations

import numpy as np
import pytest

from twin.material import MaterialTable
from twin.passage import Column, Passage
from twin.promise import ENOUGH, FIRST, Judgement, Promises
from twin.recommendation import Change, Effect, Recommendation

S = 1_000_000_000
COLUMN = Column("calendering.thickness.measured", 0, "calender", 3.5, 3.5, "gauge")


def recommendation(identity: str) -> Recommendation:
    effect = Effect("calendering", "thickness", 63e-6, 60e-6, 0.5e-6, 60e-6)
    return Recommendation(
        identity, 0, "calender", (Change("calendering", 0, 0.0, 1.0),), (effect,), ""
    )


def passage(first: int, values: list[float]) -> Passage:
    segments = np.arange(first, first + len(values))
    # a segment leaves the nip every second and is measured five seconds later
    value = np.array(values) * 1e-6
    return Passage(COLUMN, segments, (segments + 5) * S, value, np.zeros(len(values)))


@pytest.fixture
def promises() -> Promises:
    table = MaterialTable(["calendering.thickness"])
    segments = np.arange(100)
    table.open(segments)
    table.put("calendering.thickness", segments, np.full(100, 60e-6), segments * S)
    return Promises(table)


def read(promises: Promises, first: int, values: list[float]) -> list[Judgement]:
    return promises.read("calendering", "thickness", passage(first, values))


def test_material_from_before_the_move_does_not_count(promises: Promises) -> None:
    promises.made(recommendation("a"), 20 * S)
    assert read(promises, 10, [63.0] * 11) == []
    (judgement,) = read(promises, 21, [99.0] * FIRST + [60.2] * ENOUGH)
    assert judgement.measured == pytest.approx(60.2e-6)
    assert judgement.segments == ENOUGH
    assert judgement.time == (21 + FIRST + ENOUGH - 1 + 5) * S
    assert judgement.kept
    assert read(promises, 40, [70.0] * 20) == []


def test_a_promise_that_was_missed(promises: Promises) -> None:
    promises.made(recommendation("a"), 20 * S)
    (judgement,) = read(promises, 21, [62.5] * 20)
    assert not judgement.kept


def test_the_next_move_ends_the_judgement_of_the_one_before(promises: Promises) -> None:
    promises.made(recommendation("a"), 20 * S)
    assert read(promises, 21, [60.0] * (FIRST + 4)) == []
    (judgement,) = promises.made(recommendation("b"), 30 * S)
    assert (judgement.recommendation, judgement.segments) == ("a", 4)
    assert promises.made(recommendation("c"), 31 * S) == []


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_cutting_changes_nothing_and_a_snapshot_goes_on(promises: Promises, cut: int) -> None:
    values = np.linspace(59.0, 61.0, 14).tolist()
    promises.made(recommendation("a"), 20 * S)
    other = Promises(promises._table)
    other.restore(promises.snapshot())
    (whole,) = read(promises, 21, values)
    parts = [j for at in range(0, 14, cut) for j in read(other, 21 + at, values[at : at + cut])]
    assert parts == [whole]
