# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from oisp_core.match.fingerprints import Endpoint, Host, read_documents, read_semconv
from oisp_core.match.rules import Registry, load_registry
from oisp_core.match.verdict import Verdict
from oisp_core.resources import data

CHAT = b'{"model":"gpt-5","messages":[{"role":"user","content":"hi"}]}'
JSON_ANSWER = [("content-type", "application/json")]
KEY = ("Authorization", "Bearer sk-proj-" + "T" * 40)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_registry(["openai.chat", "anthropic.messages", "openai.responses", "openai.realtime", "mcp"])


def ask(
    registry: Registry, url: str, method: str = "POST", headers: Any = (), body: bytes | None = None, **more: Any
) -> Verdict:
    host, _, path = url.partition("/")
    return registry.match(method, "/" + path, host, headers, body, **more)


# --- hosts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com",
        "API.OpenAI.com",
        "api.openai.com:443",
        "api.openai.com:",
        "api.openai.com.",
        "user@api.openai.com",
        "eu.api.openai.com",
    ],
)
def test_known_hosts(registry: Registry, host: str) -> None:
    verdict = ask(registry, f"{host}/v1/chat/completions")
    assert (verdict.state, verdict.provider, verdict.level, verdict.method) == (
        "ai",
        "openai",
        "medium",
        "known_endpoint",
    )
    assert verdict.evidence == ("host", "path")


@pytest.mark.parametrize(
    "host",
    ["xapi.openai.com", "api.openai.com.evil.example", "a.b.api.openai.com", "openai.com", ".api.openai.com", "",
     "[::1]:443", "a" * 300 + ".openai.azure.com", "openai.azure.com", ".openai.azure.com"],
)  # fmt: skip
def test_hosts_that_only_look_known(registry: Registry, host: str) -> None:
    assert "host" not in ask(registry, f"{host}/v1/chat/completions").evidence


def test_the_region_is_in_the_host(registry: Registry) -> None:
    verdict = ask(registry, "bedrock-runtime-fips.us-gov-west-1.amazonaws.com/model/m/converse")
    assert (verdict.provider, verdict.region, verdict.model) == ("aws_bedrock", "us-gov-west-1", "m")
    vpce = "vpce-0a1-b2.bedrock-runtime.eu-west-1.vpce.amazonaws.com"
    assert ask(registry, f"{vpce}/model/m/converse").region == "eu-west-1"
    assert (
        ask(registry, "us-central1-aiplatform.googleapis.com/v1/endpoints/openapi/chat/completions").region
        == "us-central1"
    )


def test_the_handshake_names_the_host_where_the_authority_does_not(registry: Registry) -> None:
    path = "/v1/chat/completions"
    assert registry.match("POST", path, "", sni="api.openai.com").provider == "openai"
    assert registry.match("POST", path, "10.1.2.3", sni="api.openai.com").provider == "openai"
    assert registry.match("GET", path, "api.groq.com", sni="api.openai.com").evidence == ("host",)
    assert registry.match("POST", path, "api.groq.com", sni="api.openai.com").provider == "groq"


def test_requests_to_a_proxy_carry_a_whole_url(registry: Registry) -> None:
    verdict = registry.match("POST", "https://api.openai.com/v1/responses?x=1", "proxy.corp:3128")
    assert (verdict.provider, verdict.kind) == ("openai", "chat")
    assert registry.match("CONNECT", "api.openai.com:443", "api.openai.com:443").state == "none"


@pytest.mark.parametrize(
    "host", ["us.posthog.com", "eu.i.posthog.com", "api.smith.langchain.com", "cloud.langfuse.com"]
)
def test_hosts_that_are_never_ai(registry: Registry, host: str) -> None:
    verdict = ask(
        registry, f"{host}/v1/chat/completions", body=CHAT, headers=[KEY], status=200, response_headers=JSON_ANSWER
    )
    assert (verdict.state, verdict.evidence) == ("none", ("host", "never"))


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["v1/chat/completions", "v1/chat/completions/", "v1//chat///completions", "v1/chat/completions?api-version=1",
     "v1/chat/completions#x", "proxy/openai/v1/chat/completions", "a/" * 30 + "v1/chat/completions"],
)  # fmt: skip
def test_paths_are_matched_at_their_end(registry: Registry, path: str) -> None:
    assert ask(registry, f"api.openai.com/{path}").rule == "chat"


