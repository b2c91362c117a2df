# SPDX-License-Identifier: Apache-2.0
"""What a probe costs, apart from the trap that it is in: `python -m benchmarks.overhead`, beside `oisp-bench live`,
which measures the sensor as a whole.

`measure(...)` answers the figures, `lines(...)` says them. Needs root, Linux 6.6 and
later (uprobe_multi), gcc with OpenSSL's headers, and a checkout: the probed program is benchmarks/overhead/blast.c.
Nothing but that program, on private copies of libssl and libcrypto, is probed.

Every figure of a call is one of a round in which no probes, an empty pair of probes at the same addresses, captured and
dismissed calls took turns: what the machine does meanwhile, it does to all of them. Figures in nanoseconds are the
medians over rounds of each round's cheapest call, as the trap itself varies little and neighbours a lot.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import msgspec

from oisp_core.errors import ConfigError

__all__ = ["Overhead", "lines", "main", "measure"]

SIZES = (200, 16384)
_SOURCE = Path(__file__).with_name("blast.c")
_RING = 16 << 20


class Call(msgspec.Struct):
    """One size of write: nanoseconds of a call, by what was planted around it."""

    size: int
    bare: float
    empty: float
    captured: float
    dismissed: float

    @property
    def above(self) -> float:
        """Of a captured call, above an empty pair of probes."""
        return self.captured - self.empty

    @property
    def dismissed_above(self) -> float:
        return self.dismissed - self.empty


class Process(msgspec.Struct):
    name: str
    cpu_seconds: float
    resident: int  # bytes
    proportional: int  # bytes, what is shared divided among those who share it


class Overhead(msgspec.Struct):
    """`bystander`: nanoseconds that a call of another process takes more, by how files are probed."""

    rounds: int
    calls: list[Call]
    bystander: dict[str, float]
    megabytes_a_second: float
    lost_bytes: int
    consumer_ns: dict[int, float]
    processes: list[Process]
    seconds: float  # over which the processes were looked at
    moved_bytes: int  # by the program that they watched in that time


# ---- the probed program ----


class Blaster:
    def __init__(self, program: Path, env: dict[str, str], certificate: tuple[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([program, *certificate], env=env, stdin=pipe, stdout=pipe, text=True)
        self._line()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _line(self) -> str:
        assert self._process.stdout is not None
        found = self._process.stdout.readline()
        if not found:
            raise ConfigError(key="overhead", message="the probed program ended")
        return found

    def write(self, size: int, count: int) -> tuple[int, int, int]:
        """Cheapest and median call, and all of it, in nanoseconds."""
        self.begin(size, count)
        return self.end()

    def begin(self, size: int, count: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{size} {count}\n")
        self._process.stdin.flush()

    def end(self) -> tuple[int, int, int]:
        least, middle, wall = map(int, self._line().split())
        return least, middle, wall

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def _build(folder: Path) -> Path:
    out = folder / "blast"
    try:
        done = subprocess.run(
            ["gcc", "-O2", "-o", str(out), str(_SOURCE), "-lssl", "-lcrypto"],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigError(key="overhead", message="gcc is not installed") from error
    if done.returncode:
        raise ConfigError(key="overhead", message=f"blast.c cannot be built: {done.stderr.strip().splitlines()[0]}")
    return out


def _certificate(folder: Path) -> tuple[str, str]:
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    made = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run(["openssl", "req", "-x509", *made, "-keyout", key, "-out", cert], capture_output=True, check=True)
    return cert, key


# ---- what is planted ----


def _empty_program() -> int:
    """`return 0`, for uprobe_multi links."""
    from oisp_sensor.capture import kernel

    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0))
    text = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("<IIQQ", kernel.BPF_PROG_TYPE_KPROBE, 2, ctypes.addressof(code), ctypes.addressof(text))
    return kernel._bpf(kernel.BPF_PROG_LOAD, head.ljust(68, b"\0") + struct.pack("<I", kernel.BPF_TRACE_UPROBE_MULTI))


@contextmanager
def _empty_pair(program: int, library: Path, pid: int) -> Iterator[None]:
    """At the entry and the RETs of SSL_write, for one process."""
    from oisp_sensor.capture import kernel
    from oisp_sensor.capture.program import PROBES
    from oisp_sensor.capture.targets import examine

    fd = os.open(library, os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = examine(fd, str(library))
        assert target is not None
        number = PROBES["SSL_write"].number
        places = [at for at, cookie in target.plan.places() if cookie & 255 == number]
        link = kernel.link_uprobe_multi(program, f"/proc/self/fd/{fd}", places, [0] * len(places), pid)
    finally:
        os.close(fd)
    try:
        yield
    finally:
        os.close(link)


class Watched:
    """A capture of one process with a consumer in a thread of its own, which counts and does nothing else."""

    def __init__(self, pid: int, library: Path, *, per_process: bool = True, max_overhead: float = 0.0) -> None:
        from oisp_sensor.capture import Capture, Scope
        from oisp_sensor.capture.feed import Feed
        from oisp_sensor.capture.ringbuf import RingBuffer

        self.capture = Capture(
            Scope.pid(pid),
            ring_bytes=_RING,
            libraries=[library],
            per_process=per_process,
            max_overhead=max_overhead,
        )
        self.capture.start()
        self.ring = RingBuffer(self.capture.ring_fd, _RING)
        self.feed = Feed(self.ring, None)
        self.opened: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._consume)

    def start(self) -> Watched:
        self._thread.start()
        return self

    def _consume(self) -> None:
        from oisp_sensor.capture.feed import OPENED

        while not self._stop.is_set():
            self.ring.wait(20)
            while self.ring.pending:
                if self.feed.consume(1 << 16) & OPENED:
                    self.opened.append(self.feed.opened.conn)

    def dismiss(self) -> None:
        from oisp_sensor.capture.verdicts import VerdictTable

        table = VerdictTable(self.capture.verdicts_fd)
        for conn in self.opened:
            table.set(conn, "nothing")
        table.close()

    def lost(self) -> int:
        return sum(loss.written + loss.read for loss in self.capture.losses().values())

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.ring.close()
        self.capture.close()


@contextmanager
def _watched(pid: int, library: Path, **options: bool) -> Iterator[Watched]:
    made = Watched(pid, library, **options).start()
    try:
        yield made
    finally:
        made.close()


# ---- figures ----


def _round(blaster: Blaster, program: int, library: Path, size: int, count: int) -> tuple[int, int, int, int]:
    bare = blaster.write(size, count)[0]
    with _empty_pair(program, library, blaster.pid):
        empty = blaster.write(size, count)[0]
    with _watched(blaster.pid, library) as watched:
        blaster.write(size, 100)
        captured = blaster.write(size, count)[0]
        watched.dismiss()
        dismissed = blaster.write(size, count)[0]
    return bare, empty, captured, dismissed


def _calls(blaster: Blaster, library: Path, rounds: int, count: int) -> list[Call]:
    program = _empty_program()
    found = []
    try:
        for size in SIZES:
            each = list(zip(*(_round(blaster, program, library, size, count) for _ in range(rounds)), strict=True))
            found.append(Call(size, *(float(median(one)) for one in each)))
    finally:
        os.close(program)
    return found


def _bystander(blaster: Blaster, other: Blaster, library: Path, rounds: int, count: int) -> dict[str, float]:
    found = {}
    for name, per_process in (("probed process by process", True), ("probed for all that map the file", False)):
        more = []
        for _ in range(rounds):
            bare = other.write(SIZES[0], count)[0]
            with _watched(blaster.pid, library, per_process=per_process):
                more.append(other.write(SIZES[0], count)[0] - bare)
        found[name] = float(median(more))
    return found


def _throughput(blaster: Blaster, library: Path, count: int) -> tuple[float, int]:
    """Plaintext a second, both ends of each byte counted as the sensor sees them, in the best of ten windows; what was
    lost in all of them."""
    with _watched(blaster.pid, library) as watched:
        blaster.write(SIZES[1], 100)
        least = min(blaster.write(SIZES[1], count)[2] for _ in range(10))
        time.sleep(0.1)
        return 2 * SIZES[1] * count / least * 1e3, watched.lost()


def _consumer(blaster: Blaster, library: Path) -> dict[int, float]:
    """Processor time of the consumer for one record that waits in the ring."""
    found = {}
    for size in SIZES:
        each = []
        for _ in range(5):
            watched = Watched(blaster.pid, library)  # nobody reads yet
            try:
                blaster.write(size, min(4000, _RING // 4 // size))
                before, waiting = time.thread_time_ns(), watched.feed.records
                while watched.ring.pending:
                    watched.feed.consume(1 << 16)
                each.append((time.thread_time_ns() - before) / max(watched.feed.records - waiting, 1))
            finally:
                watched.close()
        found[size] = min(each)
    return found


def _sensor(blaster: Blaster, library: Path, folder: Path, seconds: float) -> tuple[list[Process], float, int]:
    """`oisp-sensor record` as a user runs it, on a program that is never silent and speaks nothing that is known."""
    words = [sys.executable, "-m", "oisp_sensor", "record", "--pid", str(blaster.pid), "--library", str(library)]
    options = ["--out", str(folder / "events.jsonl"), "--no-dismiss", "--max-overhead", "0"]
    sensor = subprocess.Popen([*words, *options], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while len(family := _family(sensor.pid)) < 2 or not _confined(family):
            if time.monotonic() > deadline or sensor.poll() is not None:
                raise ConfigError(
                    key="overhead", message="the sensor does not start here; `oisp-sensor doctor` says why"
                )
            time.sleep(0.1)
        begin, before, moved = time.monotonic(), _cpu(family), 0
        while time.monotonic() < begin + seconds:
            blaster.write(SIZES[1], 5000)
            moved += 2 * SIZES[1] * 5000
        spent, after = time.monotonic() - begin, _cpu(family)
        found = [
            Process(_name(pid), round(after[pid] - before[pid], 3), *_memory(pid)) for pid in family if pid in after
        ]
        return found, spent, moved
    finally:
        sensor.terminate()
        sensor.wait(60)


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
        except OSError:
            continue
    return found


def _confined(family: list[int]) -> bool:
    """The worker has given up its power: it works."""
    return any(_name(pid) == "worker" and _status(pid).get("Seccomp") == "2" for pid in family)


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    if b"oisp_sensor.worker" in words:
        return "worker"
    return "helper" if b"oisp_sensor.examiner" in words else "loader"


def _cpu(family: list[int]) -> dict[int, float]:
    found = {}
    for pid in family:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Resident and proportional set, in bytes."""
    rolled = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    sizes = {key: value for key, _, value in (line.partition(":") for line in rolled.splitlines())}
    return tuple(int(sizes[name].split()[0]) << 10 for name in ("Rss", "Pss"))  # type: ignore[return-value]


