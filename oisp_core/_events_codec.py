# SPDX-License-Identifier: Apache-2.0
"""How events are decoded and encoded; what they consist of is generated into `events.py`.

An event that holds what the contract names goes through msgspec twice (envelope, then payload) and nothing else. Only
where that fails a slower way is taken, which sets aside members that are not known and keeps them in `Base.unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, NoReturn, TypeAlias, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from oisp_core.errors import EventError

# RFC 3339 section 5.6. A leap second is allowed; the length of the month is not looked at.
RFC3339 = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)\Z"
)
Timestamp: TypeAlias = Annotated[str, Meta(pattern=RFC3339)]

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # not JSON, not UTF-8, nested too deeply
Document = bytes | bytearray | memoryview | str
Path = tuple[str | int, ...]


class Base(Struct, kw_only=True, forbid_unknown_fields=True, dict=True):
    """What all parts of an event share. `unknown` holds the members that the contract does not name."""

    @property
    def unknown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.__dict__.get("unknown", {})
        return found

    @unknown.setter
    def unknown(self, members: dict[str, Any]) -> None:
        self.__dict__["unknown"] = members


class _Peek(Struct):
    """The two members of the envelope that the slow way needs as they came."""

    event_type: Any = None
    data: Raw | UnsetType = UNSET


class Codec:
    """Two-step decoder over the generated Structs."""

    def __init__(self, envelope: type[Base], payloads: dict[str, type[Base]]) -> None:
        self._type = envelope
        self._envelope = msgspec.json.Decoder(envelope)
        self._payloads = payloads
        self._decoders = {name: msgspec.json.Decoder(kind) for name, kind in payloads.items()}
        self._any = msgspec.json.Decoder()
        self._peek = msgspec.json.Decoder(_Peek)
        self._encoder = msgspec.json.Encoder()

    def decode(self, line: Document, strict: bool) -> Any:
        try:
            event = self._envelope.decode(line)
            self._fill(event)
        except msgspec.ValidationError:
            return self._tolerant(line, strict)
        except UNREADABLE as error:
            _not_json(error)
        return event

    def _fill(self, event: Any) -> None:
        decoder = self._decoders.get(event.event_type)
        if event.data is UNSET:
            if decoder is not None:
                raise EventError("$", f"Object missing required field `data` ({event.event_type})")
        elif decoder is not None:
            event.data = decoder.decode(event.data)
        else:
            event.data = event.data.copy()
            if not bytes(event.data).lstrip(b" \t\r\n").startswith(b"{"):
                raise EventError("$.data", "Expected `object`")

    def _tolerant(self, line: Document, strict: bool) -> Any:
        try:
            document = self._any.decode(line)
        except UNREADABLE as error:
            _not_json(error)
        if not isinstance(document, dict):
            raise EventError("$", "Expected `object`")
        peek = self._peek.decode(line)
        payload = document.pop("data", UNSET)
        event, beyond = self._convert(document, self._type, "$")
        if strict and beyond:
            raise EventError("$", f"Object contains unknown field `{beyond[0]}`")
        kind = self._payloads.get(event.event_type)
        if kind is None or payload is UNSET:
            event.data = peek.data
            self._fill(event)
        else:
            event.data, _ = self._convert(payload, kind, "$.data")
        return event

    def _convert(self, value: Any, kind: type[Base], at: str) -> tuple[Any, list[str]]:
        """`value` as `kind`, its unknown members set aside first; and the names of those at its own level."""
        aside: dict[Path, dict[str, Any]] = {}
        value = _set_aside(value, kind, (), aside)
        try:
            made = msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise _event_error(error, at) from None
        for path, members in aside.items():
            _reach(made, path).unknown = members
        return made, list(aside.get((), ()))

    def encode(self, event: Any) -> bytes:
        return self._encoder.encode(_with_unknown(event) if _has_unknown(event) else event)


def _not_json(error: Exception) -> NoReturn:
    raise EventError("$", f"not JSON: {error}") from None


def _event_error(error: Exception, at: str) -> EventError:
    """msgspec says `reason - at `$.path``."""
    reason, _, place = str(error).partition(" - at `")
    return EventError(at + place.removesuffix("`").removeprefix("$"), reason)


@cache
def _plan(kind: type[Base]) -> dict[str, tuple[str, type[Base] | None, bool]]:
    """Name on the wire -> attribute, the Struct in it if any, and whether it takes an integer."""
    hints = get_type_hints(kind, include_extras=True)
    plan = {}
    for wire, attribute in zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True):
        found = list(_leaves(hints[attribute]))
        inner = next((t for t in found if isinstance(t, type) and issubclass(t, Base)), None)
        plan[wire] = (attribute, inner, int in found)
    return plan


def _leaves(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    arguments = get_args(hint) if get_origin(hint) is not dict else ()
    if not arguments:
        yield hint
    for argument in arguments:
        yield from _leaves(argument)


def _set_aside(value: Any, kind: type[Base], path: Path, aside: dict[Path, dict[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_set_aside(item, kind, (*path, i), aside) for i, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    plan = _plan(kind)
    known: dict[str, Any] = {}
    for name, member in value.items():
        if name not in plan:
            aside.setdefault(path, {})[name] = member
            continue
        attribute, inner, integer = plan[name]
        if inner is not None:
            member = _set_aside(member, inner, (*path, attribute), aside)
        elif integer and isinstance(member, float) and member.is_integer():
            member = int(member)  # JSON has one kind of number, and 1.0 is an integer in JSON Schema
        known[name] = member
    return known


def _reach(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step] if isinstance(step, int) else getattr(value, step)
    return value


def _has_unknown(value: Any) -> bool:
    if isinstance(value, Base):
        if value.__dict__:
            return True
        return any(_has_unknown(getattr(value, a)) for a in _holders(type(value)))
    return isinstance(value, list) and any(_has_unknown(item) for item in value)


@cache
def _holders(kind: type[Base]) -> tuple[str, ...]:
    """Attributes that may hold Structs. `Event.data` is declared as Raw and holds one."""
    return tuple(a for a, inner, _ in _plan(kind).values() if inner is not None or a == "data")


def _with_unknown(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_unknown(item) for item in value]
    if not isinstance(value, Base):
        return value
    kind = type(value)
    pairs = zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    members = {wire: _with_unknown(getattr(value, a)) for wire, a in pairs if getattr(value, a) is not UNSET}
    return members | {name: member for name, member in value.unknown.items() if name not in members}