@pytest.mark.parametrize(
    "path",
    ["", "v1", "v1/chat", "v1/chat/completions/x", "v1/chat/completion", "v1/chatcompletions", "V1/Chat/Completions",
     "v1/chat/completions%20", "?/v1/chat/completions", "v1/models/gpt-5"],
)  # fmt: skip
def test_a_known_host_with_another_path_is_not_ai(registry: Registry, path: str) -> None:
    verdict = ask(
        registry, f"api.openai.com/{path}", headers=[KEY], body=CHAT, status=200, response_headers=JSON_ANSWER
    )
    assert verdict.state == "none"
    assert verdict.provider == "openai"


def test_the_method_counts(registry: Registry) -> None:
    assert ask(registry, "api.openai.com/v1/chat/completions", "GET").state == "none"
    assert ask(registry, "api.openai.com/v1/responses/resp_1", "GET").kind == "other"
    assert ask(registry, "api.openai.com/v1/responses/resp_1", "DELETE").state == "none"


def test_models_in_paths(registry: Registry) -> None:
    gemini = "generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent?key=AIzaSyTTT&alt=sse"
    verdict = ask(registry, gemini)
    assert (verdict.model, verdict.key, verdict.auth_type) == ("gemini-2.5-pro", "AIzaSyTTT", "api_key")
    assert ask(registry, "x.openai.azure.com/openai/deployments/my-gpt/chat/completions").model == "my-gpt"
    colon = "bedrock-runtime.us-west-2.amazonaws.com/model/us.amazon.nova-2-lite-v1:0/converse"
    assert ask(registry, colon).model == "us.amazon.nova-2-lite-v1:0"
    several = "api-inference.huggingface.co/models/org/name"
    assert ask(registry, several).model == "org/name"


def test_kinds_by_model_and_by_body(registry: Registry) -> None:
    bedrock = "bedrock-runtime.us-east-1.amazonaws.com/model"
    assert ask(registry, f"{bedrock}/amazon.titan-embed-text-v2%3A0/invoke").kind == "embedding"
    assert ask(registry, f"{bedrock}/amazon.titan-text-lite-v1/invoke").state == "undecided"
    assert ask(registry, f"{bedrock}/amazon.titan-text-lite-v1/invoke", body=b'{"inputText":"x"}').kind == "completion"
    assert ask(registry, f"{bedrock}/m/invoke", body=b'{"messages":[],"prompt":"x"}').kind == "chat"
    assert ask(registry, f"{bedrock}/m/invoke", status=200).kind == "chat"  # no body was seen
    weaviate = "x.weaviate.cloud/v1/graphql"
    assert ask(registry, weaviate, body=b'{"query":"{Get{A(nearText:{}){t}}}"}').kind == "rag"
    assert ask(registry, weaviate, body=b'{"query":"{Aggregate{A{meta{count}}}}"}').state == "none"


# --- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "key", "auth", "account"),
    [
        ([("Authorization", "Bearer sk-proj-abc")], "sk-proj-abc", "api_key", None),
        ([("authorization", "bearer   sk-svcacct-abc ")], "sk-svcacct-abc", "service_account", "shared"),
        ([("AUTHORIZATION", "sk-abc")], "sk-abc", "api_key", None),
        ([("Authorization", "Bearer eyJhbGciOi.x.y")], "eyJhbGciOi.x.y", "oauth", None),
        ([("Authorization", "Bearer zzz")], "zzz", "unknown", None),
        ([("Authorization", "Basic dXNlcjpw")], "dXNlcjpw", "unknown", None),
        ([("Authorization", "")], None, "none", None),
        ([("Cookie", "__cf_bm=1")], None, "none", None),
        ([], None, "none", None),
    ],
)
def test_credentials_of_openai(registry: Registry, headers: Any, key: str, auth: str, account: str) -> None:
    verdict = ask(registry, "api.openai.com/v1/responses", headers=headers)
    assert (verdict.key, verdict.auth_type, verdict.account_type) == (key, auth, account)


