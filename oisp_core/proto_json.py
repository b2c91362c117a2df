# SPDX-License-Identifier: Apache-2.0
"""Events between JSON and Protocol Buffers (proto/oisp/v1), without loss.

Works on message objects that the caller made from the compiled proto; imports neither protobuf nor grpc itself. What a
message has no field for (unknown members, empty arrays, a time zone, a number out of range) travels in `Event.unmapped`
as JSON Pointer and JSON text, and comes back in its place. The one loss: an integer beyond 2**53 within a
google.protobuf.Struct (`attrs`, `ext`, tool arguments, results, metadata) becomes the nearest double.
"""

from __future__ import annotations

import json
import re
from calendar import timegm
from datetime import datetime, timedelta
from typing import Any, get_args

from oisp_core import events

__all__ = ["from_message", "to_message"]

JSON = Any
# JSON member -> kind of value -> field of the oneof. Kinds are tried in this order.
_ONEOFS: dict[str, dict[str, str]] = {
    "content": {"string": "content", "marker": "redacted_content"},
    "arguments": {"string": "arguments", "marker": "redacted_arguments", "object": "arguments_struct"},
    "result": {
        "string": "result_string",
        "marker": "redacted_result",
        "object": "result_struct",
        "array": "result_list",
    },
    "query": {"string": "query"},
}
_MEMBERS = {field: member for member, fields in _ONEOFS.items() for field in fields.values()}
_MARKERS = {fields["marker"] for fields in _ONEOFS.values() if "marker" in fields}
_PAYLOADS = {"rag.retrieve": "agent_rag_retrieve"} | {
    t: t.replace(".", "_") for t in events.EVENT_TYPES if t != "rag.retrieve"
}
_WORDS = {
    word.upper(): word for name in events.__all__ for word in get_args(getattr(events, name)) if isinstance(word, str)
}
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-]\d\d):(\d\d))\Z")
_FIRST, _LAST = -62135596800, 253402300799  # years 1 to 9999: what a Timestamp holds
_RANGES = {"int32": (-(2**31), 2**31), "uint32": (0, 2**32), "int64": (-(2**63), 2**63), "uint64": (0, 2**64)}
_CPP_TYPES = {1: "int32", 2: "int64", 3: "uint32", 4: "uint64", 5: "double", 7: "bool", 8: "enum", 9: "string"}
_BYTES = 12  # FieldDescriptor.TYPE_BYTES
_ENUM = 14
_MESSAGE = 11


class _DoesNotFit(Exception):
    """This value has no field: it goes to `unmapped`."""


def to_message(event: dict[str, JSON], message: JSON) -> None:
    """Fill `message`, an empty oisp.v1.Event, from the JSON event `event`."""
    _Writer(message, event.get("event_type")).fill(event, message, "")


def from_message(message: JSON) -> dict[str, JSON]:
    """The JSON event in `message`, an oisp.v1.Event."""
    event: dict[str, JSON] = _object(message)
    for pointer, text in message.unmapped.items():
        _put(event, pointer, json.loads(text))
    return event


# --- JSON to message ---


class _Writer:
    def __init__(self, event: JSON, event_type: JSON) -> None:
        self._unmapped = event.unmapped
        self._payload = _PAYLOADS.get(event_type, "other")

    def fill(self, members: dict[str, JSON], message: JSON, pointer: str) -> None:
        for name, value in members.items():
            at = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            try:
                self._member(name, value, message, at)
            except _DoesNotFit:
                self._unmapped[at] = json.dumps(value, ensure_ascii=False)

    def _member(self, name: str, value: JSON, message: JSON, at: str) -> None:
        descriptor = message.DESCRIPTOR
        if name == "data" and descriptor.name == "Event":
            name = self._payload
        elif f"{name}_type" in descriptor.oneofs_by_name:
            name, value, at = _alternative(name, value, at)
        field = descriptor.fields_by_name.get(name)
        if field is None or name == "unmapped":
            raise _DoesNotFit
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _map(getattr(message, name), value)
        elif field.is_repeated:
            self._list(field, getattr(message, name), value, at)
        elif field.type == _MESSAGE:
            self._message(field, message, value, at)
        else:
            setattr(message, name, _scalar(field, value))

    def _list(self, field: JSON, items: JSON, value: JSON, at: str) -> None:
        if not isinstance(value, list) or not value:
            raise _DoesNotFit
        if field.type != _MESSAGE:
            items.extend([_scalar(field, item) for item in value])
            return
        if not all(isinstance(item, dict) for item in value):
            raise _DoesNotFit
        for index, item in enumerate(value):
            self.fill(item, items.add(), f"{at}/{index}")

    def _message(self, field: JSON, message: JSON, value: JSON, at: str) -> None:
        kind = field.message_type.full_name
        inner = getattr(message, field.name)
        if kind == "google.protobuf.Timestamp":
            inner.seconds, inner.nanos = _instant(value)
            if _time(inner.seconds, inner.nanos) != value:
                raise _DoesNotFit  # the instant is there, the way in which it was written goes beside it
            return
        if not isinstance(value, list if kind == "google.protobuf.ListValue" else dict):
            raise _DoesNotFit
        inner.SetInParent()
        if isinstance(value, list):
            for item in value:
                _set_value(inner.values.add(), item)
        elif kind == "google.protobuf.Struct":
            _set_struct(inner, value)
        else:
            self.fill(value, inner, at)


