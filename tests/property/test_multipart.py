# SPDX-License-Identifier: Apache-2.0
"""Multipart bodies against python-multipart and the standard library's email parser; broken ones against the twin."""

from __future__ import annotations

import email.parser
import email.policy
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser as PythonMultipart
from python_multipart.multipart import parse_options_header

from oisp_core.reassemble.multipart import MultipartParser
from oisp_core.reassemble.tokens import Status, Token, TokenKind
from tests.reference.multipart import Part, read

BOUNDARY = "XyZ"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
CUTS = st.lists(st.integers(0, 600), max_size=6)


def parts_of(tokens: list[Token]) -> list[Part]:
    """The tokens as parts; the content of a file is as many NUL bytes as it had."""
    parts, part = [], Part()
    for token in tokens:
        if token.kind == TokenKind.FIELD:
            part = part._replace(**{"type" if token.name == b"content-type" else "filename": token.data})
        elif token.kind == TokenKind.EVENT:
            content = bytes(token.number) if token.flags & 8 else token.data
            assert len(content) == token.number
            assert (part.filename is not None) == bool(token.flags & 8)
            parts.append(part._replace(name=token.name, content=content, unended=bool(token.flags & 1)))
            part = Part()
    return parts


def counted(part: Part) -> Part:
    return part if part.filename is None else part._replace(content=bytes(len(part.content)))


def run(data: bytes, cuts: list[int]) -> tuple[list[Token], Status]:
    parser = MultipartParser(TYPE)
    edges = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    tokens = [t for b, e in itertools.pairwise(edges) for t in parser.feed(data[b:e])]
    status = parser.status
    return tokens + parser.finish(), status


def same_however_cut(data: bytes, cuts: list[int]) -> tuple[list[Part], Status]:
    whole = run(data, [])
    assert run(data, cuts) == whole
    assert run(data, list(range(len(data)))) == whole
    return parts_of(whole[0]), whole[1]


WORDS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1, max_size=12
)
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"\r", b"\n", b"-", b"--", b"--XyZ", b"--Xy", b"XyZ", b"x", b" "])
    | st.binary(max_size=9),
    max_size=9,
).map(b"".join)


@st.composite
def form(
    draw: st.DrawFn, words: st.SearchStrategy[str] = WORDS, contents: st.SearchStrategy[bytes] = CONTENT
) -> tuple[bytes, list[Part]]:
    """A body as clients write it, and its parts. No line of a content begins with the boundary."""
    body, parts = b"", []
    for _ in range(draw(st.integers(0, 4))):
        name, filename = draw(words).strip() or "n", draw(st.none() | words)
        kind = draw(st.sampled_from([None, b"text/plain", b"application/json; charset=utf-8"]))
        content = draw(contents.filter(lambda c: b"\n--XyZ" not in b"\n" + c))
        head = f'Content-Disposition: form-data; name="{name}"'.encode()
        head += b"" if filename is None else f'; filename="{filename}"'.encode()
        head += b"" if kind is None else b"\r\nContent-Type: " + kind
        body += b"--XyZ\r\n" + head + b"\r\n\r\n" + content + b"\r\n"
        parts.append(Part(name.encode(), None if filename is None else filename.encode(), kind, content))
    return body + b"--XyZ--\r\n", parts


def with_python_multipart(body: bytes) -> list[Part]:
    parts: list[Part] = []
    state: dict[str, Any] = {}

    def begin() -> None:
        state.update(name=b"", headers={}, field=b"", value=b"", content=b"")

    def end_header() -> None:
        state["headers"][state["field"].lower()] = state["value"]
        state.update(field=b"", value=b"")

    def end() -> None:
        options = parse_options_header(state["headers"][b"content-disposition"])[1]
        kind = state["headers"].get(b"content-type")
        parts.append(Part(options[b"name"], options.get(b"filename"), kind, state["content"]))

    def append(key: str) -> Any:
        def add(data: bytes, begin: int, end: int) -> None:
            state[key] += data[begin:end]

        return add

    parser = PythonMultipart(
        BOUNDARY,
        {
            "on_part_begin": begin,
            "on_header_field": append("field"),
            "on_header_value": append("value"),
            "on_header_end": end_header,
            "on_part_data": append("content"),
            "on_part_end": end,
        },
    )
    parser.write(body)
    parser.finalize()
    return parts


def with_email(body: bytes) -> list[Part]:
    head = f"Content-Type: {TYPE}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.compat32).parsebytes(head + body)
    parts = []
    for part in message.get_payload():
        name = part.get_param("name", header="content-disposition")
        filename, kind = part.get_param("filename", header="content-disposition"), part["content-type"]
        content = part.get_payload(decode=True)
        texts = [None if text is None else str(text).encode() for text in (name, filename, kind)]
        parts.append(Part(texts[0] or b"", texts[1], texts[2], content))
    return parts


@given(form(), CUTS)
@settings(max_examples=200, deadline=None)
def test_forms_equal_python_multipart_however_cut(drawn: tuple[bytes, list[Part]], cuts: list[int]) -> None:
    body, sent = drawn
    parts, status = same_however_cut(body, cuts)
    assert status == Status.OK
    assert parts == list(map(counted, sent))
    assert read(body, b"XyZ") == (sent, Status.OK)
    if sent:  # it refuses a form without parts
        assert list(map(counted, with_python_multipart(body))) == parts


# What the email package reads as lines, or as structure of mail, is no content that it could give back.
LETTERS = st.text("abcXyZ019._ ", min_size=1, max_size=12)
MAIL = form(LETTERS, LETTERS.map(str.encode)).filter(lambda f: bool(f[1]))


@given(MAIL)
@settings(max_examples=60, deadline=None)
def test_forms_equal_the_email_package(drawn: tuple[bytes, list[Part]]) -> None:
    body, sent = drawn
    assert with_email(body) == sent
    assert parts_of(run(body, [])[0]) == list(map(counted, sent))


PIECES = [
    b"--XyZ", b"--XyZ--", b"--XyZ \t", b"\r\n", b"\r\n", b"\n", b"\r", b" ", b"-", b"\r\n\r\n", b"--",
    b'Content-Disposition: form-data; name="a"', b'content-disposition:x; name=b; filename="c\\""', b"Content-Type: t",
    b"; filename*=u'l'%41%4", b"Content-Disposition: form-data; filename*=a%41; name", b"x: y", b'name="', b";", b"=",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=24).map(b"".join), CUTS)
@settings(max_examples=500, deadline=None)
def test_anything_equals_the_twin(body: bytes, cuts: list[int]) -> None:
    parts, status = same_however_cut(body, cuts)
    expected, answer = read(body, b"XyZ")
    assert (parts, status) == (list(map(counted, expected)), answer)


@given(form(), st.data())
@settings(max_examples=200, deadline=None)
def test_after_a_hole_every_part_was_sent_or_is_marked(drawn: tuple[bytes, list[Part]], data: st.DataObject) -> None:
    body, sent = drawn
    at = data.draw(st.integers(0, len(body) - 1))
    size = data.draw(st.integers(1, len(body) - at))
    parser = MultipartParser(TYPE)
    tokens = parser.feed(body[:at]) + parser.gap(size) + parser.feed(body[at + size :]) + parser.finish()
    assert [t.number for t in tokens if t.kind == TokenKind.GAP] == [size]
    events = [t for t in tokens if t.kind == TokenKind.EVENT and not t.flags & 3]
    found = {(t.name, bytes(t.number) if t.flags & 8 else t.data) for t in events}
    assert found <= {(p.name, counted(p).content) for p in sent}
