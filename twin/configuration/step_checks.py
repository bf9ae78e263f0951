"""Checks of the process steps: their inputs, outputs, setpoints and models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twin.configuration.findings import Findings
from twin.configuration.models import (
    InputConfiguration,
    InterlockConfiguration,
    MqttAddress,
    MqttConnector,
    OutputConfiguration,
    SetpointConfiguration,
    StepConfiguration,
    TagConfiguration,
)
from twin.configuration.problems import one_of
from twin.configuration.web_checks import upstream_webs

ModelNames = Callable[[str], tuple[Sequence[str], Sequence[str]]]
"""Input and output names of the model that a step names."""

Path = tuple[str, ...]


def check_steps(found: Findings, model_names: ModelNames | None) -> None:
    """Every step against the tags, the webs, the steps before it and its model."""
    line = found.configuration
    moved: dict[str, str] = {}
    for name, step in line.steps.items():
        path = ("steps", name)
        known = found.known(
            (*path, "runs_on"), "web or batch", step.runs_on, [*line.webs, *line.batches]
        )
        for key in step.inputs:
            _check_input(found, name, key, runs=known)
        _check_reached(found, name)
        for key, output in step.outputs.items():
            _check_output(found, name, key, output, runs=known)
        _check_interlocks(found, path, step.interlocks)
        for key, setpoint in step.setpoints.items():
            _check_interlocks(found, (*path, "setpoints", key), setpoint.interlocks)
            _check_setpoint(found, step, (*path, "setpoints", key), setpoint)
            owner = moved.setdefault(setpoint.tag, f"{name}.{key}")
            if owner != f"{name}.{key}":
                found.add(
                    (*path, "setpoints", key, "tag"),
                    f"{owner} moves the setpoint {setpoint.tag!r} already",
                    "let one step move it",
                )
        if model_names is not None:
            _check_model(found, path, step, "model", step.model, model_names)
            if step.challenger is not None:
                _check_model(found, path, step, "challenger", step.challenger, model_names)


def _webs_of(found: Findings, step: StepConfiguration) -> list[str]:
    """The webs that the material of a step has been on so far; none for a slurry batch."""
    return upstream_webs(found.configuration.webs, step.runs_on)


def _stations(found: Findings, webs: Sequence[str]) -> list[str]:
    return [station for web in webs for station in found.configuration.webs[web].stations]


def _check_input(found: Findings, step_name: str, key: str, *, runs: bool) -> None:
    line = found.configuration
    step = line.steps[step_name]
    path = ("steps", step_name, "inputs", key)
    written = step.inputs[key]
    source = line.source_of(step_name, key)
    if isinstance(written, InputConfiguration):
        given = [
            each for each in (written.tag, written.output, written.constant) if each is not None
        ]
        if len(given) != 1:
            found.add(
                path,
                f"input {key!r} has {len(given)} sources",
                "give exactly one of 'tag', 'output' and 'constant'",
            )
            return
        if written.at is not None and written.tag is None:
            found.add(
                (*path, "at"),
                "only a tag is averaged over a station",
                "delete 'at', or give a 'tag'",
            )
        laboratory = found.tag((*path, "laboratory"), written.laboratory)
        if laboratory is not None:
            _check_input_laboratory(found, step, path, written, laboratory)
    elif "." not in written or written.split(".")[0] not in line.steps:
        outputs = [f"{s}.{o}" for s, each in line.steps.items() for o in each.outputs]
        found.known(path, "tag or step.parameter", written, [*line.tags, *outputs])
    if source.tag is None and step.runs_on in line.batches:
        found.add(
            path,
            f"input {key!r} of a slurry batch does not come from a tag",
            "name the tag of the mixer that has it",
        )
        return
    if source.tag is not None:
        tag_path = (*path, "tag") if isinstance(written, InputConfiguration) else path
        tag = found.tag(tag_path, source.tag)
        if tag is not None and runs:
            _check_station(found, step, path, source, tag)
    elif source.output is not None:
        output_path = (*path, "output") if isinstance(written, InputConfiguration) else path
        _check_upstream(found, step_name, output_path, source.output, runs=runs)


def _check_input_laboratory(
    found: Findings,
    step: StepConfiguration,
    path: Path,
    source: InputConfiguration,
    laboratory: TagConfiguration,
) -> None:
    line = found.configuration
    path = (*path, "laboratory")
    if step.runs_on not in line.batches:
        found.add(path, "only inputs of a slurry batch are replaced", "delete 'laboratory'")
    _check_laboratory_role(found, path, source.laboratory, laboratory)
    actual = line.tags.get(source.tag or "")
    if actual is not None:
        found.dimension(path, f"tag {source.laboratory!r}", laboratory.unit, actual.unit)


def _check_reached(found: Findings, step_name: str) -> None:
    line = found.configuration
    step = line.steps[step_name]
    if step.runs_on not in line.webs:
        return
    sources = [line.source_of(step_name, key) for key in step.inputs]
    tags = [source for source in sources if source.tag in line.tags]
    stations = line.webs[step.runs_on].stations
    if not any((each.at or line.tags[each.tag or ""].station) in stations for each in tags):
        found.add(
            ("steps", step_name, "inputs"),
            f"no input is a tag of a station of web {step.runs_on!r}",
            "name at least one, so that it is known when the material has passed",
        )


def _check_station(
    found: Findings,
    step: StepConfiguration,
    path: Path,
    source: InputConfiguration,
    tag: TagConfiguration,
) -> None:
    line = found.configuration
    if step.runs_on not in line.webs:
        if source.at is not None:
            found.add((*path, "at"), "a slurry batch passes no station of a web", "delete 'at'")
        return
    if source.at is not None:
        stations = _stations(found, [step.runs_on])
        found.known((*path, "at"), f"station of web {step.runs_on!r}", source.at, stations)
    elif tag.station is None:
        found.add(
            path,
            f"it is not said where on the web tag {source.tag!r} acts",
            "give the tag a 'station', or write {tag: ..., at: STATION}",
        )
    elif tag.station in _stations(found, list(line.webs)) and tag.station not in _stations(
        found, _webs_of(found, step)
    ):
        found.add(
            path,
            f"tag {source.tag!r} acts at {tag.station!r}, where the material of web"
            f" {step.runs_on!r} has not been",
            f"name a tag of web {step.runs_on!r}, or a station with 'at'",
        )


def _check_upstream(
    found: Findings, step_name: str, path: Path, reference: str, *, runs: bool
) -> None:
    line = found.configuration
    source_name, _, parameter = reference.partition(".")
    if source_name not in line.steps:
        if path[-1] == "output":
            found.known(path, "step", source_name, line.steps)
        return
    source = line.steps[source_name]
    offered = [*source.outputs, *(source.inputs if source.runs_on in line.batches else ())]
    if not found.known(path, f"parameter of step {source_name!r}", parameter, offered):
        return
    order = list(line.steps)
    if order.index(source_name) >= order.index(step_name):
        found.add(
            path,
            f"step {source_name!r} is not before step {step_name!r}",
            "take an output of an earlier step, or put the steps in the order of the process",
        )
    elif runs and not _feeds(found, source, line.steps[step_name]):
        found.add(
            path,
            f"the material of step {source_name!r} does not reach step {step_name!r}",
            "say with 'unwinds' or in 'batches' how it gets there, or take another output",
        )


def _feeds(found: Findings, source: StepConfiguration, step: StepConfiguration) -> bool:
    line = found.configuration
    if source.runs_on == step.runs_on:
        return True
    webs = _webs_of(found, step)
    batches = line.batches.get(source.runs_on)
    if batches is not None:
        return batches.web in webs
    return source.runs_on in webs or source.runs_on not in line.webs


def _check_output(
    found: Findings, step_name: str, key: str, output: OutputConfiguration, *, runs: bool
) -> None:
    step = found.configuration.steps[step_name]
    path = ("steps", step_name, "outputs", key)
    found.unit((*path, "unit"), output.unit)
    gauge = found.tag((*path, "measured_by"), output.measured_by)
    if gauge is not None:
        _check_gauge(found, step, (*path, "measured_by"), output, gauge, runs=runs)
        if output.calculated_from is not None:
            found.add(
                (*path, "calculated_from"),
                f"{key!r} is measured as well as calculated",
                "keep one of 'measured_by' and 'calculated_from'",
            )
    if output.calculated_from is not None:
        found.dimension((*path, "unit"), f"output {key!r}", output.unit, "percent")
        for part, wanted in (("mass_loading", "g/m^2"), ("thickness", "um")):
            reference = getattr(output.calculated_from, part)
            _check_measured(found, step_name, (*path, "calculated_from", part), reference, wanted)
    laboratory = found.tag((*path, "laboratory"), output.laboratory)
    if laboratory is not None:
        _check_laboratory(found, step, (*path, "laboratory"), output, laboratory, runs=runs)
    corrections = ("offset", "relative", *step.inputs)
    found.known((*path, "correction"), "correction", output.correction, corrections)
    if output.resets_at is not None and output.model_uncertainty is None:
        found.add(
            (*path, "resets_at"),
            f"{key!r} is unknown anew at a {output.resets_at}, but not by how much",
            "add 'model_uncertainty', in the unit of the output",
        )
    if output.resets_at == "batch" and not found.configuration.batches:
        found.add(
            (*path, "resets_at"), "there are no batches", "declare 'batches', or leave it out"
        )
    if output.resets_at == "roll":
        web = found.configuration.webs.get(step.runs_on)
        if web is not None and web.unwinds is None:
            found.add(
                (*path, "resets_at"),
                f"{step.runs_on!r} unwinds no rolls",
                "leave it out, or name a batch",
            )
    if output.builds_on is not None:
        _check_foundation(found, step, key, (*path, "builds_on"), output)
    if output.foil_uncertainty is not None and output.correction in step.inputs:
        found.add(
            (*path, "foil_uncertainty"),
            f"{key!r} is corrected by an input, and a foil is no input",
            "leave it out, or correct the output by an 'offset' or 'relative'",
        )
    on_web = [
        f"{step_name}.{output_name}"
        for step_name, each in found.configuration.steps.items()
        if each.runs_on == step.runs_on
        for output_name in each.outputs
    ]
    for name in output.followed_below:
        found.known((*path, "followed_below", name), "output on the same web", name, on_web)
    ascending = found.ascending((*path, "limits"), "limits", output.limits)
    if output.limits is not None and output.target is not None and ascending:
        low, high = output.limits
        if not low <= output.target <= high:
            found.add(
                (*path, "target"),
                f"the target {output.target:g} is outside the limits",
                f"write a value from {low:g} to {high:g}",
            )


def _check_foundation(
    found: Findings,
    step: StepConfiguration,
    key: str,
    path: tuple[str, ...],
    output: OutputConfiguration,
) -> None:
    """An output builds on one before it, whose correction means the same."""
    names = list(step.outputs)
    before = names[: names.index(key)]
    if not found.known(path, "output before it", output.builds_on or "", before):
        return
    below = step.outputs[output.builds_on or ""]
    if below.measured_by is None:
        found.add(
            path,
            f"no gauge reads {output.builds_on!r}, so nothing corrects it before {key!r}",
            "name an output with 'measured_by', or leave 'builds_on' out",
        )
    elif output.correction == "offset" or below.correction != output.correction:
        found.add(
            path,
            f"{output.builds_on!r} is corrected by {below.correction!r}, {key!r} by "
            f"{output.correction!r}: one cannot act on the other",
            "give both the same 'correction', relative or an input of the step",
        )


def _check_gauge(
    found: Findings,
    step: StepConfiguration,
    path: Path,
    output: OutputConfiguration,
    gauge: TagConfiguration,
    *,
    runs: bool,
) -> None:
    line = found.configuration
    found.dimension(path, f"tag {output.measured_by!r}", gauge.unit, output.unit)
    if gauge.role not in {"measurement", "actual"}:
        found.add(
            path,
            f"tag {output.measured_by!r} has the role {gauge.role}",
            "name a tag with the role measurement or actual",
        )
    if not runs or step.runs_on not in line.webs:
        return
    if gauge.station is None:
        found.add(
            path,
            f"it is not said where on the web gauge {output.measured_by!r} measures",
            "give the tag a 'station'",
        )
        return
    later = [web for web in line.webs if step.runs_on in upstream_webs(line.webs, web)]
    owner = next((web for web, each in line.webs.items() if gauge.station in each.stations), None)
    if owner is not None and owner not in later:
        found.add(
            path,
            f"gauge {output.measured_by!r} is on web {owner!r}, which the material of web"
            f" {step.runs_on!r} does not pass",
            f"name a gauge on web {step.runs_on!r}",
        )


def _check_measured(
    found: Findings, step_name: str, path: Path, reference: str, wanted: str
) -> None:
    steps = found.configuration.steps
    source_name, _, parameter = reference.partition(".")
    if not found.known(path, "step", source_name, steps):
        return
    source = steps[source_name]
    if not found.known(path, f"output of step {source_name!r}", parameter, source.outputs):
        return
    output = source.outputs[parameter]
    found.dimension(path, f"output {reference!r}", output.unit, wanted)
    if output.measured_by is None:
        found.add(
            path,
            f"output {reference!r} is not measured",
            "name one that has 'measured_by'",
        )
    order = list(steps)
    if order.index(source_name) > order.index(step_name):
        found.add(
            path,
            f"step {source_name!r} is after step {step_name!r}",
            "take an output of this step or an earlier one",
        )


def _check_laboratory(
    found: Findings,
    step: StepConfiguration,
    path: Path,
    output: OutputConfiguration,
    tag: TagConfiguration,
    *,
    runs: bool,
) -> None:
    found.dimension(path, f"tag {output.laboratory!r}", tag.unit, output.unit)
    if not _check_laboratory_role(found, path, output.laboratory, tag):
        return
    if not runs or not isinstance(tag.address, MqttAddress):
        return
    of_batch = tag.address.batch is not None
    if of_batch != (step.runs_on in found.configuration.batches):
        material = "a slurry batch" if of_batch else "a roll"
        found.add(
            path,
            f"tag {output.laboratory!r} is of {material}, but the step runs on {step.runs_on!r}",
            "name a laboratory tag of the step's own material",
        )


def _check_laboratory_role(
    found: Findings, path: Path, name: str | None, tag: TagConfiguration
) -> bool:
    if tag.role == "laboratory":
        return True
    found.add(path, f"tag {name!r} has the role {tag.role}", "name a tag with the role laboratory")
    return False


def _check_interlocks(
    found: Findings, path: Path, interlocks: Sequence[InterlockConfiguration]
) -> None:
    for interlock in interlocks:
        where = (*path, "interlocks")
        tag = found.tag(where, interlock.tag)
        if (interlock.within is None) == (interlock.equals is None):
            found.add(
                where,
                f"the interlock on {interlock.tag!r} has no range and no value, or both",
                "write within: [LOW, HIGH], or equals: VALUE",
            )
        found.ascending(where, "within", interlock.within)
        if tag is not None and tag.role in ("laboratory", "derived"):
            found.add(
                where,
                f"tag {interlock.tag!r} has the role {tag.role}: nobody knows its value now",
                "name a tag that a machine or gauge reports",
            )


def _check_setpoint(
    found: Findings, step: StepConfiguration, path: Path, setpoint: SetpointConfiguration
) -> None:
    line = found.configuration
    key = path[-1]
    ascending = found.ascending((*path, "limits"), "limits", setpoint.limits)
    low, high = setpoint.limits
    if ascending and setpoint.max_step > high - low:
        found.add(
            (*path, "max_step"),
            f"a step of {setpoint.max_step:g} is wider than the limits",
            f"write at most {high - low:g}",
        )
    if setpoint.max_rate is not None and setpoint.max_rate <= setpoint.deadband:
        found.add(
            (*path, "max_rate"),
            f"no change of at most {setpoint.max_rate:g} a minute passes a deadband of "
            f"{setpoint.deadband:g}",
            f"write more than {setpoint.deadband:g}",
        )
    if setpoint.deadband >= setpoint.max_step:
        found.add(
            (*path, "deadband") if "deadband" in setpoint.model_fields_set else path,
            f"no step of at most {setpoint.max_step:g} passes a deadband of {setpoint.deadband:g}",
            f"write less than {setpoint.max_step:g}",
        )
    tag = found.tag((*path, "tag"), setpoint.tag)
    if not found.known(path, "input of the step", key, step.inputs) or tag is None:
        return
    if tag.role != "setpoint":
        found.add(
            (*path, "tag"),
            f"tag {setpoint.tag!r} has the role {tag.role}",
            "name a tag with the role setpoint",
        )
    if isinstance(line.connectors.get(tag.connector), MqttConnector):
        found.add(
            (*path, "tag"),
            f"setpoint {setpoint.tag!r} cannot be written and read back over MQTT",
            "name a tag of an OPC UA connector",
        )
    if tag.limits is not None and ascending and (low < tag.limits[0] or high > tag.limits[1]):
        found.add(
            (*path, "limits"),
            f"the limits go beyond those of tag {setpoint.tag!r}",
            f"stay within {tag.limits[0]:g} to {tag.limits[1]:g} {tag.unit}",
        )
    written = step.inputs[key]
    actual_name = written.tag if isinstance(written, InputConfiguration) else written
    actual = line.tags.get(actual_name) if actual_name is not None else None
    if actual is None:
        found.add(
            path,
            f"input {key!r} is not a tag, so no setpoint moves it",
            "move an input that comes from a machine",
        )
    else:
        found.dimension((*path, "tag"), f"tag {setpoint.tag!r}", tag.unit, actual.unit)


def _check_model(
    found: Findings,
    path: Path,
    step: StepConfiguration,
    key: str,
    model: str,
    model_names: ModelNames,
) -> None:
    try:
        inputs, outputs = model_names(model)
    except (LookupError, OSError, ValueError) as error:
        reason = str(error.args[0]) if error.args and len(error.args) == 1 else str(error)
        found.add(
            (*path, key),
            f"model {model!r} cannot be used: {reason}",
            "name a committed model, or give the path of an .onnx file with its card",
        )
        return
    for name in inputs:
        if name not in step.inputs:
            found.add(
                (*path, "inputs"),
                f"input {name!r} of model {model!r} has no source",
                f"add '{name}: TAG' or '{name}: STEP.PARAMETER'",
            )
    for section, used, offered in (
        ("inputs", step.inputs, inputs),
        ("outputs", step.outputs, outputs),
    ):
        for name in used:
            if name not in offered:
                found.add(
                    (*path, section, name),
                    f"model {model!r} has no {section[:-1]} {name!r}",
                    one_of(name, offered, f"model {section[:-1]}"),
                )
