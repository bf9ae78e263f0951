"""Which tests `make test` runs beside which, two at a time; and what each leaves as it was."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

LIVE = (
    "simulators/test_servers.py",
    "system/test_closed_loop.py",
    "system/test_demo.py",
    "system/test_operation.py",
    "system/test_replay.py",
    "system/test_service.py",
    "system/test_serving.py",
)
"""What runs against the clock: beside calculations it keeps time, beside its like it may not."""

# as `twin` sets it, before anything loads numpy
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file run in one process, as they share fixtures; all live files in the same.

    pytest-xdist 3.8 has marks for that, which pytest 9.2 does not let it see.
    """
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "live" if file.endswith(LIVE) else file

    return ByFile(config, log)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs logs to a stream that is closed after it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
