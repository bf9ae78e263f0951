"""Challengers: models that predict in the shadow of those in use, on the same material.

A second core follows the line. What it says is scored and kept; it advises nothing, since all its
steps are in shadow, and nothing it says is published or written.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import structlog

from twin.comparison import Comparison
from twin.configuration.models import LineConfiguration
from twin.core import Core
from twin.ports import Surrogate
from twin.samples import Ints, SampleBatch
from twin.snapshot import Snapshot, SnapshotError
from twin.status import LineStatus
from twin.tags import TagTable

log = structlog.get_logger()


class Challengers:
    """Follows the line with other models of some steps.

    Args:
        line: the configuration.
        tags: its tag table.
        surrogates: the model of every step that is in use.
        challengers: the models that are tried, by step.
    """

    def __init__(
        self,
        line: LineConfiguration,
        tags: TagTable,
        surrogates: Mapping[str, Surrogate],
        challengers: Mapping[str, Surrogate],
    ) -> None:
        self.models = dict(challengers)
        """By step."""
        models = {**surrogates, **challengers}
        self._core: Core | None = Core(_in_shadow(line), models)
        self._outputs = {step: model.outputs for step, model in models.items()}
        self._tags = {
            f"{step}.{output}": tags.index(f"{step}.{output}.challenger")
            for step in challengers
            for output in line.steps[step].outputs
        }
        self.status = LineStatus(line)

    def feed(self, batch: SampleBatch, now: int | Ints) -> SampleBatch:
        """Take what the line sent; gives what was predicted for material that was measured now.

        Whatever goes wrong ends the challenge, never the line.
        """
        if self._core is None:
            return SampleBatch.of([], [], [])
        try:
            events = self._core.feed(batch, now)
        except Exception:  # a model that is tried may fail in any way
            log.exception("challengers", problem="they cannot follow the line any more")
            self._core = None
            return SampleBatch.of([], [], [])
        found = []
        for event in events:
            self.status.follow(event, self._outputs)
            if isinstance(event, Comparison):
                tag = self._tags.get(f"{event.step}.{event.output}")
                if tag is not None:
                    found.append(_samples(event, tag))
        return SampleBatch.concatenate(found)

    def snapshot(self) -> Snapshot | None:
        """What they must remember; None where they have given up."""
        if self._core is None:
            return None
        models = {step: model.version for step, model in self._core.surrogates.items()}
        return {"models": models, "core": self._core.snapshot()}

    def restore(self, state: Snapshot) -> None:
        """Go on where they were, unless the models or the line are others now."""
        core = self._core
        if core is None:
            return
        if state["models"] != {step: model.version for step, model in core.surrogates.items()}:
            log.info("challengers", said="other models than before: they begin anew")
            return
        try:
            core.restore(state["core"])
        except SnapshotError as error:
            log.warning("challengers", problem=str(error))
            self._core = Core(core.line, core.surrogates)

    def reload(self, line: LineConfiguration) -> None:
        """Follow the line by a changed configuration from now on."""
        if self._core is not None:
            core = Core(_in_shadow(line), self._core.surrogates)
            core.restore(self._core.snapshot())
            self._core = core
        self.status.reload(line)

    def use_model(self, step: str, surrogate: Surrogate) -> None:
        """Another model is in use; a challenged step keeps its challenger."""
        if self._core is not None and step not in self.models:
            self._core.use_model(step, surrogate)


def _in_shadow(line: LineConfiguration) -> LineConfiguration:
    steps = {name: step.model_copy(update={"mode": "shadow"}) for name, step in line.steps.items()}
    return line.model_copy(update={"steps": steps})


def _samples(event: Comparison, tag: int) -> SampleBatch:
    count = len(event.segments)
    return SampleBatch(
        np.full(count, tag, np.int32), event.time, event.predicted, np.zeros(count, np.uint32)
    ).where(np.isfinite(event.predicted))
