# SPDX-License-Identifier: Apache-2.0
"""semconv/providers as Python objects: files in, validated providers out, each mistake with file, line, key, reason.

It describes and checks; it does not match. `compile.py` turns what stands here into tables, `rules.pyx` asks them.
Files are read, never written. A mistake in one file does not hide those in another: all are collected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oisp_core import resources
from oisp_core.errors import ConfigError
from oisp_core.match.shape import Bool, Date, Document, Int, Many, MapOf, Seq, Struct, Text, load_document
from oisp_core.match.words import ACCOUNT_TYPES, AUTH_TYPES, KINDS, METHODS, PROVIDER_NAMES, REQUEST_TYPES

__all__ = [
    "Case",
    "Endpoint",
    "Host",
    "Key",
    "Provider",
    "Semconv",
    "Shape",
    "Signal",
    "Variant",
    "json_schema",
    "provider_files",
    "read_documents",
    "read_semconv",
]

PROVIDER_KINDS = ("cloud", "gateway", "local", "assistant", "vector_db", "mcp")
JSON_TYPES = {"string": 1, "number": 2, "bool": 4, "null": 8, "object": 16, "array": 32}
ANSWERS = {"json": 1, "sse": 2, "ndjson": 4, "other": 8}
MULTI_MAX = 4
"""Segments that `{model+}` may span: `org/name`, `@cf/org/name` and one to spare."""

_STEP = r"(?:[A-Za-z0-9_$-]+(?:\[\])*|(?:\[\])+)"
_TERM = re.compile(rf"(?P<path>{_STEP}(?:\.{_STEP})*)"
                   r"(?:(?P<mode>\^=|\*=|=)(?P<value>.+)|:(?P<types>[a-z|]+))?")  # fmt: skip
_LABEL = r"(?:[A-Za-z0-9_-]+|[A-Za-z0-9-]*\{[a-z_]+\}[A-Za-z0-9-]*)"
_HOST = rf"(?:\*|{_LABEL})(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\]"
_PATH = r"\^?(?:/|(?:/[^/?#\s]+)+)"
_SOURCE = r"https://\S+|unverified"


def _bad_term(text: str) -> str | None:
    match = _TERM.fullmatch(text)
    if match is None:
        return "not a body key such as `model`, `messages[].role`, `prompt:string|array`, `type^=session.`"
    unknown = [t for t in (match["types"] or "").split("|") if t and t not in JSON_TYPES]
    return f"unknown JSON type {unknown[0]!r}" if unknown else None


def _bad_path(text: str) -> str | None:
    for segment in text.lstrip("^").split("/"):
        if segment.count("{") != segment.count("}") or segment.count("{") > 1:
            return "a segment holds at most one `{name}`"
        if "{" in segment and not re.fullmatch(r"[^{}]*\{[a-z_]+\+?\}[^{}]*", segment):
            return "a capture is `{name}` or `{name+}`"
        if "+}" in segment and not re.fullmatch(r"\{[a-z_]+\+\}", segment):
            return "`{name+}` stands alone in its segment"
    return None


def _fingerprint_rule(value: dict[str, Any]) -> Iterator[tuple[str, Any, str]]:
    need = {"domain": ["pattern"], "header": ["name"], "key": [], "port": ["port"]}
    allowed = {
        "domain": {"pattern", "port", "account"},
        "header": {"name", "value", "prefix", "contains", "in", "names_provider"},
        "key": {"prefix", "aws_service", "auth", "account", "names_provider"},
        "port": {"port"},
    }
    kind = value.get("type", "")
    for key in need.get(kind, []):
        if key not in value:
            yield "", None, f"a fingerprint of type {kind} needs `{key}`"
    for key in value:
        if key != "type" and key not in allowed.get(kind, set()):
            yield key, value[key], f"a fingerprint of type {kind} has no `{key}`"
    if kind == "key" and ("prefix" in value) == ("aws_service" in value):
        yield "", None, "a fingerprint of type key has either `prefix` or `aws_service`"
    if sum(k in value for k in ("value", "prefix", "contains")) > 1:
        yield "", None, "at most one of value, prefix, contains"


_ID = Text(pattern=r"[a-z0-9][a-z0-9_-]{0,47}", says="an id of a-z, 0-9, `-`, `_`")
_URL = Text(pattern=r"https?://\S+", says="a URL")
_KIND = Text(
    words=(*KINDS, "none"), about="What the exchange is about (ext.oisp.kind); none: known, and no AI request."
)
_TERMS = Seq(Text(test=_bad_term, says="a body key"))
_HEADER_NAMES = Many(Text(pattern=r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", says="a header name"))
_TYPED = {
    "kind": _KIND,
    "request_type": Text(words=REQUEST_TYPES, about="data.request_type; by default what the kind suggests."),
    "dialect": Text(pattern=r"[a-z0-9_.-]+", says="the name of a dialect", about="The dialect that reads the bodies."),
}
_VARIANT = Struct(
    {
        "model": Text(about="Pattern over the model in the path; `*` is any text."),
        "body": Text(about="Name of the shape that the request's body has."),
        **_TYPED,
    },
    one_of=("model", "body"),
)
_ENDPOINT = Struct(
    {
        "path": Many(Text(pattern=_PATH, says="a path that begins with `/` (or `^/`), without query", test=_bad_path),
                     about="Matched at the END of the request's path. `{x}` is one segment, `{x+}` up to "
                           "four; `{model}`, `{region}`, `{project}`, `{organization}` are kept. `^` in front: "
                           "the whole path."),
        "method": Many(Text(words=tuple(METHODS)), about="POST if absent (GET with `websocket`)."),
        **_TYPED,
        "body": Text(about="Name of the shape that the body must have behind an unknown host; by default that of the "
                           "dialect, `none`: never behind an unknown host."),
        "alone": Bool("Behind an unknown host the path is enough: no other API has it."),
        "any_path": Bool("Behind an unknown host it may stand at any path; its body decides."),
        "websocket": Bool(),
        "grpc": Bool(),
        "variants": Seq(_VARIANT, about="Other kinds of the same endpoint, the first that fits is taken."),
        "note": Text(),
    },
    required=("path",),
)  # fmt: skip
_FINGERPRINT = Struct(
    {
        "type": Text(words=("domain", "header", "key", "port")),
        "pattern": Text(pattern=_HOST, says="a host such as api.example.com, *.example.com, api.{region}.example.com",
                        about="`*` in front: one or more labels; `{region}` (kept) and other `{x}`: one label "
                              "or a part of it."),
        "port": Int(1, 65535),
        "account": Text(words=ACCOUNT_TYPES),
        "name": _HEADER_NAMES.item,
        "value": Text(about="The whole value, case ignored."),
        "prefix": Text(about="What the value (or the credential, at most 16 bytes) begins with."),
        "contains": Text(about="What the value holds, case ignored."),
        "in": Text(words=("request", "response")),
        "names_provider": Bool("It tells who answers. Default: true in responses and for keys, false in requests."),
        "aws_service": Text(about="Service in the scope of an AWS signature."),
        "auth": Text(words=AUTH_TYPES),
    },
    required=("type",),
    rule=_fingerprint_rule,
)  # fmt: skip
_EXPECT = Struct(
    {
        **_TYPED,
        "model": Text(),
        "region": Text(),
        "organization": Text(),
        "project": Text(),
        "auth": Text(words=AUTH_TYPES),
        "account": Text(words=ACCOUNT_TYPES),
        "provider": _ID,
    }
)
_CASE = Struct(
    {
        "method": Text(words=tuple(METHODS)),
        "url": Text(pattern=r"(?:https?|wss?)://\S+", says="a URL"),
        "headers": MapOf(Text(), names=r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"),
        "body": Text(),
        "response": Struct({"status": Int(100, 599), "headers": MapOf(Text(), names=r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")}),
        "expect": _EXPECT,
        "why": Text(),
    },
    required=("url",),
)
_PROVIDER = Struct(
    {
        "provider": Struct(
            {
                "id": _ID,
                "name": Text(),
                "kind": Text(words=PROVIDER_KINDS),
                "provider_name": Text(words=PROVIDER_NAMES, about="data.provider.name; by default the id, or `other`."),
                "otel_name": Text(about="gen_ai.provider.name of OpenTelemetry."),
                "homepage": _URL,
                "docs": _URL,
                "note": Text(),
            },
            required=("id", "name"),
        ),
        "fingerprints": Seq(_FINGERPRINT, about="How it is recognised: hosts, headers, credentials."),
        "auth": Struct(
            {
                "headers": _HEADER_NAMES,
                "query": Many(Text()),
                "default": Text(words=AUTH_TYPES, about="Type of a credential whose shape says nothing."),
                "organization": _HEADER_NAMES,
                "project": _HEADER_NAMES,
            }
        ),
        "endpoints": MapOf(_ENDPOINT),
        "models": Seq(
            Struct(
                {
                    "id": Text(),
                    "name": Text(),
                    "family": Text(),
                    "context_window": Int(1, 1 << 31),
                    "max_output": Int(1, 1 << 31),
                },
                required=("id",),
            )
        ),
        "facts": Seq(
            Struct(
                {"fact": Text(), "source": Text(pattern=_SOURCE, says="a URL or `unverified`"), "date": Date()},
                required=("fact", "source", "date"),
            )
        ),
        "tests": Struct({"match": Seq(_CASE), "near_miss": Seq(_CASE)}),
    },
    required=("provider",),
)  # fmt: skip
_SHAPE = Struct(
    {
        "all": _TERMS,
        "any": _TERMS,
        "none": _TERMS,
        "model": Text(test=_bad_term, says="a body key"),
        "form": Seq(Text(), about="Names of form fields that must all be there (multipart or urlencoded)."),
        "answers": Seq(Text(words=tuple(ANSWERS)), about="Content types of the response, asked if the body was cut."),
    },
    one_of=("all", "any", "form"),
)
_SHARED = {
    "shapes": MapOf(_SHAPE, about="What bodies look like, by name; a dialect's shape has its name."),
    "paths": Seq(_ENDPOINT, about="Paths whose dialect is known whoever serves them."),
    "never": Seq(
        Struct({"pattern": _FINGERPRINT.keys["pattern"], "reason": Text()}, required=("pattern", "reason")),
        about="Hosts that are never AI, whatever their bodies hold.",
    ),
    "undecoded": Seq(
        _TYPED["dialect"], about="Dialects that endpoints name and nothing reads yet: recognised, counted, no content."
    ),
}
_FILE = Struct(
    {**_PROVIDER.keys, "providers": Seq(_PROVIDER), "index": Seq(Text()), **_SHARED},
    one_of=("provider", "providers", "shapes", "paths", "never", "undecoded", "index"),
)


@dataclass(frozen=True)
class Host:
    pattern: str
    port: int = 0
    account: int = 0
    never: str = ""


@dataclass(frozen=True)
class Signal:
    header: str
    text: str
    mode: int  # enum oisp_signal_mode
    where: int  # enum oisp_signal_where
    names_provider: bool


@dataclass(frozen=True)
class Key:
    prefix: str
    aws: bool
    auth: int
    account: int
    names_provider: bool


@dataclass(frozen=True)
class Shape:
    name: str
    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    model: str = ""
    form: tuple[str, ...] = ()
    answers: int = 0


@dataclass(frozen=True)
class Variant:
    model: str
    shape: str
    kind: int
    request_type: int
    dialect: str


@dataclass(frozen=True)
class Endpoint:
    name: str
    paths: tuple[str, ...]
    methods: int
    kind: int  # 0: known, and not AI
    request_type: int
    dialect: str
    shape: str  # "" none
    alone: bool = False
    any_path: bool = False
    websocket: bool = False
    grpc: bool = False
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class Case:
    """A request of a file's own tests. `expect` is None for a near miss."""

    provider: str
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str | None
    response: dict[str, Any] | None
    expect: dict[str, str] | None
    file: str
    line: int | None