def test_fields_that_were_lost_are_not_no_credential(registry: Registry) -> None:
    assert ask(registry, "api.openai.com/v1/responses", partial=True).auth_type == "unknown"


def test_aws_signatures(registry: Registry) -> None:
    signature = (
        "AWS4-HMAC-SHA256 Credential={}/20260101/eu-west-3/bedrock/aws4_request, SignedHeaders=host, Signature=0"
    )
    for key, auth in (("AKIAT", "api_key"), ("ASIAT", "session")):
        headers = [("Authorization", signature.format(key))]
        verdict = ask(registry, "gw.corp/model/m/converse", headers=headers, body=b'{"messages":[{"role":"user"}]}')
        assert (verdict.key, verdict.auth_type, verdict.region, verdict.provider) == (
            key,
            auth,
            "eu-west-3",
            "aws_bedrock",
        )


def test_a_providers_own_header_beats_the_gateways(registry: Registry) -> None:
    headers = [("Authorization", "Bearer corp-token"), ("x-api-key", "sk-ant-api03-T")]
    assert ask(registry, "api.anthropic.com/v1/messages", headers=headers).key == "sk-ant-api03-T"


def test_organization_and_project(registry: Registry) -> None:
    headers = [("openai-organization", "org-1"), ("OpenAI-Project", " proj_1 ")]
    verdict = ask(registry, "api.openai.com/v1/responses", headers=headers)
    assert (verdict.organization, verdict.project) == ("org-1", "proj_1")
    vertex = "aiplatform.googleapis.com/v1/projects/p1/locations/global/publishers/google/models/m:generateContent"
    assert (ask(registry, vertex).project, ask(registry, vertex).region) == ("p1", "global")


# --- unknown hosts ----------------------------------------------------------------------------------------------------

GATEWAYS = [
    "gateway.internal:8443",
    "10.0.0.7",
    "localhost:8000",
    "[fd00::1]:8080",
    "llm.corp.example:4000",
    "127.0.0.1:1",
]


@pytest.mark.parametrize("host", GATEWAYS)
def test_a_path_alone_decides_nothing(registry: Registry, host: str) -> None:
    verdict = ask(registry, f"{host}/v1/chat/completions", headers=[KEY])
    assert (verdict.state, verdict.level) == ("undecided", None)


@pytest.mark.parametrize("host", GATEWAYS)
@pytest.mark.parametrize("prefix", ["", "/openai", "/proxy/openai"])
def test_path_and_body_decide(registry: Registry, host: str, prefix: str) -> None:
    verdict = ask(registry, f"{host}{prefix}/v1/chat/completions", body=CHAT)
    assert (verdict.state, verdict.kind, verdict.dialect) == ("ai", "chat", "openai.chat")
    assert (verdict.level, verdict.method, verdict.provider_name) == ("medium", "payload_inspection", "other")


def test_without_a_model_it_is_inferred(registry: Registry) -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}]}'
    verdict = ask(registry, "gw/v1/chat/completions", body=body)
    assert (verdict.state, verdict.level) == ("ai", "inferred")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("v1/chat/completions", b'{"messages":["hi"],"model":"x"}'),
        ("v1/chat/completions", b'{"data":{"messages":[{"role":"user"}],"model":"x"}}'),
        ("v1/chat/completions", b'{"m":"{\\"messages\\":[{\\"role\\":1}]}"}'),
        ("v1/chat/completions", b"{}"),
        ("v1/chat/completions", b"[]"),
        ("v1/chat/completions", b"\x00\x01\x02"),
        ("v1/chat/completions", b"model=gpt&messages=1"),
        ("api/messages", CHAT),
        ("v1/inbox", b'{"messages":[{"role":"admin","text":"hi"}]}'),
        ("batch", b'{"batch":[{"properties":{"$ai_input":[{"role":"user","content":"hi"}],"model":"gpt-5"}}]}'),
        ("v1/traces", b'{"spans":[{"input":{"model":"x","messages":[{"role":"user","content":"hi"}]}}]}'),
        ("api/chat", b'{"id":"1","messages":[{"role":"user","parts":[]}],"trigger":"submit-message"}'),
        ("v1/embeddings", b'{"input":"x"}'),
        ("v1/completions", b'{"task":"done","prompt":"x"}'),
        ("indexes/movies/search", b'{"q":"moon","limit":10}'),
        ("rpc", b'{"jsonrpc":"2.0","id":1,"method":"eth_call"}'),
        ("logs/_search", b'{"query":{"match":{"m":"knn"}}}'),
    ],
)
def test_ordinary_services_are_not_ai(registry: Registry, path: str, body: bytes) -> None:
    verdict = ask(registry, f"app.example/{path}", headers=[KEY], body=body, status=200, response_headers=JSON_ANSWER)
    assert verdict.state == "none"


