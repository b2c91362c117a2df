# SPDX-License-Identifier: Apache-2.0
"""The context of a connection, as the members that Engine.set_context() takes: ready-encoded JSON without braces.

One entry per process life, made at first sight (when capture tells of a fork, an exec or a running process), so that a
process that is gone when its first bytes arrive is still named. A child that has not called exec yet is what its parent
was. Used by one thread.

Who reads /proc is the caller's choice: this process, or another one that may and tells what it read.
"""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from oisp_sensor import version
from oisp_sensor.enrich.app import app_facts
from oisp_sensor.enrich.host import boot_ns as machine_boot_ns
from oisp_sensor.enrich.host import container_of, host_facts
from oisp_sensor.enrich.mask import Hasher, mask, shorten
from oisp_sensor.enrich.procfs import TICK_NS, ProcessFacts, RawProcess, parse, read_process
from oisp_sensor.enrich.users import group_name, user_name

__all__ = ["ArgumentPolicy", "Enricher", "Members", "with_policy"]

LIVES = 8192  # process lives remembered: some 2 KiB each
_ANCESTORS = 8
_TOLD = ("ppid", "name", "exe", "cwd", "arguments", "uid", "gid")


class Members(NamedTuple):
    """For the engine, as the content policy allows; and for a recording, which keeps everything but credentials."""

    allowed: bytes
    whole: bytes
    bare: bytes  # `allowed` without `source`: for what is seen another way than at a TLS library


@dataclass(frozen=True)
class ArgumentPolicy:
    """What of a command line may be said: always without credentials."""

    content: str = "metadata"
    cmdline: bool = True
    hasher: Hasher = field(default_factory=Hasher)

    def apply(self, arguments: list[str]) -> list[str] | None:
        if not self.cmdline:
            return None
        masked = mask(arguments)
        return shorten(masked, self.hasher) if self.content == "metadata" else masked


_WHOLE = ArgumentPolicy("full")
# Where bytes were seen, and how.
_POINTS = {"tls_library": "ebpf_uprobe", "socket": "ebpf_tracepoint", "stdio": "ebpf_tracepoint"}


@dataclass
class _Life:
    facts: ProcessFacts
    inherited: bool  # from the parent, at fork: to be read when it matters
    members: tuple[bytes, bytes] | None = None  # without `source`: as allowed, and whole
    told: bool = False  # by the kernel, at exec


Reader = Callable[[int, int | None], ProcessFacts | None]
Named = Callable[[int], str]


