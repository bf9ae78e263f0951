"""A decision over all setpoints of the line, beside the bare models that it asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import onnxruntime
import pytest
import yaml

from tests.in_process import ROOT, LineInProcess
from twin.advice import Advisor
from twin.configuration.models import LineConfiguration

SETPOINTS: dict[str, dict[str, tuple[str, list[float], float]]] = {
    "coating": {
        "pump_flow": ("coater.pump_flow_setpoint", [5, 300], 10),
        "line_speed": ("coater.line_speed_setpoint", [0.5, 8], 0.2),
        "coating_gap": ("coater.coating_gap_setpoint", [60, 400], 10),
    },
    "drying": {
        **{
            f"zone_{zone}_temperature": (f"dryer.zone_{zone}_temperature_setpoint", [40, 150], 5)
            for zone in (1, 2, 3)
        },
        "air_speed": ("dryer.air_speed_setpoint", [3, 18], 1),
    },
    "calendering": {
        "roll_gap": ("calender.roll_gap_setpoint", [0, 150], 40),
        "roll_temperature": ("calender.roll_temperature_setpoint", [30, 120], 10),
        "line_speed": ("calender.line_speed_setpoint", [0.5, 20], 0.5),
    },
}
TARGETS = {
    # far from what the line makes, so that every decision optimises to its last iteration
    "coating": {"mass_loading": 170, "wet_thickness": 110},
    "drying": {"dry_thickness": 75, "web_temperature": 90},
    "calendering": {"calendered_thickness": 56, "line_load": 300},
}
METRES = 40
REPEATS = 300
Times = np.ndarray[tuple[int], np.dtype[np.float64]]


def wide_line() -> LineConfiguration:
    """The bundled line with every setpoint that a model has an input for, two targets a step."""
    content = yaml.safe_load((ROOT / "config" / "line.yaml").read_text())
    content["tags"]["calender.line_speed_setpoint"] = {
        **content["tags"]["calender.roll_gap_setpoint"],
        "unit": "m/min",
        "address": {"node": "nsu=urn:linetwin:virtual-line;s=Calender.LineSpeed.Setpoint"},
        "limits": [0.5, 20],
    }
    for name, setpoints in SETPOINTS.items():
        step = content["steps"][name]
        step["mode"] = "advisory"
        step["setpoints"] = {
            key: {"tag": tag, "limits": limits, "max_step": largest}
            for key, (tag, limits, largest) in setpoints.items()
        }
        for output, target in TARGETS[name].items():
            step["outputs"][output] = {**step["outputs"][output], "target": target, "limits": None}
    return LineConfiguration.model_validate(content)


def milliseconds(what: Callable[[], object]) -> Times:
    """CPU of one thread, as others may be at work on the machine."""
    took = []
    for _ in range(REPEATS):
        began = time.thread_time()
        what()
        took.append(1e3 * (time.thread_time() - began))
    return np.array(took)


def told(took: Times) -> str:
    return f"median {np.median(took):.1f} ms, p95 {np.percentile(took, 95):.1f} ms"


@pytest.mark.bench
def test_a_decision_over_the_electrode_chain() -> None:
    line = wide_line()
    run = LineInProcess("nominal", metres=METRES, line=line, accept=False)
    core = run.core
    advisor = Advisor(
        line,
        core.tags,
        core.surrogates,
        core.predictor,
        core.estimators,
        core.tracker,
        core._guard,
    )
    sessions = []
    for name in SETPOINTS:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        file = ROOT / "surrogates" / "models" / f"{line.steps[name].model}.onnx"
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        row = np.ones((1, len(core.surrogates[name].inputs)))
        sessions.append((session, {session.get_inputs()[0].name: row}))

    def bare() -> None:
        for session, row in sessions:
            session.run(None, row)

    took: dict[str, Times] = {}
    print()  # noqa: T201
    for batch in run.recorded():
        run.deliver(batch)
        now = core.tracker.frontier
        for web in line.webs:
            if web in took or (advice := advisor.advise(web, now)) is None:
                continue
            took[web] = milliseconds(partial(advisor.advise, web, now))
            steps = [step for step in SETPOINTS if line.steps[step].runs_on == web]
            print(  # noqa: T201
                f"{web}: {sum(len(SETPOINTS[step]) for step in steps)} setpoints, "
                f"{len(advice.effects)} targets: {told(took[web])}"
            )
    assert set(took) == set(line.webs)
    chain = np.sum([*took.values()], axis=0)
    models = milliseconds(bare)
    print(  # noqa: T201
        f"electrode chain: {sum(map(len, SETPOINTS.values()))} setpoints: {told(chain)}; "
        f"{np.median(chain) / np.median(models):.0f} times the CPU of onnxruntime alone for "
        f"their {len(sessions)} models, once ({1e3 * np.median(models):.0f} us)"
    )
