# SPDX-License-Identifier: Apache-2.0
"""A small language for what a YAML document may hold: it checks documents by line, and writes itself as JSON Schema.

Both come from one description, so that an editor that knows the schema and `providers check` say the same. It is no
general validator: it has what the files of semconv/providers need. Errors are collected, never raised.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from oisp_core import resources
from oisp_core.errors import ConfigError

__all__ = ["Bool", "Date", "Document", "Int", "Many", "MapOf", "Seq", "Struct", "Text", "load_document"]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_MAX = 4 << 20
"""Bytes of one file. The largest provider file has 10 KB; a file of megabytes is not one."""

Place = tuple[Any, ...]


@dataclass
class Document:
    """One YAML file: its plain value, the line of every place in it, and what is wrong with it."""

    file: str
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)

    def line(self, place: Place) -> int | None:
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place)

    def report(
        self, place: Place, expected: Any = None, got: Any = None, message: str | None = None, hint: str | None = None
    ) -> None:
        key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".") or None
        self.errors.append(ConfigError(self.file, self.line(place), key, expected, got, message=message, hint=hint))


def _construct(node: yaml.Node, place: Place, document: Document, loader: Any) -> Any:
    document.lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        out: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node, deep=True) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                document.lines[(*place, str(key))] = key_node.start_mark.line + 1
                document.report((*place, str(key)), "a key that is a word", key)
                continue
            inner = (*place, key)
            if key in out:
                document.lines[inner] = key_node.start_mark.line + 1
                document.report(inner, message="the key stands here a second time")
                continue
            out[key] = _construct(value_node, inner, document, loader)
            document.lines[inner] = key_node.start_mark.line + 1
        return out
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*place, i), document, loader) for i, item in enumerate(node.value)]
    return loader.construct_object(node)


def load_document(file: Path | str, text: str | bytes | None = None) -> Document:
    """Read a YAML file with its lines. Anchors and aliases are refused: they can blow up, and no file needs them."""
    document = Document(str(file))
    try:
        raw = resources.read_file(file, _PLAIN_MAX) if text is None else text
    except OSError as error:
        document.report((), message=f"cannot be read: {error.strerror}")
        return document
    except ValueError as error:
        document.report((), message=str(error))
        return document
    loader = _LOADER(raw)
    try:
        # An alias needs an anchor, and an anchor this sign: most files have none and are read once.
        marked = b"&" in raw if isinstance(raw, bytes) else "&" in raw
        for token in yaml.scan(raw, Loader=_LOADER) if marked else ():
            if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
                document.lines[()] = token.start_mark.line + 1
                document.report((), "a file without anchors and aliases", token.value)
                return document
        node = loader.get_single_node()
        if node is not None:
            document.value = _construct(node, (), document, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.lines[()] = mark.line + 1 if mark else 1
        document.report((), "YAML", message=error.problem or "not YAML")
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        document.report((), "YAML", message=str(error).splitlines()[0])
    finally:
        loader.dispose()
    return document


class Kind:
    """What stands at a place. `check` reports what is wrong; `schema` is the same as JSON Schema."""

    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        return {**self.schema(), "description": self.about} if self.about else self.schema()


@dataclass
class Text(Kind):
    about: str = ""
    words: Sequence[str] = ()
    pattern: str = ""
    says: str = ""
    test: Callable[[str], str | None] | None = None

    def check(self, value: Any, place: Place, document: Document) -> None:
        expected = self.words or self.says or "a text"
        fits = isinstance(value, str) and bool(value)
        if (
            not fits
            or (self.words and value not in self.words)
            or (self.pattern and not re.fullmatch(self.pattern, value))
        ):
            document.report(place, expected, value)
        elif self.test and (problem := self.test(value)):
            document.report(place, self.says or None, value, message=problem)

    def schema(self) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "string", "minLength": 1}
        if self.words:
            out["enum"] = list(self.words)
            del out["minLength"]
        if self.pattern:
            out["pattern"] = f"^(?:{self.pattern})$"
        return out


@dataclass
class Int(Kind):
    least: int
    most: int
    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not self.least <= value <= self.most:
            document.report(place, f"an integer, {self.least} to {self.most}", value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass
class Bool(Kind):
    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        if not isinstance(value, bool):
            document.report(place, ("true", "false"), value)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass
class Date(Kind):
    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
            document.report(place, "a date, YYYY-MM-DD", value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


@dataclass
class Seq(Kind):
    item: Kind
    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        if not isinstance(value, list):
            document.report(place, "a list", value)
            return
        for i, item in enumerate(value):
            self.item.check(item, (*place, i), document)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.described()}


@dataclass
class Many(Kind):
    """One, or a list of them."""

    item: Kind
    about: str = ""

    def check(self, value: Any, place: Place, document: Document) -> None:
        if isinstance(value, list):
            if not value:
                document.report(place, "at least one", value)
            for i, item in enumerate(value):
                self.item.check(item, (*place, i), document)
        else:
            self.item.check(value, place, document)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.item.schema(), {"type": "array", "minItems": 1, "items": self.item.schema()}]}


@dataclass
class MapOf(Kind):
    """Names of the author's choice, each with the same kind of value."""

    item: Kind
    about: str = ""
    names: str = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"

    def check(self, value: Any, place: Place, document: Document) -> None:
        if not isinstance(value, dict):
            document.report(place, "a mapping", value)
            return
        for key, item in value.items():
            if not re.fullmatch(self.names, key):
                document.report((*place, key), "a name of letters, digits, `_`, `.`, `-`", key)
            self.item.check(item, (*place, key), document)

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{self.names}$"},
            "additionalProperties": self.item.described(),
        }


@dataclass
class Struct(Kind):
    """Fixed keys. `required` must be there; `rule` may look at all of them together."""

    keys: Mapping[str, Kind]
    required: Sequence[str] = ()
    about: str = ""
    one_of: Sequence[str] = ()
    rule: Callable[[dict[str, Any]], Iterator[tuple[str, Any, str]]] | None = None

    def check(self, value: Any, place: Place, document: Document) -> None:
        if not isinstance(value, dict):
            document.report(place, "a mapping", value)
            return
        for key, item in value.items():
            kind = self.keys.get(key)
            if kind is None:
                document.report((*place, key), self.keys, message="unknown key")
            else:
                kind.check(item, (*place, key), document)
        for key in self.required:
            if key not in value:
                document.report(place, message=f"`{key}` is missing")
        if self.one_of and not any(key in value for key in self.one_of):
            document.report(place, message=f"one of {', '.join(self.one_of)} is missing")
        if self.rule and not document.errors:
            for key, got, message in self.rule(value):
                document.report((*place, key) if key else place, got=got, message=message)

    def schema(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "object",
            "properties": {key: kind.described() for key, kind in self.keys.items()},
            "additionalProperties": False,
        }
        if self.required:
            out["required"] = list(self.required)
        if self.one_of:
            out["anyOf"] = [{"required": [key]} for key in self.one_of]
        return out
