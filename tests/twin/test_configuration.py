"""The bundled line loads, and its reference is up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from twin.configuration import bundled, check, load
from twin.configuration.reference import reference

ROOT = Path(__file__).parents[2]


def test_the_bundled_line_is_right() -> None:
    line = load(bundled("line.yaml"))
    assert line.segment == 0.5
    assert line.webs["coater"].stations["dryer"] == (1.0, 10.0)
    assert line.batches["slurry"].hose_volume == pytest.approx(0.15e-3)
    assert line.source_of("drying", "line_speed").at == "dryer"
    assert check(line) == ()


def test_anchors_and_merged_keys_may_save_typing(tmp_path: Path) -> None:
    text = bundled("line.yaml").read_text()
    path = tmp_path / "line.yaml"
    path.write_text(
        text.replace("  coater.run:\n", "  coater.run: &counter\n").replace(
            "  calender.run:\n    unit: dimensionless\n    class: MP\n    role: counter\n",
            "  calender.run:\n    <<: *counter\n",
        )
    )
    assert load(path).tags["calender.run"].role == "counter"


def test_an_unknown_bundled_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match=r"no 'none\.yaml'"):
        bundled("none.yaml")


def test_the_reference_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == reference(), (
        "run: python -m twin.configuration.reference docs/configuration.md"
    )


def test_every_key_of_the_reference_has_a_meaning() -> None:
    rows = [row for row in reference().splitlines() if row.startswith("| `")]
    assert len(rows) > 70
    assert [row for row in rows if row.endswith("|  |")] == []
