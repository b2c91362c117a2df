# SPDX-License-Identifier: Apache-2.0
"""Validated providers in, flat tables out: the arrays of the structs in oisp/rules.h.

Compiling is pure: the same semconv gives the same bytes, and no name of a dialect is resolved here (tables hold numbers
of their own list of names, so that one compiled registry serves any set of dialects). What the files say wrong together
(two providers with the same host and path, too many keys) is found here and reported like any mistake in a file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oisp_core.errors import ConfigError
from oisp_core.match import trie
from oisp_core.match.fingerprints import (
    _TERM,
    JSON_TYPES,
    Endpoint,
    Host,
    Provider,
    Semconv,
    Shape,
    covers,
    path_forms,
    read_documents,
    read_semconv,
)
from oisp_core.match.tables import DTYPES, KEY_NODES_MAX, Tables

__all__ = ["FOLD", "compile_folders", "compile_semconv", "first_error", "rule_hash"]

FOLD = 0x2020202020202020
_MASK = (1 << 64) - 1
GLOB_REGION, GLOB_LABEL, GLOB_MANY, GLOB_REST = b"\x01", b"\x02", b"\x03", b"\x04"
# enum oisp_rule_flag
WEBSOCKET, GRPC, ALONE, NOT_AI, ANY_PATH, EVERYWHERE = 1, 2, 4, 8, 16, 32
# enum oisp_header_action
AUTHORIZATION, CREDENTIAL, ORGANIZATION, PROJECT, SIGNAL, CONTENT_TYPE, UPGRADE, SUBPROTOCOL, COOKIE = (
    1 << i for i in range(9)
)
_FIXED_HEADERS = {
    "authorization": AUTHORIZATION,
    "proxy-authorization": 0,
    "content-type": CONTENT_TYPE,
    "upgrade": UPGRADE,
    "sec-websocket-protocol": SUBPROTOCOL,
    "cookie": COOKIE,
}


def rule_hash(data: bytes, fold: int = 0, seed: int = 0) -> int:
    """The twin of oisp_rule_hash."""
    n = len(data)
    a = b = 0
    if n >= 8:
        a, b = int.from_bytes(data[:8], "little"), int.from_bytes(data[-8:], "little")
    elif n >= 4:
        a, b = int.from_bytes(data[:4], "little"), int.from_bytes(data[-4:], "little")
    elif n:
        a = data[0] | data[n >> 1] << 8 | data[n - 1] << 16
    h = ((a | fold) ^ (seed << 32) ^ seed) * 0x9E3779B97F4A7C15 & _MASK
    h ^= h >> 29
    h = (h ^ (b | fold) ^ n) * 0xBF58476D1CE4E5B9 & _MASK
    return h >> 32


class _Pool:
    def __init__(self) -> None:
        self.data = bytearray()
        self.at: dict[bytes, int] = {}

    def add(self, text: bytes) -> tuple[int, int]:
        if text not in self.at:
            self.at[text] = len(self.data)
            self.data += text
        return self.at[text], len(text)


def _slots(entries: list[tuple[int, tuple[Any, ...]]], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An open-addressed table: linear probing, half empty."""
    size = 2
    while size < 2 * len(entries) + 1:
        size *= 2
    table = np.zeros(size, dtype=dtype)
    taken = [False] * size
    for digest, row in entries:
        slot = digest & (size - 1)
        while taken[slot]:
            slot = (slot + 1) & (size - 1)
        taken[slot] = True
        table[slot] = row
    return table


def host_parts(pattern: str) -> tuple[bytes, bytes]:
    """(what stands in front, as a glob; the literal rest). The front is empty for an exact host."""
    labels = pattern.split(".")
    last = max((i for i, label in enumerate(labels) if "{" in label or label == "*"), default=-1)
    if last < 0:
        return b"", pattern.encode()
    front = ".".join(labels[: last + 1])
    front = re.sub(r"^\*", GLOB_MANY.decode(), front)
    front = front.replace("{region}", GLOB_REGION.decode())
    front = re.sub(r"\{[a-z_]+\}", GLOB_LABEL.decode(), front)
    return front.encode(), ".".join(labels[last + 1 :]).encode()


