# SPDX-License-Identifier: Apache-2.0
"""The shipped kernel programs are those of the sources and hold nothing of the machine that built them."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import struct
from pathlib import Path

import pytest

from oisp_sensor.capture import elf, objects, program
from tests.conftest import unavailable

ARCHITECTURES = ("x86_64", "aarch64")
EVERY = list(itertools.product(objects.PROGRAMS, ARCHITECTURES, objects.VARIANTS))
OF_TLS = [(arch, variant) for program, arch, variant in EVERY if program == "tls"]


@pytest.fixture(scope="module")
def builder(repo_root):
    spec = importlib.util.spec_from_file_location("build_bpf", repo_root / "tools" / "build_bpf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("which", "arch", "variant"), EVERY)
def test_the_source_hash_inside_is_that_of_the_sources(builder, which, arch, variant):
    image = objects.path(which, variant, arch).read_bytes()
    assert builder.source_hash(which).encode() in image, "stale object: run tools/build_bpf.py"
    offset, size = elf.object_symbol(image, "oisp_source_hash")
    assert (offset >= 0, size) == (True, 65)


@pytest.mark.parametrize(("which", "arch", "variant"), EVERY)
def test_a_rebuild_gives_the_same_bytes(builder, tmp_path, which, arch, variant):
    absent = builder.missing_tools()
    if absent:
        unavailable(f"{', '.join(absent)} is not installed", required=os.environ.get("OISP_REQUIRE_BPF") == "1")
    builder.build(which, arch, variant, tmp_path / "object")
    assert (tmp_path / "object").read_bytes() == objects.path(which, variant, arch).read_bytes()


@pytest.mark.parametrize(("which", "arch", "variant"), EVERY)
def test_no_path_of_a_machine_is_inside(which, arch, variant):
    image = objects.path(which, variant, arch).read_bytes()
    assert not re.search(rb"/(home|root|work|tmp|usr|build)/", image)


def test_a_source_that_no_list_names_would_go_unnoticed(builder, repo_root):
    """The hash covers every header that the sources include."""
    assert tuple(builder.PROGRAMS) == objects.PROGRAMS
    for sources in builder.PROGRAMS.values():
        named = {Path(name).name for name in sources}
        for name in sources:
            for included in re.findall(r'#include "([^"]+)"', (repo_root / name).read_text()):
                assert Path(included).name in named


def constants(text: str) -> dict[str, int]:
    found = {name: int(value) for name, value in re.findall(r"\b([A-Z][A-Z0-9_]+) = (\d+)", text)}
    found |= {name: int(value) for name, value in re.findall(r"#define ([A-Z_]+) (\d+)\b", text)}
    return found


def test_the_loader_has_the_numbers_of_the_programs(repo_root):
    header = constants((repo_root / "bpf/include/control.h").read_text())
    functions = {name: value for name, value in header.items() if name.startswith("FN_")}
    ours = {f"FN_{p.label}": p.number for p in program.PROBES.values()}
    assert functions == ours
    assert header["COOKIE_RETURN"] == program.COOKIE_RETURN
    assert header["COOKIE_SHARED"] == program.COOKIE_SHARED
    assert header["COOKIE_AFTER"] == program.COOKIE_AFTER
    assert header["VERDICT_SLOTS"] == program.VERDICT_SLOTS
    assert {name: header[f"VERDICT_{name.upper()}"] for name in program.VERDICT_LEVELS} == program.VERDICT_LEVELS
    scopes = {
        name: getattr(program, name) for name in ("SCOPE_TREE", "SCOPE_CGROUP", "SCOPE_UID", "SCOPE_ALL", "SCOPE_EXE")
    }
    assert {name: value for name, value in header.items() if name.startswith("SCOPE_")} == scopes
    assert header["LOSS_CONTROL"] == program.LOSS_CONTROL
    record = constants((repo_root / "oisp_core/include/oisp/record.h").read_text())
    causes = {name.removeprefix("OISP_LOST_").lower(): v for name, v in record.items() if name.startswith("OISP_LOST_")}
    assert {name: cause for cause, name in program.LOSS_CAUSES.items()} == causes


@pytest.mark.parametrize(("arch", "variant"), OF_TLS)
def test_the_settings_have_the_size_that_the_loader_writes(arch, variant):
    image = objects.path("tls", variant, arch).read_bytes()
    assert elf.object_symbol(image, "oisp_settings")[1] == len(program.Settings(1).pack())


@pytest.mark.parametrize(("arch", "variant"), OF_TLS)
def test_the_programs_that_the_loader_asks_for_are_there(arch, variant):
    image = objects.path("tls", variant, arch).read_bytes()
    wanted = ["on_fork", "on_exec", "on_exit"]
    if variant == "modern":
        wanted += ["probe_any"]
    else:
        wanted += [
            "leave_call",
            "leave_shared",
            "leave_6",
            "leave_go_call",
            *(f"enter_{p.number}" for p in program.PROBES.values() if p.entry),
        ]
    for name in wanted:
        assert elf.object_symbol(image, name)[1] > 0


def test_map_values_have_the_sizes_of_the_structs(repo_root):
    """struct conn as control.h declares it, summed by hand."""
    text = (repo_root / "bpf/include/control.h").read_text()
    body = re.search(r"struct conn \{(.*?)\n\};", text, re.S)[1]
    sizes = {"u64": 8, "u32": 4, "s32": 4, "u16": 2, "u8": 1}
    total = 0
    for kind, _, count in re.findall(r"^\s+(u64|u32|s32|u16|u8) (\w+)(?:\[(\d+)\])?;", body, re.M):
        total += sizes[kind] * int(count or 1)
    assert total == program.CONN_SIZE
    assert program.HANDLE.size == struct.calcsize("<QII")


@pytest.mark.parametrize(("which", "arch"), list(itertools.product(objects.PROGRAMS, ARCHITECTURES)))
def test_the_basic_build_has_no_atomics_but_adding(which, arch):
    """Kernels before 5.12 refuse every other one. The compiler makes an OR of an addition of nothing."""
    image = objects.path(which, "basic", arch).read_bytes()
    (sections,) = struct.unpack_from("<Q", image, 0x28)
    size, count, _ = struct.unpack_from("<HHH", image, 0x3A)
    atomics = 0
    for number in range(count):
        head = struct.unpack_from("<IIQQQQIIQQ", image, sections + number * size)
        if head[1] != 1 or not head[2] & 4:  # SHT_PROGBITS, SHF_EXECINSTR
            continue
        at, end = head[4], head[4] + head[5]
        while at < end:
            code, _, _, operation = struct.unpack_from("<BBhi", image, at)
            if code in (0xDB, 0xC3):  # BPF_STX | BPF_ATOMIC
                atomics += 1
                assert operation == 0, f"instruction {(at - head[4]) // 8}"
            at += 16 if code == 0x18 else 8
    assert atomics