def _alternative(name: str, value: JSON, at: str) -> tuple[str, JSON, str]:
    fields = _ONEOFS[name]
    if isinstance(value, str):
        return fields["string"], value, at
    if isinstance(value, list) and "array" in fields:
        return fields["array"], value, at
    if isinstance(value, dict):
        inner = value.get("$redacted")
        if "marker" in fields and len(value) == 1 and isinstance(inner, dict):
            return fields["marker"], inner, f"{at}/$redacted"
        if "object" in fields:
            return fields["object"], value, at
    raise _DoesNotFit


def _map(target: JSON, value: JSON) -> None:
    if not isinstance(value, dict) or not value or not all(isinstance(v, str) for v in value.values()):
        raise _DoesNotFit
    target.update(value)


def _scalar(field: JSON, value: JSON) -> JSON:
    if field.type == _ENUM:
        return _enum_number(field.enum_type, value)
    if field.type == _BYTES:
        if not isinstance(value, str) or bytes.fromhex(value).hex() != value:
            raise _DoesNotFit
        return bytes.fromhex(value)
    kind = _CPP_TYPES[field.cpp_type]
    if kind == "string" and isinstance(value, str):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "double" and number:
        return value
    if kind in _RANGES and number and value == int(value) and _RANGES[kind][0] <= value < _RANGES[kind][1]:
        return int(value)
    raise _DoesNotFit


def _prefix(enum: JSON) -> str:
    first: str = enum.values[0].name
    return first.removesuffix("UNSPECIFIED")


def _enum_number(enum: JSON, value: JSON) -> int:
    found = enum.values_by_name.get(_prefix(enum) + value.upper()) if isinstance(value, str) else None
    if found is None or _WORDS.get(value.upper()) != value:
        raise _DoesNotFit
    number: int = found.number
    return number


def _instant(text: JSON) -> tuple[int, int]:
    match = _TIME.match(text) if isinstance(text, str) else None
    if match is None:
        raise _DoesNotFit
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    try:
        seconds = timegm((year, month, day, hour, minute, second))
    except ValueError:
        raise _DoesNotFit from None
    if match[8]:
        seconds -= 3600 * int(match[8]) + 60 * int(match[8][0] + match[9])
    if not _FIRST <= seconds <= _LAST:
        raise _DoesNotFit
    return seconds, int((match[7] or "").ljust(9, "0"))


def _set_struct(struct: JSON, members: dict[str, JSON]) -> None:
    for name, value in members.items():
        _set_value(struct.fields[name], value)


def _set_value(target: JSON, value: JSON) -> None:
    if value is None:
        target.null_value = 0
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            _set_value(target.list_value.values.add(), item)
    else:
        target.struct_value.SetInParent()
        _set_struct(target.struct_value, value)


# --- message to JSON ---


def _object(message: JSON) -> dict[str, JSON]:
    out: dict[str, JSON] = {}
    payloads = {f.name for f in message.DESCRIPTOR.oneofs_by_name["data"].fields} if _is_event(message) else set()
    for field, value in message.ListFields():
        if field.name == "unmapped":
            continue
        plain = _plain(field, value)
        if field.name in payloads:
            out["data"] = plain
        elif field.containing_oneof is not None and field.name in _MEMBERS:
            out[_MEMBERS[field.name]] = {"$redacted": plain} if field.name in _MARKERS else plain
        else:
            out[field.name] = plain
    return out


def _is_event(message: JSON) -> bool:
    return bool(message.DESCRIPTOR.full_name == "oisp.v1.Event")


def _plain(field: JSON, value: JSON) -> JSON:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: JSON, value: JSON) -> JSON:
    if field.type == _ENUM:
        name: str = field.enum_type.values_by_number[value].name
        return _WORDS[name.removeprefix(_prefix(field.enum_type))]
    if field.type == _BYTES:
        return value.hex()
    if field.type != _MESSAGE:
        return value
    kind = field.message_type.full_name
    if kind == "google.protobuf.Timestamp":
        return _time(value.seconds, value.nanos)
    if kind == "google.protobuf.Struct":
        return {name: _value(inner) for name, inner in value.fields.items()}
    if kind == "google.protobuf.ListValue":
        return [_value(inner) for inner in value.values]
    return _object(value)


def _value(value: JSON) -> JSON:
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "list_value":
        return [_value(inner) for inner in value.list_value.values]
    if kind == "struct_value":
        return {name: _value(inner) for name, inner in value.struct_value.fields.items()}
    if kind == "number_value":
        number: float = value.number_value
        return int(number) if number.is_integer() else number
    return getattr(value, kind)


def _time(seconds: int, nanos: int) -> str:
    """RFC 3339 with six digits, or nine where the nanoseconds need them."""
    digits = f"{nanos:09d}"
    whole = datetime(1970, 1, 1) + timedelta(seconds=seconds)
    return f"{whole.isoformat()}.{digits[:6] if digits.endswith('000') else digits}Z"


def _put(event: dict[str, JSON], pointer: str, value: JSON) -> None:
    *path, last = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
    target: JSON = event
    for step in path:
        target = target[int(step)] if isinstance(target, list) else target.setdefault(step, {})
    target[last] = value
