"""Trust: a doubt puts a step into shadow, and only its end or a person brings it back."""

from __future__ import annotations

from twin.trust import FAILED_WRITE, Trust


def test_doubt_and_its_end() -> None:
    trust = Trust({"coating": "twin"})
    (change,) = trust.doubt("coating", "extrapolating", "outside the domain", 1)
    assert (change.mode, change.reason) == ("shadow", "outside the domain")
    assert trust.reason("coating") == "outside the domain"
    assert not trust.doubt("coating", "silent", "no reading", 2)
    assert not trust.doubt("coating", "extrapolating", "", 3)
    (back,) = trust.doubt("coating", "silent", "", 4)
    assert back.mode == "twin"


def test_a_person_takes_back_the_doubt_of_a_failed_write() -> None:
    trust = Trust({"coating": "advisory"})
    trust.doubt("coating", FAILED_WRITE, "a write failed", 1)
    (change,) = trust.set_mode("coating", "advisory", "anna", 2)
    assert (change.mode, change.reason) == ("advisory", "set by anna")
    assert trust.mode("coating") == "advisory"
    assert trust.reason("coating") == ""


def test_nobody_sets_a_mode_that_the_data_bar() -> None:
    trust = Trust({"coating": "shadow"})
    trust.doubt("coating", "biased mass_loading", "it is biased", 1, ("twin",))
    trust.doubt("coating", "extrapolating", "outside the domain", 1)
    wanted, barred = trust.set_mode("coating", "twin", "anna", 2)
    assert (wanted.mode, wanted.reason) == ("twin", "set by anna")
    assert (barred.mode, barred.reason) == ("shadow", "it is biased; outside the domain")
    trust.doubt("coating", "extrapolating", "", 3)
    assert trust.reason("coating") == "it is biased"
    (back,) = trust.doubt("coating", "biased mass_loading", "", 4)
    assert back.mode == "twin"


def test_the_reason_is_that_of_now() -> None:
    trust = Trust({"coating": "twin"})
    trust.doubt("coating", "extrapolating", "outside the domain", 1)
    trust.doubt("coating", "extrapolating", "an input is missing", 2)
    assert trust.reason("coating") == "an input is missing"
