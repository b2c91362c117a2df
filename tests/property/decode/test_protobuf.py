# SPDX-License-Identifier: Apache-2.0
"""Messages of Protocol Buffers as JSON: what the library of the format says, what the slow twin says, and any bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from oisp_core.decode.decoder import Decoder
from oisp_core.decode.dialects import Dialects, compile_dialects, load_dialects
from tests.reference import protobuf as twin

# Every type, lists, a message inside itself, one among its holder's members, and what is there without being said.
EXAMPLE = """
dialect: example
framing: grpc
protobuf:
  roots: {request: All}
  messages:
    All:
      1: text string
      2: raw bytes
      3: yes bool
      4: whole int
      5: natural uint
      6: zigzag sint
      7: wide fixed
      8: single float
      9: real double
      10: word Word
      11: inner All
      12: open struct
      13: any value
      14: listed list
      15: there present
      16: near Near inline
      21: texts[] string
      23: flags[] bool
      24: wholes[] int
      28: singles[] float
      29: reals[] double
      30: words[] Word
      31: inners[] All
      32: zero int always
      33: empty string always
      34: none[] int always
    Near:
      1: close string
  enums:
    Word: {1: ONE, 2: TWO, 5: FIVE}
"""
PROTO = descriptor_pb2.FieldDescriptorProto
LIBRARY = {
    "string": PROTO.TYPE_STRING, "bytes": PROTO.TYPE_BYTES, "bool": PROTO.TYPE_BOOL, "int": PROTO.TYPE_INT64,
    "uint": PROTO.TYPE_UINT64, "sint": PROTO.TYPE_SINT64, "fixed": PROTO.TYPE_SFIXED64, "float": PROTO.TYPE_FLOAT,
    "double": PROTO.TYPE_DOUBLE, "enum": PROTO.TYPE_ENUM, "present": PROTO.TYPE_BYTES,
}  # fmt: skip
KNOWN = {"struct": ".google.protobuf.Struct", "value": ".google.protobuf.Value", "list": ".google.protobuf.ListValue"}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dialects, twin.Schema, Any]:
    file = tmp_path_factory.mktemp("dialect") / "example.yaml"
    file.write_text(EXAMPLE)
    schema = twin.load(file)
    return Dialects(compile_dialects([file])), schema, library_class(schema, "All")


def library_class(schema: twin.Schema, root: str) -> Any:
    """The same messages, described to the library."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", package="x", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    for name, words in schema.enums.items():
        enum = file.enum_type.add(name=name)
        for number, word in {0: f"{name}_NONE", **words}.items():
            enum.value.add(name=word, number=int(number))
    for name, fields in schema.fields.items():
        message = file.message_type.add(name=name)
        for f in fields:
            row = message.field.add(name=f.name, number=f.number, label=3 if f.repeated else 1)
            row.type = LIBRARY.get(f.kind, PROTO.TYPE_MESSAGE)
            if f.kind in ("enum", "message"):
                row.type_name = f".x.{f.ref}"
            elif f.kind in KNOWN:
                row.type_name = KNOWN[f.kind]
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"x.{root}"))


INT = st.integers(-(2**63), 2**63 - 1)
REAL = st.floats(allow_nan=False, allow_infinity=False)
SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | REAL | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FLAT = {
    "text": TEXT, "raw": st.binary(max_size=9), "yes": st.booleans(), "whole": INT,
    "natural": st.integers(0, 2**64 - 1), "zigzag": INT,
    "wide": INT, "single": SINGLE, "real": REAL, "word": st.sampled_from([0, 1, 2, 5]),
    "there": st.binary(min_size=1, max_size=3), "texts": st.lists(TEXT, max_size=4),
    "flags": st.lists(st.booleans(), max_size=4), "wholes": st.lists(INT, max_size=4),
    "singles": st.lists(SINGLE, max_size=4), "reals": st.lists(REAL, max_size=4),
    "words": st.lists(st.sampled_from([1, 2, 5]), max_size=4),
    "open": st.dictionaries(TEXT, JSON, max_size=3), "listed": st.lists(JSON, max_size=3), "any": JSON,
    "near": st.fixed_dictionaries({}, optional={"close": TEXT}),
    "zero": INT, "empty": TEXT, "none": st.lists(INT, max_size=2),
}  # fmt: skip
MESSAGE = st.recursive(
    st.fixed_dictionaries({}, optional=FLAT),
    lambda inner: st.fixed_dictionaries({}, optional={**FLAT, "inner": inner, "inners": st.lists(inner, max_size=2)}),
    max_leaves=3,
)


