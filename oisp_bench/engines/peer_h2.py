# SPDX-License-Identifier: Apache-2.0
"""The Python pipeline with the h2 library in place of its loop over frames.

h2 speaks one side of a connection; who only watches needs both, and each must believe that it sent what the other one
received: the client's side is told of every request before it reads the answer.
"""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, ResponseReceived, StreamEnded

from oisp_bench.engines.peer import Pipeline, Stream2, Turn

__all__ = ["H2Pipeline"]

MOST = 2**31 - 1
ASKED = [(":method", "POST"), (":scheme", "https"), (":authority", "a"), (":path", "/")]
ANSWERED = [(":status", "200")]


def side_of(client: bool) -> H2Connection:
    side = H2Connection(
        H2Configuration(
            client_side=client, header_encoding=None, validate_inbound_headers=False, normalize_inbound_headers=False
        )
    )
    side.initiate_connection()
    side.increment_flow_control_window(MOST - 65535)
    return side


class H2Conn:
    """One connection, by two sides of the h2 library."""

    __slots__ = ("client", "maker", "now", "pipeline", "server", "streams")

    def __init__(self, pipeline: Pipeline, context: bytes) -> None:
        self.pipeline = pipeline
        self.maker = pipeline.maker(pipeline.out, pipeline.ids, context, pipeline.conversations, chunks=pipeline.chunks)
        self.now = 0
        self.server, self.client = side_of(False), side_of(True)
        self.streams: dict[int, Stream2] = {}

    def write(self, data: bytes) -> None:
        server = self.server
        for event in server.receive_data(data):
            if isinstance(event, DataReceived):
                self.streams[event.stream_id].turn.body.append(event.data)
            elif isinstance(event, RequestReceived):
                self.request(event.stream_id, event.headers)
            elif isinstance(event, StreamEnded):
                self.asked(event.stream_id)
        server.clear_outbound_data_buffer()

    def request(self, number: int, fields: Any) -> None:
        turn = Turn(self.now)
        turn.head = dict(fields)
        turn.url = turn.head[b":path"]
        turn.route = self.pipeline.route(turn.head[b":authority"], turn.url)
        self.streams[number] = Stream2(turn)

    def asked(self, number: int) -> None:
        stream = self.streams[number]
        turn = stream.turn
        turn.asked_last = self.now
        if turn.route is not None:
            stream.reader = turn.route.ask(self.maker, turn, b"".join(turn.body))
        self.client.send_headers(number, ASKED, end_stream=True)
        self.client.increment_flow_control_window(MOST - 65535, number)
        self.client.clear_outbound_data_buffer()

    def read(self, data: bytes) -> None:
        now = self.now
        for event in self.client.receive_data(data):
            if isinstance(event, DataReceived):
                reader = self.streams[event.stream_id].reader
                if reader is not None:
                    reader.feed(event.data, now)
            elif isinstance(event, ResponseReceived):
                reader = self.streams[event.stream_id].reader
                if reader is not None:
                    head = dict(event.headers)
                    reader.begin(now, int(head[b":status"]), head.get(b"content-type", b""))
            elif isinstance(event, StreamEnded):
                reader = self.streams.pop(event.stream_id).reader
                self.server.send_headers(event.stream_id, ANSWERED, end_stream=True)
                self.server.clear_outbound_data_buffer()
                if reader is not None:
                    reader.end(now)


class H2Pipeline(Pipeline):
    conn2 = H2Conn
