# SPDX-License-Identifier: Apache-2.0
"""Provider files: what is accepted, and how each mistake is reported."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import jsonschema
import pytest
import yaml

from oisp_core.errors import ConfigError
from oisp_core.match.cases import run_cases
from oisp_core.match.compile import compile_semconv
from oisp_core.match.fingerprints import covers, path_forms, path_tokens, read_documents, read_semconv
from oisp_core.match.rules import Registry, load_registry
from oisp_core.match.shape import load_document
from oisp_core.resources import data

# The specification's own example, word for word.
SEED = """\
# semconv/providers/example.yaml
provider:
  id: example
  name: Example AI
  
fingerprints:
  - type: domain
    pattern: "api.example.com"
    
  - type: header
    name: "x-example-version"
    
endpoints:
  chat:
    path: "/v1/chat/completions"
    method: POST
    
models:
  - id: example-large
    name: Example Large
    context_window: 128000
"""  # noqa: W293
GATEWAY = """\
provider: {id: corp, name: Corporate gateway, kind: gateway}
fingerprints:
  - {type: domain, pattern: llm.corp.example, port: 8443}
endpoints:
  chat: {path: /v1/chat/completions}
  claude: {path: /v1/messages}
"""


def shipped() -> list[Any]:
    return read_documents(data("semconv/providers"))


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def errors_of(text: str, folder: Path) -> list[str]:
    """Messages about one user's file, compiled over those that ship, without the folder's name."""
    semconv = read_semconv(shipped(), [load_document(write(folder, "mine.yaml", dedent(text)))])
    errors = semconv.errors or compile_semconv(semconv)[1]
    return [str(e).replace(str(folder) + "/", "") for e in errors]


def test_the_seeds_short_form(tmp_path: Path) -> None:
    write(tmp_path, "example.yaml", SEED)
    registry = load_registry(["openai.chat"], tmp_path)
    verdict = registry.match("POST", "/v1/chat/completions", "api.example.com")
    assert (verdict.provider, verdict.provider_name, verdict.kind, verdict.dialect) == (
        "example",
        "other",
        "chat",
        "openai.chat",
    )


def test_a_gateway_is_a_file_of_few_lines(tmp_path: Path) -> None:
    write(tmp_path, "corp.yaml", GATEWAY)
    registry = load_registry(["openai.chat", "anthropic.messages"], tmp_path)
    chat = registry.match("POST", "/v1/chat/completions", "llm.corp.example:8443")
    claude = registry.match("POST", "/v1/messages", "llm.corp.example:8443")
    assert (chat.provider, chat.dialect, chat.level) == ("corp", "openai.chat", "medium")
    assert (claude.provider, claude.dialect) == ("corp", "anthropic.messages")
    assert registry.match("POST", "/v1/messages", "llm.corp.example:9000").provider is None
    assert registry.match("POST", "/v1/chat/completions", "api.openai.com").provider == "openai"


def test_a_users_file_takes_the_place_of_a_shipped_one(tmp_path: Path) -> None:
    mine = GATEWAY.replace("id: corp", "id: groq")
    write(tmp_path, "groq.yaml", mine)
    registry = load_registry(["openai.chat"], tmp_path)
    assert registry.match("POST", "/v1/chat/completions", "llm.corp.example:8443").provider_name == "groq"
    assert "host" not in registry.match("POST", "/openai/v1/chat/completions", "api.groq.com").evidence


MINE = "provider: {id: mine, name: Mine}\n"
MISTAKES = [
    ("provider: {id: mine}", "mine.yaml:1: provider: `name` is missing"),
    ("{}", "mine.yaml:1: one of provider, providers, shapes, paths, never, undecoded, index is missing"),
    ("[]", "mine.yaml:1: expected a mapping; got []"),
    ("", "mine.yaml: expected a mapping"),
    ("provider: [", "mine.yaml:2: did not find expected node content; expected YAML"),
    ("provider: &a {id: x, name: y}", "mine.yaml:1: expected a file without anchors and aliases"),
    (MINE + "provider: {id: x, name: y}", "mine.yaml:2: provider: the key stands here a second time"),
    (MINE + "hosts: []", "mine.yaml:2: hosts: unknown key; expected one of provider, fingerprints, auth, endpoints"),
    (MINE + "1: 2", "mine.yaml:2: 1: expected a key that is a word; got 1"),
    ("provider: {id: Mine!, name: x}", "mine.yaml:1: provider.id: expected an id of a-z, 0-9, `-`, `_`; got 'Mine!'"),
    ("provider: {id: a, name: x, kind: cloudy}", "mine.yaml:1: provider.kind: expected one of cloud, gateway, local"),
    ("provider: {id: a, name: x, provider_name: foo}", "provider.provider_name: expected one of openai, anthropic"),
    (
        MINE + "fingerprints:\n  - {type: domain}",
        "mine.yaml:3: fingerprints[0]: a fingerprint of type domain needs `pattern`",
    ),
    (
        MINE + "fingerprints:\n  - {type: host, pattern: x}",
        "mine.yaml:3: fingerprints[0].type: expected one of domain, header",
    ),
    (
        MINE + "fingerprints:\n  - {type: domain, pattern: 'http://x'}",
        "fingerprints[0].pattern: expected a host such as",
    ),
    (
        MINE + "fingerprints:\n  - {type: domain, pattern: 'a.*.com'}",
        "fingerprints[0].pattern: expected a host such as",
    ),
    (
        MINE + "fingerprints:\n  - {type: domain, pattern: x.com, port: 0}",
        "fingerprints[0].port: expected an integer, 1 to 65535",
    ),
    (
        MINE + "fingerprints:\n  - {type: domain, pattern: x.com, prefix: y}",
        "a fingerprint of type domain has no `prefix`",
    ),
    (MINE + "fingerprints:\n  - {type: key}", "a fingerprint of type key has either `prefix` or `aws_service`"),
    (
        MINE + "fingerprints:\n  - {type: key, prefix: abcdefghijklmnopq}",
        "fingerprints[0].prefix: expected at most 16 bytes",
    ),
    (MINE + "fingerprints:\n  - {type: header, name: 'a b'}", "fingerprints[0].name: expected a header name"),
    (MINE + "endpoints: {chat: {path: v1}}", "endpoints.chat.path: expected a path that begins with `/`"),
    (MINE + "endpoints: {chat: {path: '/a{b'}}", "endpoints.chat.path: a segment holds at most one `{name}`"),
    (MINE + "endpoints: {chat: {path: '/x{b+}'}}", "endpoints.chat.path: `{name+}` stands alone in its segment"),
    (MINE + "endpoints: {chat: {path: '/a?b=1'}}", "endpoints.chat.path: expected a path that begins with `/`"),
    (MINE + "endpoints: {chat: {path: []}}", "endpoints.chat.path: expected at least one"),
    (MINE + "endpoints: {chat: {method: POST}}", "endpoints.chat: `path` is missing"),
    (MINE + "endpoints: {chat: {path: /x, method: FETCH}}", "endpoints.chat.method: expected one of GET, POST"),
    (MINE + "endpoints: {chat: {path: /x, kind: talk}}", "endpoints.chat.kind: expected one of chat, completion"),
    (MINE + "endpoints: {chat: {path: /x, body: nosuch}}", "endpoints.chat.body: no shape has this name"),
    (MINE + "endpoints: {chat: {path: /x, alone: perhaps}}", "endpoints.chat.alone: expected one of true, false"),
    (MINE + "endpoints: {'a b': {path: /x}}", "endpoints.a b: expected a name of letters, digits"),
    (MINE + "shapes: {x: {all: ['a b']}}", "shapes.x.all[0]: not a body key such as"),
    (MINE + "shapes: {x: {all: ['a:text']}}", "shapes.x.all[0]: unknown JSON type 'text'"),
    (MINE + "facts: [{fact: x, source: rumour, date: 2026-01-01}]", "facts[0].source: expected a URL or `unverified`"),
    (
        MINE + "facts: [{fact: x, source: unverified, date: today}]",
        "facts[0].date: expected a date, YYYY-MM-DD; got 'today'",
    ),
    (MINE + "models: [{id: x, context_window: many}]", "models[0].context_window: expected an integer"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES)
def test_mistakes(text: str, message: str, tmp_path: Path) -> None:
    found = errors_of(text, tmp_path)
    assert len(found) >= 1
    assert any(message in error for error in found), found
    assert all(error.startswith("mine.yaml") for error in found)


def test_all_mistakes_are_found_at_once(tmp_path: Path) -> None:
    text = """\
        provider: {id: mine, name: Mine, kind: cloudy}
        endpoints:
          chat: {path: v1}
          embed: {path: /x, kind: talk}
        surprise: true
        """
    assert [e.split(": ")[1] for e in errors_of(text, tmp_path)] == [
        "provider.kind",
        "endpoints.chat.path",
        "endpoints.embed.kind",
        "surprise",
    ]


def test_two_providers_with_the_same_host_and_path(tmp_path: Path) -> None:
    text = (
        MINE
        + "fingerprints: [{type: domain, pattern: api.openai.com}]\nendpoints: {chat: {path: /v1/chat/completions}}\n"
    )
    (error,) = errors_of(text, tmp_path)
    assert error.startswith("mine.yaml:3: mine.endpoints.chat: same host (api.openai.com), path (/v1/chat/completions)")
    assert "openai.endpoints.chat" in error
    other_path = text.replace("/v1/chat/completions", "/v1/corp/chat")
    assert errors_of(other_path, tmp_path) == []


@pytest.mark.parametrize("order", [("^/ask", "/ask"), ("/ask", "^/ask")])
def test_a_path_from_its_start_and_one_from_anywhere(tmp_path: Path, order: tuple[str, str]) -> None:
    for name, path in zip("ab", order, strict=True):
        text = f"provider: {{id: {name}, name: A}}\nfingerprints: [{{type: domain, pattern: {name}.example}}]\n"
        write(tmp_path, f"{name}.yaml", text + f"endpoints: {{chat: {{path: {path}, kind: chat}}}}\n")
    registry = load_registry([], tmp_path)
    loose = "ab"[order.index("/ask")]
    assert registry.match("POST", "/behind/ask", f"{loose}.example").state == "ai"
    assert all(registry.match("POST", "/ask", f"{name}.example").state == "ai" for name in "ab")


def test_the_same_id_twice(tmp_path: Path) -> None:
    text = f"providers:\n  - {MINE.strip()}\n  - {MINE.strip()}\n".replace("provider: {", "{provider: {").replace(
        "Mine}", "Mine}}"
    )
    (error,) = errors_of(text, tmp_path)
    assert error.startswith("mine.yaml:3: mine: the id is taken by")


def test_loading_raises_the_first_and_counts_the_rest(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "provider: {id: a, name: A, x: 1, y: 2}\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:1: provider\.x: unknown key.*and 1 more"):
        load_registry([], tmp_path)
    with pytest.raises(ConfigError, match="expected a folder of provider files"):
        load_registry([], tmp_path / "nowhere")


def test_huge_and_unreadable_files(tmp_path: Path) -> None:
    assert "more than" in str(load_document(write(tmp_path, "big.yaml", "# " + "x" * (5 << 20))).errors[0])
    assert "cannot be read" in str(load_document(tmp_path / "none.yaml").errors[0])
    assert load_document(write(tmp_path, "deep.yaml", "[" * 5000)).errors
    assert load_document(tmp_path / "x.yaml", b"\xff\xfe\x00").errors


# --- their own tests --------------------------------------------------------------------------------------------------


def test_the_shipped_files_pass_their_own_tests() -> None:
    semconv = read_semconv(shipped())
    tables, errors = compile_semconv(semconv)
    assert errors == []
    assert tables is not None
    assert run_cases(Registry(tables, tables.names["dialects"]), semconv.providers) == []


def test_a_test_that_does_not_hold_is_reported(tmp_path: Path) -> None:
    text = GATEWAY + dedent("""\
        tests:
          match:
            - {url: "https://llm.corp.example:8443/v1/other", expect: {kind: chat}}
            - {url: "https://llm.corp.example:8443/v1/messages", expect: {kind: embedding, auth: oauth}}
          near_miss:
            - {url: "https://llm.corp.example:8443/v1/chat/completions"}
    """)
    semconv = read_semconv(shipped(), [load_document(write(tmp_path, "corp.yaml", text))])
    tables, _ = compile_semconv(semconv)
    assert tables is not None
    problems = [str(e) for e in run_cases(Registry(tables), [p for p in semconv.providers if p.id == "corp"])]
    assert [p.split(": ", 2)[2] for p in problems] == [
        "POST https://llm.corp.example:8443/v1/other; expected an AI request; got 'no match (host)'",
        "POST https://llm.corp.example:8443/v1/messages; expected kind embedding; got 'chat'",
        "POST https://llm.corp.example:8443/v1/messages; expected auth oauth; got 'none'",
        "POST https://llm.corp.example:8443/v1/chat/completions; expected no AI request; got 'chat'",
    ]


# --- paths ------------------------------------------------------------------------------------------------------------


def test_path_tokens() -> None:
    assert path_tokens("/a/{model}:go") == ["a", "{model}", ":go"]
    assert path_tokens("^/") == []
    assert path_forms("/m/{model+}") == [["m"] + ["{model}"] * n for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("general", "special", "yes"),
    [
        ("/chat", "/v1/chat", True),
        ("/v1/chat", "/chat", False),
        ("/{x}/chat", "/v1/chat", True),
        ("/v1/chat", "/{x}/chat", False),
        ("/r/resp_{x}", "/v1/r/resp_1", True),
        ("/r/resp_{x}", "/v1/r/x", False),
    ],
)
def test_what_covers_what(general: str, special: str, yes: bool) -> None:
    assert covers(path_tokens(general), path_tokens(special)) is yes


# --- JSON Schema ------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """As JSON: dates are texts there."""
    return json.loads(json.dumps(value, default=str))


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(data("schema/v0.1/semconv/provider.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_what_ships_and_the_seeds_form(validator: jsonschema.Draft202012Validator) -> None:
    documents = [plain(d.value) for d in shipped()]
    assert len(documents) > 70
    for document in (*documents, plain(yaml.safe_load(SEED)), plain(yaml.safe_load(GATEWAY))):
        validator.validate(document)


BEYOND_SCHEMA = (
    "a fingerprint of type",
    "no shape has this name",
    "at most 16 bytes",
    "`{name}`",
    "`{name+}`",
    "body key",
    "JSON type",
    "date",
    "anchors",
    "second time",
    "YAML",
    "a key that is a word",
)


@pytest.mark.parametrize("text", [t for t, m in MISTAKES if not any(b in m for b in BEYOND_SCHEMA)])
def test_the_schema_refuses_what_check_refuses(validator: jsonschema.Draft202012Validator, text: str) -> None:
    assert not validator.is_valid(plain(yaml.safe_load(text)))