def fill(message: Any, content: dict[str, Any]) -> Any:
    for name, value in content.items():
        if name in ("open", "listed", "any"):
            json_format.ParseDict(value, getattr(message, name))
        elif name == "inners":
            for one in value:
                fill(message.inners.add(), one)
        elif name in ("inner", "near"):
            getattr(message, name).SetInParent()
            fill(getattr(message, name), value)
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


def read(dialects: Dialects, data: bytes, name: str = "example") -> tuple[int, Any]:
    status, text = dialects.document(name, "request", data)
    return status, json.loads(text) if status == 0 else text


@given(MESSAGE)
def test_what_the_library_writes_is_read(example: Any, content: dict[str, Any]) -> None:
    dialects, schema, message = example
    data = fill(message(), content).SerializeToString()
    status, found = read(dialects, data)
    assert status == 0
    assert found == twin.document(schema, "All", data)
    for name in ("text", "yes", "whole", "natural", "zigzag", "wide", "real"):
        if content.get(name):
            assert found[name] == content[name]
    for name in ("texts", "flags", "wholes", "reals"):
        assert found.get(name, []) == content.get(name, [])
    assert found.get("open") == content.get("open")
    assert found.get("any") == content.get("any")


@given(MESSAGE, st.data())
def test_a_cut_message_is_told_and_says_nothing_new(example: Any, content: dict[str, Any], draw: Any) -> None:
    dialects, schema, message = example
    data = fill(message(), content).SerializeToString()
    size = draw.draw(st.integers(0, len(data)))
    status, found = read(dialects, data[:size])
    assert status in (0, 1)
    if status == 0:
        assert found == twin.document(schema, "All", data[:size])
    else:
        with pytest.raises(twin.Bad):
            twin.document(schema, "All", data[:size])


@given(st.binary(max_size=60))
def test_any_bytes(example: Any, data: bytes) -> None:
    """Whole where the twin reads it whole; else cut, broken, or too deep, and never more than the bound."""
    dialects, schema, _ = example
    status, found = read(dialects, data)
    try:
        true = twin.document(schema, "All", data)
    except twin.Bad:
        assert status in (1, 2)
    except RecursionError:
        assert status == 3
    else:
        assert (status, found) == (0, true)


def test_depth_is_bounded(example: Any) -> None:
    dialects, *_ = example
    data = b""
    for _ in range(49):
        data = twin.encode((11, data))
    assert read(dialects, data)[0] == 3
    assert read(dialects, data[-60:])[0] in (0, 1, 2)
    value = b""
    for _ in range(60):  # Value{list{Value{list ...
        value = twin.encode((6, twin.encode((1, value))))
    assert read(dialects, twin.encode((13, value)))[0] == 3


def test_output_is_bounded(example: Any) -> None:
    """Two bytes on the wire that stand for forty of JSON, a million times."""
    dialects, *_ = example
    data = twin.encode((31, b"")) * 1_000_000
    status, text = read(dialects, data)
    assert status == 3
    assert len(text) <= 8 * len(data) + 65536


CHAT = twin.encode(
    (1, twin.encode((1, twin.encode((1, 'Say "hi"\n\U0001f600'))), (2, 1))),
    (1, twin.encode((1, twin.encode((1, "and more"))), (2, 1))),
    (2, "grok-4"),
    (7, 100),
    (17, twin.encode((1, twin.encode((1, "look"), (2, "looks"))))),
)


def test_a_request_cut_anywhere() -> None:
    """Texts may be shorter, names are whole or absent."""
    decoder = Decoder(load_dialects(), "xai.grpc")
    whole = ['Say "hi"\n\U0001f600', "and more"]
    for size in range(len(CHAT) + 1):
        decoder.reset()
        assert decoder.request(CHAT[:size], complete=False) in (0, 1)
        value = decoder.value()
        for message, text in zip(value["messages"], whole, strict=False):
            assert text.startswith((message["content"] or "").rstrip("\ufffd"))
        assert value["model_requested"] in (None, "grok-4")
        assert all(tool["name"] in (None, "look") for tool in value["tools"])
    assert [m["content"] for m in value["messages"]] == whole


def test_the_twin_knows_the_shipped_files(repo_root: Path) -> None:
    dialects = load_dialects()
    found = [f for f in (repo_root / "semconv/dialects").glob("*.yaml") if "\nprotobuf:" in f.read_text()]
    assert found
    for file in found:
        schema = twin.load(file)
        for section in schema.roots:
            assert dialects.document(file.stem, section, b"")[0] == 0
