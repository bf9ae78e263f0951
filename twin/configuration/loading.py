"""Read a line's configuration, or say what is wrong with it and where."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from twin.configuration.checks import ModelNames, check
from twin.configuration.models import LineConfiguration
from twin.configuration.problems import ConfigurationError
from twin.configuration.sentences import explain
from twin.configuration.yaml_text import read_yaml


def load(path: Path, model_names: ModelNames | None = None) -> LineConfiguration:
    """Read and check a configuration.

    Args:
        path: a YAML file.
        model_names: input and output names of a surrogate by the name that a step gives it; it
            raises LookupError, OSError or ValueError where there is no such model. Without it
            the steps' models are not looked at.

    Raises:
        ConfigurationError: the file cannot be used; it holds every problem found.
    """
    document = read_yaml(path)
    try:
        configuration = LineConfiguration.model_validate(
            document.data, context={"beside": path.parent}
        )
    except ValidationError as error:
        raise ConfigurationError(explain(error, document)) from error
    findings = check(configuration, model_names)
    if findings:
        problems = [document.problem(each.path, each.what, each.remedy) for each in findings]
        raise ConfigurationError(sorted(problems, key=lambda problem: problem.line))
    return configuration


def bundled(name: str) -> Path:
    """Where a file that comes with the package lies, e.g. line.yaml.

    In an installed package it lies beside the code, in a checkout in config/.

    Raises:
        FileNotFoundError: no such file comes with the package.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "bundled", package.parent / "config"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"no {name!r} comes with linetwin")
