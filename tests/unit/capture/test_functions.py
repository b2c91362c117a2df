# SPDX-License-Identifier: Apache-2.0
"""Exits of functions: vectors as machine code, what must be refused, and capstone's detailed decoding as the oracle."""

from __future__ import annotations

import os
import shutil
import subprocess

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oisp_sensor.capture import elf
from oisp_sensor.capture.functions import Exits, exits_of, find_exits
from oisp_sensor.capture.program import MOVERS

X86, ARM = elf.EM_X86_64, elf.EM_AARCH64
BASE = 0x1000

# name, machine, machine code (hex), offsets of the exits, word of the reason
VECTORS = [
    ("one ret", X86, "55 4889e5 5d c3", [5], ""),
    ("ret behind a branch", X86, "85ff 7402 31c0 c3", [6], ""),
    ("two rets", X86, "85ff 7403 31c0c3 b801000000 c3", [6, 12], ""),
    ("rep ret and bnd ret", X86, "85ff 7402 f3c3 f2c3", [4, 6], ""),
    ("ret n", X86, "c20800", [0], ""),
    ("a call at the end does not return", X86, "85ff 7401 c3 e800000000", [4], ""),
    ("a call in the middle does", X86, "e800000000 c3", [5], ""),
    ("ud2 ends a path", X86, "85ff 7401 c3 0f0b", [4], ""),
    ("a loop", X86, "ffc9 75fc c3", [4], ""),
    ("a ret inside an immediate is none", X86, "b8c3c3c3c3 c3", [5], ""),
    ("padding behind the last ret", X86, "c3 662e0f1f840000000000", [0], ""),
    ("a ret that nothing reaches", X86, "c3 c3", [0], ""),
    ("tail jump", X86, "85ff 7401 c3 e900100000", [], "leaves by a jump to 0x200a"),
    ("only a tail jump", X86, "e900100000", [], "leaves by a jump"),
    ("conditional tail jump", X86, "85ff 0f8400100000 c3", [], "leaves by a jump"),
    ("jump before the function", X86, "85ff 7401 c3 ebf0", [], "leaves by a jump"),
    ("indirect jump", X86, "ffe0", [], "indirect jump at 0x1000"),
    ("jump table", X86, "ff24c500000000 c3", [], "indirect jump"),
    ("jump through the GOT", X86, "ff2500000000", [], "indirect jump"),
    ("notrack indirect jump", X86, "3effe0", [], "indirect jump"),
    ("jump into an instruction", X86, "eb01 b8c3000000 c3", [], "disagree at 0x1003"),
    ("data in the text", X86, "eb01 06 c3", [], "disagree at 0x1003"),
    ("falls out of its end", X86, "31c0", [], "leaves by a jump to 0x1002"),
    ("never returns", X86, "ebfe", [], "no RET"),
    ("arm: one ret", ARM, "fd7bbfa9 fd7bc1a8 c0035fd6", [8], ""),
    ("arm: cbz and two rets", ARM, "40000034 c0035fd6 20008052 c0035fd6", [4, 12], ""),
    ("arm: conditional branch", ARM, "40000054 c0035fd6 c0035fd6", [4, 8], ""),
    ("arm: tbz", ARM, "40000036 c0035fd6 c0035fd6", [4, 8], ""),
    ("arm: retaa", ARM, "3f2303d5 ff0b5fd6", [4], ""),
    ("arm: tail branch", ARM, "00040014", [], "leaves by a jump to 0x2000"),
    ("arm: br x16", ARM, "00021fd6", [], "indirect jump"),
    ("arm: bl at the end", ARM, "40000034 c0035fd6 00000094", [4], ""),
]


@pytest.mark.parametrize(("name", "machine", "code", "exits", "reason"), VECTORS, ids=[v[0] for v in VECTORS])
def test_vectors(name, machine, code, exits, reason):
    found, refused = exits_of(bytes.fromhex(code.replace(" ", "")), BASE, machine)
    assert [at - BASE for at in found] == exits
    assert reason in refused
    assert bool(refused) == (not exits)


