# SPDX-License-Identifier: Apache-2.0
"""A target: official SDKs, used as their documentation shows. `other_sdks.py NAME...`

Each asks for a text, for a text in pieces, and for calls of a tool, which it answers. Prints one JSON line per exchange
with a model: what the SDK understood.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

QUESTION = "What does it say? (é, 東京, 🧭)"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
RESULT = '{"celsius": 7}'


def say(sdk: str, text: str | None, calls: Iterable[Any] = ()) -> None:
    print(json.dumps({"sdk": sdk, "text": text or "", "calls": [list(call) for call in calls]}), flush=True)


def google_genai() -> None:
    from google import genai
    from google.genai import types

    client = genai.Client(api_key="AIza-invented-for-this-test-0123456789")
    model = "gemini-2.5-flash"
    say("google-genai", client.models.generate_content(model=model, contents=QUESTION).text)
    say(
        "google-genai",
        "".join(c.text or "" for c in client.models.generate_content_stream(model=model, contents=QUESTION)),
    )
    declared = types.FunctionDeclaration(name="get_weather", description="weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(tools=[types.Tool(function_declarations=[declared])], temperature=0.5)
    asked = types.Content(role="user", parts=[types.Part(text=QUESTION)])
    first = client.models.generate_content(model=model, contents=[asked], config=config)
    calls = first.function_calls or []
    say("google-genai", texts_of(first), [(c.name, c.args) for c in calls])
    results = [types.Part.from_function_response(name=str(c.name), response={"celsius": 7}) for c in calls]
    candidate = first.candidates[0].content  # type: ignore[index]
    history = [asked, candidate, types.Content(role="user", parts=results)]
    say("google-genai", client.models.generate_content(model=model, contents=history, config=config).text)


def texts_of(answer: Any) -> str:
    return "".join(part.text or "" for part in answer.candidates[0].content.parts)


def cohere() -> None:
    import cohere

    client = cohere.ClientV2(api_key="invented-for-this-test-0123456789012345")
    user = {"role": "user", "content": QUESTION}
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": SCHEMA}}]

    def text(answer: Any) -> str:
        return "".join(part.text for part in answer.message.content or [])

    say("cohere", text(client.chat(model="command-a-03-2025", messages=[user])))
    events = client.chat_stream(model="command-a-03-2025", messages=[user])
    say("cohere", "".join(e.delta.message.content.text for e in events if e.type == "content-delta"))
    first = client.chat(model="command-a-03-2025", messages=[user], tools=tools)
    calls = first.message.tool_calls or []
    say("cohere", text(first), [(c.function.name, json.loads(c.function.arguments)) for c in calls])
    results = [{"role": "tool", "tool_call_id": c.id, "content": RESULT} for c in calls]
    told = {"role": "assistant", "tool_calls": [c.model_dump() for c in calls]}
    say("cohere", text(client.chat(model="command-a-03-2025", messages=[user, told, *results], tools=tools)))


def openai_like(name: str, model: str, create: Callable[..., Any], pieces: Callable[..., Any]) -> None:
    """Mistral and Groq: chat completions through their own SDKs."""
    user = {"role": "user", "content": QUESTION}
    tools = [{"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": SCHEMA}}]
    say(name, create(model=model, messages=[user]).choices[0].message.content)
    said = ""
    for chunk in pieces(model=model, messages=[user]):
        data = getattr(chunk, "data", chunk)
        said += "".join(choice.delta.content or "" for choice in data.choices)
    say(name, said)
    first = create(model=model, messages=[user], tools=tools).choices[0].message
    calls = first.tool_calls or []
    say(name, first.content, [(c.function.name, json.loads(c.function.arguments)) for c in calls])
    told = [
        {"id": c.id, "type": "function", "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in calls
    ]
    results = [{"role": "tool", "tool_call_id": c.id, "content": RESULT} for c in calls]
    history = [user, {"role": "assistant", "content": first.content or "", "tool_calls": told}, *results]
    say(name, create(model=model, messages=history, tools=tools).choices[0].message.content)


def mistralai() -> None:
    try:
        from mistralai import Mistral
    except ImportError:
        from mistralai.client import Mistral
    client = Mistral(api_key="invented-for-this-test-0123456789")
    openai_like("mistralai", "mistral-small-latest", client.chat.complete, client.chat.stream)


def groq() -> None:
    from groq import Groq

    create = Groq(api_key="gsk_invented-for-this-test-0123456789", max_retries=0).chat.completions.create
    openai_like("groq", "llama-3.3-70b-versatile", create, lambda **k: create(stream=True, **k))


def ollama() -> None:
    from ollama import Client

    client = Client(host="https://ollama.com", headers={"Authorization": "Bearer invented-for-this-test-01234"})
    user = {"role": "user", "content": QUESTION}
    tool = {"type": "function", "function": {"name": "get_weather", "description": "weather", "parameters": SCHEMA}}
    say("ollama", client.chat(model="gpt-oss:20b", messages=[user]).message.content)
    chunks = client.chat(model="gpt-oss:20b", messages=[user], stream=True)
    say("ollama", "".join(chunk.message.content or "" for chunk in chunks))
    first = client.chat(model="gpt-oss:20b", messages=[user], tools=[tool]).message
    calls = first.tool_calls or []
    say("ollama", first.content, [(c.function.name, dict(c.function.arguments)) for c in calls])
    results = [{"role": "tool", "tool_name": c.function.name, "content": RESULT} for c in calls]
    say("ollama", client.chat(model="gpt-oss:20b", messages=[user, first, *results], tools=[tool]).message.content)


def boto3() -> None:
    import boto3

    keys = {"aws_access_key_id": "AKIAINVENTED01234567", "aws_secret_access_key": "invented-for-this-test"}
    client = boto3.client("bedrock-runtime", region_name="eu-west-1", **keys)
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    user = {"role": "user", "content": [{"text": QUESTION}]}
    spec = {"name": "get_weather", "description": "weather", "inputSchema": {"json": SCHEMA}}
    tools = {"tools": [{"toolSpec": spec}]}

    def text(answer: Any) -> str:
        return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])

    say("boto3", text(client.converse(modelId=model, messages=[user])))
    events = client.converse_stream(modelId=model, messages=[user])["stream"]
    deltas = (event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event)
    say("boto3", "".join(delta.get("text", "") for delta in deltas))
    first = client.converse(modelId=model, messages=[user], toolConfig=tools)
    told = first["output"]["message"]
    uses = [block["toolUse"] for block in told["content"] if "toolUse" in block]
    say("boto3", text(first), [(use["name"], use["input"]) for use in uses])
    results = [{"toolResult": {"toolUseId": use["toolUseId"], "content": [{"text": RESULT}]}} for use in uses]
    history = [user, told, {"role": "user", "content": results}]
    say("boto3", text(client.converse(modelId=model, messages=history, toolConfig=tools)))


def mcp() -> None:
    asyncio.run(mcp_session())


async def mcp_session() -> None:
    from mcp import ClientSession
    from mcp.client import streamable_http

    connect = getattr(streamable_http, "streamable_http_client", None) or streamable_http.streamablehttp_client
    async with connect("https://mcp.deepwiki.com/mcp") as streams, ClientSession(*streams[:2]) as session:
        await session.initialize()
        await session.list_tools()
        result = await session.call_tool("look_up", {"what": "東京"})
        say("mcp", result.content[0].text)  # type: ignore[union-attr]


SDKS = {f.__name__: f for f in (google_genai, cohere, mistralai, groq, ollama, boto3, mcp)}

if __name__ == "__main__":
    for name in sys.argv[1:]:
        SDKS[name]()
