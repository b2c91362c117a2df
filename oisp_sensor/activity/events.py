# SPDX-License-Identifier: Apache-2.0
"""From records to events: process.*, network.* and file.*, with the context of the process that did it.

One process's file is one event: what it moved, created and cut off, told when it lets go of it. One connection is a
connect or an accept, and a flow when it ends. One question to a name server is one event, told with its answer. What
could not be told is counted in `account`: nothing is dropped in silence.

Not here: what the kernel did not record (it counts that itself), and which processes are of the scope.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec
from msgspec import UNSET

from oisp_core import events as e
from oisp_sensor.activity import records as r
from oisp_sensor.activity.names import Names, parse
from oisp_sensor.activity.rules import FileRules
from oisp_sensor.enrich.enricher import Enricher
from oisp_sensor.enrich.procfs import ProcessFacts

__all__ = ["ActivityEvents"]

_FILES = 65536  # open files whose path is remembered
_QUERIES = 4096
_ANSWER_NS = 10 * 10**9  # a question that is not answered by then
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "mksh", "ash", "tcsh", "csh", "busybox", "pwsh", "nu"}
_ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
_FLAGS = {"append": os.O_APPEND, "create": os.O_CREAT, "truncate": os.O_TRUNC, "exclusive": os.O_EXCL}


class ActivityEvents:
    """Used by one thread. `clock_base_ns`: Unix nanoseconds at monotonic zero. `new_id`: an event id for a moment."""

    def __init__(
        self,
        enricher: Enricher,
        *,
        clock_base_ns: int,
        new_id: Callable[[int], str],
        rules: FileRules | None = None,
        boot_offset_ns: int | None = None,
    ) -> None:
        self._enricher = enricher
        self._base = clock_base_ns
        self._new_id = new_id
        self._rules = rules or FileRules()
        self._boot_offset = _boot_offset() if boot_offset_ns is None else boot_offset_ns
        self._assembler = r.Assembler()
        self._open: OrderedDict[int, tuple[str, int]] = OrderedDict()  # path and size when it was opened
        self._asked: OrderedDict[tuple[Any, ...], r.DnsMessage] = OrderedDict()
        self._names = Names()
        self._lines: list[bytes] = []
        self.events = 0
        self.left_out = 0  # by the rules
        self.nameless = 0  # files whose path was lost
        self.unreadable = 0  # messages of name servers

    def take(self, records: Iterable[bytes]) -> bytes:
        """The lines that these records give."""
        for record in records:
            happening = self._assembler.take(record)
            if happening is not None:
                self._handle(happening)
        return self._out()

    def advance(self, now_ns: int) -> bytes:
        """Gives up on questions that are older than 10 s. `now_ns`: monotonic."""
        while self._asked and next(iter(self._asked.values())).ts + _ANSWER_NS < now_ns:
            _, query = self._asked.popitem(last=False)
            self._name(query, None)
        return self._out()

    def finish(self) -> bytes:
        """Capture has ended: what waits for an answer is told without it."""
        for query in self._asked.values():
            self._name(query, None)
        self._asked.clear()
        return self._out()

    def account(self) -> dict[str, int]:
        return {
            "events": self.events,
            "left_out": self.left_out,
            "nameless": self.nameless,
            "unreadable": self.unreadable,
            "malformed": self._assembler.malformed,
        }

    def _out(self) -> bytes:
        lines = b"".join(self._lines)
        self._lines.clear()
        return lines

    def _handle(self, happening: r.Happening) -> None:
        if isinstance(happening, r.ProcessEvent):
            self._process(happening)
        elif isinstance(happening, r.NetworkEvent):
            self._network(happening)
        elif isinstance(happening, r.DnsMessage):
            self._message(happening)
        elif isinstance(happening, r.FileEvent):
            self._file(happening)

    # ---- processes ----

    def _process(self, p: r.ProcessEvent) -> None:
        if p.event == r.FORK:
            self._enricher.see("fork", p.child, p.child_start, p.pid, p.uid)
            self._tell(p, "process.fork", e.ProcessForkData(child_pid=p.child, is_thread=False))
        elif p.event == r.EXEC:
            self._exec(p)
        elif p.event == r.EXIT:
            self._exit(p)

    def _exec(self, p: r.ProcessEvent) -> None:
        arguments = p.arguments()
        exe, cwd = p.text(r.EXE) or p.text(r.PROGRAM_FILE), p.text(r.DIRECTORY)
        told = ProcessFacts(p.pid, p.start_time, p.ppid or None, exe=exe, cwd=cwd, uid=p.uid, gid=p.gid)
        told.name = PurePosixPath(exe).name[:15]
        told.arguments = arguments if p.arguments_size else None
        self._enricher.executed(told)
        shown = self._enricher.policy.apply(arguments)
        asked = p.text(r.PROGRAM_FILE)
        script = bool(p.flags & r.SCRIPT) and bool(asked)
        data = e.ProcessExecData(
            exe=asked if script else exe,
            args=UNSET if shown is None else shown,
            cwd=cwd or UNSET,
            is_shell=PurePosixPath(exe).name in _SHELLS,
            is_script=script,
        )
        if script:
            data.interpreter, data.script_path = exe, asked
        missing = [] if exe else ["data.exe"]
        if not p.arguments_complete():
            missing.append("data.args")
        self._tell(p, "process.exec", data, missing=missing)

    def _exit(self, p: r.ProcessEvent) -> None:
        code, number = p.status >> 8 & 255, p.status & 127
        data = e.ProcessExitData(
            exit_code=code if not number else 128 + number,
            runtime_ms=max(0, p.ts + self._boot_offset - p.start_time) // 10**6,
            cpu_user_ms=p.user_ns // 10**6,
            cpu_system_ms=p.system_ns // 10**6,
            termination_type="normal" if not number else "coredump" if p.status & 128 else "signaled",
        )
        if number:
            data.signal, data.signal_name = number, _signal_name(number)
        self._tell(p, "process.exit", data)
        self._enricher.see("exit", p.pid, p.start_time)

    # ---- connections ----

    @staticmethod
    def _endpoint(ip: r.Address, port: int, name: str = "") -> e.NetworkEndpoint:
        return e.NetworkEndpoint(ip=str(ip), port=port, is_private=ip.is_private, domain=name or UNSET)

    def _network(self, n: r.NetworkEvent) -> None:
        name = "" if n.accepted else self._names.of(n.remote)
        local, remote = self._endpoint(n.local, n.local_port), self._endpoint(n.remote, n.remote_port, name)
        attribution = "heuristic" if n.accepted else "direct"  # accepted: the process that listens
        if n.event == r.CONNECT:
            data: Any = e.NetworkConnectData(dest=remote, src=local, protocol="tcp", success=not n.error)
            data.latency_ms = (n.ts - n.opened) / 10**6
            if n.error:
                data.error = errno.errorcode.get(n.error, str(n.error))
            self._tell(n, "network.connect", data, attribution=attribution)
        elif n.event == r.ACCEPT:
            data = e.NetworkAcceptData(src=remote, dest=local, protocol="tcp")
            self._tell(n, "network.accept", data, attribution=attribution)
        elif n.event in (r.FLOW, r.INTERIM):
            self._flow(n, local, remote, attribution)

    def _flow(self, n: r.NetworkEvent, local: e.NetworkEndpoint, remote: e.NetworkEndpoint, attribution: str) -> None:
        data = e.NetworkFlowData(
            dest=local if n.accepted else remote,
            src=remote if n.accepted else local,
            protocol="tcp",
            direction="inbound" if n.accepted else "outbound",
            bytes_sent=n.sent,
            bytes_received=n.received,
            packets_sent=n.packets_sent,
            packets_received=n.packets_received,
            duration_ms=(n.ts - n.opened) // 10**6,
            start_time=self._moment(n.opened),
        )
        if n.event == r.FLOW:
            data.end_time = self._moment(n.ts)
        missing = [] if n.event == r.FLOW else ["data.end_time"]
        self._tell(n, "network.flow", data, attribution=attribution, missing=missing)

    # ---- names ----

    def _message(self, m: r.DnsMessage) -> None:
        key = (m.pid, m.start_time, m.server, m.local_port, m.payload[:2])
        if m.event == r.QUERY:
            self._asked[key] = m
            if len(self._asked) > _QUERIES:
                self._name(self._asked.popitem(last=False)[1], None)
            return
        query = self._asked.pop(key, None)
        self._name(query or m, m)

    def _name(self, query: r.DnsMessage, answer: r.DnsMessage | None) -> None:
        """`query` is the answer itself where the question was lost: it repeats it."""
        found = parse((answer or query).payload)
        if found is None:
            self.unreadable += 1
            return
        data = e.NetworkDNSData(query_name=found.name, query_type=found.type, resolver=str(query.server))
        ext: dict[str, Any] = {} if found.type != "other" else {"query_type": found.raw_type}
        if answer is not None:
            self._names.learn(found)
            data.response_code = found.code
            data.answers = [e.DNSAnswer(type=kind, value=value, ttl=ttl) for kind, value, ttl in found.answers]
            data.latency_ms = (answer.ts - answer.asked) / 10**6
        missing = [] if answer is not None else ["data.response_code"]
        self._tell(query, "network.dns", data, missing=missing, ext=ext)

    # ---- files ----

    def _file(self, f: r.FileEvent) -> None:
        if f.event == r.OPEN:
            if f.text(r.PATH):
                self._open[f.file] = f.text(r.PATH), f.size
                if len(self._open) > _FILES:
                    self._open.popitem(last=False)
        elif f.event == r.CLOSE:
            self._closed(f)
        elif f.event in (r.DELETE, r.RMDIR):
            self._deleted(f)
        elif f.event == r.RENAME:
            self._renamed(f)

    def _closed(self, f: r.FileEvent) -> None:
        path, f.size = self._open.pop(f.file, ("", 0))
        changed = bool(f.written) or bool(f.state & (r.CREATED | r.TRUNCATED))
        if not path:
            self.nameless += 1
        elif not self._rules.tells(path, changed=changed):
            self.left_out += 1
        else:
            kind, data = self._what_was_done(f, path, changed=changed)
            ext = {} if not (changed and f.read) else {"bytes_read": f.read}
            self._tell(f, kind, data, ext=ext)

    @staticmethod
    def _what_was_done(f: r.FileEvent, path: str, *, changed: bool) -> tuple[str, Any]:
        file = e.FileInfo(name=PurePosixPath(path).name, inode=f.inode, mode=f"{f.mode & 0o7777:04o}")
        if changed:
            created, truncated = bool(f.state & r.CREATED), bool(f.state & r.TRUNCATED)
            return "file.write", e.FileWriteData(
                path=path, bytes_written=f.written, created=created, truncated=truncated and not created, file=file
            )
        if f.read:
            complete = bool(f.state & r.AT_END) and f.read >= f.size > 0
            return "file.read", e.FileReadData(path=path, bytes_read=f.read, complete=complete, file=file)
        return "file.open", e.FileOpenData(path=path, flags=_flags(f.open_flags), fd=f.fd, file=file)

    def _deleted(self, f: r.FileEvent) -> None:
        path = _joined(f, r.NAME, r.BASE)
        if not path:
            self.nameless += 1
        elif not self._rules.tells(path, changed=True):
            self.left_out += 1
        else:
            file = e.FileInfo(name=PurePosixPath(path).name, is_directory=f.event == r.RMDIR)
            self._tell(f, "file.delete", e.FileDeleteData(path=path, file=file))

    def _renamed(self, f: r.FileEvent) -> None:
        old, new = _joined(f, r.NAME, r.BASE), _joined(f, r.NEW_NAME, r.NEW_BASE)
        if not (old and new):
            self.nameless += 1
        elif not (self._rules.tells(old, changed=True) or self._rules.tells(new, changed=True)):
            self.left_out += 1
        else:
            self._tell(f, "file.rename", e.FileRenameData(old_path=old, new_path=new))

    # ---- the event ----

    def _moment(self, ts: int) -> str:
        micros = (self._base + ts) // 1000
        moment = datetime.fromtimestamp(micros // 10**6, UTC).replace(microsecond=micros % 10**6)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _tell(
        self,
        who: r.Happening,
        kind: str,
        data: Any,
        *,
        attribution: str = "direct",
        missing: list[str] | None = None,
        ext: dict[str, Any] | None = None,
    ) -> None:
        """One line: the envelope's own members, the context as it is, then what happened."""
        complete = "full" if who.whole and not missing else "partial"
        confidence: dict[str, Any] = {"level": "high", "completeness": complete, "process_attribution": attribution}
        if missing:
            confidence["missing"] = missing
        head = {
            "oisp_version": "0.1",
            "event_id": self._new_id(self._base + who.ts),
            "event_type": kind,
            "ts": self._moment(who.ts),
        }
        tail: dict[str, Any] = {"confidence": confidence, "data": data}
        if ext:
            tail["ext"] = {"oisp": ext}
        context = self._enricher.activity_members(who.pid, who.start_time, who.uid, who.gid)
        line = b",".join((msgspec.json.encode(head)[:-1], context, msgspec.json.encode(tail)[1:]))
        self._lines.append(line + b"\n")
        self.events += 1


def _flags(flags: int) -> list[Any]:
    access = flags & _ACCESS
    found = [name for name, wanted in (("read", access != os.O_WRONLY), ("write", access != os.O_RDONLY)) if wanted]
    return found + [name for name, bit in _FLAGS.items() if flags & bit]


def _joined(f: r.FileEvent, name_slot: int, base_slot: int) -> str:
    """A path that a call gave, made absolute; dots are resolved as text, links are not followed."""
    name = f.text(name_slot)
    if not name:
        return ""
    if not name.startswith("/"):
        base = f.text(base_slot)
        if not base:
            return ""
        name = f"{base}/{name}"
    return os.path.normpath(name)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def _boot_offset() -> int:
    """Start times count from boot, the time asleep included; times of records do not."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime_ns(clock) - time.monotonic_ns()
