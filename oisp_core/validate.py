# SPDX-License-Identifier: Apache-2.0
"""Is a document a valid OISP event, and if not, where and why?

The answer is that of the packaged JSON Schema, `format: date-time` asserted. A valid event is decided by the Structs
of `oisp_core.events`, which is fast; whatever they reject is walked through the schema, which finds every error and not
only the first. tests/unit/test_validate.py proves that both agree, and lists where they do not.

This is no general validator: it knows the keywords that our schemas use, and refuses a schema that uses another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin

import msgspec

from oisp_core import events, resources
from oisp_core._events_codec import RFC3339, UNREADABLE
from oisp_core.errors import EventError

__all__ = ["Problem", "Schema", "Validator", "problems"]

ENVELOPE = "schema/v0.1/envelope.schema.json"
_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "description", "default", "deprecated"}
_PLAIN_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*\Z")
_RFC3339 = re.compile(RFC3339)


class Problem(NamedTuple):
    """One thing that is wrong. `path` is a JSON path such as `$.data.messages[0].role`."""

    path: str
    reason: str


Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]
Check = Callable[[Any, Path], Found]


def json_path(path: Path) -> str:
    out = "$"
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif _PLAIN_NAME.match(step):
            out += f".{step}"
        else:
            out += f"[{json.dumps(step)}]"
    return out


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    """The JSON type of a decoded value."""
    if value is None:
        return "null"
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _is(value: Any, kind: str) -> bool:
    found = _kind(value)
    if kind == "number":
        return found in ("integer", "number")
    if kind == "integer" and found == "number":
        return bool(value.is_integer())
    return found == kind


class Schema:
    """A bundled schema document, compiled into functions."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._resources: dict[str, dict[str, Any]] = {}
        self._compiled: dict[str, Check] = {}
        self._collect(document, document["$id"])
        self._root = self._reference(document["$id"])

    def _collect(self, node: Any, base: str) -> None:
        if not isinstance(node, dict):
            return
        if "$id" in node:
            base = urljoin(base, node["$id"])
            self._resources[base] = node
        for inner in node.get("$defs", {}).values():
            self._collect(inner, base)

    def problems(self, value: Any) -> list[Problem]:
        return [Problem(json_path(path), reason) for path, reason in self._root(value, ())]

    def _reference(self, uri: str) -> Check:
        if uri not in self._compiled:
            base, fragment = urldefrag(uri)
            node: Any = self._resources[base]
            for step in fragment.split("/")[1:]:
                node = node[step.replace("~1", "/").replace("~0", "~")]
            self._compiled[uri] = lambda value, path: self._compiled[uri](
                value, path
            )  # for schemas that refer to themselves
            self._compiled[uri] = self._compile(node, base)
        return self._compiled[uri]

    def _compile(self, node: dict[str, Any], base: str) -> Check:
        checks: list[Check] = []
        for keyword, argument in node.items():
            if keyword in _ANNOTATIONS or keyword == "then":
                continue
            make = _KEYWORDS.get(keyword)
            if make is None:
                raise ValueError(f"{base}: keyword {keyword!r} is not supported")
            checks.append(make(self, argument, node, base))
        if "type" in node:
            return _typed(node["type"], [c for k, c in zip(_used(node), checks, strict=True) if k != "type"])
        return lambda value, path: (found for check in checks for found in check(value, path))


def _used(node: dict[str, Any]) -> list[str]:
    return [k for k in node if k not in _ANNOTATIONS and k != "then"]


def _typed(kind: str, checks: list[Check]) -> Check:
    def check(value: Any, path: Path) -> Found:
        if not _is(value, kind):
            yield path, f"expected {kind}, got {_kind(value)}"
            return
        for inner in checks:
            yield from inner(value, path)

    return check


def _type(_: Schema, kind: str, __: dict[str, Any], ___: str) -> Check:
    return _typed(kind, [])


def _enum(_: Schema, words: list[str], __: dict[str, Any], ___: str) -> Check:
    def check(value: Any, path: Path) -> Found:
        if value not in words:
            yield path, f"expected one of {', '.join(words)}; got {shown(value)}"

    return check


def _const(_: Schema, word: str, __: dict[str, Any], ___: str) -> Check:
    def check(value: Any, path: Path) -> Found:
        if value != word:
            yield path, f"expected {shown(word)}, got {shown(value)}"

    return check


def _pattern(_: Schema, pattern: str, __: dict[str, Any], ___: str) -> Check:
    compiled = re.compile(pattern)

    def check(value: Any, path: Path) -> Found:
        if isinstance(value, str) and not compiled.search(value):
            yield path, f"expected a match of {pattern}, got {shown(value)}"

    return check