def test_fifty_ordinary_requests_and_then_one_chat(registry: Registry) -> None:
    """A verdict is about one message: what came before on the connection does not matter."""
    for i in range(50):
        assert ask(registry, f"gw.corp/api/orders/{i}", body=b'{"n":1}', status=200).state == "none"
    assert ask(registry, "gw.corp/v1/chat/completions", body=CHAT, status=200).state == "ai"


def test_a_key_names_the_provider_that_answers_at_the_path(registry: Registry) -> None:
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    key = [("x-api-key", "sk-ant-api03-T")]
    assert ask(registry, "gw/v1/messages", headers=key, body=body).provider == "anthropic"
    assert ask(registry, "gw/api/chat", headers=key, body=body).provider is None


def test_the_response_names_the_provider(registry: Registry) -> None:
    answer = [("openai-processing-ms", "5"), *JSON_ANSWER]
    verdict = ask(registry, "gw/v1/chat/completions", body=CHAT, status=200, response_headers=answer)
    assert (verdict.provider, verdict.provider_name) == ("openai", "openai")
    answer.append(("x-litellm-call-id", "c"))
    assert ask(registry, "gw/v1/chat/completions", body=CHAT, status=200, response_headers=answer).provider == "litellm"


def test_the_response_may_decide_alone(registry: Registry) -> None:
    answer = [("openai-version", "2020-10-01")]
    path = "gw/v1/responses/resp_68af4030"
    assert ask(registry, path, "GET", status=200, response_headers=answer).level == "inferred"
    verdict = ask(registry, "gw/v1/chat/completions", status=200, response_headers=answer)
    assert (verdict.state, verdict.method, verdict.level) == ("ai", "header_fingerprint", "inferred")
    assert ask(registry, "gw/v1/chat/completions", status=200, response_headers=JSON_ANSWER).state == "none"


@pytest.mark.parametrize("where", [f"localhost:{p}" for p in (1234, 8000, 8080, 11434)])
def test_a_local_port_proves_nothing(registry: Registry, where: str) -> None:
    assert ask(registry, f"{where}/", body=CHAT, status=200, response_headers=JSON_ANSWER).state == "none"
    assert ask(registry, f"{where}/v1/chat/completions", status=200, response_headers=JSON_ANSWER).state == "none"
    verdict = ask(registry, f"{where}/v1/chat/completions", body=CHAT)
    assert verdict.state == "ai"
    assert verdict.provider == ("ollama" if where.endswith("11434") else None)
    assert ("port" in verdict.evidence) == where.endswith("11434")


def test_a_port_names_nobody_far_away(registry: Registry) -> None:
    assert ask(registry, "example.com:11434/v1/chat/completions", body=CHAT).provider is None


# --- bodies that were cut ---------------------------------------------------------------------------------------------


def long_chat(model_first: bool) -> bytes:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "x" * 9000}]}
    body = {"model": "m", **body} if model_first else {**body, "model": "m"}
    return json.dumps(body).encode()


