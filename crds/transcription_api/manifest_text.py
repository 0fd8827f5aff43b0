"""YAML text to plain JSON data, with the line of every field. What the fields mean is not known here.

Stricter than `yaml.safe_load`, as the API server is: a doubled key, a second document or a tag beyond JSON's types is a
fault. Merge keys and runaway aliases are refused too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

MAX_BYTES = 1 << 20
"""etcd's limit of one object is of this order."""
_MAX_VALUES = 50_000
_MAX_DEPTH = 50
_MAX_BITS = 64
"""Of a whole number; JSON's are no longer for the API server, and Python does not print those of any length."""
_MAX_TOLD = 60
"""Characters of a value in a sentence."""
_COLLECTION_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


class TextError(Exception):
    """The text holds no manifest. `problem` says why and where, `mend` what to do."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(f"{problem}; {mend}")
        self.problem = problem
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its data, and for every path in it the 1-based line where it stands.

    `words` keeps how a number, true or false was written: `no` is false, but may be meant as Norwegian.
    """

    data: Mapping[str, Any]
    lines: Mapping[Path, int]
    words: Mapping[Path, str]

    def line(self, path: Path) -> int | None:
        """The line of the path, or of the nearest parent that stands in the text."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)


class _JsonTypes(yaml.SafeLoader):
    """YAML whose dates stay text, as they do for the API server, and whose blocks nest only so deep."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TextError(f"line {self.line + 1}: the manifest nests too deep", "write it with fewer levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_JsonTypes.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if not tag.endswith((":timestamp", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_document(text: str) -> Document:
    """The only document of the text. Raises TextError."""
    if len(text) > MAX_BYTES:
        raise TextError(
            "the manifest is larger than 1 MiB", "list recordings in a file and name it as spec.input.manifest"
        )
    try:
        loader = _JsonTypes(text)
    except yaml.YAMLError as error:
        raise TextError(f"the manifest is not YAML: {_first_line(error)}", "write plain UTF-8 text") from None
    try:
        nodes: list[yaml.Node] = []
        while loader.check_node():
            node = loader.get_node()
            if node is not None and not _is_empty(node):
                nodes.append(node)
        if not nodes:
            raise TextError(
                "the manifest is empty", "write a TranscriptionJob with apiVersion, kind, metadata and spec"
            )
        if len(nodes) > 1:
            raise TextError(
                f"the manifest holds {len(nodes)} documents, the second at line {nodes[1].start_mark.line + 1}",
                "write one TranscriptionJob per file",
            )
        if not isinstance(nodes[0], yaml.MappingNode):
            raise TextError("the manifest holds no fields", "write apiVersion, kind, metadata and spec, each on a line")
        reader = _Reader(loader)
        return Document(reader.value(nodes[0], ()), reader.lines, reader.words)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from None
    finally:
        loader.dispose()


class _Reader:
    """Turns composed nodes into data and notes their lines on the way."""

    def __init__(self, loader: _JsonTypes) -> None:
        self._loader = loader
        self._values = 0
        self.lines: dict[Path, int] = {}
        self.words: dict[Path, str] = {}

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._values += 1
        # Aliases may repeat a part any number of times, or contain themselves.
        if self._values > _MAX_VALUES or len(path) > _MAX_DEPTH:
            raise TextError(f"{_at(node)}: the manifest grows beyond all bounds", "write it without aliases")
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTION_TAGS:
            raise TextError(f"{_at(node)}: YAML tags are not supported", "write the value without the tag")
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise TextError(f"{_at(key_node)}: a field's name is not text", "write a plain name before the colon")
            key = key_node.value
            if key == "<<":
                raise TextError(f"{_at(key_node)}: merge keys are not supported", "write the fields out")
            if key in mapping:
                raise TextError(f"{_at(key_node)}: {key} stands here a second time", "keep one of the two")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            mapping[key] = self.value(value_node, (*path, key))
        return mapping

    def _scalar(self, node: yaml.Node, path: Path) -> Any:
        self.words[path] = word = str(node.value)
        try:
            value = self._loader.construct_object(node)
        except (ValueError, ArithmeticError, LookupError, AttributeError):  # a number of any length, a tag that lies
            value = math.nan
        if value is None or isinstance(value, str) or _is_number(value):
            return value
        told = word if len(word) <= _MAX_TOLD else f"{word[:_MAX_TOLD]}…"
        raise TextError(f"{_at(node)}: {told!r} is no text, number, true or false", "write it in quotes")


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return value.bit_length() <= _MAX_BITS
    return isinstance(value, float) and math.isfinite(value)


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _at(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"


def _syntax_error(error: yaml.MarkedYAMLError) -> TextError:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = error.problem or error.context or "not YAML"
    if "'\\t'" in problem:
        return TextError(f"{where}a tab where YAML wants spaces", "indent with spaces")
    if "could not determine a constructor" in problem:
        return TextError(f"{where}YAML tags are not supported", "write the value without the tag")
    return TextError(f"{where}{problem}", "check the indentation, colons, brackets and quotes there")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
