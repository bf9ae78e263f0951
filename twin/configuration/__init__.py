"""The configuration of a line: read, checked, explained."""

from twin.configuration.checks import Finding, ModelNames, check
from twin.configuration.loading import bundled, load
from twin.configuration.models import LineConfiguration
from twin.configuration.problems import ConfigurationError, Problem

__all__ = [
    "ConfigurationError",
    "Finding",
    "LineConfiguration",
    "ModelNames",
    "Problem",
    "bundled",
    "check",
    "load",
]
