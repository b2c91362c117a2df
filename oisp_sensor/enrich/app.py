# SPDX-License-Identifier: Apache-2.0
"""Programs that are known to use models, by the name of their file or of the script that an interpreter runs.

Only what is obvious: a name here is one that nobody else uses. Anything else has no `app`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["app_facts"]


class App(NamedTuple):
    app_id: str
    name: str
    vendor: str
    category: str
    type: str


_APPS = {
    "claude": App("claude-code", "Claude Code", "Anthropic", "dev_tools", "cli"),
    "claude-code": App("claude-code", "Claude Code", "Anthropic", "dev_tools", "cli"),
    "codex": App("codex-cli", "Codex CLI", "OpenAI", "dev_tools", "cli"),
    "gemini": App("gemini-cli", "Gemini CLI", "Google", "dev_tools", "cli"),
    "aider": App("aider", "aider", "Aider AI", "dev_tools", "cli"),
    "goose": App("goose", "goose", "Block", "dev_tools", "cli"),
    "opencode": App("opencode", "opencode", "SST", "dev_tools", "cli"),
    "openhands": App("openhands", "OpenHands", "All Hands AI", "dev_tools", "cli"),
    "cursor": App("cursor", "Cursor", "Anysphere", "dev_tools", "native"),
    "cursor-agent": App("cursor-cli", "Cursor CLI", "Anysphere", "dev_tools", "cli"),
    "windsurf": App("windsurf", "Windsurf", "Codeium", "dev_tools", "native"),
    "ollama": App("ollama", "Ollama", "Ollama", "server", "server"),
    "vllm": App("vllm", "vLLM", "vLLM Project", "server", "server"),
    "litellm": App("litellm", "LiteLLM", "BerriAI", "server", "server"),
    "llm": App("llm", "LLM", "Datasette", "cli", "cli"),
}
_SCRIPTED = re.compile(r"(?:python|pypy|node|nodejs|bun|deno|ruby)[0-9.]*\Z")
# Packages by whose folder a script of a general name (cli.js) is known.
_PACKAGES = {
    "@anthropic-ai/claude-code": "claude",
    "@openai/codex": "codex",
    "@google/gemini-cli": "gemini",
    "opencode-ai": "opencode",
}


def app_facts(exe: str, arguments: Sequence[str]) -> dict[str, Any] | None:
    """The `app` member. `arguments` are the process's own, before anything was taken out of them."""
    name = exe.removesuffix(" (deleted)").rpartition("/")[2]
    app = _APPS.get(name)
    if app is None and _SCRIPTED.match(name):
        app = _script(arguments)
    if app is None:
        return None
    return {**app._asdict(), "tier": "identified", "is_ai_app": True}


def _script(arguments: Sequence[str]) -> App | None:
    words = iter(arguments[1:8])
    for word in words:
        if word == "-m":
            return _APPS.get(next(words, "").partition(".")[0])
        if word in ("-c", "-e", "-p", "--eval", "--print"):
            return None  # a program in an argument
        if word.startswith("-"):
            continue
        known = next((key for package, key in _PACKAGES.items() if f"node_modules/{package}/" in word), "")
        return _APPS.get(known or word.rpartition("/")[2].removesuffix(".py").removesuffix(".js"))
    return None