# What a linked file says beyond a function's own bytes: a callee's bounds, a table's entries, the name behind a stub.
ASSEMBLY = """
.macro function name
.globl \\name
.type \\name, @function
\\name: .cfi_startproc
.endm
.macro done name
.cfi_endproc
.size \\name, .-\\name
.endm
.text
function hidden_callee
  test %edi, %edi
  jz 1f
  xor %eax, %eax
  ret
1: mov $1, %eax
  ret
done hidden_callee
.local hidden_callee
function tail
  test %esi, %esi
  jz 1f
  jmp hidden_callee
1: ret
done tail
function only_tail
  jmp hidden_callee
done only_tail
function into_the_middle
  jmp hidden_callee + 1
done into_the_middle
function stub
  jmp abort@plt
done stub
function table
  cmp $2, %edi
  ja 9f
  mov %edi, %eax
  lea entries(%rip), %rdx
  movslq (%rdx,%rax,4), %rax
  add %rdx, %rax
  jmp *%rax
one: ret
two: xor %eax, %eax
three: ret
9: ret
done table
function table_that_leads_elsewhere
  cmp $3, %edi
  ja 9f
  mov %edi, %eax
  lea entries(%rip), %rdx
  movslq (%rdx,%rax,4), %rax
  add %rdx, %rax
  jmp *%rax
9: ret
done table_that_leads_elsewhere
function table_without_a_bound
  mov %edi, %eax
  lea entries(%rip), %rdx
  movslq (%rdx,%rax,4), %rax
  add %rdx, %rax
  jmp *%rax
  ret
done table_without_a_bound
function data_in_text
  jmp 1f
  .byte 0x48, 0xb8
1: mov $0xc3, %eax
  ret
done data_in_text
function cold
  test %edi, %edi
  jz cold_part
2: ret
done cold
.globl cold_part
cold_part: .cfi_startproc
  call abort@plt
  jmp 2b
  .cfi_endproc
.section .rodata
entries: .long one - entries, two - entries, three - entries, 0
"""


@pytest.fixture(scope="module")
def linked(tmp_path_factory) -> dict[str, Exits]:
    if os.uname().machine != "x86_64" or shutil.which("gcc") is None:
        pytest.skip("assembled for x86-64 with gcc")
    folder = tmp_path_factory.mktemp("linked")
    (folder / "code.s").write_text(ASSEMBLY)
    out = folder / "code.so"
    subprocess.run(["gcc", "-shared", "-o", str(out), str(folder / "code.s")], check=True)
    names = frozenset(line.split()[1] for line in ASSEMBLY.splitlines() if line.startswith("function "))
    fd = os.open(out, os.O_RDONLY)
    with elf.Elf(fd) as file:
        found = {}
        for name, function in file.functions(names).items():
            exits = find_exits(file, function)
            at = [file.bytes_at(offset, 1) for offset in (*exits.offsets, *exits.shared)]
            assert set(at) <= {b"\xc3"}
            found[name] = exits
    os.close(fd)
    return found


@pytest.mark.parametrize(
    ("name", "own", "shared", "reason"),
    [
        ("tail", 1, 2, ""),
        ("only_tail", 0, 2, ""),
        ("into_the_middle", 0, 0, "disagree"),
        ("stub", 0, 0, "leaves by a jump to abort"),
        ("table", 3, 0, ""),
        ("table_that_leads_elsewhere", 0, 0, "a table that leads elsewhere"),
        ("table_without_a_bound", 0, 0, "indirect jump"),
        ("data_in_text", 0, 0, "disagree"),
        ("cold", 1, 0, ""),
    ],
)
def test_what_a_file_tells_beyond_a_functions_bytes(linked, name, own, shared, reason):
    exits = linked[name]
    assert (len(exits.offsets), len(exits.shared)) == (own, shared)
    assert reason in exits.refused
    assert bool(exits.refused) == bool(reason)
    assert exits.through == ("abort" if name == "stub" else "")


@given(st.binary(min_size=1, max_size=64), st.sampled_from([X86, ARM]))
def test_every_exit_is_a_return_instruction_of_the_sweep(code, machine):
    found, refused = exits_of(code, BASE, machine)
    assert bool(found) != bool(refused)
    decoder = (
        capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        if machine == X86
        else capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    )
    decoder.detail = True
    starts = {i.address: i for i in decoder.disasm(code, BASE)}
    for at in found:
        assert capstone.CS_GRP_RET in starts[at].groups


def test_the_functions_of_this_libssl_are_usable(private_libssl):
    fd = os.open(private_libssl.libssl, os.O_RDONLY)
    with elf.Elf(fd) as file:
        found = file.functions(frozenset(MOVERS))
        exits = {name: find_exits(file, function) for name, function in found.items()}
        for name, function in found.items():
            for offset in exits[name].offsets:
                assert file.bytes_at(offset, 1) in (b"\xc3", b"\xc0")  # ret; little end of arm64's ret
                assert function.offset <= offset < function.offset + function.size
    os.close(fd)
    assert {"SSL_read_ex", "SSL_write_ex"} <= {name for name, e in exits.items() if e.offsets}