def test_what_lies_behind_the_window_is_not_seen(registry: Registry) -> None:
    assert ask(registry, "gw/v1/chat/completions", body=long_chat(True)).level == "medium"
    behind = ask(registry, "gw/v1/chat/completions", body=long_chat(False))
    assert (behind.state, behind.level) == ("ai", "inferred")


def test_a_cut_body_waits_for_the_response(registry: Registry) -> None:
    """Ollama's chat needs a model, which stands behind the window here."""
    where = "gw:11434/api/chat"
    body = long_chat(False)
    assert ask(registry, where, body=body).state == "undecided"
    assert (
        ask(registry, where, body=body, status=200, response_headers=[("content-type", "application/x-ndjson")]).state
        == "ai"
    )
    assert ask(registry, where, body=body, status=200, response_headers=[("content-type", "text/html")]).state == "none"


@pytest.mark.parametrize("size", range(1, len(CHAT)))
def test_a_prefix_of_a_body_never_says_no(registry: Registry, size: int) -> None:
    assert ask(registry, "gw/v1/chat/completions", body=CHAT[:size]).state in ("undecided", "ai")


def test_forms(registry: Registry) -> None:
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\nx\r\n'
    both = (part.format("model") + part.format("file") + "--b--\r\n").encode()
    assert ask(registry, "gw/v1/audio/transcriptions", body=both).kind == "audio"
    assert ask(registry, "gw/v1/audio/transcriptions", body=part.format("photo").encode()).state == "none"


# --- protocols --------------------------------------------------------------------------------------------------------

UPGRADE = [("Upgrade", "websocket"), ("Connection", "Upgrade")]


def test_websockets(registry: Registry) -> None:
    known = "api.openai.com/v1/realtime?model=gpt-realtime"
    assert ask(registry, known, "GET", UPGRADE).kind == "chat"
    assert ask(registry, known, "GET").state == "none"
    assert ask(registry, known, "CONNECT").kind == "chat"  # HTTP/2
    update = b'{"type":"session.update","session":{}}'
    for path in ("gw/v1/realtime", "gw/some/where"):
        open_ = ask(registry, path, "GET", UPGRADE, status=101)
        assert open_.state == "undecided"
        assert ask(registry, path, "GET", UPGRADE, update).dialect == "openai.realtime"
        assert ask(registry, path, "GET", UPGRADE, b'{"type":"chat","text":"hi"}').state == "none"


def test_a_browsers_key_is_in_the_subprotocol(registry: Registry) -> None:
    headers = [*UPGRADE, ("Sec-WebSocket-Protocol", "realtime, openai-insecure-api-key.ek_T, openai-beta.realtime-v1")]
    verdict = ask(registry, "api.openai.com/v1/realtime", "GET", headers)
    assert (verdict.key, verdict.auth_type) == ("ek_T", "session")


def test_grpc(registry: Registry) -> None:
    method = "/xai_api.Chat/GetCompletion"
    kind = [("content-type", "application/grpc+proto")]
    assert ask(registry, f"api.x.ai{method}", headers=kind).level == "medium"
    assert ask(registry, f"gw:50051{method}", headers=kind).level == "inferred"
    assert ask(registry, f"gw:50051{method}", headers=JSON_ANSWER, status=200).state == "none"


def test_mcp_at_any_path(registry: Registry) -> None:
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}'
    both = [("Accept", "application/json, text/event-stream")]
    assert ask(registry, "tools.corp/agent", headers=both, body=call).dialect == "mcp"
    assert ask(registry, "tools.corp/agent", body=call).state == "none"
    assert ask(registry, "tools.corp/mcp", body=call).kind == "mcp"
    assert ask(registry, "tools.corp/mcp", body=b"[" + call + b"]").kind == "mcp"


# --- the whole registry -----------------------------------------------------------------------------------------------


def sample_host(host: Host) -> str:
    name = host.pattern
    for part, value in (("*", "acme"), ("{region}", "eu-west-1"), ("{stage}", "prod")):
        name = name.replace(part, value)
    return name + (f":{host.port}" if host.port else "")


def sample_path(path: str) -> str:
    import re

    return re.sub(r"\{[a-z_]+\+?\}", "x1", path.removeprefix("^"))


