"""Fitting: whether what a core remembers means the same under another configuration."""

from __future__ import annotations

from collections.abc import Mapping

from twin.configuration.models import LineConfiguration
from twin.ports import Surrogate
from twin.snapshot import SnapshotError

Conditions = dict[str, object]


def conditions(line: LineConfiguration, surrogates: Mapping[str, Surrogate]) -> Conditions:
    """What must be the same, by the names that the configuration has for it.

    Not among it: targets, limits, modes, uncertainties, weights, pauses, addresses, connectors.
    """
    found: Conditions = {"segment": line.segment}
    for name, web in line.webs.items():
        found[f"webs.{name}"] = web.model_dump(mode="json")
    for name, batch in line.batches.items():
        found[f"batches.{name}"] = batch.model_dump(mode="json")
    for name, step in line.steps.items():
        found[f"steps.{name}"] = {
            "runs_on": step.runs_on,
            "inputs": {
                each: line.source_of(name, each).model_dump(mode="json") for each in step.inputs
            },
            "outputs": {
                each: [made.correction, made.builds_on, made.measured_by]
                for each, made in step.outputs.items()
            },
            "model": [list(surrogates[name].inputs), list(surrogates[name].outputs)],
        }
    for name, tag in line.tags.items():
        found[f"tags.{name}"] = [tag.unit, tag.station]
    return found


def check(before: Mapping[str, object], today: Mapping[str, object]) -> None:
    """Compare conditions; tags may come and go.

    Raises:
        SnapshotError: they differ; it names where.
    """
    other = [
        name
        for name in dict.fromkeys((*today, *before))
        if before.get(name) != today.get(name)
        and not (name.startswith("tags.") and (name not in before or name not in today))
    ]
    if other:
        raise SnapshotError(
            f"the snapshot was made with another {', '.join(other)}: put the configuration back to "
            "go on from it, or start without it, and what is on the line now is not known"
        )
