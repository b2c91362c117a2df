# SPDX-License-Identifier: Apache-2.0
"""semconv/dialects/*.yaml -> checked -> the flat tables of include/oisp/dialect.h.

Not a decoder: nothing here sees a byte of the wire. `compile_dialects` gives plain lists of numbers and one pool of
bytes; decoder.pyx copies them into C arrays. docs/DIALECTS.md is the description of the language; every mistake of a
file is collected, and each names its file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from oisp_core.errors import ConfigError
from oisp_core.resources import data, files, read, read_file

__all__ = ["Compiled", "Dialects", "compile_dialects", "load_dialects"]

# --- the vocabulary: numbers are those of include/oisp/dialect.h and contract.h -------------------------------------

FRAMINGS = {"none": 0, "sse": 1, "ndjson": 2, "json_array": 3, "eventstream": 4, "grpc": 5}

NULL, FALSE, TRUE, NUMBER, STRING, ARRAY, OBJECT = (1 << n for n in range(7))
ANY = FALSE | TRUE | NUMBER | STRING | ARRAY | OBJECT
KINDS = {
    "null": NULL,
    "bool": FALSE | TRUE,
    "number": NUMBER,
    "string": STRING,
    "array": ARRAY,
    "object": OBJECT,
    "true": TRUE,
    "false": FALSE,
}

# fmt: off
TEXT_SLOTS = [
    "none", "model", "system", "tool_choice", "temperature", "top_p", "max_tokens", "frequency_penalty",
    "presence_penalty", "stop", "previous_id", "conversation", "user", "id", "error_type", "error_message",
    "error_code", "service_tier", "usage", "content", "reasoning", "refusal", "call_id", "name", "description",
    "type", "arguments", "server_name", "query", "source", "score", "distance", "client_name", "client_version", "role",
    "finish",
]
OTHER_SLOTS = [
    "stream", "input_count", "images", "index", "server", "custom", "success", "error", "terminal", "restart",
    "cached_answer", "embedding_count", "dimensions", "prompt_tokens", "completion_tokens", "total_tokens",
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "inner", "top_k", "asks",
    "begins", "deltas",
]
# fmt: on
SLOTS = {name: number for number, name in enumerate([*TEXT_SLOTS, *OTHER_SLOTS])}

SET, ONCE, APPEND, MERGE, SUM, COUNT, LENGTH, PRESENT, COLLECT, MAX, GROW = range(11)
OPS = {"set": SET, "once": ONCE, "append": APPEND, "merge": MERGE, "max": MAX, "grow": GROW}
AS_WIRE, AS_JSON, AS_BASE64, AS_EMBEDDED = range(4)

FLAGS = {"prompt_excludes_cache": 1, "completion_excludes_reasoning": 2, "calls_finish": 4}
HAS_CHOICES = 8  # set by the compiler
WORDS = {"streams": {"always": 16, "unless_refused": 32}}

ROLES = {"system": 1, "user": 2, "assistant": 3, "tool": 4, "function": 5}
FINISHES = {"stop": 1, "length": 2, "tool_calls": 3, "content_filter": 4, "error": 5, "other": 6}
TOOL_TYPES = {"function": 1, "code_interpreter": 2, "file_search": 3, "computer_use": 4, "other": 5}
FLAG_WORDS = {"no": 0, "yes": 1}
# map of a slot -> words of its values, value of what the map does not name
ENUMS = {"role": (ROLES, 0), "finish": (FINISHES, 6), "type": (TOOL_TYPES, 5), "success": (FLAG_WORDS, 255)}

# Roles that need no map of their own.
COMMON_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "function",
}

TOKENS = {f"{word}_tokens" for word in ("prompt", "completion", "total", "cached", "cache_write", "reasoning")}

USAGE_SLOTS = {"usage", *TOKENS}
ERROR_SLOTS = {"error", "error_type", "error_message", "error_code"}
ANSWERED = {
    "id", "model", "service_tier", "success", "terminal", "restart", "cached_answer", "embedding_count", "dimensions",
    "finish", "inner", "server_name", "query", "begins", *USAGE_SLOTS, *ERROR_SLOTS,
}  # fmt: skip

# record -> number, its slots, records that may stand in it
RECORDS: dict[str, tuple[int, set[str], set[str]]] = {
    "request": (
        1,
        {
            "model", "system", "stream", "tool_choice", "temperature", "top_p", "max_tokens", "frequency_penalty",
            "presence_penalty", "stop", "previous_id", "conversation", "user", "input_count", "images", "inner",
            "query", "source", "top_k", "dimensions", "client_name", "client_version", "asks", "deltas",
        },
        {"messages", "tools", "calls", "answers"},
    ),
    "response": (2, ANSWERED, {"choices", "calls", "answers", "hits"}),
    "stream": (3, ANSWERED, {"choices", "calls", "answers", "hits"}),
    "messages": (4, {"role", "content", "call_id", "name", "images"}, {"calls", "answers"}),
    "tools": (5, {"name", "description", "type", "server"}, set()),
    "calls": (6, {"id", "name", "type", "arguments", "server_name", "index", "server", "custom", "finish"}, set()),
    "answers": (7, {"call_id", "name", "content", "success", "server", *ERROR_SLOTS}, set()),
    "choices": (8, {"index", "role", "content", "reasoning", "refusal", "finish", "images"}, {"calls"}),
    "hits": (9, {"source", "content", "score", "distance"}, set()),
}  # fmt: skip

NUMBERS = {"index", "top_k", "score", "distance", *TOKENS}
JOINS = {"never": 1, "place": 2}
COUNTED = {"input_count", "images", "embedding_count"}
JSON_SLOTS = {"usage", "temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty"}
FLAG_SLOTS = {"asks", "begins", "error", "server", "custom", "terminal", "restart", "cached_answer"}
APPENDED = {"content", "reasoning", "refusal", "arguments"}
MAX_TESTS, MAX_LEAVES, MAX_EDGES = 32, 32, 64


def default_kinds(slot: str) -> int:
    if slot in NUMBERS or slot in JSON_SLOTS - {"usage"}:
        return NUMBER
    if slot == "usage":
        return OBJECT
    if slot in ("stream", "success", "deltas"):
        return FALSE | TRUE | STRING
    if slot in ("arguments", "tool_choice"):
        return STRING | OBJECT
    if slot == "stop":
        return STRING | ARRAY
    if slot in COUNTED or slot in FLAG_SLOTS:
        return ANY
    if slot == "dimensions":
        return ARRAY | STRING
    if slot in ("id", "finish", "error_code", "call_id", "source"):
        return STRING | NUMBER
    return STRING


# --- YAML with lines ------------------------------------------------------------------------------------------------


class Table(dict[str, Any]):
    """A mapping of the file that remembers where its keys stand."""

    line: int
    lines: dict[str, int]


class Listing(list[Any]):
    line: int


def _plain(node: yaml.Node, seen: dict[int, Any]) -> Any:
    if id(node) in seen:
        return seen[id(node)]
    if isinstance(node, yaml.MappingNode):
        table = Table()
        table.line, table.lines = node.start_mark.line + 1, {}
        seen[id(node)] = table
        for key, value in node.value:
            name = str(key.value)
            if name in table:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {name!r} stands twice")
            table[name] = _plain(value, seen)
            table.lines[name] = key.start_mark.line + 1
        return table
    if isinstance(node, yaml.SequenceNode):
        listing = Listing(_plain(value, seen) for value in node.value)
        listing.line = node.start_mark.line + 1
        return listing
    return str(node.value)  # every scalar of a dialect is a word


# --- paths ----------------------------------------------------------------------------------------------------------


class Selector(NamedTuple):
    key: str
    values: tuple[str, ...]  # empty: the key is there and not null
    negated: bool


Step = tuple[str, Any]  # ("key", name) | ("element", None) | ("member", None) | ("select", Selector)

MAX_FILE = 262_144  # bytes; the longest of ours has 10 KB
MAX_ROWS = 4_000  # slots of one dialect, so that the numbers of records and words keep within 16 bits

_KEY = re.compile(r"[A-Za-z0-9_\-:/@$]+|'[^']+'")
_SELECT = re.compile(r"\[(!?)([A-Za-z0-9_\-:/@$]+)(?:(!?=)([^\]]+))?\]")


def parse_path(text: str) -> list[Step]:
    """`messages[*].content[*][type=text|input_text].text`; `.` alone is the object itself.

    Raises ValueError with what is wrong.
    """
    steps: list[Step] = []
    at = 0
    if text == ".":
        return steps
    while at < len(text):
        if text.startswith("[*]", at):
            steps.append(("element", None))
            at += 3
        elif text[at] == "[":
            found = _SELECT.match(text, at)
            if not found or (found[1] and found[3]):
                raise ValueError(f"{text[at:]!r} is no selector: [key=a|b], [key!=a], [key] or [!key]")
            values = tuple(found[4].split("|")) if found[4] else ()
            steps.append(("select", Selector(found[2], values, bool(found[1]) or found[3] == "!=")))
            at = found.end()
        else:
            if text[at] == "." and steps:
                at += 1
            if text.startswith("*", at):
                steps.append(("member", None))
                at += 1
                continue
            found = _KEY.match(text, at)
            if not found:
                raise ValueError(f"{text[at:]!r} is no key")
            steps.append(("key", found[0].strip("'")))
            at = found.end()
    return steps


# --- the trie -------------------------------------------------------------------------------------------------------


@dataclass
class Leaf:
    kinds: int
    record: int
    slot: int = 0
    opens: int = 0
    rank: int = 0
    op: int = SET
    as_: int = AS_WIRE
    map: int = 0
    word: int = 0  # 1 + index: what stands before the text, or the key under which a number is collected
    conds: dict[int, list[int]] = field(default_factory=dict)  # id(node) -> [all, none]


@dataclass
class Node:
    keys: dict[str, Node] = field(default_factory=dict)
    element: Node | None = None
    member: Node | None = None
    leaves: list[Leaf] = field(default_factory=list)
    tests: list[tuple[str, int, int]] = field(default_factory=list)  # value, kind, bit
    bits: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    selects: bool = False
    number: int = 0

    def children(self) -> Iterator[Node]:
        yield from self.keys.values()
        if self.element:
            yield self.element
        if self.member:
            yield self.member


Conds = dict[int, list[int]]


def walk_path(base: Node, conds: Conds, steps: list[Step]) -> tuple[Node, Conds]:
    """The node at the end of `steps`, made where it is missing, and all conditions that hold on the way."""
    node = base
    conds = {key: list(value) for key, value in conds.items()}
    for kind, what in steps:
        if kind == "key":
            node = node.keys.setdefault(what, Node())
        elif kind == "element":
            node.element = node.element or Node()
            node = node.element
        elif kind == "member":
            node.member = node.member or Node()
            node = node.member
        else:
            bit = select_bit(node, what)
            conds.setdefault(id(node), [0, 0])[what.negated] |= 1 << bit
    return node, conds


def select_bit(node: Node, selector: Selector) -> int:
    known = (selector.key, selector.values)
    if known in node.bits:
        return node.bits[known]
    bit = node.bits[known] = len(node.bits)
    if bit >= MAX_TESTS:
        raise ValueError(f"more than {MAX_TESTS} different selectors on one object")
    node.selects = True
    child = node.keys.setdefault(selector.key, Node())
    if not selector.values:
        child.tests.append(("", 6, bit))
    for value in selector.values:
        child.tests.append((value[:-1], 7, bit) if value.endswith("*") else (value, 4, bit))
        if value in ("true", "false") or re.fullmatch(r"-?\d+", value):
            child.tests.append((value, 3, bit))
    return bit


# --- compiling ------------------------------------------------------------------------------------------------------


@dataclass
class Compiled:
    """Rows of the structs of dialect.h, in the order of their members."""

    names: list[str] = field(default_factory=list)
    nodes: list[tuple[int, ...]] = field(default_factory=lambda: [(1, *(0,) * 11)])
    edges: list[tuple[int, ...]] = field(default_factory=list)
    leaves: list[tuple[int, ...]] = field(default_factory=list)
    conds: list[tuple[int, ...]] = field(default_factory=list)
    tests: list[tuple[int, ...]] = field(default_factory=list)
    slots: list[tuple[int, ...]] = field(default_factory=list)
    records: list[tuple[int, ...]] = field(default_factory=lambda: [(0,) * 9])
    words: list[tuple[int, ...]] = field(default_factory=list)
    maps: list[tuple[int, ...]] = field(default_factory=list)
    inners: list[tuple[int, ...]] = field(default_factory=list)
    dialects: list[tuple[Any, ...]] = field(default_factory=list)
    proto_messages: list[tuple[int, ...]] = field(default_factory=list)
    proto_fields: list[tuple[int, ...]] = field(default_factory=list)
    proto_enums: list[tuple[int, ...]] = field(default_factory=list)
    proto_words: list[tuple[int, ...]] = field(default_factory=list)
    pool: bytearray = field(default_factory=bytearray)
    pooled: dict[bytes, int] = field(default_factory=dict)

    def text(self, value: str) -> tuple[int, int]:
        raw = value.encode()
        if raw not in self.pooled:
            self.pooled[raw] = len(self.pool)
            self.pool += raw
        return self.pooled[raw], len(raw)

    def word(self, value: str, number: int = 0) -> int:
        self.words.append((*self.text(value), number))
        return len(self.words)

    def map_of(self, words: dict[str, int], other: int) -> int:
        first = len(self.words)
        for word, value in words.items():
            self.word(word, value)
        self.maps.append((first, len(words), other))
        return len(self.maps)


def key_hash(name: bytes) -> int:
    """key_hash() of json_pass.c."""
    return (len(name) * 7 + name[0] * 5 + name[len(name) >> 1] * 3 + name[-1]) & 0xFFFFFFFF if name else 0


Section = tuple[int, int, int] | str


class Problems(list[ConfigError]):
    def add(self, file: Path, line: int | None, key: str, **facts: Any) -> None:
        self.append(ConfigError(file, line, key, **facts))


def joined(group: Any) -> list[Any]:
    """The paths of one alternative: all that are present count, in the order of the document."""
    if isinstance(group, Table):
        for word in ("join", "sum", "collect"):
            if isinstance(group.get(word), list):
                return list(group[word])
    return list(group) if isinstance(group, list) else [group]


class Compiler:
    """One file into the tables of `out`."""

    def __init__(self, out: Compiled, file: Path, problems: Problems) -> None:
        self.out, self.file, self.problems = out, file, problems
        self.maps: dict[str, int] = {}
        self.rows = 0

    def complain(self, table: Table | None, key: str, **facts: Any) -> None:
        line = None if table is None else table.lines.get(key.rpartition(".")[2], table.line)
        self.problems.add(self.file, line, key, **facts)

    # -- enum maps

    def compile_maps(self, doc: Table) -> None:
        given = doc.get("maps", Table())
        if not isinstance(given, Table):
            self.complain(doc, "maps", expected="a mapping of names to maps", got=given)
            return
        tables = {name: given[name] for name in given}
        tables.setdefault("role", COMMON_ROLES)
        for name, table in tables.items():
            enum, other = ENUMS.get(name.partition(".")[0], (None, 0))
            if enum is None or not isinstance(table, dict):
                self.complain(given, f"maps.{name}", expected=ENUMS, got=name)
                continue
            words = {}
            for word, value in table.items():
                if value not in enum:
                    self.complain(given.get(name), f"maps.{name}.{word}", expected=enum, got=value)
                elif word == "*":
                    other = enum[value]
                else:
                    words[word] = enum[value]
            self.maps[name] = self.out.map_of(words, other)

    # -- sections and records

    def section(self, doc: Table, name: str) -> Section:
        """(root node, record, node of the event's name), or the name of the dialect that has the same section."""
        table = doc.get(name)
        if table is None:
            return (0, 0, 0)
        if isinstance(table, str):
            return table
        if not isinstance(table, Table):
            self.complain(doc, name, expected="a mapping of slots and records", got=table)
            return (0, 0, 0)
        root = Node()
        record = self.add_record(name, table, 0)
        self.fill(name, name, table, root, {}, record, streamed=name == "stream")
        self.check_size(doc, name, root)
        self.seal(root)
        event = root.keys.get("@event")
        number = self.flatten(root)
        return (number, record, event.number if event else 0)

    def add_record(self, kind: str, table: Table, parent: int) -> int:
        def constant(slot: str) -> str | None:
            value = table.get(slot)
            return value["value"] if isinstance(value, Table) and set(value) == {"value"} else None

        role = constant("role")
        if role is not None and role not in ROLES:
            self.complain(table, "role", expected=ROLES, got=role)
        flags = {slot: constant(slot) in ("yes", "true") for slot in ("server", "custom")}
        texts = {slot: constant(slot) if kind in ("calls", "tools") else None for slot in ("type", "name")}
        self.out.records.append(
            (
                RECORDS[kind][0],
                JOINS.get(table.get("join", ""), 0),
                parent,
                ROLES.get(role or "", 0),
                int(flags["server"]),
                int(flags["custom"]),
                int(table.get("place") == "system"),
                self.out.word(texts["type"]) if texts["type"] else 0,
                self.out.word(texts["name"]) if texts["name"] else 0,
            )
        )
        return len(self.out.records) - 1

    def fill(
        self, kind: str, where: str, table: Table, base: Node, conds: Conds, record: int, *, streamed: bool
    ) -> None:
        _, slots, nested = RECORDS[kind]
        for key, value in table.items():
            if key in ("each", "join", "place", "kinds"):
                continue
            if key in nested:
                blocks = value if isinstance(value, Listing) else [value]
                for block in blocks:
                    self.record(key, f"{where}.{key}", table, block, base, conds, record, streamed=streamed)
            elif key in slots:
                self.slot(key, f"{where}.{key}", table, value, base, conds, record, streamed=streamed)
            else:
                self.complain(table, f"{where}.{key}", expected=sorted(slots | nested), got=key)

    def record(
        self, kind: str, where: str, holder: Table, block: Any, base: Node, conds: Conds, parent: int, *, streamed: bool
    ) -> None:
        if not isinstance(block, Table) or "each" not in block:
            self.complain(holder, where, expected="a mapping with `each: PATH`", got=block)
            return
        record = self.add_record(kind, block, parent)
        kinds = self.kinds(block, where, ANY)
        paths = block["each"] if isinstance(block["each"], Listing) else [block["each"]]
        for path in paths:
            try:
                node, all_conds = walk_path(base, conds, parse_path(path))
            except ValueError as error:
                self.complain(block, f"{where}.each", message=str(error))
                continue
            self.add_leaf(node, Leaf(kinds, parent, opens=record, conds=all_conds))
            self.fill(kind, where, block, node, all_conds, record, streamed=streamed)

    def add_leaf(self, node: Node, leaf: Leaf) -> None:
        """Stops at once beyond the bound: aliases may multiply what a small file says."""
        self.rows += 1
        if self.rows > MAX_ROWS:
            raise ConfigError(self.file, message=f"more than {MAX_ROWS} slots in one dialect")
        node.leaves.append(leaf)

    def kinds(self, table: Table, where: str, default: int) -> int:
        if "kinds" not in table:
            return default
        words = table["kinds"] if isinstance(table["kinds"], Listing) else [table["kinds"]]
        bits = 0
        for word in words:
            if word not in KINDS:
                self.complain(table, f"{where}.kinds", expected=KINDS, got=word)
            bits |= KINDS.get(word, 0)
        return bits

    # -- slots

    def slot(
        self, name: str, where: str, holder: Table, spec: Any, base: Node, conds: Conds, record: int, *, streamed: bool
    ) -> None:
        if isinstance(spec, Table) and set(spec) == {"value"}:
            if name not in ("role", "server", "custom", "type", "name"):
                self.complain(
                    holder, where, message="a constant is possible for role, server, custom, type and name only"
                )
            return
        options = Table()
        options.line, options.lines = holder.line, holder.lines
        groups: list[Any] = [spec]
        if isinstance(spec, Listing):
            groups = list(spec)
        elif isinstance(spec, Table):
            options = spec
            if "first" in spec:
                groups = list(spec["first"])
        for rank, group in enumerate(groups):
            for item in joined(group):
                self.leaf(name, where, holder, item, options, rank, base, conds, record, streamed=streamed)

    def leaf(
        self,
        name: str,
        where: str,
        holder: Table,
        item: Any,
        options: Table,
        rank: int,
        base: Node,
        conds: Conds,
        record: int,
        *,
        streamed: bool,
    ) -> None:
        table = item if isinstance(item, Table) else Table(path=item)
        forms = [form for form in FORMS if form in table]
        if len(forms) != 1 or not isinstance(table[forms[0]], str):
            self.complain(holder, where, expected=f"a path, or a mapping with one of {', '.join(FORMS)}", got=item)
            return
        form = forms[0]
        unknown = set(table) - {form, "kinds", "map", "op", "prefix"}
        if unknown:
            self.complain(holder, where, expected="kinds, map, op", got=sorted(unknown)[0])
        in_call = self.out.records[record][0] == RECORDS["calls"][0]
        op, as_, kinds = self.how(name, form, options, streamed, in_call)
        kinds = self.kinds(table if "kinds" in table else options, where, kinds)
        word = table.get("op", options.get("op"))
        if word is not None and word not in OPS:
            self.complain(holder, where, expected=OPS, got=word)
        op = OPS.get(word or "", op)
        prefix = table.get("prefix", options.get("prefix"))
        if "collect" in options:
            prefix = table[form].rpartition(".")[2]
        map_name = table.get("map", options.get("map", name))
        if map_name != name and map_name not in self.maps:
            self.complain(holder, where, message=f"the map {map_name!r} is not among this file's maps")
        try:
            node, all_conds = walk_path(base, conds, parse_path(table[form]))
        except ValueError as error:
            self.complain(holder, where, message=str(error))
            return
        leaf = Leaf(kinds, record, SLOTS[name], rank=rank, op=op, as_=as_, conds=all_conds)
        leaf.map = self.maps.get(map_name, 0)
        leaf.word = self.out.word(prefix) if prefix else 0
        self.add_leaf(node, leaf)

    @staticmethod
    def how(name: str, form: str, options: Table, streamed: bool, in_call: bool) -> tuple[int, int, int]:
        """(op, as, kinds) where the file says nothing else."""
        if form == "json":
            return (APPEND if name in APPENDED else SET), AS_JSON, ANY
        if form in ("base64", "embedded"):
            op = APPEND if name in APPENDED else SET
            return op, AS_BASE64 if form == "base64" else AS_EMBEDDED, STRING if form == "base64" else OBJECT
        if form == "count":
            return COUNT, AS_WIRE, ANY
        if form == "length":
            return LENGTH, AS_WIRE, ARRAY | STRING
        if form == "present":
            return PRESENT, AS_WIRE, ANY
        kinds = default_kinds(name)
        if name in FLAG_SLOTS:
            return PRESENT, AS_WIRE, kinds
        if name in COUNTED:
            return COUNT, AS_WIRE, kinds
        if name == "dimensions":
            return LENGTH, AS_WIRE, kinds
        if "sum" in options:
            return SUM, AS_WIRE, NUMBER
        if "collect" in options:
            return COLLECT, AS_WIRE, NUMBER
        if name == "usage" and streamed:
            return MERGE, AS_WIRE, kinds
        if name in APPENDED or name == "system":
            return APPEND, AS_WIRE, kinds
        if in_call and name in ("id", "name", "type") and streamed:
            return ONCE, AS_WIRE, kinds  # some servers repeat them in each piece
        return SET, AS_WIRE, kinds

    # -- flat tables

    def check_size(self, doc: Table, name: str, node: Node) -> None:
        if len(node.leaves) > MAX_LEAVES:
            self.complain(doc, name, message=f"more than {MAX_LEAVES} slots at one path")
        if len(node.keys) > MAX_EDGES:
            self.complain(doc, name, message=f"more than {MAX_EDGES} keys in one object")
        for child in node.children():
            self.check_size(doc, name, child)

    def seal(self, node: Node) -> set[int]:
        """Mark leaves that open a record in which nothing is their holder's. Gives the records with slots from here."""
        below: set[int] = set()
        for child in node.children():
            below |= self.seal(child)
        for leaf in node.leaves:
            if leaf.opens and leaf.record not in below:
                leaf.map = 1
        return below | {leaf.record for leaf in node.leaves}

    def flatten(self, root: Node) -> int:
        order: list[Node] = []

        def visit(node: Node) -> int:
            node.number = len(self.out.nodes) + len(order)
            order.append(node)
            for child in node.children():
                visit(child)
            ends[id(node)] = len(self.out.nodes) + len(order)
            return node.number

        ends: dict[int, int] = {}
        visit(root)
        numbers = {id(node): node.number for node in order}
        rows = [self.node_row(node, ends[id(node)], numbers) for node in order]
        self.out.nodes.extend(rows)
        return root.number

    def node_row(self, node: Node, end: int, numbers: dict[int, int]) -> tuple[int, ...]:
        out = self.out
        edges, mask = self.edge_table(node)
        leaves, tests = len(out.leaves), len(out.tests)
        kinds = bits = 0
        for leaf in node.leaves:
            kinds |= leaf.kinds
            out.leaves.append((leaf.kinds, len(leaf.conds), len(out.conds)))
            out.conds.extend((numbers[key], *masks) for key, masks in leaf.conds.items())
            out.slots.append((leaf.record, leaf.opens, leaf.map, leaf.slot, leaf.rank, leaf.op, leaf.as_, leaf.word))
        for value, kind, bit in node.tests:
            bits |= 1 << bit
            out.tests.append((*out.text(value), kind, bit))
        element = node.element.number if node.element else 0
        member = node.member.number if node.member else 0
        counts = (mask, kinds, len(node.tests), len(node.leaves), int(node.selects), bits)
        return (end, edges, element, member, leaves, tests, *counts)

    def edge_table(self, node: Node) -> tuple[int, int]:
        """A hash table with open addressing, at most half full."""
        names = [name for name in node.keys if name != "@event"]
        if not names:
            return 0, 0
        size = 2
        while size < 2 * len(names):
            size *= 2
        slots: list[tuple[int, ...]] = [(0, 0, 0, 0)] * size
        for ordinal, name in enumerate(names):
            at = key_hash(name.encode()) & (size - 1)
            while slots[at][3]:
                at = (at + 1) & (size - 1)
            slots[at] = (*self.out.text(name), ordinal, node.keys[name].number)
        first = len(self.out.edges)
        self.out.edges.extend(slots)
        return first, size - 1


SECTIONS = ("request", "response", "stream")
FORMS = ("path", "json", "base64", "embedded", "count", "length", "present")
DIALECT_KEYS = {
    "dialect", "framing", "done", "maps", "usage", "finish", "inner", "hook", "source", "protobuf", *SECTIONS, *WORDS,
}  # fmt: skip
SOURCES = ("vector_db", "knowledge_base", "file_search", "web_search", "database", "api", "other")
HOOKS: dict[str, int] = {}


def _flags(compiler: Compiler, doc: Table) -> int:
    bits = 0
    for key in ("usage", "finish"):
        words = doc.get(key, Listing())
        for word in words if isinstance(words, Listing) else [words]:
            if word not in FLAGS:
                compiler.complain(doc, key, expected=FLAGS, got=word)
            bits |= FLAGS.get(word, 0)
    for key, words in WORDS.items():
        word = doc.get(key, "")
        if isinstance(word, Table):  # {path: SUFFIX}
            continue
        if word and word not in words:
            compiler.complain(doc, key, expected=words, got=word)
        bits |= words.get(word, 0)
    return bits


def _stream_path(compiler: Compiler, doc: Table) -> tuple[int, int]:
    """The end of a path that asks for a stream, where a dialect has paths that do and others that do not."""
    table = doc.get("streams")
    if not isinstance(table, Table):
        return 0, 0
    given = table.get("path")
    ends = given if isinstance(given, Listing) else [given]
    if set(table) != {"path"} or not ends or not all(isinstance(e, str) and e and "|" not in e for e in ends):
        compiler.complain(doc, "streams", expected="always, unless_refused, or {path: END}", got=table)
        return 0, 0
    return compiler.out.text("|".join(map(str, ends)))


def _inners(compiler: Compiler, doc: Table, names: list[str]) -> tuple[int, int]:
    out = compiler.out
    first = len(out.inners)
    for block in doc.get("inner", []):
        if not isinstance(block, Table) or block.get("dialect") not in names:
            compiler.complain(doc, "inner", expected="{model: WORD, dialect: NAME}, the name that of a file", got=block)
            continue
        out.inners.append((*out.text(block.get("model", "")), names.index(block["dialect"]) + 1))
    return first, len(out.inners) - first


def _source(compiler: Compiler, doc: Table) -> tuple[int, int, int, int, int]:
    """What a retrieval asks: (type, its size, segment of the path beside its name, its size, before it)."""
    table = doc.get("source")
    if table is None:
        return 0, 0, 0, 0, 0
    known = isinstance(table, Table) and table.get("type") in SOURCES and len(table) <= 2
    if not known or set(table) - {"type", "after", "before"}:
        compiler.complain(doc, "source", expected=f"{{type: WORD, after: SEGMENT}}; words: {SOURCES}", got=table)
        return 0, 0, 0, 0, 0
    beside = str(table.get("after", table.get("before", "")))
    return (*compiler.out.text(table["type"]), *compiler.out.text(beside), int("before" in table))


PROTO_TYPES = {
    word: number
    for number, word in enumerate(
        ("string", "bytes", "bool", "int", "uint", "sint", "fixed", "float", "double", "enum", "message", "struct",
         "value", "list", "present"),
        start=1,
    )
}  # fmt: skip
PROTO_FLAGS = {"always": 2, "inline": 4}
PROTO_REPEATED, PROTO_FIELDS = 1, 64
_FIELD = re.compile(r"([A-Za-z_]\w*)(\[\])? +([A-Za-z_][\w.]*)(?: +(always|inline))?")


class Protos:
    """The `protobuf` section of one file: names of fields, by which a message is written as the JSON of its paths."""

    def __init__(self, compiler: Compiler, table: Table) -> None:
        self.compiler, self.out = compiler, compiler.out
        self.messages, self.enums = self.tables(table, "messages"), self.tables(table, "enums")
        first = len(self.out.proto_messages) + 1
        self.numbers = {name: first + n for n, name in enumerate(self.messages)}
        self.words = {name: self.enum(name, rows) for name, rows in self.enums.items()}
        rows = [self.message(name, fields) for name, fields in self.messages.items()]
        self.out.proto_messages.extend(rows)

    def tables(self, table: Table, key: str) -> dict[str, Table]:
        given = table.get(key, Table())
        if isinstance(given, Table) and all(isinstance(rows, Table) for rows in given.values()):
            return given
        self.compiler.complain(table, f"protobuf.{key}", expected="a mapping of names to {NUMBER: ...}", got=given)
        return {}

    def number(self, rows: Table, name: str, key: str, most: int) -> int:
        if key.isascii() and key.isdigit() and int(key) <= most:
            return int(key)
        self.compiler.complain(rows, f"protobuf.{name}.{key}", expected=f"a number up to {most}", got=key)
        return 0

    def enum(self, name: str, rows: Table) -> int:
        first = len(self.out.proto_words)
        for key, word in rows.items():
            self.out.proto_words.append((self.number(rows, name, key, 0x7FFFFFFF), *self.out.text(str(word))))
        self.out.proto_enums.append((first, len(rows)))
        return len(self.out.proto_enums)

    def message(self, name: str, fields: Table) -> tuple[int, int]:
        first = len(self.out.proto_fields)
        if len(fields) > PROTO_FIELDS:
            self.compiler.complain(fields, f"protobuf.{name}", message=f"more than {PROTO_FIELDS} fields")
        for key, spec in fields.items():
            number = self.number(fields, name, key, 0x1FFFFFFF)
            self.out.proto_fields.append(self.field(fields, name, key, number, str(spec)))
        return first, len(fields)

    def field(self, fields: Table, name: str, key: str, number: int, spec: str) -> tuple[int, ...]:
        found = _FIELD.fullmatch(spec)
        type_, ref = 0, 0
        if found:
            word = found[3]
            if word in self.numbers:
                type_, ref = PROTO_TYPES["message"], self.numbers[word]
            elif word in self.words:
                type_, ref = PROTO_TYPES["enum"], self.words[word]
            elif word not in ("enum", "message"):
                type_ = PROTO_TYPES.get(word, 0)
            inline = found[4] == "inline"
            if inline and (found[2] or type_ != PROTO_TYPES["message"]):
                type_ = 0
        if not found or not type_:
            expected = (
                f"NAME TYPE, NAME[] TYPE, with `always` or (one message) `inline`; types: {', '.join(PROTO_TYPES)}"
            )
            self.compiler.complain(fields, f"protobuf.{name}.{key}", expected=expected, got=spec)
            return 0, 0, 0, 0, 0, 0
        flags = (PROTO_REPEATED if found[2] else 0) | PROTO_FLAGS.get(found[4] or "", 0)
        return number, *self.out.text(found[1]), ref, type_, flags


def _protos(compiler: Compiler, doc: Table) -> tuple[int, ...]:
    """What each section reads: 1 + index of a message, 0 where bodies are JSON."""
    table = doc.get("protobuf")
    if table is None:
        return 0, 0, 0
    if not isinstance(table, Table) or set(table) - {"roots", "messages", "enums"} or "roots" not in table:
        compiler.complain(doc, "protobuf", expected="a mapping with roots, messages and enums", got=table)
        return 0, 0, 0
    protos = Protos(compiler, table)
    roots = table["roots"]
    if not isinstance(roots, Table) or set(roots) - set(SECTIONS) or set(roots.values()) - set(protos.numbers):
        compiler.complain(
            table, "protobuf.roots", expected="{request: MESSAGE, response: MESSAGE, stream: MESSAGE}", got=roots
        )
        return 0, 0, 0
    return tuple(protos.numbers[roots[name]] if name in roots else 0 for name in SECTIONS)


def _compile_one(out: Compiled, file: Path, doc: Table, names: list[str], problems: Problems) -> None:
    compiler = Compiler(out, file, problems)
    for key in set(doc) - DIALECT_KEYS:
        compiler.complain(doc, key, expected=sorted(DIALECT_KEYS), got=key)
    framing = doc.get("framing", "none")
    if framing not in FRAMINGS:
        compiler.complain(doc, "framing", expected=FRAMINGS, got=framing)
    hook = doc.get("hook")
    if hook is not None and hook not in HOOKS:
        compiler.complain(doc, "hook", expected=HOOKS or "no hook", got=hook)
    compiler.compile_maps(doc)
    flags = _flags(compiler, doc)
    inner = _inners(compiler, doc, names)
    sections = [compiler.section(doc, name) for name in SECTIONS]
    response = doc.get("response")
    if isinstance(response, Table):
        choices = response.get("choices", [])
        if any(
            isinstance(c, Table) and c.get("each") == "."
            for c in (choices if isinstance(choices, Listing) else [choices])
        ):
            flags |= HAS_CHOICES
    name, done = out.text(doc["dialect"]), out.text(doc.get("done", ""))
    source, stream_path, protos = _source(compiler, doc), _stream_path(compiler, doc), _protos(compiler, doc)
    out.names.append(doc["dialect"])
    out.dialects.append(
        (
            name,
            FRAMINGS.get(framing, 0),
            HOOKS.get(hook or "", 0),
            flags,
            *sections,
            inner,
            done,
            source,
            stream_path,
            protos,
        )  # rows of decoder.pyx
    )


def _share_sections(out: Compiled, docs: list[tuple[Path, Table]], problems: Problems) -> None:
    """`request: NAME` is the request of that dialect."""
    for number, (file, doc) in enumerate(docs):
        row = list(out.dialects[number])
        for at, name in enumerate(SECTIONS, start=4):
            if not isinstance(row[at], str):
                continue
            other = out.dialects[out.names.index(row[at])][at] if row[at] in out.names else None
            if other is None or isinstance(other, str):
                problems.add(
                    file, doc.lines[name], name, expected=f"a dialect that has a {name} of its own", got=row[at]
                )
                continue
            row[3] |= out.dialects[out.names.index(row[at])][3] & HAS_CHOICES if name == "response" else 0
            row[at] = other
        out.dialects[number] = tuple(row)


def _read(paths: Iterable[Path], problems: Problems) -> list[tuple[Path, Table]]:
    docs = []
    for file in paths:
        try:
            node = yaml.compose(read_file(file, MAX_FILE), Loader=yaml.SafeLoader)
            doc = _plain(node, {}) if node is not None else None
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            problems.add(file, mark.line + 1 if mark else None, "", message=" ".join(str(error).split()))
            continue
        if not isinstance(doc, Table) or not isinstance(doc.get("dialect"), str):
            problems.add(file, 1, "dialect", expected="a mapping with `dialect: NAME`")
            continue
        docs.append((file, doc))
    return docs


def compile_dialects(paths: Iterable[Path]) -> Compiled:
    """All files into one set of tables. Raises ConfigError, or an ExceptionGroup of them when there are several."""
    problems = Problems()
    docs = _read(paths, problems)
    names = [doc["dialect"] for _, doc in docs]
    for (file, doc), name in zip(docs, names, strict=True):
        if names.count(name) > 1:
            problems.add(file, doc.lines["dialect"], "dialect", message=f"{name!r} is described by more than one file")
    out = Compiled()
    for file, doc in docs:
        _compile_one(out, file, doc, names, problems)
    if not problems:
        _share_sections(out, docs, problems)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise ExceptionGroup(f"{len(problems)} mistakes in the dialects", list(problems))
    return out


def load_dialects(folder: Path | str | None = None) -> Dialects:
    """The dialects of `folder`, or those that are shipped: from their compiled form if it is that of the files."""
    from oisp_core.decode import stored  # with the first engine, not with the import

    shipped = folder is None
    if folder is None:
        folder = data("semconv/dialects")
    try:
        found = files(folder, ".yaml")
    except OSError as error:
        raise ConfigError(folder, message=f"cannot be read: {error.strerror}") from None
    if not found:
        raise ConfigError(folder, expected="a folder with *.yaml files")
    if shipped and (Path(folder) / stored.COMPILED).exists():
        compiled = stored.load(read(f"semconv/dialects/{stored.COMPILED}"), stored.source_hash(found), Compiled())
        if compiled is not None:
            return Dialects(compiled)
    return Dialects(compile_dialects(found))


from oisp_core.decode.decoder import Dialects  # noqa: E402 (decoder.pyx needs nothing of this module)