class Enricher:
    """`boot_ns`: Unix nanoseconds when the machine started. `reader` answers the facts of a process (pid, start) where
    they were not told, `names` the names of a user and of a group."""

    def __init__(
        self,
        policy: ArgumentPolicy,
        *,
        host: dict[str, Any] | None = None,
        proc: str = "/proc",
        boot_ns: int | None = None,
        reader: Reader | None = None,
        names: tuple[Named, Named] = (user_name, group_name),
    ) -> None:
        self._policy = policy
        self._host = host_facts() if host is None else host
        self._reader = partial(read_process, proc=proc) if reader is None else reader
        self._names = names
        self._boot_ns = machine_boot_ns() if boot_ns is None else boot_ns
        self._lives: OrderedDict[tuple[int, int], _Life] = OrderedDict()
        self._latest: dict[int, tuple[int, int]] = {}
        self.read = 0
        self.missed = 0  # lives that were over before anything could be read
        self._sources = {
            point: self._source(capture_method=method, capture_point=point) for point, method in _POINTS.items()
        }
        self._of_activity = self._source(capture_method="ebpf_tracepoint")

    def see(
        self,
        event: str,
        pid: int,
        start_ns: int,
        ppid: int = 0,
        uid: int | None = None,
        *,
        told: bool = False,
        raw: RawProcess | None = None,
    ) -> None:
        """What capture tells of a process: `seen`, `fork`, `exec` or `exit`. `told`: it was read already, and `raw` is
        what was there (None: it had gone)."""
        if event == "exit":
            return  # its last bytes may still be on their way
        if event == "fork":
            parent = self._current(ppid)
            if parent is not None:
                facts = replace(parent.facts, pid=pid, start_ns=start_ns, ppid=ppid)
                self._remember(_Life(facts, inherited=True))
                return
        if told:
            self._store(pid, start_ns, ppid, uid, None if raw is None else parse(raw))
        else:
            self._learn(pid, start_ns, ppid, uid)

    def ancestor(self, raw: RawProcess) -> None:
        """A process that is none of the scope's, but of whom one descends."""
        facts = parse(raw)
        if facts is not None and _key(facts.pid, facts.start_ns) not in self._lives:
            self._remember(_Life(facts, inherited=False))

    def members(
        self, pid: int, start_ns: int, uid: int | None = None, gid: int | None = None, point: str = "tls_library"
    ) -> Members:
        """Of the process behind a connection. `uid` and `gid` are the kernel's word, for one that was never read;
        `point` is where its bytes were seen."""
        life = self._lives.get(_key(pid, start_ns))
        if life is None:
            life = self._learn(pid, start_ns, 0, uid)
        elif life.inherited:
            life = self._read_late(life)
        if life.facts.uid is None:
            life.facts.uid, life.facts.gid = uid, gid
        if life.members is None:
            life.members = self._encode(life.facts)
        bare, whole = life.members
        return Members(bare + self._sources[point], whole + self._sources[point], bare)

    @property
    def policy(self) -> ArgumentPolicy:
        return self._policy

    def executed(self, told: ProcessFacts) -> None:
        """What the kernel said at exec. It stands where the process had gone before /proc was read."""
        key = _key(told.pid, told.start_ns)
        before = self._lives.get(key)
        if before is not None and not before.inherited and before.facts.exe == told.exe:
            return
        own = self._reader(told.pid, told.start_ns)
        if own is not None and own.exe == told.exe:
            self.read += 1
            self._remember(_Life(own, inherited=False))
            return
        if before is not None:  # its session and groups are what they were
            told = replace(before.facts, **{k: getattr(told, k) for k in _TOLD if getattr(told, k) not in (None, "")})
        self._remember(_Life(told, inherited=False, told=True))

    def activity_members(self, pid: int, start_ns: int, uid: int | None = None, gid: int | None = None) -> bytes:
        """Of a process that did something: as for a connection, with another source."""
        return self.members(pid, start_ns, uid, gid).bare + self._of_activity

    def _learn(self, pid: int, start_ns: int, ppid: int, uid: int | None) -> _Life:
        return self._store(pid, start_ns, ppid, uid, self._reader(pid, start_ns))

    def _store(self, pid: int, start_ns: int, ppid: int, uid: int | None, facts: ProcessFacts | None) -> _Life:
        known = self._lives.get(_key(pid, start_ns))
        if facts is None and known is not None and known.told:
            return known
        if facts is None:
            self.missed += 1
            facts = ProcessFacts(pid, start_ns, ppid or None, uid=uid)
        else:
            self.read += 1
        return self._remember(_Life(facts, inherited=False))

    def _read_late(self, life: _Life) -> _Life:
        """A child without exec: its own entry in /proc if it is still there, else what it had from its parent."""
        life.inherited = False
        own = self._reader(life.facts.pid, life.facts.start_ns)
        if own is not None:
            self.read += 1
            own.ppid = life.facts.ppid  # its parent may have gone since
            life.facts = own
        return life

    def _remember(self, life: _Life) -> _Life:
        key = _key(life.facts.pid, life.facts.start_ns)
        self._lives[key] = life
        self._lives.move_to_end(key)
        self._latest[life.facts.pid] = key
        while len(self._lives) > LIVES:
            old, _ = self._lives.popitem(last=False)
            if self._latest.get(old[0]) == old:
                del self._latest[old[0]]
        return life

    def _current(self, pid: int) -> _Life | None:
        key = self._latest.get(pid)
        return None if key is None else self._lives.get(key)

    def _ancestors(self, facts: ProcessFacts) -> list[ProcessFacts]:
        """Parent first. A parent that is younger than its child is another process with its pid."""
        found: list[ProcessFacts] = []
        child = facts
        while len(found) < _ANCESTORS and child.ppid:
            life = self._current(child.ppid)
            parent = life.facts if life is not None else self._reader(child.ppid, None)
            if parent is None or parent.ticks > child.ticks:
                break
            found.append(parent)
            child = parent
        return found

    def _source(self, **how: str) -> bytes:
        """The member `source`, with the comma before it: the same for every process."""
        source = {"collector": "oisp-sensor", "collector_version": version(), **how}
        if self._host.get("hostname"):
            source["sensor_host"] = self._host["hostname"]
        return b"," + _members({"source": source})

    def _encode(self, facts: ProcessFacts) -> tuple[bytes, bytes]:
        ancestors = self._ancestors(facts)
        bare, whole = (_members(self._context(facts, ancestors, p)) for p in (self._policy, _WHOLE))
        return bare, whole

    def _context(self, facts: ProcessFacts, ancestors: list[ProcessFacts], policy: ArgumentPolicy) -> dict[str, Any]:
        container, pod = container_of(facts.cgroup)
        host = {**self._host, **({"container": container} if container else {}), **({"k8s": pod} if pod else {})}
        process = process_member(facts, ancestors, policy, self._boot_ns)
        if container:
            process["container_id"] = container["id"]
        context = {"host": host, "actor": actor_member(facts, self._names), "process": process}
        app = app_facts(facts.exe, facts.arguments or [])
        if app is not None:
            context["app"] = app
        return {k: v for k, v in context.items() if v}