def model_glob(pattern: str) -> bytes:
    return pattern.encode().replace(b"*", GLOB_REST)


class _Compiler:
    def __init__(self, semconv: Semconv) -> None:
        self.semconv = semconv
        self.errors: list[ConfigError] = []
        self.pool = _Pool()
        self.pool.add(b"\0")  # so that no real text is at 0
        self.rows: dict[str, list[Any]] = defaultdict(list)  # tuples, or numbers where a table is one of numbers
        self.arrays: dict[str, NDArray[Any]] = {}
        self.dialects: list[str] = []
        self.provider_number = {p.id: i + 1 for i, p in enumerate(semconv.providers)}
        self.shape_number = {name: i + 1 for i, name in enumerate(semconv.shapes)}
        self.forms: list[bytes] = []

    def dialect(self, name: str) -> int:
        if not name:
            return 0
        if name not in self.dialects:
            self.dialects.append(name)
        return self.dialects.index(name) + 1

    # Hosts

    def hosts(self) -> None:
        exact: dict[bytes, list[tuple[Any, ...]]] = defaultdict(list)
        ends: dict[bytes, list[tuple[Any, ...]]] = defaultdict(list)
        pairs: list[tuple[Host, int]] = [(h, 0) for h in self.semconv.never]
        pairs += [(h, self.provider_number[p.id]) for p in self.semconv.providers for h in p.hosts]
        for host, number in pairs:
            front, rest = host_parts(host.pattern)
            at, size = self.pool.add(front) if front else (0, 0)
            link = (at, size, host.port, number, 1 if host.never else 0, host.account, 0)
            (ends if front else exact)[rest].append(link)
        for name, table in (("hosts", exact), ("suffixes", ends)):
            entries = []
            for rest, links in table.items():
                digest = rule_hash(rest, FOLD)
                entries.append((digest, (digest, *self.pool.add(rest), len(self.rows["links"]), len(links))))
                # A pattern with a port is more specific than one without; of globs the longer one.
                self.rows["links"].extend(sorted(links, key=lambda k: (-(k[2] > 0), -k[1])))
            self.arrays[name] = _slots(entries, DTYPES[name])

    # Paths

    def paths(self) -> None:
        nodes: list[dict[str, Any]] = [{"literal": {}, "glob": {}, "any": 0, "terminal": 0}]
        terminals: list[tuple[tuple[str, ...], bool]] = []
        at: dict[tuple[tuple[str, ...], bool], int] = {}

        def step(node: int, token: str) -> int:
            n = nodes[node]
            if token.startswith("{") and token.endswith("}"):
                if not n["any"]:
                    nodes.append({"literal": {}, "glob": {}, "any": 0, "terminal": 0})
                    n["any"] = len(nodes) - 1
                return int(n["any"])
            table, key = (
                (n["glob"], (token.partition("{")[0], token.partition("}")[2]))
                if "{" in token
                else (n["literal"], token)
            )
            if key not in table:
                nodes.append({"literal": {}, "glob": {}, "any": 0, "terminal": 0})
                table[key] = len(nodes) - 1
            return int(table[key])

        def terminal(tokens: list[str], anchored: bool) -> int:
            shape = tuple(
                "{}" if t.startswith("{") and t.endswith("}") else re.sub(r"\{.*?\}", "{}", t) for t in tokens
            )
            key = (shape, anchored)
            if key not in at:
                node = 0
                for token in reversed(tokens):
                    node = step(node, token)
                if nodes[node]["terminal"] and anchored != terminals[nodes[node]["terminal"] - 1][1]:
                    # The same tokens with and without `^` end at one node: the looser one holds for both.
                    number = int(nodes[node]["terminal"])
                    terminals[number - 1] = (terminals[number - 1][0], False)
                    at[key] = number
                    return number
                terminals.append((tuple(tokens), anchored))
                nodes[node]["terminal"] = len(terminals)
                at[key] = len(terminals)
            return at[key]

        placed: list[tuple[int, int, Endpoint, Provider | None]] = []
        for provider in self.semconv.providers:
            for endpoint in provider.endpoints:
                for path in endpoint.paths:
                    for tokens in path_forms(path):
                        number = terminal(tokens, path.startswith("^"))
                        placed.append((number, self.provider_number[provider.id], endpoint, provider))
        for endpoint in self.semconv.paths:
            for path in endpoint.paths:
                for tokens in path_forms(path):
                    placed.append((terminal(tokens, path.startswith("^")), 0, endpoint, None))
        self._conflicts(placed, terminals)
        self._rules(placed, terminals)
        self._nodes(nodes)

    def _nodes(self, nodes: list[dict[str, Any]]) -> None:
        edges = []
        for number, node in enumerate(nodes):
            first = len(self.rows["globs"])
            for (prefix, suffix), child in sorted(node["glob"].items(), key=lambda g: -len(g[0][0]) - len(g[0][1])):
                self.rows["globs"].append((child, *self.pool.add(prefix.encode()), *self.pool.add(suffix.encode())))
            self.rows["nodes"].append((node["any"], first, len(node["glob"]), node["terminal"]))
            for token, child in node["literal"].items():
                digest = rule_hash(token.encode(), 0, number)
                edges.append((digest, (digest, number, child, *self.pool.add(token.encode()))))
        self.arrays["edges"] = _slots(edges, DTYPES["edges"])

    def _conflicts(self, placed: list[tuple[int, int, Endpoint, Provider | None]], terminals: list[Any]) -> None:
        """Two endpoints at the same host, path and method that nothing tells apart."""
        seen: dict[tuple[str, int, int, bool], list[tuple[int, Provider, Endpoint]]] = defaultdict(list)
        for number, _, endpoint, provider in placed:
            if provider is None:
                continue
            tokens = terminals[number - 1][0]
            for host in provider.hosts:
                for methods, other, other_endpoint in seen[host.pattern, host.port, number, endpoint.websocket]:
                    if methods & endpoint.methods and (other, other_endpoint.name) != (provider, endpoint.name):
                        self.errors.append(self._conflict(provider, endpoint, other, other_endpoint, host, tokens))
                seen[host.pattern, host.port, number, endpoint.websocket].append((endpoint.methods, provider, endpoint))

    def _conflict(
        self,
        provider: Provider,
        endpoint: Endpoint,
        other: Provider,
        first: Endpoint,
        host: Host,
        tokens: Iterable[str],
    ) -> ConfigError:
        where = f"{other.id}.endpoints.{first.name} ({other.file}:{other.lines.get(first.name)})"
        return ConfigError(
            provider.file,
            provider.lines.get(endpoint.name),
            f"{provider.id}.endpoints.{endpoint.name}",
            message=f"same host ({host.pattern}), path (/{'/'.join(tokens)}) and method as {where}",
            hint="tell them apart, or drop one",
        )

    def _row(self, endpoint: Endpoint, provider: int, terminal: int) -> tuple[Any, ...]:
        first = len(self.rows["variants"])
        for v in endpoint.variants:
            at, size = self.pool.add(model_glob(v.model)) if v.model else (0, 0)
            self.rows["variants"].append(
                (at, size, self.shape_number.get(v.shape, 0), self.dialect(v.dialect), v.kind, v.request_type, 0)
            )
        flags = (
            WEBSOCKET * endpoint.websocket
            | GRPC * endpoint.grpc
            | ALONE * endpoint.alone
            | NOT_AI * (endpoint.kind == 0)
            | ANY_PATH * endpoint.any_path
        )
        name = self.pool.add(endpoint.name.encode())
        return (
            *name, provider, self.dialect(endpoint.dialect), self.shape_number.get(endpoint.shape, 0), terminal, first,
            len(endpoint.variants), endpoint.kind, endpoint.request_type, endpoint.methods, flags, 0,
        )  # fmt: skip

    def _rules(self, placed: list[tuple[int, int, Endpoint, Provider | None]], terminals: list[Any]) -> None:
        by_terminal: dict[int, list[tuple[int, Endpoint]]] = defaultdict(list)
        for number, provider, endpoint, _ in placed:
            by_terminal[number].append((provider, endpoint))
        spans = {}
        for number in range(1, len(terminals) + 1):
            mine = sorted((p for p in by_terminal[number] if p[0]), key=lambda p: p[0])
            spans[number] = (len(self.rows["rules"]), len(mine))
            self.rows["rules"].extend(self._row(e, p, number) for p, e in mine)
        gates = {n: self._gates(by_terminal[n], n) for n in range(1, len(terminals) + 1)}
        own = {n: {p for p, _ in by_terminal[n] if p} for n in range(1, len(terminals) + 1)}
        for number, (tokens, anchored) in enumerate(terminals, 1):
            chain, served = list(gates[number]), set(own[number])
            for other, (general, fixed) in sorted(enumerate(terminals, 1), key=lambda t: -len(t[1][0])):
                if other != number and general and not fixed and covers(list(general), list(tokens)):
                    chain += [g for g in gates[other] if g not in chain]
                    served |= own[other]
            rules_first, rules_count = spans[number]
            gates_first, served_first = len(self.rows["gates"]), len(self.rows["served"])
            self.rows["gates"].extend(chain)
            self.rows["served"].extend(sorted(served))
            self.rows["terminals"].append(
                (
                    rules_first,
                    gates_first,
                    served_first,
                    rules_count,
                    len(chain),
                    len(served),
                    *self._captures(tokens, anchored),
                )
            )
        self.rows["any_gates"] = [i for i, r in enumerate(self.rows["rules"]) if r[2] == 0 and r[11] & ANY_PATH]

    def _gates(self, entries: list[tuple[int, Endpoint]], terminal: int) -> list[int]:
        """Rules without a provider for an unknown host: one for each thing that may stand at this path."""
        seen: dict[Any, int] = {}
        for provider, e in entries:
            if e.kind == 0 or not (e.shape or e.alone):
                continue
            key = (e.dialect, e.kind, e.request_type, e.shape, e.websocket, e.grpc, e.variants)
            if key in seen:
                row = list(self.rows["rules"][seen[key]])
                row[10] |= e.methods
                row[11] |= (ALONE * e.alone) | (ANY_PATH * e.any_path)
                self.rows["rules"][seen[key]] = tuple(row)
            else:
                seen[key] = len(self.rows["rules"])
                self.rows["rules"].append(self._row(e, 0, terminal))
            if provider == 0:
                row = list(self.rows["rules"][seen[key]])
                row[11] |= EVERYWHERE
                self.rows["rules"][seen[key]] = tuple(row)
        shapes = list(self.semconv.shapes.values())

        def strictness(rule: int) -> tuple[int, int]:
            number = self.rows["rules"][rule][4]
            strict = len(shapes[number - 1].all + shapes[number - 1].any + shapes[number - 1].none) if number else -1
            # Of two that ask the same the one that tells more kinds apart comes first.
            return (-strict, -self.rows["rules"][rule][7])

        return sorted(seen.values(), key=strictness)

    def _captures(self, tokens: tuple[str, ...], anchored: bool) -> tuple[int, ...]:
        places: dict[str, list[int]] = defaultdict(list)
        for i, token in enumerate(reversed(tokens), 1):
            if token.startswith("{") and token.endswith("}"):
                places[token[1:-1]].append(i)
        literal = sum(4 if "{" not in t else 3 if not (t.startswith("{") and t.endswith("}")) else 1 for t in tokens)
        model = places.get("model", [0])
        return (
            literal + anchored, anchored, max(model), min(model),
            *(places.get(name, [0])[0] for name in ("region", "project", "organization")), 0,
        )  # fmt: skip

    # Bodies

    def bodies(self) -> None:
        keys: dict[tuple[int, str], int] = {}
        items: dict[int, int] = {}
        tests: dict[int, list[tuple[int, str, int]]] = defaultdict(list)
        count = 1

        def node(path: str) -> int:
            nonlocal count
            at = 0
            for name in re.findall(r"\[\]|[^.\[\]]+", path):
                table: dict[Any, int] = items if name == "[]" else keys
                key = at if name == "[]" else (at, name)
                if key not in table:
                    table[key] = count
                    count += 1
                at = table[key]
            return at

        def term(text: str) -> tuple[int, int, int]:
            nonlocal count
            match = _TERM.fullmatch(text)
            assert match is not None, text
            at = node(match["path"])
            if match["mode"]:
                mode = {"=": 1, "^=": 2, "*=": 3}[match["mode"]]
                for known_mode, value, number in tests[at]:
                    if (known_mode, value) == (mode, match["value"]):
                        return number, 63, 0
                tests[at].append((mode, match["value"], count))
                count += 1
                return count - 1, 63, 0
            types = sum(JSON_TYPES[t] for t in match["types"].split("|")) if match["types"] else 63
            return at, types, 0

        for shape in self.semconv.shapes.values():
            self._shape(shape, term, node)
        if count > KEY_NODES_MAX:
            self.errors.append(
                ConfigError(message=f"the shapes name {count} body keys; at most {KEY_NODES_MAX} are allowed")
            )
            return
        edges = []
        for (parent, name), child in keys.items():
            digest = rule_hash(name.encode(), 0, parent)
            edges.append((digest, (digest, *self.pool.add(name.encode()), parent, child)))
        self.arrays["key_edges"] = _slots(edges, DTYPES["key_edges"])
        for number in range(count):
            first = len(self.rows["key_tests"])
            for mode, value, at in tests[number]:
                self.rows["key_tests"].append((*self.pool.add(value.encode()), at, mode, 0))
            self.rows["key_nodes"].append((items.get(number, 0), first, len(tests[number]), 0))

    def _shape(self, shape: Shape, term: Any, node: Any) -> None:
        first = len(self.rows["terms"])
        if shape.form:
            for name in shape.form:
                pattern = f'name="{name}"'.encode()
                if pattern not in self.forms:
                    self.forms.append(pattern)
                self.rows["terms"].append((self.forms.index(pattern), 0, 0))
            self.rows["shapes"].append((first, len(shape.form), 0, 0, 0, 1, shape.answers, 0))
            return
        for text in (*shape.all, *shape.any, *shape.none):
            self.rows["terms"].append(term(text))
        model = term(shape.model)[0] if shape.model else 0
        self.rows["shapes"].append((first, len(shape.all), len(shape.any), len(shape.none), model, 0, shape.answers, 0))

    # Headers, credentials

    def headers(self) -> list[bytes]:
        actions: dict[str, int] = dict(_FIXED_HEADERS)
        signals: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for p in self.semconv.providers:
            number = self.provider_number[p.id]
            for names, action in ((p.credential_headers, CREDENTIAL), (p.organization_headers, ORGANIZATION),
                                  (p.project_headers, PROJECT)):  # fmt: skip
                for name in names:
                    actions[name] = actions.get(name, 0) | action
            for s in p.signals:
                actions[s.header] = actions.get(s.header, 0) | SIGNAL
                row = (
                    *self.pool.add(s.text.encode()),
                    number if s.names_provider else 0,
                    s.mode,
                    s.where | (4 if p.kind == "gateway" else 0),
                )
                if row not in signals[s.header]:
                    signals[s.header].append(row)
        actions["authorization"] = AUTHORIZATION
        entries, contains, numbers = [], [], []
        for name, action in actions.items():
            raw = name.encode()
            first = len(self.rows["signals"])
            for row in signals[name]:
                if row[3] == 3:
                    contains.append(bytes(self.pool.data[row[0] : row[0] + row[1]]))
                    numbers.append(len(self.rows["signals"]))
                self.rows["signals"].append(row)
            digest = rule_hash(raw, FOLD)
            entries.append((digest, (digest, *self.pool.add(raw), first, len(signals[name]), action)))
        self.arrays["headers"] = _slots(entries, DTYPES["headers"])
        self.arrays["value_signals"] = np.array(numbers, dtype="<u2")
        return contains

    def keys(self) -> None:
        owners: dict[tuple[str, bool], set[int]] = defaultdict(set)
        for p in self.semconv.providers:
            for k in p.keys:
                owners[k.prefix, k.aws].add(self.provider_number[p.id] if k.names_provider else 0)
        for p in self.semconv.providers:
            first = len(self.rows["keys"])
            for k in sorted(p.keys, key=lambda k: -len(k.prefix)):
                names = owners[k.prefix, k.aws]
                provider = next(iter(names)) if len(names) == 1 else 0
                self.rows["keys"].append(
                    (k.prefix.encode(), len(k.prefix.encode()), k.auth, k.account, k.aws, provider, 0)
                )
            self.rows["providers"].append(
                (*self.pool.add(p.id.encode()), first, len(p.keys), p.provider_name, p.auth_default)
            )
            self.rows["ports"].extend((port, self.provider_number[p.id]) for port in p.ports)

    def run(self) -> Tables:
        self.hosts()
        self.paths()
        self.bodies()
        contains = self.headers()
        self.keys()
        queries = sorted({q for p in self.semconv.providers for q in p.credential_queries})
        self.rows["queries"] = [self.pool.add(q.encode()) for q in queries]
        for name, dtype in DTYPES.items():
            if name not in self.arrays and name != "pool":
                self.arrays[name] = np.array(self.rows[name], dtype=dtype)
        for name, limit in (("rules", 65535), ("terminals", 65535), ("variants", 65535), ("providers", 65535)):
            if len(self.arrays[name]) >= limit:
                self.errors.append(
                    ConfigError(message=f"too many {name}: {len(self.arrays[name])}, at most {limit - 1}")
                )
        self.arrays["pool"] = np.frombuffer(bytes(self.pool.data), dtype=np.uint8)
        automata = {"values": trie.build(contains or [b"\0\0"]), "fields": trie.build(self.forms or [b"\0\0"], False)}
        names = {
            "providers": [p.id for p in self.semconv.providers],
            "dialects": self.dialects,
            "shapes": list(self.semconv.shapes),
            "values": [c.decode("latin-1") for c in contains] or ["\0\0"],
            "fields": [f.decode("latin-1") for f in self.forms] or ["\0\0"],
        }
        return Tables(self.arrays, automata, names)


def compile_semconv(semconv: Semconv) -> tuple[Tables | None, list[ConfigError]]:
    """Tables, or None with every mistake that the files make together."""
    compiler = _Compiler(semconv)
    tables = compiler.run()
    return (None if compiler.errors else tables), compiler.errors


def first_error(errors: Iterable[ConfigError]) -> ConfigError | None:
    """The first of several mistakes, saying how many more there are."""
    errors = list(errors)
    if not errors:
        return None
    first = errors[0]
    more = f"and {len(errors) - 1} more: see `oisp-sensor providers check`" if len(errors) > 1 else None
    hint = "; ".join(h for h in (first.hint, more) if h) or None
    return ConfigError(first.file, first.line, first.key, first.expected, first.got, message=first.message, hint=hint)


def compile_folders(shipped: Path | str, user_dir: Path | str | None = None) -> Tables:
    """Compile from the YAML files. ConfigError with the first mistake."""
    over = read_documents(user_dir) if user_dir is not None else []
    semconv = read_semconv(read_documents(shipped), over)
    if (error := first_error(semconv.errors)) is not None:
        raise error
    tables, errors = compile_semconv(semconv)
    if tables is None:
        raise first_error(errors) or ConfigError(message="the registry does not compile")
    return tables