@dataclass
class Provider:
    id: str
    name: str
    file: str
    line: int | None
    kind: str
    provider_name: int
    otel_name: str
    about: dict[str, Any]
    hosts: list[Host] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    credential_headers: list[str] = field(default_factory=list)
    credential_queries: list[str] = field(default_factory=list)
    organization_headers: list[str] = field(default_factory=list)
    project_headers: list[str] = field(default_factory=list)
    auth_default: int = 0
    endpoints: list[Endpoint] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    tests: list[Case] = field(default_factory=list)
    lines: dict[str, int | None] = field(default_factory=dict)


@dataclass
class Semconv:
    """Everything that was read. `errors` is empty if it may be compiled; `gaps` keep a file from being complete."""

    providers: list[Provider] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    paths: list[Endpoint] = field(default_factory=list)
    never: list[Host] = field(default_factory=list)
    undecoded: list[str] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)
    gaps: list[ConfigError] = field(default_factory=list)


def json_schema() -> dict[str, Any]:
    """JSON Schema of a file in semconv/providers. `tools` writes it to schema/; a test compares the two."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://oisp.dev/schema/v0.1/semconv/provider.schema.json",
        "title": "A provider file of semconv/providers",
        "description": "How one AI provider (or several) is recognised. Explained in semconv/providers/README.md.",
        **_FILE.schema(),
    }


def _many(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _number(words: Sequence[str], word: str | None) -> int:
    return words.index(word) + 1 if word is not None else 0


def path_tokens(path: str) -> list[str]:
    """Tokens of a path pattern in reading order: segments, the last one cut at its last colon (`{model}`, `:verb`)."""
    segments = [s for s in path.removeprefix("^").split("/") if s]
    if segments and ":" in segments[-1].rpartition("}")[2]:
        head, colon, verb = segments[-1].rpartition(":")
        segments[-1:] = [head, colon + verb] if head else [colon + verb]
    return segments


def path_forms(path: str) -> list[list[str]]:
    """The same with `{x+}` written out as one to four segments."""
    tokens = path_tokens(path)
    at = next((i for i, t in enumerate(tokens) if t.endswith("+}")), None)
    if at is None:
        return [tokens]
    single = tokens[at][:-2] + "}"
    return [tokens[:at] + [single] * n + tokens[at + 1 :] for n in range(1, MULTI_MAX + 1)]


def covers(general: list[str], special: list[str]) -> bool:
    """Whether every path that ends in `special` ends in `general` too."""
    if len(general) > len(special):
        return False
    for g, s in zip(reversed(general), reversed(special), strict=False):
        if g == s or (g.startswith("{") and g.endswith("}")):
            continue
        if "{" in g and "{" not in s:
            prefix, suffix = g.partition("{")[0], g.partition("}")[2]
            if s.startswith(prefix) and s.endswith(suffix) and len(s) > len(prefix) + len(suffix):
                continue
        return False
    return True


class _Reader:
    """Turns checked documents into a Semconv. Shapes and shared paths are read first: providers refer to them."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = list(documents)
        self.out = Semconv()
        self.whole = True

    def read(self) -> Semconv:
        for document in self.documents:
            if not document.errors:
                if isinstance(document.value, dict):
                    _FILE.check(document.value, (), document)
                else:
                    document.report((), "a mapping", document.value)
            self.out.errors.extend(document.errors)
        good = [d for d in self.documents if not d.errors]
        for document in good:
            for name, body in document.value.get("shapes", {}).items():
                self.out.shapes[name] = self._shape(name, body)
        # Names of shapes may be missing now: a file that refers to one of a broken file is not wrong for that.
        self.whole = not self.out.errors
        for document in good:
            self._shared(document)
        for document in good:
            value = document.value
            if "provider" in value:
                self._provider(value, (), document)
            for i, item in enumerate(value.get("providers", [])):
                self._provider(item, ("providers", i), document)
            self.out.errors.extend(document.errors)
        return self.out

    def _shape(self, name: str, body: dict[str, Any]) -> Shape:
        return Shape(
            name,
            all=tuple(body.get("all", ())),
            any=tuple(body.get("any", ())),
            none=tuple(body.get("none", ())),
            model=body.get("model", ""),
            form=tuple(body.get("form", ())),
            answers=sum(ANSWERS[a] for a in body.get("answers", ())),
        )

    def _shared(self, document: Document) -> None:
        for item in document.value.get("never", []):
            self.out.never.append(Host(item["pattern"].lower(), never=item["reason"]))
        self.out.undecoded.extend(document.value.get("undecoded", []))
        for i, item in enumerate(document.value.get("paths", [])):
            endpoint = self._endpoint(f"path{i + 1}", item, ("paths", i), document)
            self.out.paths.append(endpoint)

    def _endpoint(self, name: str, item: dict[str, Any], place: tuple[Any, ...], document: Document) -> Endpoint:
        kind, dialect, request_type = item.get("kind"), item.get("dialect", ""), item.get("request_type")
        paths = tuple(_many(item["path"]))
        known = None
        if kind is None and not dialect:
            known = self._known_path(paths[0])
        if known is not None:
            kind_number, dialect = known.kind, known.dialect
            request_number = known.request_type
        else:
            word = kind or (name if name in KINDS else "other")
            kind_number = _number(KINDS, None if word == "none" else word)
            request_number = _number(
                REQUEST_TYPES, word if word in REQUEST_TYPES else None if word == "none" else "other"
            )
        if request_type is not None:
            request_number = _number(REQUEST_TYPES, request_type)
        websocket = item.get("websocket", False)
        methods = sum({METHODS[m] for m in _many(item.get("method"))}) or (
            METHODS["GET"] if websocket else METHODS["POST"]
        )
        if websocket:
            methods |= METHODS["CONNECT"]  # RFC 8441
        shape = item.get("body", dialect if dialect in self.out.shapes else known.shape if known else "")
        shape = "" if shape == "none" else self._shape_named(shape, (*place, "body"), document)
        return Endpoint(
            name,
            paths,
            methods,
            kind_number,
            request_number,
            dialect,
            shape,
            item.get("alone", False),
            item.get("any_path", False),
            websocket,
            item.get("grpc", False),
            tuple(self._variants(item, kind_number, request_number, dialect, place, document)),
        )

    def _shape_named(self, name: str, place: tuple[Any, ...], document: Document) -> str:
        if not name or name in self.out.shapes:
            return name
        if self.whole:
            document.report(place, sorted(self.out.shapes), name, "no shape has this name")
        return ""

    def _known_path(self, path: str) -> Endpoint | None:
        special = path_tokens(path)
        best, most = None, 0
        for shared in self.out.paths:
            for general in shared.paths:
                tokens = path_tokens(general)
                if len(tokens) > most and covers(tokens, special):
                    best, most = shared, len(tokens)
        return best

    def _variants(self, item: dict[str, Any], kind: int, request_type: int, dialect: str, place: tuple[Any, ...],
                  document: Document) -> Iterator[Variant]:  # fmt: skip
        for i, variant in enumerate(item.get("variants", [])):
            word = variant.get("kind")
            number = kind if word is None else _number(KINDS, None if word == "none" else word)
            request = (
                request_type if word is None else _number(REQUEST_TYPES, word if word in REQUEST_TYPES else "other")
            )
            if "request_type" in variant:
                request = _number(REQUEST_TYPES, variant["request_type"])
            shape = self._shape_named(variant.get("body", ""), (*place, "variants", i, "body"), document)
            yield Variant(variant.get("model", ""), shape, number, request, variant.get("dialect", dialect))

    def _provider(self, value: dict[str, Any], place: tuple[Any, ...], document: Document) -> None:
        about = value["provider"]
        name = about.get("provider_name") or (about["id"] if about["id"] in PROVIDER_NAMES else "other")
        auth = value.get("auth", {})
        p = Provider(
            about["id"],
            about["name"],
            document.file,
            document.line((*place, "provider")),
            about.get("kind", "cloud"),
            _number(PROVIDER_NAMES, name),
            about.get("otel_name", about["id"]),
            about,
            credential_headers=[h.lower() for h in _many(auth.get("headers"))],
            credential_queries=_many(auth.get("query")),
            organization_headers=[h.lower() for h in _many(auth.get("organization"))],
            project_headers=[h.lower() for h in _many(auth.get("project"))],
            auth_default=_number(AUTH_TYPES, auth.get("default")),
            models=value.get("models", []),
            facts=value.get("facts", []),
        )
        for i, item in enumerate(value.get("fingerprints", [])):
            self._fingerprint(p, item, (*place, "fingerprints", i), document)
        for key, item in value.get("endpoints", {}).items():
            at = (*place, "endpoints", key)
            p.endpoints.append(self._endpoint(key, item, at, document))
            p.lines[key] = document.line(at)
        self._cases(p, value.get("tests", {}), (*place, "tests"), document)
        self._gaps(p, document, place)
        self.out.providers.append(p)

    def _fingerprint(self, p: Provider, item: dict[str, Any], place: tuple[Any, ...], document: Document) -> None:
        account = _number(ACCOUNT_TYPES, item.get("account"))
        kind = item["type"]
        if kind == "domain":
            p.hosts.append(Host(item["pattern"].lower(), item.get("port", 0), account))
            p.lines[f"host:{item['pattern'].lower()}"] = document.line(place)
        elif kind == "port":
            p.ports.append(item["port"])
        elif kind == "header":
            mode = next((i for i, k in enumerate(("", "value", "prefix", "contains")) if k in item), 0)
            text = item.get(("", "value", "prefix", "contains")[mode], "").lower() if mode else ""
            response = item.get("in", "request") == "response"
            p.signals.append(
                Signal(item["name"].lower(), text, mode, 2 if response else 1, item.get("names_provider", response))
            )
        else:
            prefix = item.get("prefix") or item["aws_service"]
            if len(prefix.encode()) > 16:
                document.report((*place, "prefix"), "at most 16 bytes", prefix)
            p.keys.append(
                Key(prefix, "aws_service" in item, _number(AUTH_TYPES, item.get("auth", "api_key")), account,
                    item.get("names_provider", True))
            )  # fmt: skip

    def _cases(self, p: Provider, tests: dict[str, Any], place: tuple[Any, ...], document: Document) -> None:
        for group in ("match", "near_miss"):
            for i, item in enumerate(tests.get(group, [])):
                p.tests.append(
                    Case(
                        p.id,
                        item.get("method", "POST"),
                        item["url"],
                        tuple(item.get("headers", {}).items()),
                        item.get("body"),
                        item.get("response"),
                        item.get("expect", {}) if group == "match" else None,
                        document.file,
                        document.line((*place, group, i)),
                    )
                )

    def _gaps(self, p: Provider, document: Document, place: tuple[Any, ...]) -> None:
        def gap(message: str, hint: str) -> None:
            self.out.gaps.append(
                ConfigError(document.file, document.line((*place, "provider")), p.id, message=message, hint=hint)
            )

        if not any(c.expect is not None for c in p.tests):
            gap("no request that must match", "add one under tests.match")
        if not any(c.expect is None for c in p.tests):
            gap("no near miss", "add a request that looks alike and must not match under tests.near_miss")
        if not p.facts:
            gap("no fact with source and date", "add what the file rests on under facts")


