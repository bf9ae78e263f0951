"""pydantic's errors as sentences with a remedy."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from twin.configuration.models import LineConfiguration
from twin.configuration.problems import Problem, one_of
from twin.configuration.yaml_text import Document, Key

_WANTED = {
    "string_type": "a text",
    "float_type": "a number",
    "float_parsing": "a number",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "finite_number": "a finite number",
    "dict_type": "a section of keys",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "tuple_type": "a list of two numbers, e.g. [0, 1]",
    "path_type": "a path",
    "list_type": "a list, e.g. [certs/ca.der]",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_SHAPES = {
    "url": "write an address such as opc.tcp://host:4840/machine",
    "backup_at": "write a time of day such as '02:30'",
    "node": "write a node id such as 'nsu=urn:maker:machine;s=Coater.Speed' or 'ns=2;i=1001'",
}
_LACKING = {
    "security": "write security: {certificate: FILE, key: FILE, trusts: [FILE]}, or in so many "
    "words security: none, where nobody else can reach the line",
}


def explain(error: ValidationError, document: Document) -> list[Problem]:
    """One problem per error, in the order of the file."""
    problems = {_problem(details, document): None for details in error.errors(include_url=False)}
    return sorted(problems, key=lambda problem: (problem.line, problem.column))


def in_a_sentence(error: ValidationError) -> str:
    """The first error of a section that stands in no file."""
    first, *_ = error.errors(include_url=False)
    return "; ".join(_sentence(first, ".".join(map(str, first["loc"]))))


def _problem(error: ErrorDetails, document: Document) -> Problem:
    location = error["loc"]
    path = document.path_of(location)
    where = ".".join(str(key) for key in path) or "the file"
    what, remedy = _sentence(error, where)
    if error["type"] == "missing" and isinstance(location[-1], str):
        path = path[:-1] if path and path[-1] == location[-1] else path
    return document.problem(path, what, remedy)


def _sentence(error: ErrorDetails, where: str) -> tuple[str, str]:
    kind = error["type"]
    last = error["loc"][-1] if error["loc"] else ""
    context: dict[str, Any] = error.get("ctx", {})
    value = error["input"]
    if kind == "missing" and isinstance(last, str):
        return f"{where} lacks the key {last!r}", _LACKING.get(last, f"add '{last}: ...'")
    if kind == "too_short" and last == "trusts":
        return f"{where} is empty", "name at least one certificate"
    if kind in {"missing", "too_long", "too_short"}:
        return f"{where} is not a list of two entries", "write a list of two, e.g. [0, 1]"
    if kind == "extra_forbidden":
        known = _keys_at(error["loc"][:-1])
        return f"the key {last!r} is not known here", one_of(str(last), known, "key")
    if kind == "literal_error":
        allowed = str(context["expected"])
        names = [name.strip(" '") for name in allowed.replace(" or ", ",").split(",")]
        return f"{where} cannot be {value!r}", one_of(str(value), names, "value")
    if kind == "union_tag_invalid":
        names = [name.strip(" '") for name in str(context["expected_tags"]).split(",")]
        return f"{where} cannot be of kind {context['tag']!r}", one_of(
            str(context["tag"]), names, "kind"
        )
    if kind == "union_tag_not_found":
        if not isinstance(value, dict):
            return f"{where} is {value!r}", "write a section of keys"
        return f"{where} lacks the key 'kind'", "add 'kind: opcua' or 'kind: mqtt'"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = f"{words} {context[name]:g}"
        return f"{where} is {value!r}, but must be {bound}", f"write a value of {bound}"
    if kind == "string_pattern_mismatch":
        return f"{where} cannot be {value!r}", _SHAPES[str(last)]
    if kind == "string_too_short":
        return f"{where} is empty", "write a text"
    if kind in _WANTED:
        return f"{where} is {_shown(value)}", f"write {_WANTED[kind]}"
    what, _, remedy = error["msg"].removeprefix("Value error, ").partition("; ")
    if remedy:
        return f"{where}: {what}", remedy
    if what.startswith("write "):
        return f"{where} is {_shown(value)}", what
    unit = what.rpartition(" is not a quantity in ")[2] if "is not a quantity" in what else ""
    return f"{where}: {what}", f"write a number and a unit, e.g. '1 {unit or 'm'}'"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a section of keys"
    if isinstance(value, list):
        return "a list"
    return "empty" if value is None else repr(value)


def _keys_at(location: Sequence[Key]) -> list[str]:
    """The keys of the section at a location of pydantic's."""
    kind: Any = LineConfiguration
    for key in location:
        kind = _inside(_plain(kind), key)
    kind = _plain(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [field.alias or name for name, field in kind.model_fields.items()]
    return []


def _plain(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    members = [m for m in _members(kind) if m is not type(None)]
    return _plain(members[0]) if len(members) == 1 else kind


def _members(kind: Any) -> list[Any]:
    if get_origin(kind) in {Union, types.UnionType}:
        return list(get_args(kind))
    return []


def _inside(kind: Any, key: Key) -> Any:
    if get_origin(kind) is dict:
        return get_args(kind)[1]
    for member in map(_plain, _members(kind)):
        if isinstance(member, type) and issubclass(member, BaseModel) and _tag(member) == key:
            return member
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if key == (field.alias or name):
                return field.annotation
    return kind


def _tag(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    if field is not None and get_origin(field.annotation) is Literal:
        return str(get_args(field.annotation)[0])
    return model.__name__
