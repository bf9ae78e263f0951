"""`twin` as people start it: a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "from twin.cli import main; main()")


def environment(**changes: str) -> dict[str, str]:
    """The test's environment, with warnings shown and the checkout importable."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default", **changes}


def twin(
    *arguments: object, patience: float = 60.0, folder: Path | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run `twin` to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
    )


_MANY = """
import contextlib, io, json, sys, traceback
from twin.cli import main
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            sys.argv[1:], sys.argv[0] = arguments, "twin"
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = 1
            traceback.print_exc()
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


def twin_many(
    commands: Iterable[Sequence[str]], folder: Path
) -> list[subprocess.CompletedProcess[str]]:
    """Run `twin` several times, loaded once: for runs that end at once."""
    commands = [list(arguments) for arguments in commands]
    ended = subprocess.run(
        [sys.executable, "-c", _MANY, json.dumps(commands)],
        cwd=folder,
        env=environment(COLUMNS="100"),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [
        subprocess.CompletedProcess(arguments, *json.loads(line))
        for arguments, line in zip(commands, ended.stdout.splitlines(), strict=True)
    ]