def provider_files(folder: Path | str) -> list[Path]:
    """The YAML files of a folder, by name. ConfigError if it is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(folder, expected="a folder of provider files (*.yaml)")
    return resources.files(folder, ".yaml")


def read_documents(folder: Path | str) -> list[Document]:
    """Those files, read. What is wrong with one stands in its document."""
    return [load_document(f) for f in provider_files(folder)]


def read_semconv(documents: Iterable[Document], over: Iterable[Document] = ()) -> Semconv:
    """All of `documents`, and over them the user's: a provider of the same id takes the place of the shipped one."""
    over = list(over)
    semconv = _Reader([*documents, *over]).read()
    mine = {d.file for d in over}
    own = {p.id for p in semconv.providers if p.file in mine}
    semconv.providers = [p for p in semconv.providers if p.id not in own or p.file in mine]
    semconv.gaps = [g for g in semconv.gaps if g.file in mine or g.key not in own]
    seen: dict[str, Provider] = {}
    for p in semconv.providers:
        if p.id in seen:
            first = seen[p.id]
            semconv.errors.append(
                ConfigError(
                    p.file,
                    p.line,
                    p.id,
                    message=f"the id is taken by {first.file}:{first.line}",
                    hint="give it another",
                )
            )
        seen.setdefault(p.id, p)
    return semconv
