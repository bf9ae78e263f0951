"""Log lines of every command."""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog


def configure_logging(stream: TextIO | None = None) -> None:
    """Log lines in structured form to `stream`, standard error by default."""
    target = stream or sys.stderr
    logging.basicConfig(stream=target, level=logging.ERROR, force=True)
    # the connectors report each lost connection once, as a sentence
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            # a traceback with the values of its variables would show what nobody should see
            structlog.dev.ConsoleRenderer(
                colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(target),
    )
