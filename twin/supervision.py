"""Tasks that must not end unseen: a group of tasks takes no notice of one that was cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


def told_to_stop() -> bool:
    """Whether somebody has cancelled this very task, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def until_told(work: Awaitable[None], name: str) -> None:
    """Work until this task is cancelled.

    Raises:
        RuntimeError: something that it waited for was cancelled.
    """
    try:
        await work
    except asyncio.CancelledError as error:
        if told_to_stop():
            raise
        raise RuntimeError(f"{name}: what it waited for was cancelled") from error
