# SPDX-License-Identifier: Apache-2.0
"""A dialect read straight from its YAML and applied to a parsed tree: slow, obvious, nothing shared with the decoder.

It gives the same plain data as `Decoder.value()` for a request or a whole response. No streams: their pieces are joined
by tests of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import yaml

REPLACEMENT = "\ufffd"
ROLES = {None: 0, "system": 1, "user": 2, "assistant": 3, "tool": 4, "function": 5}
FINISHES = {"stop": 1, "length": 2, "tool_calls": 3, "content_filter": 4, "error": 5, "other": 6}
TYPES = {"function": 1, "code_interpreter": 2, "file_search": 3, "computer_use": 4, "other": 5}
COMMON_ROLES = {"system": "system", "developer": "system", "model": "assistant"}
COMMON_ROLES |= {role: role for role in ("user", "assistant", "tool", "function")}
NUMBER_SLOTS = {"temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty", "index"}
NUMBER_SLOTS |= {f"{word}_tokens" for word in ("prompt", "completion", "total", "cached", "cache_write", "reasoning")}
TEXTS = {"content", "reasoning", "refusal", "system"}
COUNTS = {"input_count", "images", "embedding_count"}


# --- text -----------------------------------------------------------------------------------------------------------


def clean(body: bytes) -> str:
    """JSON text in which all that no string may hold has become U+FFFD."""
    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    out: list[str] = []
    inside, at = False, 0
    while at < len(text):
        char = text[at]
        if not inside or char == '"':
            inside ^= char == '"'
            out.append(char)
        elif char < " ":
            out.append(REPLACEMENT)
        elif char == "\\":
            found = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})').match(text, at)
            if found:
                out.append(found[0])
                at = found.end()
                continue
            out.append(REPLACEMENT)
            at += 1 if at + 1 < len(text) and " " <= text[at + 1] < "\x80" else 0
        else:
            out.append(char)
        at += 1
    return "".join(out)


def scalar(text: str) -> str:
    """Pairs of surrogates joined, single ones replaced."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Wire(dict):  # type: ignore[type-arg]
    """An object; a key that stands twice counts where it stands last."""


def parse(body: bytes) -> Any:
    def build(pairs: list[tuple[str, Any]]) -> Wire:
        out = Wire()
        for key, value in pairs:
            out.pop(scalar(key), None)
            out[scalar(key)] = value
        return out

    return json.loads(clean(body), object_pairs_hook=build, strict=False, parse_float=Literal, parse_int=Literal)


class Literal(str):
    """A number as it is written."""

    @property
    def value(self) -> int | float:
        return json.loads(self)  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    if isinstance(value, Literal):
        return value.value
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


# --- paths ----------------------------------------------------------------------------------------------------------


def steps(path: str) -> list[str]:
    found = re.findall(r"\[\*\]|\[[^\]]*\]|\*|'[^']+'|[A-Za-z0-9_\-:/@$]+", path if path != "." else "")
    return [step.strip("'") for step in found]


def word(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return scalar(value) if isinstance(value, str) else ""


def selected(value: Any, selector: str) -> bool:
    if not isinstance(value, dict):
        return False
    found = re.fullmatch(r"\[(!?)([^=!\]]+)(?:(!?=)([^\]]+))?\]", selector)
    assert found, selector
    item = value.get(found[2])
    if not found[3]:
        return (item is not None) != bool(found[1])
    fits = any(
        word(item).startswith(w[:-1]) and isinstance(item, str) and not isinstance(item, Literal)
        if w.endswith("*")
        else word(item) == w and item is not None and not isinstance(item, dict | list)
        for w in found[4].split("|")
    )
    return fits == (found[3] == "=")


def find(value: Any, path: list[str], place: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Any]]:
    """(place in the document, value) of all that a path names, null excepted."""
    if not path:
        if value is not None:
            yield place, value
        return
    step, rest = path[0], path[1:]
    if step == "[*]":
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield from find(item, rest, (*place, number))
    elif step.startswith("["):
        if selected(value, step):
            yield from find(value, rest, place)
    elif isinstance(value, dict):
        for number, (key, item) in enumerate(value.items()):
            if key == step or step == "*":
                yield from find(item, rest, (*place, number))


