"""`twin run` that cannot start: it says why, and leaves nothing open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from twin.cli import app, running
from twin.service import Service


@pytest.mark.parametrize("port", ["99999", "-5"])
def test_a_port_that_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, port: str
) -> None:
    said = CliRunner().invoke(app, ["run", "--data", str(tmp_path / "store"), "--port", port])
    assert said.exit_code == 2
    assert "Invalid value for '--port'" in said.output
    assert not (tmp_path / "store").exists()


def test_what_was_opened_is_closed_where_the_start_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Service] = []
    build = running.build_service

    def remembered(*arguments: Any) -> Service:
        made.append(build(*arguments))
        return made[-1]

    def taken(*_: object) -> str:
        raise OSError("the API cannot listen on 127.0.0.1")

    monkeypatch.setattr(running, "configure_logging", lambda _: None)
    monkeypatch.setattr(running, "build_service", remembered)
    monkeypatch.setattr(running, "serve_api", taken)
    with pytest.raises(OSError, match="the API cannot listen"):
        running.run(data=tmp_path / "store")
    with pytest.raises(RuntimeError, match="after shutdown"):
        asyncio.run(made[0].store.call(lambda: None))
