# SPDX-License-Identifier: Apache-2.0
"""Where to probe a function: its RET instructions, proven by two decodings that must agree, or the reason why not.

A breakpoint inside an instruction corrupts the program that runs over it, so an address is only used when the linear
sweep over the symbol's bytes and the walk along the control flow give the same instruction there. A function that can
leave other than by RET would lose returns in silence: it is refused, and the report says why.
"""

from __future__ import annotations

from dataclasses import dataclass

import capstone

from oisp_sensor.capture import elf

_MAX_FUNCTION = 64 << 10  # bytes; the largest of those we know has about 2 KiB


@dataclass(frozen=True)
class Exits:
    """File offsets of every instruction that returns to the caller; or, with none, the reason for refusing."""

    offsets: tuple[int, ...]
    refused: str = ""


def _disassembler(machine: int) -> capstone.Cs | None:
    if machine == elf.EM_X86_64:
        decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    elif machine == elf.EM_AARCH64:
        decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    else:
        return None
    decoder.detail = True
    return decoder


_JUMPS_ALWAYS = {"jmp", "b", "br", "braa", "brab", "braaz", "brabz", "ljmp"}
_NO_RETURN = {"ud2", "hlt", "int3", "udf", "brk"}


def find_exits(file: elf.Elf, function: elf.Function) -> Exits:
    """The exits of one function of an opened file. Never raises for what is in the file."""
    if not 0 < function.size <= _MAX_FUNCTION:
        return Exits((), f"its symbol gives {function.size} bytes")
    decoder = _disassembler(file.machine)
    if decoder is None:
        return Exits((), f"no decoder for machine {file.machine}")
    try:
        code = file.bytes_at(function.offset, function.size)
    except elf.ElfError as error:
        return Exits((), str(error))
    sweep = {i.address: i for i in decoder.disasm(code, function.address)}
    reached, refused = _walk(sweep, function)
    if refused:
        return Exits((), refused)
    exits = sorted(a for a in reached if capstone.CS_GRP_RET in sweep[a].groups)
    if not exits:
        return Exits((), "no RET is reached")
    return Exits(tuple(a - function.address + function.offset for a in exits))


def _walk(sweep: dict[int, capstone.CsInsn], function: elf.Function) -> tuple[set[int], str]:
    """Addresses that control flow reaches from the first instruction, or why the function is refused."""
    end = function.address + function.size
    reached: set[int] = set()
    todo = [function.address]
    while todo:
        at = todo.pop()
        if at in reached:
            continue
        if not function.address <= at < end:
            return reached, f"it leaves by a jump to {at:#x}"
        instruction = sweep.get(at)
        if instruction is None:
            return reached, f"linear sweep and control flow disagree at {at:#x}"
        reached.add(at)
        successors, refused = _successors(instruction)
        if refused:
            return reached, refused
        if successors == [end] and capstone.CS_GRP_CALL in instruction.groups:
            continue  # the last instruction calls what does not return: __stack_chk_fail, abort
        todo += successors
    return reached, ""


def _successors(instruction: capstone.CsInsn) -> tuple[list[int], str]:
    following = instruction.address + instruction.size
    groups = instruction.groups
    mnemonic = instruction.mnemonic.split()[-1]  # "notrack jmp", "bnd jmp"
    if capstone.CS_GRP_RET in groups or mnemonic in _NO_RETURN:
        return [], ""
    if capstone.CS_GRP_CALL in groups or mnemonic in {"bl", "blr"} or capstone.CS_GRP_JUMP not in groups:
        return [following], ""
    target = next((o.imm for o in reversed(instruction.operands) if o.type == capstone.CS_OP_IMM), None)
    always = mnemonic in _JUMPS_ALWAYS and not (mnemonic == "b" and instruction.cc not in (0, 15))
    if target is None:
        return [], f"it has an indirect jump at {instruction.address:#x}"
    return [target] if always else [target, following], ""
