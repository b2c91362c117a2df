# SPDX-License-Identifier: Apache-2.0
"""Installs real agents from npm and PyPI into a folder and says which TLS stack each file of theirs carries.

`agents.py FOLDER` writes docs/COVERAGE.md. Nothing of an agent is run here: the files are examined as `doctor` does.
What is in the folder already is not installed again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from oisp_sensor.capture.targets import examine

ROOT = Path(__file__).resolve().parents[1]
NPM = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
PIP = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:", "--target"]
NODE = "runs on the machine's Node, whose OpenSSL is probed"
PYTHON = "Python's `ssl`, whose OpenSSL is probed"
# Name -> (folder, how it is installed, what runs it)
AGENTS = {
    "Claude Code": ("claude", [*NPM, "{}", "@anthropic-ai/claude-code-linux-x64@2.1.331"], "its own executable"),
    "Codex CLI": ("codex", [*NPM, "{}", "@openai/codex"], "its own executable"),
    "Gemini CLI": ("gemini", [*NPM, "{}", "@google/gemini-cli"], NODE),
    "aider": ("aider", [*PIP, "{}", "aider-chat"], PYTHON),
    "LangChain (OpenAI)": ("langchain", [*PIP, "{}", "langchain", "langchain-openai"], PYTHON),
    "CrewAI": ("crewai", [*PIP, "{}", "crewai"], PYTHON),
    "OpenHands": ("openhands", [*PIP, "{}", "openhands-ai"], PYTHON),
}
RUN = {"Claude Code": "captured byte for byte: `tests/live/agents`"}


def installed(folder: Path, command: list[str]) -> str:
    """Why it could not be installed, or nothing."""
    if folder.is_dir():
        return ""
    words = [word.format(folder) if word == "{}" else word for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
    if done.returncode == 0:
        return ""
    if "ResolutionImpossible" in done.stderr:
        return "pip finds no set of wheels for this Python that fit together"
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1][:160]


def stacks(folder: Path) -> Iterator[tuple[str, str]]:
    """File and stack, of each file that carries one."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        fd = os.open(path, os.O_RDONLY)
        try:
            target = examine(fd, str(path)) if os.pread(fd, 4, 0) == b"\x7fELF" else None
        finally:
            os.close(fd)
        if target is not None and target.usable:
            yield path.name, f"{target.runtime or 'OpenSSL'}, probed"
        elif target is not None:
            yield path.name, f"not probed: {target.why()[:90]}"


def rows(folder: Path) -> Iterator[str]:
    for name, (place, command, runs) in AGENTS.items():
        why = installed(folder / place, command)
        if why:
            yield f"| {name} | not installed: {why} | | |"
            continue
        found = "; ".join(f"`{file}`: {stack}" for file, stack in dict(stacks(folder / place)).items()) or "none"
        yield f"| {name} | {runs} | {found} | {RUN.get(name, 'not run')} |"


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: agents.py FOLDER", file=sys.stderr)
        return 2
    folder = Path(arguments[0]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    text = """# Coverage

Agents as npm and PyPI carry them, and the TLS stacks in their files, as `oisp-sensor doctor` finds them. Made by
`python tools/agents.py FOLDER`, which installs them there and runs none of them; the last column says which one a test
runs, in a network namespace that has loopback alone.

| agent | what speaks TLS | stacks in its own files | a run under capture |
|---|---|---|---|
"""
    (ROOT / "docs/COVERAGE.md").write_text(text + "\n".join(rows(folder)) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
