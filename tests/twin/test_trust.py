"""Trust: a doubt puts a step into shadow, and only its end or a person brings it back."""

from __future__ import annotations

from twin.trust import Trust


def test_doubt_and_its_end() -> None:
    trust = Trust({"coating": "twin"})
    (change,) = trust.doubt("coating", "extrapolating", "outside the domain", 1)
    assert (change.mode, change.reason) == ("shadow", "outside the domain")
    assert trust.reason("coating") == "outside the domain"
    assert not trust.doubt("coating", "silent", "no reading", 2)
    assert not trust.doubt("coating", "extrapolating", "", 3)
    (back,) = trust.doubt("coating", "silent", "", 4)
    assert back.mode == "twin"


def test_a_person_sets_the_mode_and_doubts_start_anew() -> None:
    trust = Trust({"coating": "advisory"})
    trust.doubt("coating", "write", "a write failed", 1)
    trust.set_mode("coating", "advisory", "anna", 2)
    assert trust.mode("coating") == "advisory"
    assert trust.reason("coating") == ""
