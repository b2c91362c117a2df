# SPDX-License-Identifier: Apache-2.0
"""Bundle JSON Schemas: one self-contained compound document out of a root and the files that it refers to.

JSON Schema 2020-12, section 9.3: every file that is reached by a relative `$ref` is embedded under `$defs` with its own
`$id`, and no reference is rewritten. So the bundle means exactly what the separate files mean, and resolves offline.

    python tools/bundle_schema.py ROOT.schema.json > bundle.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

Schema = dict[str, Any]


def bundle(root: Schema, load: Callable[[str], Schema]) -> Schema:
    """`root` with every document that it needs; `load` gives the schema of an absolute URI."""
    found: dict[str, Schema] = {}
    waiting = [root]
    while waiting:
        schema = waiting.pop()
        for uri in _references(schema, schema["$id"]):
            if uri not in found and uri != root["$id"]:
                found[uri] = load(uri)
                waiting.append(found[uri])
    embedded = {_key(uri, root["$id"]): found[uri] for uri in sorted(found)}
    return {**root, "$defs": {**root.get("$defs", {}), **embedded}}


def _references(node: Any, base: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                uri = urldefrag(urljoin(base, value)).url
                if uri != base:
                    yield uri
            else:
                yield from _references(value, base)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value, base)


def _key(uri: str, root: str) -> str:
    return uri.removeprefix(urljoin(root, ".")).removesuffix(".schema.json")


def main(path: str) -> None:
    file = Path(path)
    root = json.loads(file.read_text())

    def load(uri: str) -> Schema:
        schema: Schema = json.loads((file.parent / uri.removeprefix(urljoin(root["$id"], "."))).read_text())
        return schema

    json.dump(bundle(root, load), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
