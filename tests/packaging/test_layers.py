# SPDX-License-Identifier: Apache-2.0
"""Who may use whom. Reads every cimport and import of the source; the table below is the whole rule.

A module may use the layers below its own. Within a layer modules do not know each other, but for the pairs named.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

# From the bottom. A name stands for the module and, with a trailing dot, for everything under it.
LAYERS: list[set[str]] = [
    {"oisp_core.types", "oisp_core.errors", "oisp_core.limits", "oisp_core.reassemble.tokens"},
    {
        "oisp_core.resources",
        "oisp_core.simd.",
        "oisp_core._events_codec",
        "oisp_core.reassemble.face",
        "oisp_core.match.trie",
    },
    {
        "oisp_core.reassemble.",
        "oisp_core.match.automaton",
        "oisp_core.decode.jsonscan",
        "oisp_core.events",
        "oisp_core._events_expand",
    },
    {
        "oisp_core.decode.",
        "oisp_core.match.",
        "oisp_core.encode.",
        "oisp_core.validate",
        "oisp_core.proto_json",
    },
    {"oisp_core.form", "oisp_core.models", "oisp_core.reader", "oisp_core.reasons", "oisp_core.resync"},
    {"oisp_core.turn"},
    {"oisp_core.facts", "oisp_core.inflate", "oisp_core.links"},
    {"oisp_core.threads"},
    {"oisp_core.emit"},
    {"oisp_core.message", "oisp_core.encode._testing", "oisp_core.policy."},
    {"oisp_core.rpc", "oisp_core.session"},
    {"oisp_core.streams"},
    {"oisp_core.connection"},
    {"oisp_core.engine"},
    {"oisp_core.capi", "oisp_core"},
    {"oisp_sensor."},
]
SIBLINGS = {
    ("oisp_core.reassemble.http2", "oisp_core.reassemble.hpack"),
    ("oisp_core.reassemble.grpc", "oisp_core.reassemble.http2"),
}


FROM = re.compile(r"^[ \t]*from[ \t]+(oisp_[\w.]+)[ \t]+(c?import)[ \t]+(?:\(([^)]*)\)|([^\n(]+))", re.MULTILINE)
PLAIN = re.compile(r"^[ \t]*(c?import)[ \t]+(oisp_[\w.]+)", re.MULTILINE)


def module_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    """Index of the most exact entry."""
    best, found = "", -1
    for index, names in enumerate(LAYERS):
        for name in names:
            fits = module == name.rstrip(".") or (name.endswith(".") and module.startswith(name))
            if fits and len(name) > len(best):
                best, found = name, index
    assert found >= 0, f"{module} has no layer: give it one in LAYERS"
    return found


def uses(path: Path, known: set[str]) -> set[tuple[str, str]]:
    """Own modules that a file takes from, each with the word that took it: `import` or `cimport`."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*from\s+\.", text, re.MULTILINE), f"{path}: imports are absolute here"
    found: set[tuple[str, str]] = set()
    for source, word, listed, line in FROM.findall(text):
        words = re.findall(r"\w+", re.sub(r"\bas\s+\w+|#[^\n]*", "", listed or line))
        inner = {f"{source}.{inner}" for inner in words} & known
        found |= {(module, word) for module in inner or {source}}
    found |= {(module, word) for word, module in PLAIN.findall(text)}
    return found


def files(root: Path) -> list[Path]:
    folders = (root / "oisp_core", root / "oisp_sensor")
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".pyx", ".pxd"})


def allowed(user: str, used: str, word: str) -> bool:
    if user.startswith("oisp_sensor"):
        return True  # it may use everything; its own order is its own matter
    if layer_of(used) < layer_of(user) or (user, used) in SIBLINGS:
        return True
    # Python modules of one package may share; what is compiled may not.
    return word == "import" and user.rpartition(".")[0] == used.rpartition(".")[0] and layer_of(user) == layer_of(used)


def test_use_goes_down_only(repo_root: Path) -> None:
    sources = files(repo_root)
    known = {module_of(path, repo_root) for path in sources}
    assert "oisp_core.engine" in known
    wrong = []
    for path in sources:
        user = module_of(path, repo_root)
        for used, word in sorted(uses(path, known)):
            if used != user and not allowed(user, used, word):
                wrong.append(f"{path.relative_to(repo_root)}: {word}s {used}")
    assert not wrong, "\n".join(wrong)


def test_the_rule_sees_what_it_forbids(tmp_path: Path) -> None:
    known = {"oisp_core.engine", "oisp_core.types", "oisp_core.simd.scan"}
    path = tmp_path / "x.pyx"
    path.write_text(
        "from oisp_core cimport engine\nfrom oisp_core.types cimport *\n  import oisp_core.simd.scan as s\n"
    )
    assert uses(path, known) == {
        ("oisp_core.engine", "cimport"),
        ("oisp_core.types", "cimport"),
        ("oisp_core.simd.scan", "import"),
    }
    assert not allowed("oisp_core.reassemble.sse", "oisp_core.engine", "import")
    assert not allowed("oisp_core.reassemble.sse", "oisp_core.reassemble.http1", "cimport")
    assert not allowed("oisp_core.engine", "oisp_sensor.cli", "import")
    assert allowed("oisp_core.engine", "oisp_core.reassemble.http1", "cimport")


# What reaches outside the process. `resources` opens the packaged data, nothing else opens anything.
OUTSIDE = {
    "socket",
    "subprocess",
    "urllib.request",
    "http",
    "requests",
    "threading",
    "asyncio",
    "time",
    "random",
}
OUTSIDE_PYX = re.compile(
    r"(?<!def )(?<![\w.])(fopen|open|socket|connect|fork|exec[lv]p?e?|clock_gettime|gettimeofday|time|rand)\s*\("
)


def test_the_core_touches_nothing_outside(repo_root: Path) -> None:
    wrong = []
    for path in sorted((repo_root / "oisp_core").rglob("*")):
        name = path.relative_to(repo_root)
        if path.suffix == ".py" and path.name != "resources.py":
            wrong += [f"{name}:{line} {what}" for line, what in _reaches_outside(path)]
        elif path.suffix in {".pyx", ".c", ".h"}:
            code = re.sub(
                r"#[^\n]*|/\*.*?\*/|//[^\n]*|\"\"\".*?\"\"\"|\"[^\"\n]*\"", "", path.read_text(), flags=re.DOTALL
            )
            wrong += [f"{name}: {match[0]}" for match in OUTSIDE_PYX.finditer(code)]
    assert not wrong, "\n".join(wrong)


def outside(module: str) -> bool:
    return module in OUTSIDE or module.partition(".")[0] in OUTSIDE


def _reaches_outside(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names if outside(alias.name)]
        elif isinstance(node, ast.ImportFrom) and outside(node.module or ""):
            found.append((node.lineno, str(node.module)))
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if called in {"open", "read_text", "read_bytes", "write_text", "write_bytes", "now", "utcnow", "today"}:
                found.append((node.lineno, f"{called}()"))
    return found


def test_nogil_functions_are_noexcept(repo_root: Path) -> None:
    """`nogil` without `noexcept` checks for an exception, with the GIL, after every call."""
    wrong = []
    for path in [*(repo_root / "oisp_core").rglob("*.pyx"), *(repo_root / "oisp_core").rglob("*.pxd")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.match(r"\s*cdef\b[^#]*\)[^#]*\bnogil\b", line) and "noexcept" not in line and " extern " not in line:
                wrong.append(f"{path.relative_to(repo_root)}:{number} {line.strip()}")
    assert not wrong, "\n".join(wrong)
