"""A line's files: its configuration, and the models of its steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from surrogates.onnx_model import OnnxSurrogate
from twin.configuration import load
from twin.configuration.models import LineConfiguration

if TYPE_CHECKING:
    from connectors.recording import Recording

MODELS: Final = Path(__file__).parents[2] / "surrogates" / "models"


def model_path(name: str, beside: Path) -> Path:
    """Where a step's model is: a committed one by name, else a file beside the configuration."""
    if name.endswith(".onnx"):
        return beside / name
    return MODELS / f"{name}.onnx"


def model_files(line: LineConfiguration, beside: Path) -> dict[str, Path]:
    """Where the model of every step is."""
    return {name: model_path(step.model, beside) for name, step in line.steps.items()}


def read_line(path: Path) -> LineConfiguration:
    """Read and check a configuration together with the models that it names.

    Raises:
        ConfigurationError: the file cannot be used; it holds every problem found.
    """

    def names(model: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        surrogate = OnnxSurrogate.load(model_path(model, path.parent))
        return surrogate.inputs, surrogate.outputs

    return load(path, names)


def load_surrogates(line: LineConfiguration, beside: Path) -> dict[str, OnnxSurrogate]:
    """The model of every step.

    Raises:
        ValueError: a model cannot be used.
    """
    return {name: OnnxSurrogate.load(file) for name, file in model_files(line, beside).items()}


def load_challengers(line: LineConfiguration, beside: Path) -> dict[str, OnnxSurrogate]:
    """The challengers of the steps that have one.

    Raises:
        ValueError: a model cannot be used.
    """
    return {
        name: OnnxSurrogate.load(model_path(step.challenger, beside))
        for name, step in line.steps.items()
        if step.challenger is not None
    }


def recorded_surrogates(
    recording: Recording, line: LineConfiguration, beside: Path
) -> dict[str, OnnxSurrogate]:
    """The models that predicted when a recording began; those of the line where it holds none.

    Raises:
        ValueError: a model cannot be used.
    """
    files = recording.first_models
    return {
        name: OnnxSurrogate.load(files.get(name) or file)
        for name, file in model_files(line, beside).items()
    }