def _format(_: Schema, name: str, __: dict[str, Any], ___: str) -> Check:
    def check(value: Any, path: Path) -> Found:
        if name == "date-time" and isinstance(value, str) and not _RFC3339.match(value):
            yield path, f"expected an RFC 3339 date-time, got {shown(value)}"

    return check


def _bound(holds: Callable[[Any, Any], bool], what: str, length: bool) -> Any:
    def make(_: Schema, bound: Any, __: dict[str, Any], ___: str) -> Check:
        def check(value: Any, path: Path) -> Found:
            if isinstance(value, str) is not length or _kind(value) not in ("string", "integer", "number"):
                return
            if not holds(len(value) if length else value, bound):
                yield path, f"expected {what} {bound}, got {shown(value)}"

        return check

    return make


def _required(_: Schema, names: list[str], __: dict[str, Any], ___: str) -> Check:
    def check(value: Any, path: Path) -> Found:
        if isinstance(value, dict):
            yield from ((path, f"required member {shown(name)} is missing") for name in names if name not in value)

    return check


def _properties(schema: Schema, members: dict[str, Any], _: dict[str, Any], base: str) -> Check:
    checks = {name: schema._compile(node, base) for name, node in members.items()}

    def check(value: Any, path: Path) -> Found:
        if isinstance(value, dict):
            for name, member in value.items():
                if name in checks:
                    yield from checks[name](member, (*path, name))

    return check


def _additional(schema: Schema, argument: Any, node: dict[str, Any], base: str) -> Check:
    known = node.get("properties", {})
    inner = None if argument is False else schema._compile(argument, base)

    def check(value: Any, path: Path) -> Found:
        for name, member in value.items() if isinstance(value, dict) else ():
            if name in known:
                continue
            if inner is None:
                yield path, f"member {shown(name)} is not allowed here"
            else:
                yield from inner(member, (*path, name))

    return check


def _items(schema: Schema, node: dict[str, Any], _: dict[str, Any], base: str) -> Check:
    inner = schema._compile(node, base)

    def check(value: Any, path: Path) -> Found:
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from inner(item, (*path, index))

    return check


def _ref(schema: Schema, uri: str, _: dict[str, Any], base: str) -> Check:
    return schema._reference(urljoin(base, uri))


def _all_of(schema: Schema, nodes: list[dict[str, Any]], _: dict[str, Any], base: str) -> Check:
    checks = [schema._compile(node, base) for node in nodes]
    return lambda value, path: (found for check in checks for found in check(value, path))


def _any_of(schema: Schema, nodes: list[dict[str, Any]], _: dict[str, Any], base: str) -> Check:
    """The errors of the alternative that got furthest are the ones to tell."""
    checks = [schema._compile(node, base) for node in nodes]

    def check(value: Any, path: Path) -> Found:
        attempts = []
        for inner in checks:
            found = list(inner(value, path))
            if not found:
                return
            attempts.append(found)
        deepest = max(attempts, key=lambda found: max(len(at) for at, _ in found))
        if all(at == path for found in attempts for at, _ in found):
            yield path, " or ".join(dict.fromkeys(reason for found in attempts for _, reason in found))
        else:
            yield from deepest

    return check


def _if(schema: Schema, condition: dict[str, Any], node: dict[str, Any], base: str) -> Check:
    holds = schema._compile(condition, base)
    then = schema._compile(node["then"], base)

    def check(value: Any, path: Path) -> Found:
        if next(iter(holds(value, path)), None) is None:
            yield from then(value, path)

    return check


_KEYWORDS: dict[str, Callable[[Schema, Any, dict[str, Any], str], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "pattern": _pattern,
    "format": _format,
    "minimum": _bound(lambda value, bound: value >= bound, "at least", False),
    "maximum": _bound(lambda value, bound: value <= bound, "at most", False),
    "minLength": _bound(lambda value, bound: value >= bound, "a length of at least", True),
    "maxLength": _bound(lambda value, bound: value <= bound, "a length of at most", True),
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "$ref": _ref,
    "allOf": _all_of,
    "anyOf": _any_of,
    "if": _if,
}


class Validator:
    """Validates events against the packaged schema, or against `document`, a bundled schema."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        self._structs = document is None
        self._schema = Schema(document if document is not None else json.loads(resources.read(ENVELOPE)))

    def problems(self, event: bytes | str) -> list[Problem]:
        """Everything that is wrong with `event`, the text of one JSON document; empty when it is valid."""
        if self._structs:
            try:
                events.decode(event, strict=True)
            except EventError:
                pass
            else:
                return []
        try:
            value = msgspec.json.decode(event)
        except UNREADABLE as error:
            return [Problem("$", f"not JSON: {error}")]
        return self._schema.problems(value)


@cache
def _packaged() -> Validator:
    return Validator()


def problems(event: bytes | str) -> list[Problem]:
    """Everything that is wrong with `event`, by the packaged schema; it is compiled at the first call."""
    return _packaged().problems(event)
