# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 connections with interleaved streams: frames made by hand, heads by the hpack library's encoder."""

from __future__ import annotations

import random
import struct

from oisp_bench import traffic
from oisp_bench.traffic import Exchange, pieces_of

__all__ = ["connection"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW = 0, 1, 4, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def fields_of(message: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """The start line, fields and body of an HTTP/1.1 message, for a head of HTTP/2."""
    head, _, body = message.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]
    dropped = {"connection", "host", "transfer-encoding"}
    return first, [(name, value) for name, value in pairs if name not in dropped], body


def connection(rng: random.Random, key: str, batches: int, streams: int, deltas: int, request: int) -> Exchange:
    """`batches` times `streams` OpenAI streams at once, each event a DATA frame and a segment of its own."""
    from hpack import Encoder

    ask, answer = Encoder(), Encoder()
    limits = struct.pack(">HIHI", 3, 100, 4, 65535)
    woven = [
        (0, PREFACE + frame(SETTINGS, 0, 0, limits) + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 24))),
        (1, frame(SETTINGS, 0, 0, limits) + frame(SETTINGS, ACK, 0, b"")),
        (0, frame(SETTINGS, ACK, 0, b"")),
    ]
    truths = []
    stream = 1
    for _ in range(batches):
        queues: list[list[bytes]] = []
        heads: list[bytes] = []
        for _ in range(streams):
            asked = traffic.openai_chat(rng, key, request - 300, stream=True)
            events, said = traffic.openai_stream(rng, deltas, obfuscated=False)
            _, fields, body = fields_of(asked.data)
            pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", "api.openai.com")]
            block = ask.encode([*pseudo, (":path", "/v1/chat/completions"), *fields])
            parts = pieces_of(body)
            frames = [frame(HEADERS, END_HEADERS, stream, block)]
            frames += [frame(DATA, END_STREAM * (part is parts[-1]), stream, part) for part in parts]
            woven.append((0, b"".join(frames)))
            _, fields, _ = fields_of(traffic.answer_head(rng, "text/event-stream; charset=utf-8", "vary: Origin"))
            heads.append(frame(HEADERS, END_HEADERS, stream, answer.encode([(":status", "200"), *fields])))
            queues.append([frame(DATA, 0, stream, event) for event in events] + [frame(DATA, END_STREAM, stream, b"")])
            truths.append({**asked.truth, **said})
            stream += 2
        woven += [(1, head) for head in heads]
        order = [index for index, queue in enumerate(queues) for _ in queue]
        rng.shuffle(order)
        woven += [(1, queues[index].pop(0)) for index in order]
    return Exchange([], [], None, batches * streams * deltas, woven, truths)
