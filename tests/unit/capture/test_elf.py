# SPDX-License-Identifier: Apache-2.0
"""The ELF reader against pyelftools on real files, and against files that lie."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st

from oisp_sensor.capture import elf
from oisp_sensor.capture.program import PROBES
from oisp_sensor.capture.targets import examine

NAMES = frozenset(PROBES)


@pytest.fixture(scope="module")
def libssl(new_private_libssl) -> Path:
    return new_private_libssl().libssl


def opened(path: Path) -> elf.Elf:
    fd = os.open(path, os.O_RDONLY)
    try:
        return elf.Elf(fd)
    finally:
        os.close(fd)


def test_functions_equal_what_pyelftools_reads(libssl):
    with libssl.open("rb") as file:
        other = ELFFile(file)
        expected = {
            s.name: (s["st_value"], s["st_size"])
            for s in other.get_section_by_name(".dynsym").iter_symbols()
            if s.name in NAMES and s["st_shndx"] != "SHN_UNDEF"
        }
        offsets = {name: next(iter(other.address_offsets(address))) for name, (address, _) in expected.items()}
        build_id = next(n["n_desc"] for n in other.get_section_by_name(".note.gnu.build-id").iter_notes())
        needed = [t.needed for t in other.get_section_by_name(".dynamic").iter_tags() if t.entry.d_tag == "DT_NEEDED"]
    with opened(libssl) as file:
        found = file.functions(NAMES)
        assert {name: (f.address, f.size) for name, f in found.items()} == expected
        assert {name: f.offset for name, f in found.items()} == offsets
        assert file.build_id() == build_id
        assert file.dynamic().needed == needed


def test_a_name_must_match_whole(libssl):
    """Linkers let a symbol point into the tail of a longer name: SSL_read is also the end of nothing else's."""
    with opened(libssl) as file:
        assert file.functions(frozenset({"SSL_rea", "SL_read", "SSL_read_"})) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no ELF file of a readable size"),
        (b"#!/bin/sh\n" + bytes(100), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x01\x01\x01" + bytes(100), "not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x02\x02\x01" + bytes(100), "not a 64-bit little-endian ELF file"),
    ],
)
def test_what_is_no_elf_file_is_said_so(tmp_path, content, reason):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(elf.ElfError, match=reason):
        opened(path)


def test_a_folder_and_a_pipe_are_refused(tmp_path):
    with pytest.raises(elf.ElfError, match="not a regular file"):
        opened(tmp_path)
    read, write = os.pipe()
    with pytest.raises(elf.ElfError, match="not a regular file"):
        elf.Elf(read)
    os.close(read), os.close(write)


FIELDS = {"e_phoff": (32, "<Q"), "e_shoff": (40, "<Q"), "e_phnum": (56, "<H"), "e_shnum": (60, "<H")}


@pytest.mark.parametrize("value", [1, 0xFFFF, 1 << 40])
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_lying_headers_never_raise_another_error(libssl, tmp_path, name, value):
    at, form = FIELDS[name]
    content = bytearray(libssl.read_bytes())
    struct.pack_into(form, content, at, value & (1 << 8 * struct.calcsize(form)) - 1)
    path = tmp_path / "file"
    path.write_bytes(content)
    examine_or_reason(path)


def examine_or_reason(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        target = examine(fd, str(path))
        if target is not None and target.usable:
            size = path.stat().st_size
            assert all(0 <= offset < size for offset, _ in target.plan.places())
    finally:
        os.close(fd)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=40),
    st.integers(0, 1 << 20),
)
def test_damaged_files_give_a_plan_inside_the_file_or_a_reason(tmp_path_factory, libssl, changes, cut):
    content = bytearray(libssl.read_bytes())
    for at, value in changes:
        # Where the structures are: the header, the first page, and the section headers at the end.
        content[(at % 4096, -(at % 4096) - 1)[at & 1]] = value
    if cut % 3 == 0:
        del content[cut % len(content) :]
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(content)
    examine_or_reason(path)
