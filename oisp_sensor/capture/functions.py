# SPDX-License-Identifier: Apache-2.0
"""Where to probe a function: its RET instructions, proven by two decodings that must agree, or the reason why not.

A breakpoint inside an instruction corrupts the program that runs over it, so an address is only used when the linear
sweep over the function's bytes and the walk along the control flow give the same instruction there. The bounds are
those of a symbol or of .eh_frame. A function that ends in another one (a tail call) returns where that one does: at a
RET with the same stack pointer, by which the return finds its call. Jump tables are read where their size is known by a
comparison. What leaves in any other way would lose returns in silence: it is refused, and the report says why.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from oisp_sensor.capture import elf

if TYPE_CHECKING:
    import capstone

_MAX_FUNCTION = 64 << 10  # bytes; the largest of those we know has about 2 KiB

_MAX_REGIONS = 12
_MAX_TABLE = 1024
_LOOK_BACK = 16  # instructions between a table's comparison and its jump
_INDIRECT = re.compile(r"(?:notrack )?jmp (r\w+)")

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
    """File offsets of every instruction that returns to the caller; or, with none, the reason for refusing.

    `shared` are those of functions that this one ends in (a tail call: their RET is its return) and of its cold parts:
    others may return there too. `through` is the function of another library or of this one's own exports that it
    leaves to by way of the PLT.
    """

    offsets: tuple[int, ...]
    refused: str = ""
    shared: tuple[int, ...] = ()
    through: str = ""


@dataclass(frozen=True)
class _Step:
    kind: int
    following: int
    target: int | None
    text: str  # mnemonic and operands


@dataclass
class _Region:
    """A stretch of code with bounds of its own, and its instructions in order and by address."""

    start: int
    end: int
    steps: dict[int, _Step]


class _Refused(Exception):
    def __init__(self, why: str, through: str = "") -> None:
        super().__init__(why)
        self.through = through


@cache
def _decoder(machine: int) -> capstone.Cs:
    import capstone  # only where code is read, as numpy: see late.py

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
        walk = _Walk(code, function.address, file.machine, file)
        own, shared = walk.exits()
        return Exits(tuple(map(walk.offset, own)), "", tuple(map(walk.offset, shared)))
    except _Refused as error:
        return Exits((), str(error), (), error.through)
    except elf.ElfError as error:
        return Exits((), str(error))


def exits_of(code: bytes, address: int, machine: int) -> tuple[list[int], str]:
    """Addresses of the RETs that control flow reaches in a function's bytes alone, or none and the reason."""
    try:
        return _Walk(code, address, machine, None).exits()[0], ""
    except _Refused as error:
        return [], str(error)


