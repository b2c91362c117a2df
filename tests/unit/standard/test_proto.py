# SPDX-License-Identifier: Apache-2.0
"""The proto compiles, has the published numbers and types, and carries events without loss."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oisp_core import events, proto_json
from oisp_core.errors import EventError
from tests.reference import published
from tests.reference.mutations import mutations

ADDED = {
    ("common", "App", "10", "type", "Type"),
    ("common", "App", "11", "subscription", "string"),
    ("events", "AIRequestData", "19", "conversation_id", "string"),
    ("events", "AIResponseData", "16", "conversation_id", "string"),
    ("events", "AgentToolResultData.result_type", "13", "result_list", "google.protobuf.ListValue"),
    ("events", "Event.data", "70", "other", "google.protobuf.Struct"),
    ("events", "Event", "104", "unmapped", "map<string, string>"),
}
SCALARS = {1: "double", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string", 12: "bytes", 13: "uint32"}


@pytest.fixture(scope="session")
def modules(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    out = tmp_path_factory.mktemp("proto")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{root / 'proto'}", f"-I{files('grpc_tools') / '_proto'}"]
    names = ["oisp/v1/common.proto", "oisp/v1/events.proto"]
    run = subprocess.run([*command, f"--python_out={out}", *names], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(out)
        return {name: importlib.import_module(f"oisp.v1.{name}_pb2") for name in ("common", "events")}


def rows(file: str, message: Any, name: str) -> Iterator[tuple[str, str, str, str, str]]:
    for enum in message.enum_types:
        yield from enum_rows(file, enum, f"{name}.")
    for field in message.fields:
        oneof = field.containing_oneof
        real = oneof is not None and not oneof.name.startswith("_")
        yield file, f"{name}.{oneof.name}" if real else name, str(field.number), field.name, type_of(field, name)
    for inner in message.nested_types:
        if not inner.GetOptions().map_entry:
            yield from rows(file, inner, f"{name}.{inner.name}")


def enum_rows(file: str, enum: Any, prefix: str) -> Iterator[tuple[str, str, str, str, str]]:
    for value in enum.values:
        yield file, prefix + enum.name, str(value.number), value.name, "enum value"


def type_of(field: Any, message: str) -> str:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return "map<string, string>"
        full = field.message_type.full_name
        kind = full.removeprefix("oisp.v1.").removeprefix(f"{message}.")
    else:
        kind = field.enum_type.name if field.enum_type is not None else SCALARS[field.type]
    return f"repeated {kind}" if field.is_repeated else kind


def test_numbers_and_types_are_the_published_ones(modules: dict[str, ModuleType]) -> None:
    ours = set()
    for file, module in modules.items():
        for name, message in module.DESCRIPTOR.message_types_by_name.items():
            ours |= set(rows(file, message, name))
        for enum in module.DESCRIPTOR.enum_types_by_name.values():
            ours |= set(enum_rows(file, enum, ""))
    theirs = {tuple(row.values()) for row in published.rows("proto-fields.tsv")}
    assert len(theirs) > 600
    assert sorted(theirs - ours) == []
    added = {row for row in ours - theirs if row[1] != "App.Type"}
    assert added == ADDED


def there_and_back(modules: dict[str, ModuleType], event: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    message = modules["events"].Event()
    proto_json.to_message(event, message)
    wire = modules["events"].Event.FromString(message.SerializeToString())
    return proto_json.from_message(wire), wire


def test_every_example_goes_there_and_back(example: Path, modules: dict[str, ModuleType]) -> None:
    event = json.loads(events.encode(events.expand(events.decode(example.read_bytes()))))
    back, message = there_and_back(modules, event)
    assert back == event
    assert dict(message.unmapped) == {}, "an example needs nothing but fields"
    assert message.WhichOneof("data") == proto_json._PAYLOADS[event["event_type"]]


def check(example: Path, modules: dict[str, ModuleType], share: int) -> int:
    tried = 0
    for done, make in islice(mutations(json.loads(example.read_text())), None, None, share):
        event = make()
        try:
            events.decode(json.dumps(event))
        except EventError:
            continue
        assert there_and_back(modules, event)[0] == event, done
        tried += 1
    return tried


def test_odd_events_too(example: Path, modules: dict[str, ModuleType]) -> None:
    """Unknown members, empty arrays, other time zones, numbers out of range, unknown types."""
    assert check(example, modules, 37)


@pytest.mark.full
def test_all_odd_events_too(example: Path, modules: dict[str, ModuleType]) -> None:
    assert check(example, modules, 1)


def test_the_one_loss(root: Path, modules: dict[str, ModuleType]) -> None:
    event = json.loads((root / "examples/agent-tool-call.json").read_text())
    event["data"]["arguments"] = {"exact": 2**53, "near": 2**53 + 1}
    event["ts_mono"] = 2**63 + 1
    back, _ = there_and_back(modules, event)
    assert back["data"]["arguments"] == {"exact": 2**53, "near": 2**53}
    assert back["ts_mono"] == 2**63 + 1


def test_false_and_zero_are_not_absent(modules: dict[str, ModuleType], root: Path) -> None:
    event = json.loads((root / "examples/process-exit.json").read_text())
    event["data"] = {"exit_code": 0}
    assert there_and_back(modules, event)[0]["data"] == {"exit_code": 0}


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:01.500000Z", 1, 500_000_000),
        ("1970-01-01T01:00:01.5+01:00", 1, 500_000_000),
        ("1969-12-31t23:29:59z", -1801, 0),
        ("1969-12-31T23:29:59-00:30", -1, 0),
        ("1970-01-01T00:00:00.123456789Z", 0, 123_456_789),
    ],
)
def test_times_are_instants(root: Path, modules: dict[str, ModuleType], text: str, seconds: int, nanos: int) -> None:
    event = json.loads((root / "examples/process-exit.json").read_text()) | {"ts": text}
    back, message = there_and_back(modules, event)
    assert (message.ts.seconds, message.ts.nanos) == (seconds, nanos)
    assert back == event


def test_importing_needs_no_protobuf() -> None:
    code = "import sys, oisp_core.proto_json; sys.exit(any(m.split('.')[0] in ('google', 'grpc') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