def process_member(
    facts: ProcessFacts, ancestors: list[ProcessFacts], policy: ArgumentPolicy, boot_ns: int
) -> dict[str, Any]:
    member: dict[str, Any] = {"pid": facts.pid}
    for key in ("ppid", "pgid", "sid", "exe", "name", "cwd", "cgroup"):
        value = getattr(facts, key)
        if value not in (None, ""):
            member[key] = value
    if facts.start_ns:
        started = (boot_ns + facts.start_ns) // 1000
        moment = datetime.fromtimestamp(started // 10**6, UTC).replace(microsecond=started % 10**6)
        member["start_time"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    _put_arguments(member, facts.arguments, policy)
    if ancestors:
        parent = ancestors[0]
        member["parent"] = _named(parent)
        member["ancestors"] = [_named(ancestor) for ancestor in ancestors]
    return member


def _put_arguments(member: dict[str, Any], arguments: list[str] | None, policy: ArgumentPolicy) -> None:
    allowed = None if arguments is None else policy.apply(arguments)
    if allowed is not None:
        member["cmdline"] = " ".join(map(_readable, allowed))
        member["cmdline_args"] = allowed
    else:
        member.pop("cmdline", None)
        member.pop("cmdline_args", None)


def _readable(word: str) -> str:
    """Quoted only where a reader could take it for two words; cmdline_args is the exact form."""
    if word and not any(c.isspace() or c in "'\"\\" for c in word):
        return word
    return word if word.startswith("<") and word.endswith(">") else shlex.quote(word)


def _named(facts: ProcessFacts) -> dict[str, Any]:
    member: dict[str, Any] = {"pid": facts.pid}
    if facts.exe:
        member["exe"] = facts.exe
    if facts.name:
        member["name"] = facts.name
    return member


def actor_member(facts: ProcessFacts, names: tuple[Named, Named] = (user_name, group_name)) -> dict[str, Any]:
    if facts.uid is None:
        return {}
    member: dict[str, Any] = {"uid": facts.uid}
    if facts.gid is not None:
        member["gid"] = facts.gid
    user, group = names
    name = user(facts.uid)
    if name:
        member["user"] = name
    if facts.groups:
        member["groups"] = [group(gid) for gid in facts.groups]
    if facts.session is not None:
        member["session_id"] = str(facts.session)
    if facts.terminal:
        member["terminal"] = facts.terminal
    member["is_elevated"] = 0 in (facts.uid, facts.euid)
    return member


def _members(context: dict[str, Any]) -> bytes:
    return msgspec.json.encode(context)[1:-1]


def with_policy(members: bytes, policy: ArgumentPolicy) -> bytes:
    """Members out of a recording, as `policy` allows; nothing where they are not what a recording may hold."""
    try:
        context = msgspec.json.decode(b"{" + members + b"}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    process = context.get("process")
    if isinstance(process, dict) and ("cmdline" in process or "cmdline_args" in process):
        arguments = process.get("cmdline_args")
        if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
            arguments = None  # a text that was not cut into arguments cannot be judged
        _put_arguments(process, arguments, policy)
    return _members(context)


def _key(pid: int, start_ns: int) -> tuple[int, int]:
    return pid, start_ns // TICK_NS
