# SPDX-License-Identifier: Apache-2.0
"""The documents are true: commands and code run, links lead somewhere, flags exist, JSON is valid.

A code block is run as a reader would run it, unless its fence says `notest`; those are named below with the reason.
`console` blocks need root or take minutes, so that they are only read: their words must be what the programs know.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import oisp_core
from oisp_core import events
from oisp_core.validate import Schema, Validator
from oisp_sensor.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("semconv/**/*.md"),
        *ROOT.glob("tools/**/*.md"),
        *ROOT.glob("examples/*.md"),
    ]
)
NOT_RUN = {
    "docs/CAPTURE.md": "from oisp_sensor.capture import Capture, Scope, messages",  # root, and parts left out
    "docs/implementors-guide.md": "from oisp.v1 import events_pb2",  # needs protoc's output on the path
}


class Block(NamedTuple):
    document: str
    line: int
    language: str
    notest: bool
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@cache
def blocks() -> list[Block]:
    found = []
    for path in DOCUMENTS:
        text = path.read_text()
        for match in re.finditer(r"^```(\w+)([^\n]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            name = path.relative_to(ROOT).as_posix()
            found.append(Block(name, line, match[1], "notest" in match[2], match[3]))
    return found


def of(language: str) -> list[Any]:
    return [pytest.param(b, id=str(b)) for b in blocks() if b.language == language and not b.notest]


# The packages under test are those that this process uses, wherever a command runs.
PACKAGES = Path(oisp_core.__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(PACKAGES), "COLUMNS": "120"}


def run(*command: str | Path, text: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**ENVIRONMENT, **more}
    return subprocess.run(command, input=text, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


# --- code ---


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A search path on which `python` and `oisp-sensor` are those that run this test."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in (("python", ""), ("oisp-sensor", " -m oisp_sensor")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("block", of("python"))
def test_python_runs(block: Block) -> None:
    """Not as `__main__`: what serves forever is guarded."""
    code = "import sys; exec(compile(sys.stdin.read(), 'document', 'exec'), {'__name__': 'document'})"
    done = run(sys.executable, "-W", "error", "-c", code, text=block.text)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", of("bash"))
def test_shell_commands_run(block: Block, path: str) -> None:
    done = run("sh", "-e", text=block.text, PATH=path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_not_run_is_known() -> None:
    left = {b.document: b.text.splitlines()[0].split("   ")[0] for b in blocks() if b.notest}
    assert left == NOT_RUN


def test_there_is_something_to_run() -> None:
    assert len(of("python")) >= 6
    assert len(of("bash")) >= 2


def test_the_hash_in_the_conventions_is_that_of_the_example() -> None:
    block = next(b for b in blocks() if b.document == "semconv/ai.md" and b.language == "python")
    digest, length = run(sys.executable, "-c", block.text).stdout.split()
    message = json.loads((ROOT / "examples/ai-request-openai.json").read_text())["data"]["messages"][1]
    assert (digest, int(length)) == (message["content_hash"], message["content_length"])


def test_the_first_example_of_the_readme_prints_events() -> None:
    block = next(b for b in blocks() if b.document == "README.md" and b.language == "python")
    assert run(sys.executable, "-c", block.text).stdout.splitlines() == [
        "ai.request gpt-4o high",
        "ai.response gpt-4o high",
    ]


ANSWER = (
    b'{"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'
)


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    assert length is not None
    await reader.readexactly(int(length[1]))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER))
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


async def ask_through(example: dict[str, Any]) -> bytes:
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    example["UPSTREAM"] = server.sockets[0].getsockname()[:2]
    proxy = await asyncio.start_server(example["relay"], "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*proxy.sockets[0].getsockname()[:2])
    body = b'{"model":"m","messages":[{"role":"user","content":"Hello"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:11434\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    writer.write(body)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await asyncio.sleep(0.05)
    proxy.close()
    server.close()
    return answer


def test_the_proxy_of_the_readme_sees_what_passes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    block = [b for b in blocks() if b.document == "README.md" and b.language == "python"][1]
    example: dict[str, Any] = {"__name__": "document"}
    exec(compile(block.text, "README.md", "exec"), example)
    answer = asyncio.run(asyncio.wait_for(ask_through(example), 10))
    assert answer.endswith(ANSWER)
    sys.stdout.flush()
    seen = list(events.decode_lines(capfdbinary.readouterr().out))
    assert [event.event_type for event in seen] == ["ai.request", "ai.response"]
    lines = len([line for line in block.text.splitlines() if line.strip()])
    assert lines <= 33


# --- console ---


def console_lines() -> Iterator[Any]:
    for block in blocks():
        for line in block.text.splitlines() if block.language == "console" else ():
            if line.startswith("$ "):
                yield pytest.param(shlex.split(line[2:], comments=True), id=f"{block}: {line[2:50]}")


@cache
def flags(*command: str) -> set[str]:
    done = run(*command, "--help")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^  (-\S.*?)(?:  |$)", done.stdout, re.MULTILINE)  # prose may name flags of other commands
    return {flag for row in rows for flag in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)}


def sensor_flags(command: str) -> set[str]:
    """Of the command and of its verbs, as `providers check`."""
    sensor = (sys.executable, "-m", "oisp_sensor", command)
    verbs = re.findall(r"^    (\w+)  ", run(*sensor, "--help").stdout, re.MULTILINE)
    return flags(*sensor).union(*(flags(*sensor, verb) for verb in verbs))


@cache
def bootstrap_words() -> set[str]:
    return set(re.findall(r"^  (\w+)", run(ROOT / "oisp", "help").stdout, re.MULTILINE))


@cache
def bench_verbs() -> set[str]:
    return set(re.findall(r"^    (\w+)  ", run(sys.executable, "-m", "oisp_bench", "--help").stdout, re.MULTILINE))


def bench_flags(verb: str) -> set[str]:
    return flags(sys.executable, "-m", "oisp_bench", verb)


@pytest.mark.parametrize("words", list(console_lines()))
def test_console_commands_are_known(words: list[str]) -> None:
    words = [word for word in words if word != "sudo"]
    if words[0] == "./oisp":
        assert words[1] in bootstrap_words()
    elif words[0] == "oisp-sensor":
        assert words[1] in COMMANDS
        own = words[2 : words.index("--")] if "--" in words else words[2:]
        assert {word for word in own if word.startswith("-")} <= sensor_flags(words[1])
    elif words[0] == "oisp-bench":
        assert words[1] in bench_verbs()
        assert {word for word in words[2:] if word.startswith("-")} <= bench_flags(words[1])
    elif words[:2] == ["pip", "install"]:
        assert "oisp" in words[2]
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    else:
        pytest.fail(f"what is {words[0]}?")


# --- flags and commands ---


def test_the_page_of_the_command_line_is_current() -> None:
    done = run(sys.executable, ROOT / "tools/gen_cli.py", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_flag_is_documented(command: str) -> None:
    page = (ROOT / "docs/CLI.md").read_text()
    section = page.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    assert section
    assert f"`oisp-sensor {command}`" in (ROOT / "README.md").read_text()
    missing = {
        flag
        for flag in sensor_flags(command) - {"-h", "--help"}
        if flag.startswith("--") and f"`{flag}`" not in section
    }
    assert not missing


def test_no_document_names_a_flag_that_does_not_exist() -> None:
    # Of the whole program, of other programs of this tree, of programs that are watched.
    known = {"--help", "--version", "--check", "--full", "--api-key"}.union(
        *(sensor_flags(command) for command in COMMANDS)
    )
    wrong = []
    for path in DOCUMENTS:
        for flag in re.findall(r"`(?:oisp-sensor[^`]*? )?(--[a-z][a-z-]+)[^`]*`", path.read_text()):
            if flag not in known:
                wrong.append(f"{path.relative_to(ROOT)}: {flag}")
    assert not wrong


# --- links ---


def slug(heading: str) -> str:
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {slug(match[1]) for match in re.finditer(r"^#+ (.*)$", text, re.MULTILINE)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        # Not outside of the tree, and there; symbolic links of a staged tree lead to the real one.
        if not path.exists() or (anchor and anchor not in anchors(path)):
            wrong.append(target)
    assert not wrong


def test_every_document_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in ROOT.glob("docs/*.md"):
        assert f"(docs/{path.name})" in readme, path.name


# --- JSON ---


@pytest.mark.parametrize("block", of("json"))
def test_json_is_valid(block: Block) -> None:
    document = json.loads(block.text)
    if "oisp_version" in document:
        assert Validator().problems(block.text) == []
    elif "$redacted" in document:
        schema = json.loads((ROOT / "schema/v0.1/common/redaction.schema.json").read_text())
        assert Schema(schema).problems(document) == []


def test_the_conventions_name_every_event_type_and_example() -> None:
    text = (ROOT / "semconv/README.md").read_text()
    named = set()
    for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE):
        family = ""
        for word in re.findall(r"`([a-z_.]+)`", row):
            family = word.split(".")[0] or family
            named.add(word if not word.startswith(".") else family + word)
    assert set(events.EVENT_TYPES) - {"agent.rag_retrieve"} <= named
    linked = set(re.findall(r"\.\./examples/([\w-]+\.json)", text))
    assert {path.name for path in (ROOT / "examples").glob("*.json")} - linked == set()
