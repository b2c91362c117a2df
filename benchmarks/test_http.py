# SPDX-License-Identifier: Apache-2.0
"""HTTP/1, HTTP/2 and header blocks: beside httptools, h11 and llhttp, hyperframe with hpack, h2 and nghttp2."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from benchmarks import bench_http1 as one
from benchmarks import bench_http2 as two
from benchmarks.rivals import llhttp_folder, nghttp2_library

Drivers = Callable[[str], ModuleType]
MESSAGES = {
    "http1, request heads": (one.heads(1024), "request", "message", 1024),
    "http1, request heads in 16 KB segments": (one.joined(one.heads(1024), 16384), "request", "message", 1024),
    "http1, chunked stream, a chunk a segment": (one.chunks(5, 500), "response", "delta", 2500),
    "http1, chunked stream in 16 KB segments": (one.joined(one.chunks(5, 500), 16384), "response", "delta", 2500),
}
FRAMES = {
    "http2, 20 streams, a frame a segment": (two.streams(1, 20, 100), "response", "delta", 2000),
    "http2, 20 streams in 16 KB segments": (two.joined(two.streams(1, 20, 100), 16384), "response", "delta", 2000),
    "http2, requests": (two.requests(500), "request", "request", 500),
}
BLOCKS = {
    "hpack, blocks of requests": two.request_blocks(500),
    "hpack, blocks of responses": two.response_blocks(500),
    "hpack, blocks of new fields": two.new_blocks(500),
}


def with_h11(segments: list[bytes], role: str) -> tuple[int, int]:
    """Messages, and bytes of their bodies: requests to a server's side, answers to a client's."""
    h11 = pytest.importorskip("h11")
    messages = body = 0
    if role == "request":
        side = h11.Connection(h11.SERVER)
    else:
        side = h11.Connection(h11.CLIENT)
        side.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        side.send(h11.EndOfMessage())
    for segment in segments:
        side.receive_data(segment)
        while (event := side.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.Data):
                body += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                messages += 1
                answer(h11, side, role)
    return messages, body


def answer(h11: Any, side: Any, role: str) -> None:
    """The other half of an exchange, without which h11 does not go on."""
    if role == "request":
        side.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
        side.send(h11.EndOfMessage())
        side.start_next_cycle()
    else:
        side.start_next_cycle()
        side.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
        side.send(h11.EndOfMessage())


@pytest.mark.parametrize("who", ["h11", "httptools", "llhttp (C)", "oisp"])
@pytest.mark.parametrize("title", MESSAGES)
def test_http1(stage: Callable[..., None], drivers: Drivers, title: str, who: str) -> None:
    segments, role, unit, count = MESSAGES[title]
    wanted = one.counts(one.with_httptools(segments, role))
    about: dict[str, Any] = {"size": sum(map(len, segments)), "unit": unit, "count": count, "wanted": wanted}
    if who == "h11":
        if "16 KB" in title and role == "request":
            pytest.skip("h11 does not read pipelined requests without their answers")
        about["wanted"] = (wanted[0], wanted[3])
        stage(title, who, lambda: with_h11(segments, role), **about)
    elif who == "httptools":
        stage(title, who, lambda: one.with_httptools(segments, role), answer=one.counts, **about)
    else:
        if who != "oisp" and llhttp_folder() is None:
            pytest.skip("llhttp is not here: python -m benchmarks.rivals")
        driver = drivers("drive_http1" if who == "oisp" else "drive_llhttp")
        held = driver.Segments(segments)
        stage(title, who, lambda: driver.count(held, role), **about)


def with_h2(segments: list[bytes], role: str) -> tuple[int, int]:
    """Messages and bytes of bodies by the h2 library, which must be told what the other side sent, or ends early."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import DataReceived, StreamEnded

    side = H2Connection(H2Configuration(client_side=role == "response", validate_inbound_headers=False))
    side.initiate_connection()
    side.increment_flow_control_window(2**31 - 1 - 65535)
    messages = body = 0
    if role == "response":
        for stream in range(1, 41, 2):
            side.send_headers(stream, two.REQUEST, end_stream=True)
            side.increment_flow_control_window(2**31 - 1 - 65535, stream)
    for segment in segments:
        for event in side.receive_data(segment):
            if isinstance(event, DataReceived):
                body += len(event.data)
            elif isinstance(event, StreamEnded):
                messages += 1
                if role == "request":
                    side.send_headers(event.stream_id, [(":status", "204")], end_stream=True)
    return messages, body


@pytest.mark.parametrize("who", ["h2", "hyperframe + hpack", "oisp"])
@pytest.mark.parametrize("title", FRAMES)
def test_http2(stage: Callable[..., None], drivers: Drivers, title: str, who: str) -> None:
    segments, role, unit, count = FRAMES[title]
    wanted = two.with_hyperframe(segments, role)
    about: dict[str, Any] = {"size": sum(map(len, segments)), "unit": unit, "count": count, "wanted": wanted}
    if who == "h2":
        about["wanted"] = (wanted[0], wanted[3])
        stage(title, who, lambda: with_h2(segments, role), **about)
    elif who == "oisp":
        driver = drivers("drive_http2")
        held = driver.Segments(segments)
        stage(title, who, lambda: driver.count(held, role), **about)
    else:
        stage(title, who, lambda: two.with_hyperframe(segments, role), **about)


@pytest.mark.parametrize("who", ["hpack", "nghttp2 (C)", "oisp"])
@pytest.mark.parametrize("title", BLOCKS)
def test_hpack(stage: Callable[..., None], drivers: Drivers, title: str, who: str) -> None:
    blocks = BLOCKS[title]
    about: dict[str, Any] = {"size": sum(map(len, blocks)), "unit": "block", "count": len(blocks)}
    about["wanted"] = two.with_hpack(blocks)
    if who == "hpack":
        stage(title, who, lambda: two.with_hpack(blocks), **about)
        return
    driver = drivers("drive_http2")
    held = driver.Segments(blocks)
    if who == "oisp":
        stage(title, who, lambda: driver.blocks(held), **about)
        return
    library = nghttp2_library()
    if library is None or not driver.load_nghttp2(library):
        pytest.skip("libnghttp2 is not here")
    stage(title, who, lambda: driver.blocks_of_nghttp2(held), **about)
