"""The ledger keeps what was advised, decided and made."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from twin.alarms import RETURN, AlarmBook, Report
from twin.ledger import Ledger


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.sqlite'}"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with Ledger(url) as opened:
        yield opened


def document(state: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "coater-1",
        "time_ns": 1_000,
        "web": "coater",
        "state": state,
        "by": "",
        "reason": "the next mass loading would be 3 % low",
        "note": "",
        "changes": [{"setpoint": "coater.pump_flow_setpoint", "from": 100.0, "to": 103.0}],
        "expected": [{"parameter": "coating.mass_loading", "target": math.nan}],
    } | more


def test_a_recommendation_keeps_its_states_with_times_and_who_decided(ledger: Ledger) -> None:
    ledger.recommend(document("proposed"))
    ledger.recommend(document("accepted", by="anna"), time=2_000)
    ledger.recommend(document("accepted", by="anna"), time=2_500)
    (kept,) = ledger.recommendations()
    assert kept["state"] == "accepted"
    assert kept["changes"][0]["to"] == 103.0
    assert kept["expected"][0]["target"] is None
    assert [(each["time"], each["state"], each["decided_by"]) for each in kept["history"]] == [
        (1_000, "proposed", ""),
        (2_000, "accepted", "anna"),
    ]
    assert ledger.recommendations(state="proposed") == []


def test_the_same_number_in_another_run_is_another_recommendation(ledger: Ledger) -> None:
    ledger.recommend(document("proposed"))
    ledger.recommend(document("proposed", time_ns=9_000))
    assert [each["time_ns"] for each in ledger.recommendations()] == [9_000, 1_000]


def test_rolls_and_batches_and_splices_are_found_again_after_a_restart(url: str) -> None:
    with Ledger(url) as ledger:
        ledger.begin_roll("coater", 1, start=0.0, began=10)
        ledger.wind_roll("coater", 1, end=120.5, wound=99)
        ledger.release_batch("slurry", 4, 50, {"solids_content": 0.66, "viscosity": math.nan})
        ledger.splice(60, "coater", 80.0)
    with Ledger(url) as ledger:
        assert ledger.rolls("coater") == [
            {"web": "coater", "number": 1, "start": 0.0, "end": 120.5, "began": 10, "wound": 99}
        ]
        assert ledger.rolls("calender") == []
        (batch,) = ledger.slurry_batches()
        assert batch["parameters"] == {"solids_content": 0.66, "viscosity": None}
        assert ledger.splices() == [{"time": 60, "web": "coater", "position": 80.0}]


def test_modes_are_the_last_that_were_given(ledger: Ledger) -> None:
    ledger.change_mode(1, "coating", "advisory", "asked", "anna")
    ledger.change_mode(2, "coating", "shadow", "data are stale")
    ledger.change_mode(2, "coating", "shadow", "data are stale")
    assert ledger.modes() == {"coating": "shadow"}
    assert len(ledger.mode_changes()) == 2


def test_an_alarm_is_kept_with_its_states_until_it_is_cleared(ledger: Ledger) -> None:
    book = AlarmBook()
    evidence = ("40 readings in a row are 180.1 g/m^2",)
    cause = Report(1, "diagnosis", "frozen", "gauges.mass_loading", True, "high", "", evidence)
    (raised,) = book.report(cause)
    ledger.put_alarm(raised)
    ledger.put_alarm(raised)
    assert ledger.open_alarms() == [raised]
    assert ledger.alarms()[0].evidence == evidence
    for alarm in book.report(replace(cause, time=2, active=False)) + book.tick(2 + RETURN):
        ledger.put_alarm(alarm)
    (cleared,) = book.acknowledge(3 + RETURN, raised.id, "anna")
    ledger.put_alarm(cleared)
    assert ledger.open_alarms() == []
    states = [(each["state"], each["by"]) for each in ledger.alarm_states()]
    assert states == [("cleared", "anna"), ("returned", ""), ("unacknowledged", "")]


def test_models_and_audit_are_kept_newest_first(ledger: Ledger) -> None:
    ledger.use_model(1, "coating", "coating", "a")
    ledger.use_model(2, "coating", "coating", "b")
    assert [each["version"] for each in ledger.models()] == ["b", "a"]
    ledger.audit(3, "anna", "accepted", {"id": "coater-1"})
    assert ledger.audited()[0]["details"] == {"id": "coater-1"}


def test_changes_of_models_are_kept_in_order_while_others_write(url: str) -> None:
    with Ledger(url) as service, Ledger(url) as person:
        service.use_model(1, "coating", "coating", "a")
        person.promote_model(9, "coating", "models/b.onnx", "b", "bb", "a", "anna", "report")
        service.use_model(2, "coating", "models/b.onnx", "b")
        to = {"file": "", "version": "a", "sha256": ""}
        # the clock of another computer is behind: what was decided later still comes later
        person.roll_back_model(3, "coating", to, "b", "bert")
        first, second = service.model_changes()
    assert (first["kind"], first["version"], first["by"]) == ("promoted", "b", "anna")
    assert (first["previous"], first["sha256"], first["evidence"]) == ("a", "bb", "report")
    assert (second["kind"], second["version"], second["previous"]) == ("rolled back", "a", "b")


def test_it_may_be_opened_in_one_thread_and_used_in_another(ledger: Ledger) -> None:
    thread = threading.Thread(target=lambda: ledger.splice(1, "coater", 2.0))
    thread.start()
    thread.join()
    assert len(ledger.splices()) == 1
