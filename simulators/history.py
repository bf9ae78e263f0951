"""What the machines' servers keep of the past: the last values of every variable, in memory."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from typing import Any, cast

from asyncua import ua
from asyncua.server.history import HistoryStorageInterface

from simulators.clock import to_datetime

_PER_ANSWER = 1000


class KeptHistory(HistoryStorageInterface):
    """Raw history of variables as an OPC UA server answers from.

    Args:
        depth: values kept per variable, the oldest go first.
    """

    def __init__(self, depth: int = 3600) -> None:
        super().__init__(_PER_ANSWER)
        self._depth = depth
        self._kept: dict[ua.NodeId, deque[tuple[int, ua.Variant]]] = {}

    def keep(self, node: ua.NodeId, time_ns: int, value: ua.Variant) -> None:
        """Keep a value of a variable at a line time."""
        kept = self._kept.get(node)
        if kept is None:
            kept = self._kept[node] = deque(maxlen=self._depth)
        kept.append((time_ns, value))

    async def read_node_history(
        self, node_id: ua.NodeId, start: datetime | None, end: datetime | None, nb_values: int
    ) -> tuple[list[ua.DataValue], datetime | None]:
        """Values with start <= time <= end in order, and where to go on where these are not all."""
        most = min(nb_values or _PER_ANSWER, _PER_ANSWER)
        found: list[ua.DataValue] = []
        for time_ns, value in self._kept.get(node_id, ()):
            moment = to_datetime(time_ns)
            if (start is not None and moment < _aware(start, moment)) or (
                end is not None and moment > _aware(end, moment)
            ):
                continue
            if len(found) == most:
                return found, None if nb_values else moment
            found.append(
                ua.DataValue(
                    Value=value,
                    SourceTimestamp=cast("ua.DateTime", moment),
                    ServerTimestamp=cast("ua.DateTime", moment),
                )
            )
        return found, None

    async def init(self) -> None:
        """Nothing to open."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def new_historized_node(
        self, node_id: ua.NodeId, period: timedelta | None, count: int = 0
    ) -> None:
        """Every variable is kept."""

    async def save_node_value(self, node_id: ua.NodeId, datavalue: ua.DataValue) -> None:
        """Values are kept as they are published."""

    async def new_historized_event(self, *_: Any) -> None:
        """Events are not kept."""

    async def save_event(self, event: Any) -> None:
        """Events are not kept."""

    async def read_event_history(self, *_: Any) -> tuple[list[Any], datetime | None]:
        """There are none."""
        return [], None


def _aware(moment: datetime, like: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=like.tzinfo)