# --- slots ----------------------------------------------------------------------------------------------------------

KINDS = {
    "string": lambda v: isinstance(v, str) and not isinstance(v, Literal),
    "number": lambda v: isinstance(v, Literal),
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "bool": lambda v: isinstance(v, bool),
}


def default_kinds(slot: str) -> list[str]:
    if slot in NUMBER_SLOTS:
        return ["number"]
    special = {
        "usage": ["object"],
        "stream": ["bool", "string"],
        "success": ["bool", "string"],
        "arguments": ["string", "object"],
        "tool_choice": ["string", "object"],
        "stop": ["string", "array"],
        "dimensions": ["array", "string"],
    }
    if slot in COUNTS or slot in ("error", "server", "custom"):
        return list(KINDS)
    if slot in ("id", "finish", "error_code", "call_id"):
        return ["string", "number"]
    return special.get(slot, ["string"])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def alternatives(spec: Any) -> list[list[Any]]:
    if isinstance(spec, dict) and "first" in spec:
        return [group(item) for item in spec["first"]]
    return [group(item) for item in spec] if isinstance(spec, list) else [group(spec)]


def group(item: Any) -> list[Any]:
    if isinstance(item, dict):
        for key in ("join", "sum", "collect"):
            if key in item:
                return list(item[key])
    return listed(item)


def slot(value: Any, spec: Any, name: str) -> list[tuple[str, Any]]:
    """(form, value) of the alternative that wins, in the order of the document. Text that is empty comes last."""
    options = spec if isinstance(spec, dict) else {}
    fallback: list[tuple[str, Any]] = []
    for items in alternatives(spec):
        found = []
        for item in items:
            table = item if isinstance(item, dict) else {"path": item}
            form = next(f for f in ("path", "json", "base64", "count", "length", "present") if f in table)
            kinds = listed(table.get("kinds") or options.get("kinds") or [])
            kinds = kinds or (default_kinds(name) if form == "path" else list(KINDS))
            for place, hit in find(value, steps(table[form])):
                if any(KINDS[kind](hit) for kind in kinds):
                    found.append((place, form, hit))
        found.sort(key=lambda entry: entry[0])
        hits = [(form, hit) for _, form, hit in found]
        if any(hit != "" for _, hit in hits):
            return hits
        fallback = fallback or hits
    return fallback


def text(value: Any, spec: Any, name: str) -> Any:
    """A text slot as plain data."""
    if spec is None or (isinstance(spec, dict) and "value" in spec):
        return spec["value"] if spec else None
    hits = slot(value, spec, name)
    if not hits:
        return None
    if name in TEXTS | {"arguments"}:
        out: Any = None
        for form, hit in hits:
            if form == "json" or not KINDS["string"](hit):
                out = hit
            else:
                out = (out if isinstance(out, str) else "") + hit
        return plain(out)
    return plain(hits[-1][1])


def filled(value: Any) -> Any:
    return None if value == "" else value


def number(value: Any, spec: Any, name: str) -> int | None:
    hits = slot(value, spec, name) if spec is not None else []
    if not hits:
        return None
    numbers = [whole(hit) for _, hit in hits]
    if isinstance(spec, dict) and "sum" in spec:
        return sum(n for n in numbers if n is not None)
    return numbers[-1]


def whole(hit: Any) -> int | None:
    value = hit.value if isinstance(hit, Literal) else None
    if isinstance(value, int) and len(hit) < 18:
        return value
    if value is None or abs(value) > 2**53 or value != int(value):
        return None
    return int(value)


def tally(value: Any, spec: Any, name: str) -> int | None:
    hits = slot(value, spec, name) if spec is not None else []
    return len(hits) or None


