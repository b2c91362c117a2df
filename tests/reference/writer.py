# SPDX-License-Identifier: Apache-2.0
"""The writer, slow and obvious: the same description of an exchange -> the event as a dictionary.

It shares nothing with the C code but the words of the contract, and has the policy in its own ifs, so that a change on
either side fails a test. Texts are `None`, `str`, or `(form, bytes[, flags])`.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import re
from typing import Any

import orjson

STRING, JSON, PLAIN = 1, 2, 3
METADATA, REDACTED, FULL = 0, 1, 2
PROVIDERS = [None, "openai", "anthropic", "google", "azure_openai", "aws_bedrock", "cohere", "mistral", "groq",
             "together", "fireworks", "replicate", "huggingface", "ollama", "lmstudio", "vllm", "other"]  # fmt: skip
AUTH = [None, "api_key", "oauth", "service_account", "session", "none", "unknown"]
ACCOUNTS = [None, "personal", "corporate", "shared", "unknown"]
REQUESTS = [None, "chat", "completion", "embedding", "image", "audio", "moderation", "other"]
ROLES = [None, "system", "user", "assistant", "tool", "function"]
TOOLS = [None, "function", "code_interpreter", "file_search", "computer_use", "other"]
FINISH = [None, "stop", "length", "tool_calls", "content_filter", "error", "other"]
LEVELS = [None, "high", "medium", "low", "inferred"]
COMPLETE = [None, "full", "partial", "metadata_only", "redacted", "sampled", "vendor_reported"]
KINDS = [
    None,
    "chat",
    "completion",
    "embedding",
    "image",
    "audio",
    "moderation",
    "rerank",
    "rag",
    "mcp",
    "count",
    "other",
]
TOOL_TYPES = {"bash": "shell", "read_file": "file_read", "web_search": "search", "edit": "file_edit"}

Event = dict[str, Any]
Text = Any


# enum oisp_usage_convention
CONVENTIONS = {1: "prompt_excludes_cache", 2: "completion_excludes_reasoning"}


def unescape(data: bytes) -> str:
    """The inside of a JSON string; what is left of surrogates pairs with nothing."""
    return re.sub("[\ud800-\udfff]", "\ufffd", json.loads(b'"' + data + b'"', strict=True))


def compact(data: bytes) -> str:
    """A JSON value without blanks between tokens, token by token as written."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[^"\s]+', data.decode("utf-8", "replace"), re.S)
    return "".join(tokens)


