# SPDX-License-Identifier: Apache-2.0
"""A small agent on the official SDKs: it asks a model, runs the tools that the model calls, and asks again.

The SDKs are used as anyone would use them; where their requests end up is the environment's business (HTTPS_PROXY,
SSL_CERT_FILE, OPENAI_API_KEY, ANTHROPIC_API_KEY). Its tools work in a temporary folder: reading a file in it, and a few
harmless commands.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTES = """Release checklist
- tag the commit
- build the wheel
- write the changelog
"""
COMMANDS = frozenset({"wc", "ls", "sort", "head", "date"})
ROUNDS = 5  # an agent that never stops asking is stopped


class Tools:
    """What the model may call. Each method takes the model's arguments and returns text for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "notes.txt").write_text(NOTES, encoding="utf-8")

    def read_file(self, path: str) -> str:
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder.resolve()):
            raise ValueError(f"{path} is outside the workspace")
        return file.read_text(encoding="utf-8")

    def run_command(self, argv: list[str]) -> str:
        if not argv or argv[0] not in COMMANDS:
            raise ValueError(f"not one of {', '.join(sorted(COMMANDS))}")
        done = subprocess.run(argv, cwd=self._folder, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout + done.stderr

    def call(self, name: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        """Run one tool; the model is told of a failure instead of the agent ending."""
        known: dict[str, Callable[..., str]] = {"read_file": self.read_file, "run_command": self.run_command}
        tool = known.get(name)
        if tool is None:
            return f"no such tool: {name}", False
        try:
            return tool(**arguments), True
        except (OSError, TypeError, ValueError, subprocess.TimeoutExpired) as error:
            return str(error), False


PARAMETERS: dict[str, tuple[str, dict[str, Any]]] = {
    "read_file": (
        "Read a text file of the workspace",
        {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    ),
    "run_command": (
        "Run a command in the workspace",
        {
            "type": "object",
            "properties": {"argv": {"type": "array", "items": {"type": "string"}}},
            "required": ["argv"],
        },
    ),
}


def ask_openai(question: str, tools: Tools, *, model: str = "gpt-5.4-mini", **client_options: Any) -> str:
    """Chat completions, streamed, until the model calls no more tools."""
    from openai import OpenAI

    offered: Any = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
        for name, (text, schema) in PARAMETERS.items()
    ]
    messages: list[Any] = [
        {"role": "system", "content": "You help with a small workspace. Use the tools."},
        {"role": "user", "content": question},
    ]
    with OpenAI(**client_options) as client:
        for _ in range(ROUNDS):
            stream = client.chat.completions.create(
                model=model, messages=messages, tools=offered, stream=True, stream_options={"include_usage": True}
            )
            text, calls = _gather(stream)
            if not calls:
                return text
            messages.append({"role": "assistant", "content": text or None, "tool_calls": calls})
            for call in calls:
                function = call["function"]
                result, _ok = tools.call(function["name"], json.loads(function["arguments"] or "{}"))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return text


def _gather(stream: Any) -> tuple[str, list[dict[str, Any]]]:
    """Put the pieces of a streamed chat completion together: text, and tool calls by their index."""
    text: list[str] = []
    calls: dict[int, dict[str, Any]] = {}
    for chunk in stream:
        for choice in chunk.choices:
            text.append(choice.delta.content or "")
            for piece in choice.delta.tool_calls or []:
                empty = {"id": piece.id, "type": "function", "function": {"name": "", "arguments": ""}}
                function = calls.setdefault(piece.index, empty)["function"]
                function["name"] += piece.function.name or ""
                function["arguments"] += piece.function.arguments or ""
    return "".join(text), [calls[index] for index in sorted(calls)]


def ask_anthropic(question: str, tools: Tools, *, model: str = "claude-sonnet-5", **client_options: Any) -> str:
    """Messages, streamed, until the model calls no more tools."""
    from anthropic import Anthropic

    offered: Any = [
        {"name": name, "description": text, "input_schema": schema} for name, (text, schema) in PARAMETERS.items()
    ]
    messages: list[Any] = [{"role": "user", "content": question}]
    text = ""
    with Anthropic(**client_options) as client:
        for _ in range(ROUNDS):
            with client.messages.stream(
                model=model,
                max_tokens=1024,
                system="You help with a small workspace.",
                messages=messages,
                tools=offered,
            ) as stream:
                message = stream.get_final_message()
            text = "".join(block.text for block in message.content if block.type == "text")
            calls = [block for block in message.content if block.type == "tool_use"]
            if not calls:
                return text
            results = []
            for call in calls:
                result, ok = tools.call(call.name, dict(call.input))
                results.append({"type": "tool_result", "tool_use_id": call.id, "content": result, "is_error": not ok})
            messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    return text


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="oisp-agent-") as folder:
        tools = Tools(Path(folder))
        question = "What is on the release checklist, and how many lines has notes.txt?"
        for name, ask in (("openai", ask_openai), ("anthropic", ask_anthropic)):
            print(f"[agent] asking {name}: {question}", flush=True)
            print(f"[agent] {name} answered: {ask(question, tools)}", flush=True)


if __name__ == "__main__":
    main()