def measure(
    rounds: int = 5, count: int = 3000, seconds: float = 5.0, say: Callable[[str], None] = lambda text: None
) -> Overhead:
    """All figures; about a minute."""
    from oisp_sensor.demo.libraries import copy_libraries

    if os.geteuid() != 0:
        raise ConfigError(key="overhead", message="only root can probe", hint="use sudo")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="oisp-overhead-")))
        program, certificate = _build(folder), _certificate(folder)
        private = copy_libraries(folder / "private", str(program))
        blasters = []
        for _ in range(2):
            blasters.append(Blaster(program, private.env, certificate))
            stack.callback(blasters[-1].close)
        blaster, other = blasters
        say("calls")
        calls = _calls(blaster, private.libssl, rounds, count)
        say("a bystander")
        bystander = _bystander(blaster, other, private.libssl, rounds, count)
        say("throughput")
        speed, lost = _throughput(blaster, private.libssl, 2 * count)
        say("the consumer")
        consumer = _consumer(blaster, private.libssl)
        say("the sensor's processes")
        processes, spent, moved = _sensor(blaster, private.libssl, folder, seconds)
    return Overhead(rounds, calls, bystander, speed, lost, consumer, processes, spent, moved)


def lines(found: Overhead) -> list[str]:
    told = [f"medians of {found.rounds} rounds, in each the cheapest call; nanoseconds of one SSL_write"]
    for call in found.calls:
        told.append(
            f"  {call.size:>6} bytes: {call.bare:,.0f} bare, {call.empty:,.0f} with an empty pair of probes, "
            f"{call.captured:,.0f} captured ({call.above:+,.0f}), {call.dismissed:,.0f} dismissed "
            f"({call.dismissed_above:+,.0f})"
        )
    told += [f"a bystander: {more:+,.0f} ns a call, {how}" for how, more in found.bystander.items()]
    told.append(
        f"throughput: {found.megabytes_a_second:,.0f} MB/s of plaintext into a ring of 16 MiB, "
        f"{found.lost_bytes:,} bytes lost"
    )
    told += [f"consumer: {ns:,.0f} ns a record of {size} bytes" for size, ns in found.consumer_ns.items()]
    moved = f"{found.moved_bytes / found.seconds / 1e6:,.0f} MB/s"
    told.append(f"record, {found.seconds:.1f} s at {moved} of plaintext that is no known protocol:")
    for one in found.processes:
        share = 100 * one.cpu_seconds / found.seconds
        memory = f"{one.resident >> 20} MiB resident, its share of them {one.proportional >> 20} MiB"
        told.append(f"  {one.name}: {share:.0f} % of a core, {memory}")
    return told


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description="What probes cost, here. Needs root."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    args = parser.parse_args(argv)
    found = measure(args.rounds, say=lambda text: print(f"measuring {text} ...", file=sys.stderr, flush=True))
    print("\n".join(lines(found)))
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    return 0
