"""A recording, through a core, onto a screen."""

from __future__ import annotations

from collections.abc import Mapping

from connectors.recording import Recording
from surrogates.onnx_model import OnnxSurrogate
from twin.core import Core
from twin.replay import Follower, Replay, Screen, Span


def build_replay(
    recording: Recording,
    surrogates: Mapping[str, OnnxSurrogate],
    screen: Screen,
    speed: float,
    with_decisions: bool,
) -> Replay:
    """A replay of a recording, shown on a screen.

    Args:
        recording: opened, for the line that is to be followed.
        surrogates: the model of every step at the start.
        screen: takes what is replayed.
        speed: seconds of line time per second.
        with_decisions: repeat what people decided.

    Raises:
        ValueError: the recording holds no sample.
    """
    manifest = recording.manifest
    if manifest.first is None or manifest.last is None:
        raise ValueError(f"{recording.folder} holds no sample")

    def load(step: str, version: str) -> OnnxSurrogate:
        return OnnxSurrogate.load(recording.model_file(step, version))

    return Replay(
        lambda: Follower(Core(recording.line, surrogates), load, with_decisions),
        recording.stream,
        Span(manifest.first, manifest.last),
        screen,
        speed,
    )
