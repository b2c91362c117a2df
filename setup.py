"""The extension table, the data map and the build flavours; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

FLAVOUR = os.environ.get("OISP_BUILD", "release")
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
# The fuzz flavour is for clang alone: tests/fuzz/__main__.py builds it.
GUIDED = ["-fsanitize=fuzzer-no-link", "-shared-libasan"]
CFLAGS = {
    "release": ["-O3", "-g0", "-DNDEBUG"],
    "debug": ["-O1", "-g", "-UNDEBUG", *SANITIZE],
    "fuzz": ["-O1", "-g", "-UNDEBUG", *SANITIZE, *GUIDED],
    "trace": ["-O0", "-g0", "-DCYTHON_TRACE_NOGIL=1"],
}[FLAVOUR]
LDFLAGS = {"debug": SANITIZE[:1], "fuzz": [*SANITIZE[:1], *GUIDED]}.get(FLAVOUR, [])

# module -> C files beside its .pyx
EXTENSIONS: dict[str, list[str]] = {
    "oisp_core.simd.scan": ["oisp_core/simd/scan_table.c"],
    "oisp_core.reassemble.face": [],
    "oisp_core.reassemble.http1": [],
    "oisp_core.reassemble.hpack": ["oisp_core/reassemble/hpack_tables.c"],
    "oisp_core.reassemble.http2": [],
    "oisp_core.reassemble.sse": [],
    "oisp_core.reassemble.sniff": [],
    "oisp_core.reassemble.content": [],
    "oisp_core.reassemble.grpc": [],
    "oisp_core.reassemble.websocket": [],
    "oisp_core.reassemble.eventstream": [],
    "oisp_core.reassemble.ndjson": [],
    "oisp_core.reassemble.multipart": [],
    "oisp_core.match.automaton": [],
    "oisp_core.match.rules": [],
    "oisp_core.decode.jsonscan": ["oisp_core/decode/json_pass.c", "oisp_core/decode/template.c"],
    "oisp_core.decode.decoder": ["oisp_core/decode/protobuf.c"],
    "oisp_core.encode.clients": [],
    "oisp_core.encode.models": ["oisp_core/encode/model_table.c"],
    "oisp_core.encode.writer": [
        "oisp_core/encode/sha256.c",
        "oisp_core/encode/text.c",
        "oisp_core/encode/mask.c",
        "oisp_core/encode/model_table.c",
    ],
    "oisp_core.encode._testing": ["oisp_core/encode/sha256.c", "oisp_core/encode/text.c", "oisp_core/encode/mask.c"],
    "oisp_core.reader": [],
    "oisp_core.form": [],
    "oisp_core.resync": [],
    "oisp_core.facts": [],
    "oisp_core.links": [],
    "oisp_core.threads": ["oisp_core/thread.c"],
    "oisp_core.emit": [],
    "oisp_core.inflate": [],
    "oisp_core.message": [],
    "oisp_core.session": [],
    "oisp_core.rpc": [],
    "oisp_core.streams": [],
    "oisp_core.connection": [],
    "oisp_core.engine": [],
    "oisp_sensor.capture.ringbuf": [],
    "oisp_sensor.capture.feed": [],
    "oisp_sensor.capture.trap": [],
    "oisp_bench.limit": ["benchmarks/limit/limit.c"],
}
# package that holds the data -> folder at the top level
DATA = {
    "oisp_core._data.schema": "schema",
    "oisp_core._data.semconv": "semconv",
    "oisp_sensor._data.bpf": "bpf/objects",
    "oisp_bench._data.cases": "benchmarks/cases",
}
JOBS = os.cpu_count() or 1
# Where worker processes are not forked they would run this file again.
CYTHON_JOBS = JOBS if sys.platform == "linux" and sys.version_info < (3, 14) else 0
HEADERS = sorted(map(str, Path("oisp_core/include").rglob("*.h")))


# The kernel's side is Linux alone; the rest builds anywhere.
LINUX_ONLY = ("oisp_sensor.capture.",)


def wanted(name: str) -> bool:
    here = sys.platform == "linux" or not name.startswith(LINUX_ONLY)
    return here and Path(name.replace(".", "/") + ".pyx").exists()


def extension(name: str, sources: list[str]) -> Extension:
    return Extension(
        name,
        [name.replace(".", "/") + ".pyx", *sources],
        include_dirs=["oisp_core/include", "benchmarks/limit"],
        depends=HEADERS,
        extra_compile_args=["-std=gnu11", "-fvisibility=hidden", *CFLAGS],
        extra_link_args=LDFLAGS,
    )


setup(
    packages=[*find_packages(include=["oisp_core*", "oisp_sensor*", "oisp_bench*"]), *DATA],
    package_dir=DATA,
    package_data={
        "": ["*.pxd", "*.pyi", "py.typed"],
        "oisp_core": ["include/**/*.h"],
        "oisp_sensor": ["*.service"],
        "oisp_sensor.demo": ["*.oisp"],
        "oisp_core._data.schema": ["**/*.json"],
        "oisp_core._data.semconv": ["**/*.yaml", "**/*.md", "**/*.bin", "**/compiled.json", "*.tsv"],
        "oisp_sensor._data.bpf": ["**/*.bpf.o"],
        "oisp_bench._data.cases": ["*.toml"],
    },
    include_package_data=False,
    options={"build_ext": {"parallel": JOBS}},
    ext_modules=cythonize(
        [extension(name, sources) for name, sources in EXTENSIONS.items() if wanted(name)],
        build_dir=f"build/cython-{FLAVOUR}",
        nthreads=CYTHON_JOBS,
        compiler_directives={
            "language_level": 3,
            "boundscheck": FLAVOUR != "release",
            "wraparound": False,
            "initializedcheck": False,
            "cdivision": True,
            "linetrace": FLAVOUR == "trace",
            "embedsignature": False,
        },
    ),
)
