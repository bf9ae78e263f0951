"""Every wrong configuration is refused with file, line, what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from twin.configuration import ConfigurationError, bundled, load

HERE = "§"

# name, what stands in the bundled line, what is written instead with § in the line that must be
# named, words of what is wrong, words of the remedy
WRONG = [
    # YAML
    ("broken YAML", "name: virtual pilot line", "name: virtual: pilot §line", "not YAML", "quote"),
    ("tab", "segment: 0.5 m\n", "\t§segment: 0.5 m\n", "tab", "spaces"),
    ("open bracket", "{constant: 0.2}", "{constant: 0.2\n      §x: 1", "not YAML", "bracket"),
    ("unknown alias", "name: virtual", "name: §*virtual", "alias", "&"),
    ("own tag", "name: virtual", "name: §!secret virtual", "not YAML", "!"),
    ("two documents", "segment: 0.5 m", "---§\nsegment: 0.5 m", "not YAML", "one document"),
    ("key twice", "segment: 0.5 m", "segment: 0.5 m\nsegment: 1 m§", "twice", "line 4"),
    ("key is a number", "  coater.run:\n", "  7:§\n", "no text", "quotes"),
    # the historian
    ("historian kind", "segment: 0.5 m", "segment: 0.5 m\nstore: {historian: {kind: influx}}§",
     "'influx'", "'influxdb'"),
    ("historian in the clear", "segment: 0.5 m",
     "segment: 0.5 m\nstore:\n  historian:§ {kind: victoria_metrics, url: 'http://far:8428'}",
     "everybody on the way to far", "security: none"),
    ("means on a server", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  minute_means_after: 9 d§\n"
     "  historian: {kind: victoria_metrics, url: 'http://localhost'}",
     "makes no means", "leave it out"),
    ("clear https", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  historian:\n"
     "    kind: victoria_metrics\n    url: https://far\n    security: none§",
     "https is not in the clear", "leave security out"),
    ("certificates for http", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  historian:\n"
     "    kind: victoria_metrics\n    url: http://far§\n    security: {trusts: [a.pem]}",
     "http knows no certificates", "https:"),
    ("token", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  historian:\n    kind: influxdb\n"
     "    url: http://localhost\n    database: x\n    version: 3\n    token: hush§",
     "a secret is not written", "{env: NAME}"),
    ("login in the url", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  historian:\n"
     "    kind: influxdb\n    url: http://me:hush@localhost§\n    database: x\n    version: 1",
     "a login is not written", "token: {env: ...}"),
    ("bucket of nobody", "segment: 0.5 m", "segment: 0.5 m\nstore:\n  historian: "
     "{kind: influxdb, url: 'http://localhost', database: x}§", "organisation", "accordingly"),
    ("name that a server cannot keep", "name: virtual pilot line", "name: 'a\\b'§\nstore: "
     "{historian: {kind: victoria_metrics, url: 'http://localhost'}}", "backslash", "otherwise"),
    # operation
    *(
        (f"time zone {zone}", "segment: 0.5 m",
         f"segment: 0.5 m\noperation: {{time_zone: {zone}}}§", "is no time zone", "Europe/Berlin")
        for zone in ("Mars", "localtime", "posix/UTC")
    ),
    # keys and types
    ("unknown key", "lateness: 2 s", "latenes: 2 s§", "'latenes' is not known", "'lateness'"),
    ("unknown tag key", "limits: [40, 80]", "limit: [40, 80]§", "'limit'", "'limits'"),
    (
        "unknown connector key",
        "127.0.0.1, port: 1883",
        "127.0.0.1, prt: 1883§",
        "'prt' is not known",
        "'port'",
    ),
    ("unknown address key", "status: status}", "statu: status}§", "'statu'", "'status'"),
    ("unknown output key", "target: 180", "goal: 180§", "'goal'", "choose from"),
    (
        "missing tag key",
        "  coater.run:\n    unit: dimensionless\n",
        "  coater.run:§\n",
        "tags.coater.run lacks the key 'unit'",
        "add 'unit: ...'",
    ),
    ("missing runs_on", "coating:\n    runs_on: coater", "coating:§", "'runs_on'", "add"),
    ("missing url", ', url: "opc.tcp://127.0.0.1:4840/mixer"}', "}§", "'url'", "add"),
    ("missing kind", "mixer: {kind: opcua, ", "mixer: {§", "'kind'", "kind: opcua"),
    ("connector kind", "kind: mqtt", "kind: mqt§", "'mqt'", "'mqtt'"),
    ("url", "opc.tcp://127.0.0.1:4840", "http://127.0.0.1:4840§", "http:", "opc.tcp://"),
    ("no security", "security: none, url", "url§", "lacks the key 'security'", "security: none"),
    ("security", "security: none", "security: nne§", "'nne'", "'none'"),
    ("half a security", "security: none", "security: {certificate: a.der}§", "'key'", "add 'key"),
    ("nobody trusted", "security: none", "security: {certificate: a, key: b, trusts: []}§",
     "trusts is empty", "at least one"),
    ("trusts is text", "security: none", "security: {certificate: a, key: b, trusts: c}§",
     "trusts is 'c'", "a list"),
    ("login in the address", "opc.tcp://127.0.0.1:4840", "opc.tcp://me:hush@127.0.0.1:4840§",
     "a login is not written", "{name: ..., password"),
    ("password", "security: none", "security: none, user: {name: me, password: hush}§",
     "a secret is not written", "{env: NAME}"),
    ("half a user", "security: none", "security: none, user: {name: me}§", "by name or by",
     "{name: ..., password: ...}"),
    ("two places", "security: none",
     "security: none, user: {name: me, password: {env: A, file: b}}§", "exactly one place",
     "{env: NAME}"),
    ("broker in the clear", "host: 127.0.0.1, port: 1883", "host: broker.plant, port: 1883§",
     "everybody on the way to broker.plant", "security: none"),
    ("one session twice", "port: 1883, publish: linetwin}",
     "port: 1883, publish: linetwin}\n  more: {kind: mqtt, host: 127.0.0.1}§",
     "'gauges' comes to this broker as 'linetwin' too", "client_id: linetwin-more"),
    ("half a certificate", "port: 1883,", "port: 1883, security: {trusts: [a], key: b},§",
     "without its key", "both, or neither"),
    ("port", "port: 1883", "port: 70000§", "70000", "at most 65535"),
    ("port is text", "port: 1883", "port: standard§", "'standard'", "whole number"),
    ("mode", "mode: shadow", "mode: shadwo§", "'shadwo'", "'shadow'"),
    ("class", "class: PP", "class: XX§", "'XX'", "MP"),
    ("role", "role: setpoint", "role: set§", "'set'", "setpoint"),
    ("resets without a size", "uncertainty: 0.5\n", "uncertainty: 0.5\n        resets_at: batch§\n",
     "unknown anew at a batch", "'model_uncertainty'"),
    ("a foil as an input", "uncertainty: 5, correction: roll_gap}",
     "uncertainty: 5, correction: roll_gap, foil_uncertainty: 9§}", "a foil is no input",
     "'relative'"),
    ("followed below what is elsewhere", "{drying.residual_solvent: 0.3}",
     "{calendering.porosity: 0.3§}", "'calendering.porosity' is not declared",
     "drying.dry_porosity"),
    ("resets at a roll", "builds_on: wet_thickness",
     "resets_at: roll§\n        builds_on: wet_thickness",
     "unwinds no rolls", "batch"),
    ("builds on a later output", "builds_on: wet_thickness", "builds_on: coating_window_margin§",
     "'coating_window_margin' is not declared", "wet_thickness"),
    ("builds on another correction",
     "correction: roll_gap   # nobody knows the zero of the gap\n        builds_on: line_load",
     "correction: relative\n        builds_on: line_load§", "corrected by 'roll_gap'",
     "same 'correction'"),
    ("neither node nor topic", "{topic: virtual-line/gauges/wet_thickness, unit", "{§unit",
     "neither a node nor a topic", "{topic: ...}"),
    ("node id", "s=Mixer.BatchNumber", "BatchNumber§", "BatchNumber", "node id"),
    ("no unit of time", "lateness: 2 s", "lateness: 2§", "lateness is 2", "number and a unit"),
    ("unit left out", "lateness: 2 s", 'lateness: "2"§', "no unit", "'2 s'"),
    ("length in seconds", "segment: 0.5 m", "segment: 0.5 s§", "not a quantity in m", "'1 m'"),
    ("negative", "interval: 1 s", "interval: -1 s§", "must be more than 0", "more than 0"),
    ("position without unit", "beta: 10.6 m", "beta: 10.6§", "beta", "'2 m'"),
    ("three limits", "limits: [40, 80]", "limits: [40, 60, 80]§", "list of two", "[0, 1]"),
    ("limits text", "limits: [40, 80]", "limits:\n      - low§\n      - 80", "'low'", "a number"),
    ("infinite", "target: 180", "target: .inf§", "inf", "finite"),
    ("section is text", "segment: 0.5 m", "segment: 0.5 m\nstore: x§", "'x'", "section"),
    ("position list", "dryer: [1 m, 10 m]", "dryer: [1 m]§", "a list", "[1 m, 4 m]"),
    ("no number", "segment: 0.5 m", "segment: half a metre§", "no quantity", "number and a unit"),
    ("step is a list", "    outputs:\n      slurry_density: {unit: kg/m^3}",
     "    outputs:\n      slurry_density: [1]§", "a list", "section"),
    # tags
    ("tag unit", "unit: m/min", "unit: m/mni§", "unknown unit 'm/mni'", "m/min"),
    ("tag connector", "connector: coater", "connector: coatr§", "'coatr'", "'coater'"),
    ("tag station", "station: wet_gauge", "station: wet_guage§", "'wet_guage'", "'wet_gauge'"),
    ("limits upside down", "limits: [40, 80]", "limits: [80, 40]§", "not below", "lower one"),
    ("node on MQTT", "connector: mixer\n    address: {", "connector: gauges\n    address: {§",
     "an MQTT connector", "{topic: ...}"),
    ("topic on OPC UA", "connector: gauges\n    address: {", "connector: mixer\n    address: {§",
     "an OPC UA connector", "{node: ...}"),
    ("topic pattern", "topic: virtual-line/laboratory,", "topic: virtual-line/#/x,§",
     "no topic pattern", "+"),
    ("roll without metre", ", roll: roll, metre: metre}", ", roll: roll}§", "metre", "both"),
    ("same node", "s=Mixer.SolidsContent", "s=Mixer.BatchNumber§", "mixer.batch_number",
     "of its own"),
    ("deadband", 's=Mixer.SolidsContent"}', 's=Mixer.SolidsContent", deadband: 50}§',
     "hides every change", "less than 40"),
    ("publish", "publish: linetwin", 'publish: "linetwin/#"§', "no topic", "without"),
    # webs
    ("encoder", "encoder: coater.web_length", "encoder: coater.weblength§", "'coater.weblength'",
     "'coater.web_length'"),
    ("encoder unit", "encoder: coater.web_length", "encoder: coater.line_speed§",
     "not a quantity in m", "in m"),
    ("no encoder", "  coater:\n    encoder: coater.web_length", "  coater:§", "neither an encoder",
     "encoder: TAG"),
    ("encoder and speed", "encoder: coater.web_length",
     "encoder: coater.web_length\n    speed: coater.line_speed§", "both", "keep the encoder"),
    ("roll", "roll: coater.roll_number", "roll: coater.rol_number§", "not declared",
     "'coater.roll_number'"),
    ("winds_at", "winds_at: rewinder", "winds_at: rewindr§", "'rewindr'", "'rewinder'"),
    ("unwinds", "unwinds: coater", "unwinds: coatre§", "'coatre'", "'coater'"),
    ("unwinds itself", "unwinds: coater", "unwinds: calender§", "itself", "before"),
    ("stretch", "    stretch: 0.01\n    stretches_at: nip", "    stretch: 0.01§", "stretches",
     "stretches_at"),
    ("splice", "    splice: coater.splice_count\n    splices_at: unwinder",
     "    splice: coater.splice_count§", "without 'splices_at'", "add"),
    ("entry and exit", "dryer: [1 m, 10 m]", "dryer: [10 m, 1 m]§", "not below", "lower"),
    ("station twice", "nip: 2 m", "nip: 2 m\n      head: 3 m§", "'coater' has a station 'head'",
     "own"),
    ("slow encoder", "interval: 1 s", "interval: 60 s§", "stale", "30 s"),
    # batches
    ("batch flow", "flow: coater.pump_flow", "flow: coater.line_speed§", "mL/min", "in mL/min"),
    ("batch web", "    web: coater\n", "    web: coatr§\n", "'coatr'", "'coater'"),
    ("batch head", "head: head", "head: heat§", "'heat'", "'head'"),
    # steps
    ("runs_on", "runs_on: slurry", "runs_on: slury§", "'slury'", "'slurry'"),
    ("input", "pump_flow: coater.pump_flow", "pump_flow: coater.pump§", "'coater.pump'",
     "'coater.pump_flow'"),
    ("two sources", "{constant: 0.2}", "{constant: 0.2, tag: coater.line_speed}§", "2 sources",
     "exactly one"),
    ("no source", "{constant: 0.2}", "{}§", "0 sources", "exactly one"),
    ("at", "at: dryer}", "at: nip}§", "'nip'", "choose from"),
    ("no station", "coating_gap: coater.coating_gap", "coating_gap: coater.ambient_temperature§",
     "where on the web", "station"),
    ("upstream parameter", "slurry_density: mixing.slurry_density",
     "slurry_density: mixing.slury_density§", "'slury_density'", "'slurry_density'"),
    ("later step", "viscosity: mixing.viscosity", "viscosity: drying.dry_thickness§",
     "not before", "earlier"),
    ("itself", "viscosity: mixing.viscosity", "viscosity: coating.wet_thickness§", "not before",
     "earlier"),
    ("web not reached", "line_speed: coater.line_speed\n      coating_gap",
     "line_speed: calender.line_speed§\n      coating_gap", "has not been", "web 'coater'"),
    ("output unit", "wet_thickness:\n        unit: um", "wet_thickness:\n        unit: xyz§",
     "unknown unit", "um"),
    ("gauge", "measured_by: gauges.mass_loading", "measured_by: gauges.mass_load§",
     "not declared", "'gauges.mass_loading'"),
    ("gauge dimension", "measured_by: gauges.mass_loading", "measured_by: gauges.dry_thickness§",
     "not a quantity in g/m^2", "g/m^2"),
    ("gauge role", "measured_by: gauges.mass_loading", "measured_by: coater.run§",
     "has the role counter", "measurement"),
    ("calculated from unmeasured", "thickness: drying.dry_thickness", "thickness: drying.adhesion§",
     "not measured", "measured_by"),
    ("laboratory role", "laboratory: laboratory.viscosity", "laboratory: mixer.mixing_time§",
     "has the role actual", "laboratory"),
    ("laboratory material", "laboratory: laboratory.residual_solvent",
     "laboratory: laboratory.solids_content§", "a slurry batch", "own material"),
    ("target", "target: 180", "target: 200§", "outside the limits", "176.4 to 183.6"),
    ("limits of output", "limits: [58.5, 61.5]", "limits: [61.5, 58.5]§", "not below", "first"),
    ("correction", "correction: roll_gap", "correction: roll_gab§", "'roll_gab'", "'roll_gap'"),
    # setpoints
    ("setpoint tag", "tag: coater.pump_flow_setpoint", "tag: coater.pump_flow_setpont§",
     "not declared", "'coater.pump_flow_setpoint'"),
    ("setpoint role", "tag: coater.pump_flow_setpoint", "tag: coater.pump_flow§",
     "has the role actual", "setpoint"),
    ("setpoint dimension", "tag: coater.pump_flow_setpoint", "tag: coater.coating_gap_setpoint§",
     "not a quantity in mL/min", "mL/min"),
    ("setpoint limits", "limits: [5, 300]", "limits: [5, 3000]§", "beyond", "to 500"),
    ("max_step", "max_step: 40", "max_step: 400§", "wider", "at most 150"),
    ("deadband of setpoint", "max_step: 40\n        deadband:",
     "max_step: 40\n        deadband: 41§ #", "passes a deadband", "less than 40"),
    ("setpoint of no input", "    setpoints:\n      pump_flow:", "    setpoints:\n      pump_flw:§",
     "'pump_flw'", "'pump_flow'"),
]  # fmt: skip


def spoil(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    text = bundled("line.yaml").read_text()
    assert old in text, f"config/line.yaml no longer has {old!r}"
    text = text.replace(old, new, 1)
    line = text[: text.index(HERE)].count("\n") + 1
    path = tmp_path / "line.yaml"
    path.write_text(text.replace(HERE, ""))
    return path, line


def assert_said(path: Path, line: int, what: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    said = [
        problem
        for problem in caught.value.problems
        if problem.line == line and what in problem.what and remedy in problem.remedy
    ]
    assert said, str(caught.value)
    for problem in caught.value.problems:
        assert problem.what
        assert problem.remedy
        assert str(problem) == f"{path}:{problem.line}: {problem.what}; {problem.remedy}"


@pytest.mark.parametrize(("old", "new", "what", "remedy"), [c[1:] for c in WRONG],
                         ids=[c[0] for c in WRONG])  # fmt: skip
def test_a_wrong_configuration_is_refused_at_its_line(
    tmp_path: Path, old: str, new: str, what: str, remedy: str
) -> None:
    path, line = spoil(tmp_path, old, new)
    assert_said(path, line, what, remedy)


def test_there_are_at_least_forty_of_them() -> None:
    assert len(WRONG) >= 40


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "no keys"),
        (b"- 1\n", "no keys"),
        (b"name: \xff\n", "UTF-8"),
        (b"a: \x07\n", "not allowed"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, raw: bytes, what: str) -> None:
    path = tmp_path / "line.yaml"
    path.write_bytes(raw)
    assert_said(path, 1, what, "")


def test_a_missing_file_is_a_problem_like_any_other(tmp_path: Path) -> None:
    assert_said(tmp_path / "none.yaml", 1, "cannot be read", "path")


def test_aliases_within_themselves_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "line.yaml"
    path.write_text("name: &a\n  - *a\n")
    assert_said(path, 1, "aliases", "write the section out")


def test_a_missing_key_of_the_file_itself_is_said_at_its_first_line(tmp_path: Path) -> None:
    path, _ = spoil(tmp_path, "name: virtual pilot line", "§")
    assert_said(path, 1, "lacks the key 'name'", "add 'name")


def test_rolls_are_unwound_only_where_they_were_wound(tmp_path: Path) -> None:
    path, _ = spoil(tmp_path, "    winds_at: rewinder\n", "§")
    line = path.read_text().split("unwinds: coater")[0].count("\n") + 1
    assert_said(path, line, "winds no rolls", "add 'winds_at: STATION'")


def test_connectors_may_share_a_broker_under_names_of_their_own(tmp_path: Path) -> None:
    path, _ = spoil(
        tmp_path,
        "port: 1883, publish: linetwin}",
        "port: 1883, publish: linetwin}\n"
        "  more: {kind: mqtt, host: 127.0.0.1, client_id: more}\n"
        "  other: {kind: mqtt, host: 127.0.0.1, port: 1884}§",
    )
    assert len(load(path).connectors) == 6


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    path, _ = spoil(tmp_path, "segment: 0.5 m", "segment: 1 s§\nfoo: 1\nstale_after: x")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert [problem.line for problem in caught.value.problems] == [4, 5, 6]


def names(model: str) -> tuple[Sequence[str], Sequence[str]]:
    line = load(bundled("line.yaml"))
    if model not in line.steps:
        raise LookupError("no such model")
    return tuple(line.steps[model].inputs), tuple(line.steps[model].outputs)


@pytest.mark.parametrize(
    ("old", "new", "what", "remedy"),
    [
        ("model: drying", "model: dring§", "no such model", "committed model"),
        ("air_speed: dryer.air_speed", "airspeed: dryer.air_speed§", "'airspeed'", "'air_speed'"),
        ("adhesion: {unit", "adhesive: {§unit", "no output 'adhesive'", "'adhesion'"),
        (
            "shadow\n    inputs:\n      mass_loading: coating.mass_loading",
            "shadow\n    inputs:§",
            "'mass_loading' of model 'drying' has no source",
            "add 'mass_loading",
        ),
    ],
)
def test_a_step_must_fit_its_model(
    tmp_path: Path, old: str, new: str, what: str, remedy: str
) -> None:
    path, line = spoil(tmp_path, old, new)
    with pytest.raises(ConfigurationError) as caught:
        load(path, names)
    assert any(
        problem.line == line and what in problem.what and remedy in problem.remedy
        for problem in caught.value.problems
    ), str(caught.value)


def test_the_bundled_line_fits() -> None:
    assert load(bundled("line.yaml"), names).steps
