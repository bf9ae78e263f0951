"""The commands are listed as they describe themselves, and cost nothing before they are called."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from twin.cli.commands import COMMANDS, app


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_as_it_describes_itself(name: str) -> None:
    late = COMMANDS[name]
    found = getattr(import_module(f"twin.cli.{late.module}"), late.name)
    said = found.info.help if isinstance(found, typer.Typer) else found.__doc__
    if isinstance(found, typer.Typer) and not isinstance(said, str):
        callback = found.registered_commands[0].callback
        assert callback is not None
        said = callback.__doc__
    assert said.strip().split("\n")[0] == late.help
    asked = CliRunner().invoke(app, [name, "--help"])
    assert asked.exit_code == 0, asked.output
    assert late.help.split()[0] in asked.output


def test_what_is_not_called_is_not_loaded() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from twin.cli import app; "
        "done = CliRunner().invoke(app, ['--help']); assert 'sensitivity' in done.output; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('numpy', 'scipy', 'pint', 'asyncua', 'fastapi', 'sqlalchemy', 'nicegui')])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["foo"], "url cannot be 'foo'; write an address such as opc.tcp://host:4840/machine"),
        (["opc.tcp://me:hush@host"], "url: a login is not written into an address; write the"),
        (["opc.tcp://host", "--user", ""], "user.name is empty; write a text"),
    ],
)
def test_what_cannot_be_browsed_is_said_in_a_sentence(words: list[str], sentence: str) -> None:
    said = CliRunner().invoke(app, ["browse", *words])
    assert isinstance(said.exception, ValueError)
    assert str(said.exception).startswith(sentence)
    assert "\n" not in str(said.exception)


def test_a_slip_of_the_pen_is_told_what_was_meant() -> None:
    said = CliRunner().invoke(app, ["chek"])
    assert said.exit_code == 2
    assert "Did you mean 'check'?" in said.output


@pytest.mark.parametrize(
    "words",
    [
        ("models",),
        ("rollback", "coating"),
        ("users", "list"),
        ("users", "remove", "anna"),
        ("users", "password", "anna", "--generate"),
        ("audit", "show"),
    ],
)
def test_a_store_that_is_not_there_is_not_made_to_be_read(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    nowhere = tmp_path / "mistyped"
    asked = CliRunner().invoke(app, [*words, "--data", str(nowhere)])
    assert str(asked.exception) == f"{nowhere}: there is no store; give its folder with --data"
    assert not nowhere.exists()


def test_people_are_added_before_the_first_start(tmp_path: Path) -> None:
    store = ["--data", str(tmp_path / "store")]
    added = CliRunner().invoke(app, ["users", "add", "anna", "--generate", *store])
    assert added.exit_code == 0
    listed = CliRunner().invoke(app, ["users", "list", *store])
    assert "anna" in listed.output
