"""pydantic's errors about a mapping file, as sentences with a remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from twin.configuration import sentences
from twin.configuration.problems import Problem, one_of
from twin.configuration.yaml_text import Document, Key

_WANTED: Final = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a section of keys",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "string_type": "a text",
}


def explain(
    error: ValidationError, document: Document, models: Mapping[str, type[BaseModel]]
) -> list[Problem]:
    """One problem per error, in the order of the file.

    Args:
        error: of a mapping, whose location begins with two keys that the file does not have.
        document: the file.
        models: of each section, by its key; "" is the whole file.
    """
    problems: list[Problem] = []
    others: list[Any] = []
    for details in error.errors(include_url=False):
        location = document.path_of(details["loc"])
        kind = details["type"]
        if kind == "extra_forbidden":
            key = str(details["loc"][-1])
            known = _keys(models[_section(location[:-1], models)])
            what = f"the key {key!r} is not known here"
            problems.append(document.problem(location, what, one_of(key, known, "key")))
        elif kind in _WANTED:
            where = ".".join(map(str, location)) or "the file"
            what = f"{where} is {_shown(details)}"
            problems.append(document.problem(location, what, f"write {_WANTED[kind]}"))
        elif kind == "too_short":
            where = ".".join(map(str, location))
            problems.append(document.problem(location, f"{where} is empty", "write an entry"))
        else:
            others.append(details)
    if others:
        rest = ValidationError.from_exception_data(error.title, others)
        problems += sentences.explain(rest, document)
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))


def _section(location: tuple[Key, ...], models: Mapping[str, type[BaseModel]]) -> str:
    """The key of the section that holds a location; "" is the whole file."""
    inside = location[2:] if location[:1] == ("sources",) else location
    key = str(inside[0]) if inside else ""
    return key if key in models else ""


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _shown(details: ErrorDetails) -> str:
    value = details["input"]
    if isinstance(value, dict):
        return "a section of keys"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else repr(value)
