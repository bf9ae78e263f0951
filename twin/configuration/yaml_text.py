"""YAML with the line and column of every key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from twin.configuration.problems import ConfigurationError, Problem

Key = str | int
Location = tuple[Key, ...]
_MOST_NODES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file says, and where."""

    file: Path
    data: Mapping[str, Any]
    positions: Mapping[Location, tuple[int, int]]
    """Line and column, from 1, of each key and list entry."""

    def path_of(self, location: Sequence[Key]) -> Location:
        """The part of a location that the file has; entries that it lacks are left out."""
        path: Location = ()
        for key in location:
            if (*path, key) in self.positions:
                path = (*path, key)
        return path

    def problem(self, location: Sequence[Key], what: str, remedy: str) -> Problem:
        """A problem at the key of the location, or of the nearest section around it."""
        line, column = self.positions[self.path_of(location)]
        return Problem(self.file, line, column, what, remedy)


def read_yaml(path: Path) -> Document:
    """Read a mapping from a YAML file.

    Raises:
        ConfigurationError: no such file, no YAML, no mapping, or a key given twice.
    """
    text = _text(path)
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigurationError(
                [Problem(path, 1, 1, "the file has no keys", "begin with 'name: my line'")]
            )
        walk = _Walk(path, loader)
        walk.visit(node, (), ())
        if walk.problems:
            raise ConfigurationError(walk.problems)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigurationError([_broken(path, error)]) from error
    except RecursionError:
        raise ConfigurationError(
            [Problem(path, 1, 1, "sections are nested too deeply", "close the brackets")]
        ) from None
    except ValueError as error:
        raise ConfigurationError(
            [Problem(path, 1, 1, f"a value cannot be read: {error}", "put it in quotes")]
        ) from error
    finally:
        loader.dispose()
    return Document(path, data, walk.positions)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            [
                Problem(
                    path,
                    1,
                    1,
                    f"the file cannot be read: {error.strerror}",
                    "give the path of a readable YAML file",
                )
            ]
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            [Problem(path, line, 1, "a character is not UTF-8", "save the file as UTF-8")]
        ) from error
    # not splitlines: it takes characters for line ends that YAML does not allow at all
    for number, line_text in enumerate(text.split("\n"), 1):
        for column, character in enumerate(line_text, 1):
            if yaml.reader.Reader.NON_PRINTABLE.match(character):
                raise ConfigurationError(
                    [
                        Problem(
                            path,
                            number,
                            column,
                            f"the character {character!r} is not allowed",
                            "delete it",
                        )
                    ]
                )
    return text


def _broken(path: Path, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = " ".join(part for part in (error.context, error.problem) if part)
    if "'\\t'" in what:
        return Problem(path, line, column, "a tab stands in the indentation", "indent with spaces")
    remedies = {
        "mapping values are not allowed": "check the indentation, or quote a text that has ': '",
        "undefined alias": "declare the anchor with & above its use",
        "could not determine a constructor": "leave out the tag that begins with !",
        "expected a single document": "keep one document per file: delete the line '---'",
        "expected <block end>": "give keys of one section the same indentation",
        "flow": "close every bracket and separate entries with commas",
        "quoted scalar": "close the quotes",
        "could not find expected ':'": "write 'key: value'",
        "cannot start any token": "put the text in quotes",
    }
    remedy = next((text for part, text in remedies.items() if part in what), "write valid YAML")
    return Problem(path, line, column, f"this is not YAML: {what}", remedy)


class _Walk:
    """Collects positions; notes what YAML allows and a configuration must not have."""

    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.positions: dict[Location, tuple[int, int]] = {(): (1, 1)}
        self.problems: list[Problem] = []
        self._path = path
        self._loader = loader

    def visit(self, node: yaml.Node, location: Location, inside: tuple[yaml.Node, ...]) -> None:
        if node in inside or len(self.positions) > _MOST_NODES:
            raise ConfigurationError(
                [self._problem(node, "aliases repeat each other", "write the section out")]
            )
        inside = (*inside, node)
        if isinstance(node, yaml.MappingNode):
            self._refuse_duplicates(node)
            self._loader.flatten_mapping(node)
            for key_node, value in node.value:
                key = self._loader.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    self.problems.append(
                        self._problem(key_node, f"the key {key!r} is no text", "put it in quotes")
                    )
                    continue
                self._enter(key_node, (*location, key))
                self.visit(value, (*location, key), inside)
        elif isinstance(node, yaml.SequenceNode):
            for index, entry in enumerate(node.value):
                self._enter(entry, (*location, index))
                self.visit(entry, (*location, index), inside)

    def _enter(self, node: yaml.Node, location: Location) -> None:
        self.positions[location] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                self.problems.append(
                    self._problem(
                        key,
                        f"the key {key.value!r} is given twice",
                        f"keep this or the one in line {seen[key.value]}",
                    )
                )
            seen.setdefault(key.value, key.start_mark.line + 1)

    def _problem(self, node: yaml.Node, what: str, remedy: str) -> Problem:
        mark = node.start_mark
        return Problem(self._path, mark.line + 1, mark.column + 1, what, remedy)