def size(value: Any, spec: Any, name: str) -> int | None:
    hits = slot(value, spec, name) if spec is not None else []
    if not hits:
        return None
    last = hits[-1][1]
    return len(last) if isinstance(last, list) else len(last.rstrip("=")) * 3 // 16


def mapped(value: Any, spec: Any, name: str, maps: dict[str, Any], words: dict[Any, int], other: int) -> int:
    raw = text(value, spec, name)
    table = maps.get(spec.get("map", name) if isinstance(spec, dict) else name) or (
        COMMON_ROLES if name == "role" else {}
    )
    if raw is None or raw == "" or (isinstance(spec, dict) and "value" in spec) or not table:
        return 0
    raw = str(raw)
    if raw in table:
        return words[table[raw]]
    for key, meaning in table.items():
        if key.endswith("*") and key != "*" and raw.startswith(key[:-1]):
            return words[meaning]
    return words[table["*"]] if "*" in table else other


def flag(value: Any, spec: Any, name: str) -> bool:
    if isinstance(spec, dict) and "value" in spec:
        return spec["value"] == "yes"
    return spec is not None and bool(slot(value, spec, name))


# --- records --------------------------------------------------------------------------------------------------------


class Dialect:
    def __init__(self, folder: Path, name: str) -> None:
        self.doc = yaml.load((folder / f"{name}.yaml").read_text(), yaml.BaseLoader)
        self.maps = self.doc.get("maps", {})

    def request(self, body: bytes) -> dict[str, Any]:
        doc, spec = parse(body), self.doc["request"]
        messages = self.messages(doc, spec)
        system = text(doc, spec.get("system"), "system")
        has_system = bool(system) or any(m["role"] == 1 for m in messages)
        found = {
            "model_requested": filled(text(doc, spec.get("model"), "model")),
            "has_system": has_system,
            "messages": messages,
            "tools": [self.tool(item, block) for block, item, _ in self.each(doc, spec, "tools")],
            "history": self.history(doc, spec),
            "answers": self.answers(doc, spec),
            "input_count": tally(doc, spec.get("input_count"), "input_count"),
        }
        for name in (
            "previous_id",
            "conversation",
            "user",
            "tool_choice",
            "stop",
            "temperature",
            "top_p",
            "max_tokens",
        ):
            found[name] = text(doc, spec.get(name), name)
        return found

    def response(self, body: bytes) -> dict[str, Any]:
        doc, spec = parse(body), self.doc["response"]
        numbers = ("prompt", "completion", "total", "cached", "cache_write", "reasoning")
        return {
            "response_id": filled(text(doc, spec.get("id"), "id")),
            "model_answered": filled(text(doc, spec.get("model"), "model")),
            "service_tier": text(doc, spec.get("service_tier"), "service_tier"),
            "choices": self.choices(doc, spec),
            "calls": self.calls(doc, spec),
            "counts": {name: number(doc, spec.get(f"{name}_tokens"), f"{name}_tokens") for name in numbers},
            "raw": self.usage(doc, spec),
            "error": flag(doc, spec.get("error"), "error"),
            "error_message": text(doc, spec.get("error_message"), "error_message"),
            "embedding_count": tally(doc, spec.get("embedding_count"), "embedding_count"),
            "dimensions": size(doc, spec.get("dimensions"), "dimensions"),
        }

    def usage(self, doc: Any, spec: Any) -> Any:
        hits = slot(doc, spec["usage"], "usage") if "usage" in spec else []
        return plain(hits[-1][1]) if hits and isinstance(hits[-1][1], dict) else None

    def each(self, value: Any, spec: Any, kind: str) -> list[tuple[Any, Any, tuple[int, ...]]]:
        """(block of the YAML, the record's value, place), in the order of the document."""
        found = []
        for order, block in enumerate(listed(spec.get(kind, []))):
            for path in listed(block["each"]):
                for place, item in find(value, steps(path)):
                    if any(KINDS[k](item) for k in listed(block.get("kinds", list(KINDS)))):
                        found.append((place, order, block, item))
        found.sort(key=lambda entry: entry[:2])
        return [(block, item, place) for place, _, block, item in found]

    def messages(self, doc: Any, spec: Any) -> list[dict[str, Any]]:
        out = []
        for block, item, _ in self.each(doc, spec, "messages"):
            role_spec = block.get("role")
            raw = text(item, role_spec, "role")
            constant = isinstance(role_spec, dict) and "value" in role_spec
            role = ROLES[raw] if constant else mapped(item, role_spec, "role", self.maps, ROLES, 0)
            out.append(
                {
                    "role": role,
                    "content": text(item, block.get("content"), "content"),
                    "call_id": text(item, block.get("call_id"), "call_id"),
                    "name": text(item, block.get("name"), "name"),
                    "images": tally(item, block.get("images"), "images") or 0,
                }
            )
        return out

    def tool(self, item: Any, block: Any) -> dict[str, Any]:
        kind = block.get("type")
        return {
            "name": text(item, block.get("name"), "name"),
            "description": text(item, block.get("description"), "description"),
            "raw_type": text(item, kind, "type"),
            "type": mapped(item, kind, "type", self.maps, TYPES, 5) or 1,
            "server": flag(item, block.get("server"), "server"),
        }

    def call(self, item: Any, block: Any) -> dict[str, Any] | None:
        found = {name: text(item, block.get(name), name) for name in ("id", "name", "type", "arguments", "server_name")}
        own = [
            n
            for n in block
            if n not in ("each", "join", "kinds") and not (isinstance(block[n], dict) and "value" in block[n])
        ]
        if not any(slot(item, block[n], n) for n in own):
            return None
        if not found["id"] and not found["name"] and found["arguments"] in (None, ""):
            return None
        found["server"] = flag(item, block.get("server"), "server")
        found["custom"] = flag(item, block.get("custom"), "custom")
        return found

    def nested(self, doc: Any, spec: Any, kind: str, holders: tuple[str, ...]) -> Iterator[tuple[Any, Any, int]]:
        """Records of `kind` at the top and inside other records, with the number of the record they stand in."""
        order = count()
        for holder in holders:
            for block, item, _ in self.each(doc, spec, holder):
                index = next(order)
                for inner, value, _ in self.each(item, block, kind):
                    yield inner, value, index
        for block, item, _ in self.each(doc, spec, kind):
            yield block, item, 0

    def history(self, doc: Any, spec: Any) -> list[dict[str, Any]]:
        found = [self.call(item, block) for block, item, _ in self.nested(doc, spec, "calls", ("messages",))]
        return [call for call in found if call]

    def calls(self, doc: Any, spec: Any) -> list[dict[str, Any]]:
        found = [self.call(item, block) for block, item, _ in self.nested(doc, spec, "calls", ("choices",))]
        return [call for call in found if call]

    def answers(self, doc: Any, spec: Any) -> list[dict[str, Any]]:
        return [
            {
                "call_id": text(item, block.get("call_id"), "call_id"),
                "name": text(item, block.get("name"), "name"),
                "content": text(item, block.get("content"), "content"),
                "message": index,
            }
            for block, item, index in self.nested(doc, spec, "answers", ("messages",))
        ]

    def choices(self, doc: Any, spec: Any) -> list[dict[str, Any]]:
        out: dict[int, dict[str, Any]] = {}
        for block, item, _ in self.each(doc, spec, "choices"):
            index = number(item, block.get("index"), "index") or 0
            found = out.setdefault(
                index, {"index": index, "content": None, "reasoning": None, "refusal": None, "finish_raw": None}
            )
            for name in ("content", "reasoning", "refusal"):
                piece = text(item, block.get(name), name)
                if piece is not None:
                    found[name] = (found[name] or "") + piece if isinstance(piece, str) else piece
            finish = text(item, block.get("finish"), "finish")
            if finish not in (None, ""):
                found["finish_raw"] = finish
        return [out[index] for index in sorted(out)]