def sample(endpoint: Endpoint, bit: int) -> dict[str, Any]:
    names = {1: "GET", 2: "POST", 4: "PUT", 8: "PATCH", 16: "DELETE", 32: "CONNECT"}
    headers = UPGRADE if endpoint.websocket else [("content-type", "application/grpc")] if endpoint.grpc else []
    return {"method": names[bit], "headers": headers}


def test_every_endpoint_of_every_provider_is_reached(registry: Registry) -> None:
    """At each of its hosts and paths, by each of its methods: no rule hides another."""
    semconv = read_semconv(read_documents(data("semconv/providers")))
    asked = 0
    for provider in semconv.providers:
        for endpoint in provider.endpoints:
            for bit in (b for b in (1, 2, 4, 8, 16, 32) if endpoint.methods & b):
                for path in endpoint.paths:
                    for host in provider.hosts:
                        verdict = ask(registry, sample_host(host) + sample_path(path), **sample(endpoint, bit))
                        asked += 1
                        assert verdict.provider == provider.id, (provider.id, endpoint.name, path, verdict)
                        if not endpoint.variants:
                            assert verdict.rule == endpoint.name, (provider.id, endpoint.name, path, verdict)
                            assert verdict.state == ("ai" if endpoint.kind else "none")
    assert asked > 1000


def test_at_least_sixty_providers_and_no_copies() -> None:
    semconv = read_semconv(read_documents(data("semconv/providers")))
    assert len(semconv.providers) >= 60
    assert not semconv.gaps
    seen = {}
    for p in semconv.providers:
        same = (tuple(p.hosts), tuple(p.keys), tuple(p.signals), tuple(e.paths for e in p.endpoints))
        assert same not in seen, f"{p.id} is a copy of {seen[same]}"
        seen[same] = p.id


def test_dialects_that_nobody_decodes_are_known_endpoints() -> None:
    registry = load_registry(["openai.chat"])
    verdict = ask(registry, "api.anthropic.com/v1/messages")
    assert (verdict.state, verdict.kind, verdict.dialect) == ("ai", "chat", None)
    assert "anthropic.messages" in registry.missing_dialects
    assert ask(registry, "api.openai.com/v1/chat/completions").dialect == "openai.chat"


def test_a_path_that_is_looked_up_gets_what_a_walk_would_find(registry: Registry) -> None:
    """An empty segment is left out, but makes a path that no table holds."""
    semconv = read_semconv(read_documents(data("semconv/providers")))
    paths = sorted({p.lstrip("^") for e in semconv.paths for p in e.paths}
                   | {p.lstrip("^") for x in semconv.providers for e in x.endpoints for p in e.paths})  # fmt: skip
    literal = [p for p in paths if "{" not in p]
    assert len(literal) > 200
    hosts = ["gateway.internal:8443"] + [
        f"{h.pattern}:{h.port}" if h.port else h.pattern
        for p in semconv.providers for h in p.hosts if not set(h.pattern) & set("{*")
    ]  # fmt: skip
    asked = 0  # of those that are endpoints there
    for host in hosts:
        for path in literal:
            for method, headers in (("POST", ()), ("GET", (("Upgrade", "websocket"),))):
                ask = [registry.match(method, p + "?key=x", host, headers) for p in (path, "/" + path)]
                assert ask[0] == ask[1], (host, path, method)
                asked += ask[0].state != "none"
    assert asked > 1000


@pytest.mark.parametrize(
    ("scheme", "auth"),
    [("Bearer ", "unknown"), ("bearer ", "unknown"), ("", "unknown"), ("Api-Key ", "api_key"), ("Token ", "api_key"),
     ("Basic ", "unknown"), ("Bearer   ", "unknown")],
)  # fmt: skip
def test_the_scheme_is_not_part_of_the_credential(registry: Registry, scheme: str, auth: str) -> None:
    verdict = ask(registry, "gateway.internal/v1/chat/completions", headers=[("authorization", scheme + "zz9")])
    assert (verdict.key, verdict.auth_type) == ("zz9", auth)