def content(text: Text) -> str:
    """What is hashed and counted."""
    if isinstance(text, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", text)
    form, data = text[0], text[1]
    if form == STRING:
        return unescape(data)
    return compact(data) if form == JSON else data.decode("utf-8", "replace")


def as_string(text: Text) -> str:
    """What a string field shows."""
    if not isinstance(text, str) and text[0] == JSON and text[1].strip()[:1] == b'"':
        return str(json.loads(text[1]))
    return content(text)


MCP = 9  # OISP_KIND_MCP
SYSTEM = 1024  # OISP_X_SYSTEM: the request has a system prompt, if only an empty one


def there(text: Text) -> bool:
    return text is not None and not (not isinstance(text, str) and text[0] == JSON and text[1] in (b"", b"null"))


class Twin:
    def __init__(self, policy: int, hash_key: bytes | None = None) -> None:
        self.policy = policy
        self.key = hash_key

    # -- pieces

    def hash(self, text: str) -> str:
        data = text.encode()
        if self.key is not None:
            return "hmac-sha256:" + hmac.digest(self.key, data, "sha256").hex()[:16]
        return "sha256:" + hashlib.sha256(data).hexdigest()[:16]

    def marker(self, text: Text) -> Event:
        self.reasons.add("content_by_policy")
        plain = content(text)
        return {"$redacted": {"reason": "policy", "original_length": len(plain), "hash": self.hash(plain)}}

    def note(self, text: Text) -> None:
        flags = text[2] if not isinstance(text, str) and len(text) > 2 else 0
        if flags & 1:
            self.reasons.add("text_rewritten")
        if flags & 2:
            self.partial = True

    def string(self, text: Text) -> str:
        self.note(text)
        return as_string(text)

    def content_members(self, text: Text) -> Event:
        if not there(text):
            return {}
        if self.policy == FULL:
            return {"content": self.string(text)}
        self.note(text)
        plain = content(text)
        return {"content": self.marker(text), "content_hash": self.hash(plain), "content_length": len(plain)}

    def strings(self, **texts: Text) -> Event:
        return {name: self.string(text) for name, text in texts.items() if there(text)}

    def allowed(self, text: Text, missing: str | None) -> bool:
        if not there(text):
            return False
        if self.policy == FULL:
            return True
        self.reasons.add("content_by_policy")
        if missing:
            self.missing.add(missing)
        return False

    # -- the event

    def event(self, kind: str, x: Event, f: Event, index: int = 0) -> Event:
        self.reasons: set[str] = set()
        self.missing: set[str] = set()
        self.partial = False
        self.x, self.f, self.v = x, f, f.get("verdict", {})
        body: Event = getattr(self, kind.replace(".", "_"))(index)
        out: Event = {"oisp_version": "0.1", "event_id": f["event_id"], "event_type": kind, "ts": self.time()}
        if f.get("context"):
            out |= json.loads(b"{" + f["context"] + b"}")
        else:
            self.missing.add("context")
        out.setdefault("source", {"collector": "oisp_core"})
        out |= {name: value for name, value in body.items() if value is not None}
        out["confidence"] = self.confidence()
        return out

    def time(self) -> str:
        seconds, nanos = divmod(self.f["ts_ns"], 10**9)
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds, microseconds=nanos // 1000)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rjust(26, "0") + "Z"

    def confidence(self) -> Event:
        c = self.f.get("confidence", {})
        lost = any(c.get(name) for name in ("request_lost", "response_lost", "over_limit"))
        cut = self.partial or lost
        level = LEVELS[c.get("level", 0)] or "inferred"
        if level == "high" and (cut or c.get("completeness") == 2):
            level = "medium"
        out: Event = {"level": level, "completeness": self.completeness(c, cut)}
        if self.reasons:
            out["reasons"] = self.reasons
        if self.missing:
            out["missing"] = self.missing
        words = {"request_lost": "request_bytes_lost", "response_lost": "response_bytes_lost",
                 "request_spared": "request_bytes_spared", "response_spared": "response_bytes_spared",
                 "over_limit": "bytes_over_limit"}  # fmt: skip
        limitations = [f"{word}={c[name]}" for name, word in words.items() if c.get(name)]
        if limitations:
            out["limitations"] = limitations
        if self.policy == METADATA:
            out |= {"redaction_applied": True, "redaction_profile": "metadata"}
        return out

    def completeness(self, c: Event, cut: bool) -> str:
        if c.get("completeness", 0) > 1:
            return str(COMPLETE[c["completeness"]])
        if cut:
            return "partial"
        return "metadata_only" if self.policy == METADATA else "full"

    # -- members that several events share

    def provider(self) -> Event:
        f, v, out = self.f, self.v, {}
        name = PROVIDERS[v.get("provider_name", 0)]
        if name:
            out["name"] = name
        else:
            self.missing.add("provider")
        host = plain(f.get("authority", b"").rpartition(b"@")[2])
        path = plain(re.split(rb"[?#]", f.get("path", b""))[0])
        if host or path:
            scheme = plain(f.get("scheme", b""))
            out["endpoint"] = (f"{scheme}://" if scheme and host else "") + host + path
        places = {"region": "region", "organization": "organization_id", "project": "project_id"}
        return out | {to: plain(v[name]) for name, to in places.items() if v.get(name)}

    def model(self, text: Text) -> Event | None:
        if there(text):
            return {"id": self.string(text)}
        self.missing.add("model")
        return None

    def ids(self) -> Event:
        out = {"request_id": self.f["request_id"]} if "request_id" in self.f else {}
        return out | self.strings(conversation_id=self.x.get("conversation"))

    def ext(self, **members: Any) -> Event:
        out: Event = {}
        for name, slice_name in (("provider", "provider_id"), ("dialect", "dialect")):
            if self.f.get(slice_name):
                out[name] = plain(self.f[slice_name])
        if KINDS[self.v.get("kind", 0)]:
            out["kind"] = KINDS[self.v["kind"]]
        return {"oisp": out | {name: value for name, value in members.items() if value not in (None, {}, [])}}

    def connection(self) -> Event:
        members = self.f.get("connection")
        return {"connection": json.loads(b"{" + members + b"}")} if members else {}

    def related(self, id: str | None, how: str) -> list[Event] | None:
        return [{"event_id": id, "relationship": how}] if id else None

    # -- ai.request

    def ai_request(self, _: int) -> Event:
        x = self.x
        data: Event = self.ids() | {"provider": self.provider()}
        data |= optional(model=self.model(x.get("model_requested")), auth=self.auth())
        data |= optional(request_type=REQUESTS[self.v.get("request_type", 0)])
        data["streaming"] = bool(x.get("flags", 0) & 1)
        counted = [m for m in x.get("messages", ()) if not m.get("flags", 0) & 2]
        data["messages"] = [self.message(m) for m in counted if ROLES[m.get("role", 0)]]
        data["messages_count"] = len(counted)
        data |= self.system()
        if x.get("tools"):
            data["tools"] = [self.tool(t) for t in x["tools"]]
        data["tools_count"] = len(x.get("tools", ()))
        data |= self.strings(tool_choice=x.get("tool_choice"))
        data |= optional(parameters=self.parameters() or None)
        data |= {"has_images": bool(x.get("images")), "image_count": x.get("images", 0)}
        if x.get("messages") or wire_size(x.get("system")):
            data["estimated_tokens"] = self.estimate()
        raw = optional(roles=self.raw_roles(counted) or None, tools=self.raw_tools() or None)
        others, inputs = self.other_messages(counted), x.get("input_count")
        return {
            "data": data,
            "ext": self.ext(
                **self.connection(), **self.system_ext(), other_messages=others, raw=raw, input_count=inputs
            ),
        }

    def other_messages(self, counted: list[Event]) -> list[Event]:
        out = []
        for i, m in enumerate(counted):
            if not ROLES[m.get("role", 0)] and there(m.get("content")):
                members = self.strings(role=m.get("raw_role")) | self.content_members(m["content"]) | images(m)
                out.append({"index": i} | members)
        return out

    def raw_roles(self, counted: list[Event]) -> list[Event]:
        return [{"index": i, "role": self.string(m["raw_role"])} for i, m in enumerate(counted) if m.get("raw")]

    def raw_tools(self) -> list[Event]:
        out = []
        for i, t in enumerate(self.x.get("tools", ())):
            if there(t.get("raw_type")) and as_string(t["raw_type"]) != TOOLS[t.get("type", 0)]:
                out.append({"index": i, "type": self.string(t["raw_type"])})
        return out

    def auth(self) -> Event | None:
        key = self.v.get("key", b"")
        kind = AUTH[self.v.get("auth_type", 0)]
        if not key and not kind:
            return None
        out = optional(type=kind, account_type=ACCOUNTS[self.v.get("account_type", 0)])
        if key:
            prefix = plain(key[: min(8, len(key) // 2)])
            out |= optional(key_prefix=prefix or None, key_hash=self.hash(plain(key)))
        return out

    def message(self, m: Event) -> Event:
        out: Event = {"role": ROLES[m["role"]]} | self.content_members(m.get("content")) | images(m)
        return out | self.strings(tool_call_id=m.get("call_id"), name=m.get("name"))

    def system_texts(self) -> list[Text]:
        if there(self.x.get("system")):
            return [self.x["system"]]
        of_role = [m.get("content") for m in self.x.get("messages", ()) if m.get("flags", 0) & 2 or m.get("role") == 1]
        return [text for text in of_role if there(text)]

    def system(self) -> Event:
        system = self.x.get("system")
        apart = there(system) and (system if isinstance(system, str) else system[1]) not in ("", b"")
        has = (
            apart
            or self.x.get("flags", 0) & SYSTEM
            or any(m.get("flags", 0) & 2 or m.get("role") == 1 for m in self.x.get("messages", ()))
        )
        if not has:
            return {"has_system_prompt": False}
        whole = "".join(content(text) for text in self.system_texts())
        return {"has_system_prompt": True, "system_prompt_hash": self.hash(whole)}

    def system_is_apart(self) -> bool:
        for m in self.x.get("messages", ()):
            if m.get("flags", 0) & 2:
                return True
            if m.get("role") == 1:
                return False
        return self.x.get("system") is not None

    def system_ext(self) -> Event:
        """The prompt from a place of its own, unless it is one of the messages."""
        if not self.system_is_apart():
            return {}
        text = next((t for t in (self.x.get("system"), *(m.get("content") for m in self.x.get("messages", ())
                     if m.get("flags", 0) & 2)) if there(t)), None)  # fmt: skip
        if text is None or content(text) == "":
            return {}
        if self.allowed(text, None):
            return {"system_prompt": self.string(text)}
        self.note(text)
        return {"system_prompt_length": len(content(text))}

    def tool(self, t: Event) -> Event:
        out = self.strings(name=t.get("name")) | optional(type=TOOLS[t.get("type", 0)])
        if self.allowed(t.get("description"), "tools.description"):
            out |= self.strings(description=t["description"])
        return out

    def parameters(self) -> Event:
        out: Event = {}
        for name in ("temperature", "top_p", "max_tokens", "frequency_penalty", "presence_penalty"):
            if there(self.x.get(name)):
                out[name] = json.loads(self.x[name][1])
        stop = self.x.get("stop")
        if self.allowed(stop, "parameters.stop"):
            value = json.loads(stop[1])
            out["stop"] = value if isinstance(value, list) else [value]
        return out

    def estimate(self) -> int:
        x = self.x
        size = wire_size(x.get("system")) if self.system_is_apart() else 0
        for m in x.get("messages", ()):
            if x.get("system") is None or not m.get("flags", 0) & 2:
                size += wire_size(m.get("content"))
        size += sum(wire_size(t.get("name")) + wire_size(t.get("description")) for t in x.get("tools", ()))
        return (size + 3) // 4 + 4 * len(x.get("messages", ()))

    # -- ai.response

    def ai_response(self, _: int) -> Event:
        x, f = self.x, self.f
        data: Event = (
            self.ids() | self.strings(provider_request_id=x.get("response_id")) | {"provider": self.provider()}
        )
        data |= optional(model=self.model(x.get("model_answered")))
        if f.get("status"):
            data["status_code"] = f["status"]
        data["success"] = bool(x.get("success")) and f.get("status", 0) < 400
        data |= optional(error=self.error())
        if x.get("choices"):
            data["choices"] = [self.choice(i, c) for i, c in enumerate(x["choices"])]
        if x.get("calls"):
            data["tool_calls"] = [self.call(c) for c in x["calls"]]
        data["tool_calls_count"] = len(x.get("calls", ()))
        data |= optional(usage=self.usage())
        data |= self.times()
        finish, word = self.finish()
        data |= optional(finish_reason=finish)
        self.answer_missing(data)
        raw = optional(finish_reason=word, usage=self.raw_usage(), arguments=self.raw_arguments() or None)
        server = [i for i, c in enumerate(x.get("calls", ())) if c.get("server")]
        counting = optional(
            cache_write_tokens=x.get("usage", {}).get("cache_write"),
            conventions=[word for bit, word in CONVENTIONS.items() if x.get("usage", {}).get("conventions", 0) & bit]
            or None,
        )
        ext = self.ext(**self.connection(), streamed=bool(f.get("streamed")), **self.choice_texts(),
                       server_tool_calls=server, raw=raw, usage=counting or None,
                       **self.strings(service_tier=x.get("service_tier")))  # fmt: skip
        return {"data": data, "ext": ext, "related_events": self.related(f.get("request_event"), "caused_by")}

    def error(self) -> Event | None:
        x = self.x
        if not any(there(x.get(f"error_{name}")) for name in ("type", "message", "code")):
            return None
        out = self.strings(type=x.get("error_type"), code=x.get("error_code"))
        if self.allowed(x.get("error_message"), "error.message"):
            out |= self.strings(message=x["error_message"])
        return out

    def choice(self, i: int, c: Event) -> Event:
        message = {"role": ROLES[c.get("role", 0)] or "assistant"} | self.content_members(c.get("content")) | images(c)
        return {"index": c.get("index", i), "message": message} | optional(finish_reason=FINISH[c.get("finish", 0)])

    def choice_texts(self) -> Event:
        out: Event = {}
        for name in ("reasoning", "refusal"):
            texts = [c[name] for c in self.x.get("choices", ()) if there(c.get(name)) and content(c[name])]
            if not texts:
                continue
            if self.allowed(texts[0], "reasoning" if name == "reasoning" else None):
                out[name] = "".join(self.string(text) for text in texts)
            else:
                out[f"{name}_length"] = sum(len(content(text)) for text in texts)
        return out

    def arguments(self, c: Event) -> Any:
        """The object, or None when they are none."""
        if c.get("custom"):
            return {"input": self.string(c["arguments"])}
        text = c["arguments"]
        self.note(text)
        data = text[1] if not isinstance(text, str) and text[0] == JSON else content(text).encode()
        try:
            orjson.loads(data)  # the strictest: no infinities, no unpaired surrogates
            value = json.loads(data)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def call(self, c: Event) -> Event:
        out = self.strings(id=c.get("id"), name=c.get("name"), type=c.get("type"))
        return out | self.call_arguments(c, marker=True)

    def call_arguments(self, c: Event, *, marker: bool) -> Event:
        text = c.get("arguments")
        if not there(text):
            return {}
        self.note(text)
        hashed = {"arguments_hash": self.hash(content(text))}
        if self.policy == FULL:
            value = self.arguments(c)
            if value is not None:
                return {"arguments": value} | hashed
        elif marker:
            return {"arguments": self.marker(text)} | hashed
        else:
            self.reasons.add("content_by_policy")
        self.missing.add("arguments")
        return hashed

    def raw_arguments(self) -> list[Event]:
        if self.policy != FULL:
            return []
        return [{"index": i, "text": as_string(c["arguments"])} for i, c in enumerate(self.x.get("calls", ()))
                if there(c.get("arguments")) and self.arguments(c) is None]  # fmt: skip

    def usage(self) -> Event | None:
        names = {"prompt": "prompt_tokens", "completion": "completion_tokens", "total": "total_tokens",
                 "cached": "cached_tokens", "reasoning": "reasoning_tokens"}  # fmt: skip
        usage = self.x.get("usage", {})
        return {to: usage[name] for name, to in names.items() if name in usage} or None

    def raw_usage(self) -> Any:
        raw = self.x.get("usage", {}).get("raw")
        return json.loads(raw[1]) if raw else None

    def times(self) -> Event:
        out = {}
        if "latency_ns" in self.f:
            out["latency_ms"] = self.f["latency_ns"] // 10**6
        else:
            self.missing.add("latency")
        if "first_token_ns" in self.f:
            out["time_to_first_token_ms"] = self.f["first_token_ns"] // 10**6
        return out

    def finish(self) -> tuple[str | None, str | None]:
        first = (self.x.get("choices") or [{}])[0]
        word = FINISH[self.x.get("finish", 0) or first.get("finish", 0)]
        raw = self.x.get("finish_raw") if there(self.x.get("finish_raw")) else first.get("finish_raw")
        raw = self.string(raw) if there(raw) else None
        return word, raw if raw and raw != word else None

    def answer_missing(self, data: Event) -> None:
        if not data["success"]:
            self.missing.discard("model")
        elif KINDS[self.v.get("kind", 0)] in ("chat", "completion"):
            self.missing |= {name for name in ("usage", "finish_reason") if name not in data}

    # -- the others

    def agent_tool_call(self, index: int) -> Event:
        c = self.x["calls"][index]
        tool = self.strings(name=c.get("name"), server=c.get("server_name"))
        tool |= optional(type=tool_type(tool.get("name", "")))
        mcp = self.v.get("kind", 0) == MCP  # the client calls: what decided on it is not seen
        if mcp:
            tool["provider"] = "mcp"
        elif c.get("server") and self.f.get("provider_id"):
            tool["provider"] = plain(self.f["provider_id"])
        data: Event = (
            {"tool": tool} | ({} if mcp else {"triggered_by": "llm_decision"}) | self.strings(call_id=c.get("id"))
        )
        if "call_id" not in data:
            self.missing.add("call_id")
        data |= self.call_arguments(c, marker=False)
        raw = {}
        if self.policy == FULL and there(c.get("arguments")) and self.arguments(c) is None:
            raw = {"arguments": as_string(c["arguments"])}
        ext = self.ext(request_id=self.f.get("request_id"), server_tool=bool(c.get("server")) or None, raw=raw,
                       **self.strings(type=c.get("type")))  # fmt: skip
        return {"data": data, "ext": ext, "related_events": self.related(self.f.get("response_event"), "caused_by")}

    def agent_tool_result(self, index: int) -> Event:
        a, f = self.x["answers"][index], self.f
        name = (self.string(a["name"]) if there(a.get("name")) else "") or plain(f.get("tool_name", b""))
        data: Event = {}
        if name:
            data["tool"] = {"name": name} | optional(type=tool_type(name))
        data |= self.strings(call_id=a.get("call_id"))
        if "call_id" not in data:
            self.missing.add("call_id")
            data["call_id"] = f.get("parent_event") or f["event_id"]
        if a.get("success", -1) >= 0:
            data["success"] = bool(a["success"])
        data |= self.result(a.get("content"))
        if f.get("latency_ns") is not None:
            data["duration_ms"] = f["latency_ns"] // 10**6
        if not f.get("parent_event"):
            self.missing.add("parent")
        ext = self.ext(request_id=f.get("request_id"), server_tool=bool(a.get("server")) or None)
        return {"data": data, "ext": ext, "related_events": self.related(f.get("parent_event"), "parent")}

    def result(self, text: Text) -> Event:
        if not there(text):
            return {}
        self.note(text)
        value: Any = self.marker(text) if self.policy != FULL else as_string(text)
        if self.policy == FULL and not isinstance(text, str) and text[0] == JSON:
            parsed = json.loads(text[1])
            value = parsed if isinstance(parsed, dict | list) else value
        plain_text = content(text)
        return {"result": value, "result_hash": self.hash(plain_text), "result_size_bytes": len(plain_text.encode())}

    def ai_embedding(self, _: int) -> Event:
        x, f, usage = self.x, self.f, self.x.get("usage", {})
        data: Event = {"provider": self.provider()}
        data |= optional(model=self.model(x.get("model_answered") or x.get("model_requested")))
        data |= optional(input_count=x.get("input_count"), total_tokens=usage.get("total", usage.get("prompt")))
        data |= optional(dimensions=x.get("dimensions"))
        data |= self.times()
        data.pop("time_to_first_token_ms", None)
        if not self.usage():
            self.missing.add("usage")
        _, word = self.finish()
        members = optional(request_id=f.get("request_id"), embedding_count=x.get("embedding_count"))
        members |= optional(status_code=f.get("status")) | self.strings(provider_request_id=x.get("response_id"))
        ext = self.ext(**self.connection(), **members, raw=optional(finish_reason=word, usage=self.raw_usage()))
        return {"data": data, "ext": ext, "related_events": self.related(f.get("request_event"), "caused_by")}

    def ai_streaming_chunk(self, _: int) -> Event:
        x, f = self.x, self.f
        data: Event = {"chunk_index": max(0, x.get("chunk_index", 0) - 1), "delta": {}}
        data |= optional(request_id=f.get("request_id"), finish_reason=FINISH[x.get("chunk_finish", 0)])
        length = None
        if self.allowed(x.get("chunk_content"), "delta.content"):
            data["delta"]["content"] = self.string(x["chunk_content"])
        elif there(x.get("chunk_content")):
            self.note(x["chunk_content"])
            length = len(content(x["chunk_content"]))
        data["delta"] |= optional(role=ROLES[x.get("chunk_role", 0)])
        if x.get("chunk_call"):
            c, piece = x["calls"][x["chunk_call"] - 1], x.get("chunk_arguments")
            call = self.strings(id=c.get("id"), name=c.get("name"))
            if there(piece):
                self.note(piece)
                call["arguments"] = self.string(piece) if self.policy == FULL else self.marker(piece)
            data["delta"]["tool_calls"] = [call]
        ext = self.ext()
        if length is not None:
            ext["oisp"]["content_length"] = length
        return {"data": data, "ext": ext, "related_events": self.related(f.get("request_event"), "caused_by")}


def tool_type(name: str) -> str | None:
    return TOOL_TYPES.get(name.lower().replace("-", "_"))


def plain(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def optional(**members: Any) -> Event:
    return {name: value for name, value in members.items() if value is not None}


def images(m: Event) -> Event:
    return {"has_images": True, "image_count": m["images"]} if m.get("images") else {}


def wire_size(text: Text) -> int:
    if text is None:
        return 0
    return len(json.dumps(text, ensure_ascii=False).encode()) - 2 if isinstance(text, str) else len(text[1])
