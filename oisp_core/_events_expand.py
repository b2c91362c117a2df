# SPDX-License-Identifier: Apache-2.0
"""The short form of events turned into the full form.

The specification's own examples write `data.provider: "openai"`, `data.request.messages`, `data.tool_name` and `trace`;
the contract has a place of its own for each. See semconv/README.md for the table of both.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from msgspec import UNSET

from oisp_core import events as e


def expand(event: e.Event) -> e.Event:
    data = event.data
    if isinstance(data, e.AIRequestData | e.AIResponseData | e.AIEmbeddingData):
        _names(event, data)
    if isinstance(data, e.AIRequestData):
        _request(data)
    elif isinstance(data, e.AIResponseData):
        _usage(data)
    elif isinstance(data, e.AgentToolCallData | e.AgentToolResultData):
        _tool(data)
    _trace(event)
    return event


def _oisp(event: e.Event) -> dict[str, Any]:
    """`ext.oisp`, made where it is not there."""
    if not event.ext:
        event.ext = {}
    found: dict[str, Any] = event.ext.setdefault("oisp", {})
    return found


def _names(event: e.Event, data: e.AIRequestData | e.AIResponseData | e.AIEmbeddingData) -> None:
    if isinstance(data.provider, str):
        name = data.provider
        known = name in get_args(e.AIProviderInfoProvider)
        data.provider = e.AIProviderInfo(name=name if known else "other")  # type: ignore[arg-type]
        if not known:
            _oisp(event).setdefault("provider", name)
    if isinstance(data.model, str):
        data.model = e.AIModelInfo(id=data.model)
    if not isinstance(data, e.AIEmbeddingData) and data.endpoint is not UNSET:
        data.provider = data.provider or e.AIProviderInfo()
        data.provider.endpoint = data.provider.endpoint or data.endpoint
        data.endpoint = UNSET


def _request(data: e.AIRequestData) -> None:
    short = data.request
    if isinstance(short, e.ShortRequest):
        if data.messages is UNSET and short.messages is not UNSET:
            data.messages = short.messages
            data.messages_count = len(short.messages)
        if data.tools is UNSET and short.tools is not UNSET:
            data.tools = [_tool_definition(tool) for tool in short.tools]
            data.tools_count = len(data.tools)
        if data.streaming is UNSET:
            data.streaming = short.stream
        data.request = UNSET
    if isinstance(data.tokens, e.ShortTokens):
        if data.estimated_tokens is UNSET:
            data.estimated_tokens = data.tokens.prompt
        data.tokens = UNSET


def _tool_definition(tool: dict[str, Any]) -> e.AIToolDefinition:
    """A tool as OpenAI's API writes it: `{"type": "function", "function": {"name": ...}}`."""
    inner = tool.get("function")
    inner = inner if isinstance(inner, dict) else tool
    made = e.AIToolDefinition()
    kind = tool.get("type")
    if kind is not None:
        made.type = kind if kind in get_args(e.AIToolDefinitionType) else "other"
    for name in ("name", "description"):
        if isinstance(inner.get(name), str):
            setattr(made, name, inner[name])
    return made


def _usage(data: e.AIResponseData) -> None:
    short = data.tokens
    if isinstance(short, e.ShortTokens):
        usage = data.usage or e.AIUsage()
        for full, value in (
            ("prompt_tokens", short.prompt),
            ("completion_tokens", short.completion),
            ("total_tokens", short.total),
        ):
            if getattr(usage, full) is UNSET:
                setattr(usage, full, value)
        data.usage = usage
        data.tokens = UNSET


def _tool(data: e.AgentToolCallData | e.AgentToolResultData) -> None:
    if data.tool_name is not UNSET:
        data.tool = data.tool or e.ToolInfo()
        data.tool.name = data.tool.name or data.tool_name
        data.tool_name = UNSET
    if data.tool_call_id is not UNSET:
        data.call_id = data.call_id or data.tool_call_id
        data.tool_call_id = UNSET


def _trace(event: e.Event) -> None:
    trace = event.trace
    if not isinstance(trace, e.Trace):
        return
    if isinstance(trace.trace_id, str):
        if re.fullmatch(r"[a-f0-9]{32}", trace.trace_id) and event.trace_context is UNSET:
            event.trace_context = e.TraceContext(trace_id=trace.trace_id)
        else:
            _oisp(event).setdefault("trace_id", trace.trace_id)
    if isinstance(trace.parent_event_id, str):
        link = e.RelatedEvent(event_id=trace.parent_event_id, relationship="parent")
        event.related_events = [*(event.related_events or []), link]
    event.trace = UNSET
