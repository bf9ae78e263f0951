"""Words: the same things are said in every language."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from string import Formatter
from typing import get_args, get_type_hints
from zoneinfo import ZoneInfo

import pytest

from connectors.refusal import RefusedError
from twin import ledger
from twin.alarms import State
from twin.configuration import bundled, load
from twin.control_chart import LASTING, Shift, evidence
from twin.screen.words import LANGUAGES, Words, de, digits, en, meaningful

SOURCES = Path(__file__).parents[3] / "twin" / "screen"


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_tables_say_the_same_things_of_the_same_values() -> None:
    assert en.WORDS.keys() == de.WORDS.keys()
    for key, text in en.WORDS.items():
        assert fields(text) == fields(de.WORDS[key]), key


def test_every_key_that_a_page_asks_for_is_there() -> None:
    asked = set()
    for file in SOURCES.rglob("*.py"):
        asked |= set(re.findall(r"""words\(\s*"(\w+)\"""", file.read_text()))
    assert len(asked) > 100
    assert asked <= en.WORDS.keys(), asked - en.WORDS.keys()


def test_every_state_of_an_alarm_has_a_word() -> None:
    assert set(get_args(State)) <= en.WORDS.keys()


def test_german_has_words_for_all_that_is_audited() -> None:
    source = "".join(file.read_text() for file in (SOURCES.parent).rglob("*.py"))
    calls = (
        r"audited\(\s*[\w.]+",
        r"audit\(\s*[\w.()]+,\s*\w+",
        r"_audit\(\s*[\w.]+",
        r"_allow\(user, \"\w+\"",
        r"_do\([^\n]+, by",
        r"told\(request",
    )
    done = {what for call in calls for what in re.findall(rf'{call}, "([a-z ]+)"', source)}
    done |= set(re.findall(r'refused\("([a-z ]+)"', source))
    done |= {ledger.WRITE_BEGINS, *ledger.WRITE_ENDS, ledger.MODE_SET, "accept", "reject"}
    done |= set(get_args(get_type_hints(RefusedError.__init__)["what"]))
    done |= {"enter laboratory value", "correct laboratory value"}
    assert done == de.ACTS.keys()
    assert Words("de").act("refused: acknowledge") == "verweigert: Alarm quittiert"
    assert Words("en").act("refused: acknowledge") == "refused: acknowledge"


def test_what_browsers_say_is_in_the_tables() -> None:
    from twin.screen.layout import BROWSER_WORDS

    asked = set()
    for file in (SOURCES / "assets").glob("*.js"):
        asked |= set(re.findall(r'\bword\("(\w+)"', file.read_text()))
    assert asked == set(BROWSER_WORDS) <= en.WORDS.keys()


def test_german_has_a_name_for_everything_of_the_bundled_line() -> None:
    line = load(bundled("line.yaml"))
    named = {*line.steps, *line.webs, *line.connectors}
    for step in line.steps.values():
        named |= {*step.inputs, *step.outputs}
    for web in line.webs.values():
        named |= web.stations.keys()
    assert named <= de.NAMES.keys(), named - de.NAMES.keys()


def test_sentences_of_the_twin_are_translated_with_their_numbers_and_units() -> None:
    said = (
        "the next mass loading would be 164.2 instead of 180 g/m^2; gauges of the same material "
        "read -16.1 g/m^2 against the model"
    )
    assert Words("de").sentence(said) == (
        "Flächenbeladung würde 164,2 statt 180 g/m²; Messgeräte lesen am selben Material "
        "−16,1 g/m² gegen das Modell"
    )
    assert Words("en").sentence(said).startswith("The next mass loading would be 164.2 instead of")
    assert Words("en").sentence("no reading of mass_loading") == "No reading of mass loading"
    assert Words("de").sentence("something new") == "Something new"


def test_a_tag_in_a_sentence_is_said_whole() -> None:
    said = "gauges.web_temperature reads +3.21 degC (+2.10 %) against the models"
    assert Words("en").sentence(said) == (
        "Web temperature (gauges) reads +3.21 °C (+2.10 %) against the models"
    )
    # also where a language has no phrase for it
    left = "coating.mass_loading would leave its limits"
    assert Words("de").sentence(left) == "Flächenbeladung (Beschichten) would leave its limits"
    assert Words("en").sentence("no file line_a.yaml") == "No file line a.yaml"


def test_evidence_of_gauges_and_charts_is_translated() -> None:
    said = (
        "gauges.mass_loading reads +3.21 g/m^2 (+2.10 %) against the models and the other gauges, "
        "since metre 52; the same material was read by gauges.wet_thickness, gauges.dry_thickness"
    )
    assert Words("de").sentence(said) == (
        "Flächenbeladung (Messgeräte) liest +3,21 g/m² (+2,10 %) gegen die Modelle und die anderen "
        "Messgeräte, seit Meter 52; dasselbe Material lasen Nassdicke (Messgeräte), "
        "Trockendicke (Messgeräte)"
    )
    frozen = "gauges.mass_loading is frozen: 41 readings in a row are the same while the web moves"
    assert Words("de").sentence(frozen) == (
        "Flächenbeladung (Messgeräte) ist eingefroren: 41 Messwerte in Folge sind gleich, während "
        "die Bahn läuft"
    )
    shift = Shift(time=0, mean=-4.2, lasts=True)
    said = "; ".join(evidence("coating.mass_loading", shift, 0.5, "g/m^2"))
    assert Words("de").sentence(said) == (
        "Flächenbeladung (Beschichten) wird 2,1 g/m² unter der berichtigten Vorhersage gelesen; "
        f"der gewichtete Mittelwert der Residuen liegt bei 4,2 Sigma, {LASTING}-mal in Folge "
        "jenseits der Grenze"
    )


@pytest.mark.parametrize(
    ("language", "value", "places", "text"),
    [
        ("en", 1234.56, 1, "1,234.6"),
        ("de", 1234.56, 1, "1.234,6"),
        ("en", -0.04, 1, "0.0"),
        ("de", -2.5, 1, "−2,5"),
        ("en", None, 1, "–"),
        ("en", float("nan"), 1, "–"),
    ],
)
def test_numbers(language: str, value: float | None, places: int, text: str) -> None:
    assert Words(language).number(value, places) == text


def test_times_are_said_and_typed_by_the_clock_of_the_site() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    winter = datetime(2026, 1, 1, 23, 30, tzinfo=UTC)
    summer = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    for moment, german, english in (
        (winter, "02.01.2026 00:30:00", "2026-01-02 00:30:00"),
        (summer, "02.07.2026 00:30:00", "2026-07-02 00:30:00"),
    ):
        assert Words("de", berlin).time(moment) == german
        assert Words("en", berlin).time(moment) == english
        words = Words("en", berlin)
        assert words.time(moment, date=False) == "00:30:00"
        assert words.moment(words.typed(moment)) == moment
    assert Words("en").time(winter) == "2026-01-01 23:30:00"
    assert Words("en").moment("2026-01-01T23:30:00") == winter


def test_decimals() -> None:
    assert [digits(each) for each in (2090.0, 180.0, 60.0, 2.87, 0.252)] == [0, 1, 1, 2, 3]
    assert [meaningful(each) for each in (3.0, 0.8, 0.2, 0.04)] == [0, 1, 1, 2]
    assert set(LANGUAGES) == {"de", "en"}
