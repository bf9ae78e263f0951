"""The verdict on models that were tried on recorded material: what a backtest says, as a document.

`twin backtest --output` writes it, `twin promote` reads it. Times are ns since the epoch (UTC),
values in the unit that is named beside them. A figure that the material is too little for is None.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["better", "worse", "no difference", "too little material"]
OPEN_LOOP: Final = (
    "Open loop: recorded material cannot answer to other setpoints. Predictions are scored on what "
    "passed; what other advice would have made of it is not known."
)


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True
    )


class Estimate(_Part):
    """A figure with its 95 % bootstrap confidence interval."""

    value: float | None
    low: float | None
    high: float | None


class Scores(_Part):
    """How far one way of predicting was from the measurements."""

    mae: Estimate
    """Mean absolute error, in the unit."""
    bias: Estimate
    """Mean of measured minus predicted, in the unit."""
    r2: Estimate
    """Share of the variance of the measurements that is explained."""
    coverage: Estimate | None
    """Share of measurements in the stated 90 % interval; None where none is stated."""


class Drift(_Part):
    """Alarms of a cumulative sum chart of the residuals of the model alone."""

    alarms: int
    first: int | None
    """When the first was raised; None where there was none."""
    false_alarms: int | None
    """Before the known disturbance; None where none is known."""
    delay: float | None
    """Seconds from the known disturbance to the first alarm after it; None where none came."""


class ParameterScores(_Part):
    """The scores of one structure parameter."""

    unit: str
    segments: int
    """Measured, and predicted by the champion and this candidate."""
    corrected: Scores
    """Of the prediction corrected by what gauges had read before the material left the step; on
    material before the first reading there is none."""
    alone: Scores
    """Of the model alone."""
    out_of_domain: float
    """Share of these segments whose inputs lie outside the range of the model's training."""
    drift: Drift


class Overall(_Part):
    """Means over the structure parameters, errors in shares of the champion's mean absolute error.

    Of those with enough material for a verdict; of all where none has. The bias is the mean of its
    sizes, since those of different parameters have no common sign.
    """

    corrected: Scores
    alone: Scores
    out_of_domain: float | None
    """None where nothing was measured."""
    drift_alarms: int


class Advice(_Part):
    """How the candidate's advice differs from the champion's."""

    proposals: int
    """Of the candidate."""
    alike: int
    """Also made by the champion, each setpoint within its deadband."""
    different: int
    """Also made by the champion, with another setpoint."""
    only_champion: int
    only_candidate: int
    would_differ: float | None
    """Share of all these proposals that are not alike; None where nobody proposed anything."""


class ModelTried(_Part):
    """The model of one step."""

    version: str
    """As its card says."""
    sha256: str
    """Of the ONNX file."""


class Candidate(_Part):
    """A set of models that was tried."""

    label: str
    models: dict[str, ModelTried]
    """By step: all models of the champion; of a challenger those that differ from it."""
    parameters: dict[str, ParameterScores]
    """By `step.output`."""
    overall: Overall


class ParameterDifference(_Part):
    """Champion's absolute error minus the challenger's, in champion's mean absolute errors."""

    corrected: Estimate
    alone: Estimate
    limited: bool
    """Whether it counts for the verdict by itself: it has specification limits, and enough
    material."""


class Difference(_Part):
    """Mean difference over the structure parameters of the challenged steps; above 0 is better."""

    corrected: Estimate
    alone: Estimate
    segments: int
    blocks: float
    """Length of the material in blocks of the bootstrap."""


class Challenger(Candidate):
    """A candidate for the champion's place, and how it compares with it."""

    advice: Advice
    difference: Difference
    differences: dict[str, ParameterDifference]
    """By `step.output`, of all steps."""
    verdict: Verdict
    reasons: tuple[str, ...]
    """Sentences."""


class Rule(_Part):
    """How the verdict is found."""

    text: str
    confidence: float = 0.95
    block: int
    """Consecutive segments that the bootstrap draws together."""
    resamples: int
    seed: int
    minimum_segments: int
    minimum_blocks: int


class RecordingTried(_Part):
    """A recording whose material was used."""

    name: str
    """Of its folder."""
    manifest_sha256: str
    samples: int
    since: int | None
    until: int | None
    """Arrival of the first and the last sample that was used."""


class BacktestReport(_Part):
    """What a backtest found."""

    identity: Literal["linetwin/backtest/1"] = Field("linetwin/backtest/1", alias="schema")
    program: str
    line: str
    """Name of the line."""
    note: str = OPEN_LOOP
    recordings: tuple[RecordingTried, ...]
    disturbance: int | None
    """When a fault is known to have begun."""
    rule: Rule
    champion: Candidate
    challengers: tuple[Challenger, ...]
    persistence: dict[str, Scores]
    """Of the last value measured when the material left the step, by `step.output`."""

    def text(self) -> str:
        """As JSON."""
        return self.model_dump_json(indent=1)
