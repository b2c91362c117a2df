# SPDX-License-Identifier: Apache-2.0
"""Any bytes, any split, any holes: OK, MORE, BAD or LIMIT, the same tokens however it was cut, memory within bounds.

python tests/fuzz/fuzz_parsers.py [PARSER...] [--seconds N] [--seed N]

A mutator over the seeds below and the bytes of the test vectors; deterministic for a seed. Run it over the debug
flavour to have each step watched by ASan and UBSan. A finding is printed as a plan that repeats it.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from oisp_core.reassemble.content import Inflater
from oisp_core.reassemble.eventstream import EventStreamParser
from oisp_core.reassemble.grpc import GrpcParser
from oisp_core.reassemble.http1 import Http1Parser, probe
from oisp_core.reassemble.multipart import MultipartParser
from oisp_core.reassemble.ndjson import NdjsonParser
from oisp_core.reassemble.sniff import sniff_bytes
from oisp_core.reassemble.sse import SseParser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from oisp_core.reassemble.websocket import WebSocketParser
from tests.reference.vectors import VECTORS, join_data, parse

BOUND = 200
"""The bound that half of the runs give a parser: head_max, event_max and so on."""

INPUT_MAX = 4000
HELD_MAX = 4 * 4096
"""What a parser may have allocated after so much input: a buffer doubles, and a type may stand behind its event."""

PARSERS: dict[str, list[Callable[[], Any]]] = {
    "http1": [
        lambda: Http1Parser("request"),
        lambda: Http1Parser("response"),
        lambda: Http1Parser("request", head_max=BOUND, fields_max=3),
        lambda: Http1Parser("response", head_max=BOUND, fields_max=3),
    ],
    "sse": [SseParser, lambda: SseParser(event_max=BOUND)],
    "ndjson": [
        NdjsonParser,
        lambda: NdjsonParser(array=True),
        lambda: NdjsonParser(value_max=BOUND),
        lambda: NdjsonParser(array=True, value_max=BOUND),
    ],
    "eventstream": [EventStreamParser, lambda: EventStreamParser(frame_max=BOUND)],
    "websocket": [WebSocketParser, lambda: WebSocketParser(message_max=BOUND)],
    "grpc": [GrpcParser, lambda: GrpcParser(message_max=BOUND)],
    "multipart": [
        lambda: MultipartParser("multipart/form-data; boundary=b"),
        lambda: MultipartParser("multipart/form-data; boundary=b", head_max=BOUND, value_max=9),
    ],
}
SEEDS: dict[str, list[bytes]] = {
    "ndjson": [
        b'{"a": "x\\"y", "b": [1, {"c": null}]}\n{"d": 2}\r\n3 true "s"\n',
        b'[{"a": 1},\n{"b": "]"}\r\n,\r\n[2]]\n',
    ],
    "eventstream": [
        bytes.fromhex("00000010000000000 5c248eb7d98c8ff".replace(" ", "")),
        bytes.fromhex("0000003d0000002007fd8396" + "0c" + b"content-type".hex() + "070010" + b"application/json".hex())
        + b"{'foo':'bar'}\x8d\x9c\x08\xb1",
    ],
    "websocket": [
        bytes.fromhex("810548656c6c6f 818537fa213d7f9f4d5158 010348656c 80026c6f".replace(" ", "")),
        bytes.fromhex("890548656c6c6f 8a8537fa213d7f9f4d5158 c107f248cdc9c90700 880203e8".replace(" ", "")),
        b"\x82\x7e\x01\x00" + bytes(256),
    ],
    "grpc": [b"\x00\x00\x00\x00\x03abc\x01\x00\x00\x00\x00\x80\x00\x00\x00\x0fgrpc-status:0\r\n"],
}


def seeds(name: str) -> list[bytes]:
    """Of this parser: those above, and the runs of bytes of its vectors."""
    found = list(SEEDS.get(name, []))
    for path in sorted((VECTORS / name).glob("*.md")):
        found += [b"".join(s for s in vector.steps if isinstance(s, bytes)) for vector in parse(path)]
    return found


def mutate(rng: random.Random, corpus: list[bytes]) -> bytes:
    data = bytearray(rng.choice(corpus))
    if rng.random() < 0.3:
        data += rng.choice(corpus)
    for _ in range(rng.randrange(6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b"\0", b":", b"\xff", b'"', b"{", b"0", b" ", b"\x7f\xff"])
        elif kind == 2:
            del data[at : at + rng.randrange(1, 12)]
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(1, 60)]
        else:
            data[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(data[:INPUT_MAX])


def steps(rng: random.Random, data: bytes) -> list[bytes | int]:
    """The data in runs, with holes (numbers) in place of some of it."""
    if not data or rng.random() < 0.5:
        return [data]
    at = rng.randrange(len(data))
    size = rng.choice([1, 2, rng.randrange(1, 40), 2**40])
    return [data[:at], size, data[at + size :]]


def run(make: Callable[[], Any], plan: list[bytes | int], cut: Callable[[int], list[int]]) -> tuple[list[Token], Any]:
    parser = make()
    tokens: list[Token] = []
    for step in plan:
        if isinstance(step, int):
            tokens += parser.gap(step)
            continue
        edges = [0, *sorted(cut(len(step))), len(step)]
        for begin, end in zip(edges, edges[1:], strict=False):  # noqa: RUF007
            tokens += parser.feed(step[begin:end])
            assert parser.status in (Status.OK, Status.MORE, Status.BAD, Status.LIMIT)
            assert parser.held <= HELD_MAX
    status = parser.status
    tokens += parser.finish()
    parser.reset()
    assert parser.held == 0
    return join_data(tokens), status


def check(make: Callable[[], Any], plan: list[bytes | int], rng: random.Random) -> None:
    """One input: whole, byte by byte, and cut at random give the same; no token is larger than what came in."""
    whole = run(make, plan, lambda n: [])
    assert run(make, plan, lambda n: list(range(n))) == whole
    assert run(make, plan, lambda n: [rng.randrange(n + 1) for _ in range(3)]) == whole
    size = sum(len(s) for s in plan if isinstance(s, bytes))
    assert sum(len(t.data) for t in whole[0] if t.kind in (TokenKind.DATA, TokenKind.EVENT)) <= size + 64


def fuzz(name: str, seconds: float, seed: int = 1) -> int:
    """Runs of one parser; raises AssertionError with what repeats the finding."""
    rng = random.Random(seed)
    corpus = seeds(name)
    deadline = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < deadline:
        data = mutate(rng, corpus)
        sniff_bytes(data)
        probe("request", data)
        probe("response", data)
        plan = steps(rng, data)
        for which, make in enumerate(PARSERS[name]):
            try:
                check(make, plan, random.Random(runs))
            except AssertionError as error:
                raise AssertionError(f"PARSERS[{name!r}][{which}], plan {plan!r}: {error}") from error
        runs += 1
    return runs


def fuzz_content(seconds: float, seed: int = 1) -> int:
    """Any bytes to the decoders: bounded output, a status, never an exception."""
    import gzip
    import zlib

    import brotli

    from oisp_core.reassemble.codecs import zstd

    rng = random.Random(seed)
    text = b"data: some words, some more words\n\n" * 40
    pack = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}
    corpus = {name: [function(text), function(b""), function(bytes(5000))] for name, function in pack.items()}
    deadline = time.monotonic() + seconds
    runs = 0
    while time.monotonic() < deadline:
        for name, coded in corpus.items():
            data = mutate(rng, coded)
            inflater = Inflater(name)
            cut = rng.randrange(len(data) + 1)
            for piece in (data[:cut], data[cut:]):
                assert len(inflater.decode(piece, max=3000)) <= 3000
                assert inflater.status in (Status.OK, Status.BAD, Status.LIMIT)
            inflater.end()
        runs += 1
    return runs


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("parsers", nargs="*", metavar="PARSER", help=", ".join([*PARSERS, "content"]))
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    for name in args.parsers or [*PARSERS, "content"]:
        if name not in PARSERS and name != "content":
            options.error(f"no parser {name!r}; there are: {', '.join([*PARSERS, 'content'])}")
        runs = fuzz_content(args.seconds, args.seed) if name == "content" else fuzz(name, args.seconds, args.seed)
        print(f"{name}: {runs} inputs")


if __name__ == "__main__":
    main()