class _Walk:
    """Along the control flow of a function, into its cold parts and the functions that it ends in. Every address must
    be one that the linear sweep over its region met too."""

    def __init__(self, code: bytes, address: int, machine: int, file: elf.Elf | None) -> None:
        self._machine = machine
        self._file = file
        self._main = self._sweep(code, address)
        self._regions = [self._main]
        self._exits: dict[int, bool] = {}  # address -> in the function itself

    def exits(self) -> tuple[list[int], list[int]]:
        reached: set[int] = set()
        todo = [self._main.start]
        while todo:
            at = todo.pop()
            if at in reached:
                continue
            region = self._region(at)
            step = region.steps.get(at)
            if step is None:
                raise _Refused(f"linear sweep and control flow disagree at {at:#x}")
            reached.add(at)
            if step.kind == _RETURN:
                self._exits[at] = region is self._main
            elif step.kind in (_JUMP, _BRANCH) and step.target is None:
                todo += self._jump_table(region, at)
            elif step.kind == _CALL and step.following == region.end:
                pass  # the last instruction calls what does not return: __stack_chk_fail, abort
            else:
                todo += _successors(step)
        if not self._exits:
            raise _Refused("no RET is reached")
        own = sorted(at for at, mine in self._exits.items() if mine)
        return own, sorted(at for at, mine in self._exits.items() if not mine)

    def offset(self, address: int) -> int:
        place = self._file.file_offset(address) if self._file else None
        if place is None:
            raise elf.ElfError(f"{address:#x} is in no executable segment")
        return place

    def _region(self, at: int) -> _Region:
        for region in self._regions:
            if region.start <= at < region.end:
                return region
        return self._enter(at)

    def _enter(self, at: int) -> _Region:
        """The flow has left by a jump: to a cold part, or for good into another function."""
        if self._file is None:
            raise _Refused(f"it leaves by a jump to {at:#x}")
        name = self._file.plt_name(at)
        if name is not None:
            raise _Refused(f"it leaves by a jump to {name or 'another library'}", name)
        bounds = self._file.frame_at(at)
        if bounds is None:
            raise _Refused(f"it leaves by a jump to {at:#x}, where no function is known")
        start, end = bounds
        if end - start > _MAX_FUNCTION or len(self._regions) >= _MAX_REGIONS:
            raise _Refused(f"it leaves by a jump to {at:#x}: too much code to follow")
        region = self._sweep(self._file.bytes_at(self.offset(start), end - start), start)
        self._regions.append(region)
        return region

    def _sweep(self, code: bytes, address: int) -> _Region:
        """Every instruction by its address, decoded one after the other; ends at the first that does not decode."""
        kinds, conditional = _KINDS[self._machine], _CONDITIONAL[self._machine]
        found = {}
        for at, size, mnemonic, operands in _decoder(self._machine).disasm_lite(code, address):
            kind = kinds.get(mnemonic, _OTHER)
            if kind == _OTHER and conditional.match(mnemonic):
                kind = _BRANCH
            target = None
            if kind in (_JUMP, _BRANCH) and (match := _TARGET.search(operands)) and "[" not in operands:
                target = int(match[1], 0)
            found[at] = _Step(kind, at + size, target, f"{mnemonic} {operands}")
        return _Region(address, address + len(code), found)

    def _jump_table(self, region: _Region, at: int) -> list[int]:
        """Where `lea table; movsxd offset; add; jmp` can lead: by the table in the file and the comparison before."""
        before = [step.text for where, step in region.steps.items() if where <= at][-_LOOK_BACK:]
        following = [step.following for where, step in region.steps.items() if where <= at][-_LOOK_BACK:]
        table = _table_of(before, following)
        if self._file is None or table is None:
            raise _Refused(f"it has an indirect jump at {at:#x}")
        address, count = table
        place = self._file.data_offset(address)
        if place is None:
            raise _Refused(f"it has an indirect jump at {at:#x}, through a table outside the file")
        entries = struct.unpack(f"<{count}i", self._file.bytes_at(place, 4 * count))
        targets = [address + entry for entry in entries]
        if not all(target in region.steps for target in targets):
            raise _Refused(f"it has an indirect jump at {at:#x}, through a table that leads elsewhere")
        return targets


def _table_of(before: list[str], following: list[int]) -> tuple[int, int] | None:
    """(address, entries) of the jump table of x86 compilers, read backwards from the jump; None for anything else."""
    jump = _INDIRECT.fullmatch(before[-1])
    if not jump or len(before) < 4:
        return None
    add = re.fullmatch(rf"add {jump[1]}, (r\w+)", before[-2])
    if not add:
        return None
    base = add[1]
    if not re.fullmatch(rf"movsxd {jump[1]}, dword ptr \[{base} \+ r\w+\*4\]", before[-3]):
        return None
    for i in range(len(before) - 4, -1, -1):
        lea = re.fullmatch(rf"lea {base}, \[rip ([+-]) (0x[0-9a-f]+|\d+)\]", before[i])
        if lea:
            distance = int(lea[2], 0) * (1 if lea[1] == "+" else -1)
            count = _bound(before[:-3])
            return (following[i] + distance, count) if count else None
    return None


def _bound(before: list[str]) -> int:
    """Entries of a table, by the last unsigned comparison with a number before it; 0 when there is none."""
    for i in range(len(before) - 1, 0, -1):
        compare = re.fullmatch(r"cmp .*, (0x[0-9a-f]+|\d+)", before[i - 1])
        if compare and re.match(r"(notrack )?ja ", before[i]):
            return min(int(compare[1], 0), _MAX_TABLE - 1) + 1
    return 0


def _successors(step: _Step) -> list[int]:
    if step.kind == _STOP:
        return []
    if step.target is None or step.kind in (_CALL, _OTHER):
        return [step.following]
    return [step.target] if step.kind == _JUMP else [step.target, step.following]
