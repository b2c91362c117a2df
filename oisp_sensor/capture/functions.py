# SPDX-License-Identifier: Apache-2.0
"""Where to probe a function: its RET instructions, proven by two decodings that must agree, or the reason why not.

A breakpoint inside an instruction corrupts the program that runs over it, so an address is only used when the linear
sweep over the symbol's bytes and the walk along the control flow give the same instruction there. A function that can
leave other than by RET would lose returns in silence: it is refused, and the report says why.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import capstone

from oisp_sensor.capture import elf

_MAX_FUNCTION = 64 << 10  # bytes; the largest of those we know has about 2 KiB

_RETURN, _STOP, _CALL, _JUMP, _BRANCH, _OTHER = range(6)
_TARGET = re.compile(r"(?:^|[ ,#])(0x[0-9a-f]+|[0-9]+)$")
_KINDS = {
    elf.EM_X86_64: {
        **dict.fromkeys(("ret", "retq", "repz ret", "rep ret", "bnd ret"), _RETURN),
        **dict.fromkeys(("ud2", "hlt", "int3", "retf", "iretq", "ud0", "ud1"), _STOP),
        **dict.fromkeys(("call", "notrack call", "bnd call"), _CALL),
        **dict.fromkeys(("jmp", "notrack jmp", "bnd jmp", "ljmp"), _JUMP),
        **dict.fromkeys(("loop", "loope", "loopne"), _BRANCH),
    },
    elf.EM_AARCH64: {
        **dict.fromkeys(("ret", "retaa", "retab"), _RETURN),
        **dict.fromkeys(("udf", "brk", "hlt"), _STOP),
        **dict.fromkeys(("bl", "blr", "blraa", "blrab", "blraaz", "blrabz"), _CALL),
        **dict.fromkeys(("b", "br", "braa", "brab", "braaz", "brabz"), _JUMP),
        **dict.fromkeys(("cbz", "cbnz", "tbz", "tbnz"), _BRANCH),
    },
}
_CONDITIONAL = {elf.EM_X86_64: re.compile(r"(bnd )?j(?!mp)"), elf.EM_AARCH64: re.compile(r"bc?\.")}


@dataclass(frozen=True)
class Exits:
    """File offsets of every instruction that returns to the caller; or, with none, the reason for refusing."""

    offsets: tuple[int, ...]
    refused: str = ""


@dataclass(frozen=True)
class _Step:
    kind: int
    following: int
    target: int | None


@cache
def _decoder(machine: int) -> capstone.Cs:
    if machine == elf.EM_X86_64:
        return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


def find_exits(file: elf.Elf, function: elf.Function) -> Exits:
    """The exits of one function of an opened file. Never raises for what is in the file."""
    if file.machine not in _KINDS:
        return Exits((), f"no decoder for machine {file.machine}")
    if not 0 < function.size <= _MAX_FUNCTION:
        return Exits((), f"its symbol gives {function.size} bytes")
    try:
        code = file.bytes_at(function.offset, function.size)
    except elf.ElfError as error:
        return Exits((), str(error))
    addresses, refused = exits_of(code, function.address, file.machine)
    return Exits(tuple(a - function.address + function.offset for a in addresses), refused)


def exits_of(code: bytes, address: int, machine: int) -> tuple[list[int], str]:
    """Addresses of the RETs that control flow reaches in a function's bytes, or none and the reason."""
    sweep = _sweep(code, address, machine)
    end = address + len(code)
    exits: list[int] = []
    reached: set[int] = set()
    todo = [address]
    while todo:
        at = todo.pop()
        if at in reached:
            continue
        if not address <= at < end:
            return [], f"it leaves by a jump to {at:#x}"
        step = sweep.get(at)
        if step is None:
            return [], f"linear sweep and control flow disagree at {at:#x}"
        reached.add(at)
        if step.kind == _RETURN:
            exits.append(at)
        elif step.kind in (_JUMP, _BRANCH) and step.target is None:
            return [], f"it has an indirect jump at {at:#x}"
        elif step.kind == _CALL and step.following == end:
            pass  # the last instruction calls what does not return: __stack_chk_fail, abort
        else:
            todo += _successors(step)
    return (sorted(exits), "") if exits else ([], "no RET is reached")


def _successors(step: _Step) -> list[int]:
    if step.kind == _STOP:
        return []
    if step.target is None or step.kind in (_CALL, _OTHER):
        return [step.following]
    return [step.target] if step.kind == _JUMP else [step.target, step.following]


def _sweep(code: bytes, address: int, machine: int) -> dict[int, _Step]:
    """Every instruction by its address, decoded one after the other; ends at the first that does not decode."""
    kinds, conditional = _KINDS[machine], _CONDITIONAL[machine]
    found = {}
    for at, size, mnemonic, operands in _decoder(machine).disasm_lite(code, address):
        kind = kinds.get(mnemonic, _OTHER)
        if kind == _OTHER and conditional.match(mnemonic):
            kind = _BRANCH
        target = None
        if kind in (_JUMP, _BRANCH) and (match := _TARGET.search(operands)) and "[" not in operands:
            target = int(match[1], 0)
        found[at] = _Step(kind, at + size, target)
    return found
