# SPDX-License-Identifier: Apache-2.0
"""The registry of models: size and form, names as the wire has them, the arithmetic of a price, what events show."""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import re
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oisp_core import validate
from oisp_core.encode import _testing
from oisp_core.encode.models import CAPABILITIES, Models
from oisp_core.errors import ConfigError
from oisp_core.models import registry

ROW = "{provider}\t{id}\t{aliases}\tfam\tName\t1000\t100\tchat\tvision,reasoning\ttext>text\t\t{prices}\ttest\n"
MILLION = 1_000_000


def row(id: str, prices: str = "", provider: str = "p", aliases: str = "") -> str:
    return ROW.format(provider=provider, id=id, prices=prices, aliases=aliases)


def table(*rows: str) -> Models:
    return Models("".join(rows).encode())


# -- the shipped table


def test_the_registry_is_large_and_its_rows_are_whole() -> None:
    rows = list(registry())
    assert len(rows) == len(registry()) >= 4000
    assert len({(r["provider"], r["id"].lower()) for r in rows}) == len(rows)
    assert sum(bool(r["prices"]) for r in rows) > 3000
    for r in rows:
        assert set(r["capabilities"]) <= set(CAPABILITIES)
        for prices in r["prices"].values():
            assert all(0 <= usd < 10_000 for usd in prices.values()), r
        assert re.fullmatch(r"[a-z0-9_.-]+", r["provider"]), r


def test_no_price_is_nothing_but_zero() -> None:
    for r in registry():
        standard = r["prices"].get(("standard", 0))
        assert standard is None or any(standard.values()), r


def test_the_file_is_sorted_and_says_where_it_is_from(repo_root: Path) -> None:
    head = (repo_root / "semconv/models.tsv").read_text().splitlines()[:4]
    assert re.match(r"# prices of \d{4}-\d\d-\d\d; sources: litellm-[\d.]+, genai_prices-[\d.]+", head[2])


# -- names


@pytest.mark.parametrize(
    ("name", "id", "priced"),
    [
        ("gpt-x-2", "gpt-x-2", True),
        ("GPT-X-2", "gpt-x-2", True),
        ("gpt-x.2", "gpt-x-2", True),
        ("gpt-x-2-2024-08-06", "gpt-x-2", True),
        ("gpt-x-2-20240806", "gpt-x-2", True),
        ("gpt-x-2@20240806", "gpt-x-2", True),
        ("gpt-x-2-0613", "gpt-x-2", True),
        ("gpt-x-2-001", "gpt-x-2", True),
        ("gpt-x-2-preview-05-20", "gpt-x-2", True),
        ("gpt-x-2-latest", "gpt-x-2", True),
        ("models/gpt-x-2", "gpt-x-2", True),
        ("publishers/google/models/gpt-x-2", "gpt-x-2", True),
        ("gpt-x-2:free", "gpt-x-2", False),
        ("gpt-x-2:online", "gpt-x-2", False),
        ("ft:gpt-x-2:org:name:id", "gpt-x-2", False),
        ("ft:tuned-2024-07-18:org::id", "ft:tuned-2024-07-18", True),
        ("us.maker.big-v2:0", "maker.big-v2:0", True),
        ("global.maker.big-v2:0", "maker.big-v2:0", True),
        ("eu.maker.small-v1:0", "eu.maker.small-v1:0", True),
        ("us.maker.small-v1:0", "maker.small", True),
        ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.maker.big-v2:0", "maker.big-v2:0", True),
        ("nick", "aliased", True),
        ("other/aliased", "aliased", True),
        ("gpt-x-3", None, False),
        ("gpt-x", None, False),
        ("", None, False),
        ("x" * 300, None, False),
    ],
)
def test_names_of_the_wire(name: str, id: str | None, priced: bool) -> None:
    models = table(
        row("gpt-x-2", "in=1 out=2"),
        row("ft:tuned-2024-07-18", "in=3 out=4"),
        row("maker.big-v2:0", "in=1 out=2"),
        row("eu.maker.small-v1:0", "in=1 out=2"),
        row("maker.small", "in=1 out=2"),
        row("aliased", "in=1 out=2", aliases="nick,other-nick"),
    )
    found = models.find("p", name)
    assert (found and found[0]["id"]) == id
    assert found is None or found[1] is priced


def test_bedrock_answers_with_the_vendors_own_name() -> None:
    models = table(row("anthropic.claude-t-20240620-v1:0", "in=1 out=2", provider="aws_bedrock"))
    for name in ("claude-t-20240620", "claude-t-20240620-v1:0", "anthropic.claude-t-20240620-v1:0", "claude-t"):
        found = models.find("aws_bedrock", name)
        assert (found is not None) == (name != "claude-t"), name
        assert found is None or found[1]


def test_a_request_may_have_a_price_of_its_own() -> None:
    assert table(row("m", "in=1 out=1 request=12")).cost("p", "m", prompt=0) == (0, 0, 0.012)


def test_of_an_unknown_provider_the_facts_hold_but_not_the_price() -> None:
    models = table(row("m", "in=1 out=2"), row("org/m2", "in=1 out=2", provider="q"))
    assert models.find("gateway", "m") is not None
    assert models.cost("gateway", "m", prompt=10) is None
    assert models.cost("p", "m", prompt=10) is not None
    found = models.find("gateway", "m2")
    assert found is not None
    assert (found[0]["id"], found[1]) == ("org/m2", False)


# -- cost


def cost(prices: str, **tokens: Any) -> tuple[float, float] | None:
    found = table(row("m", prices)).cost("p", "m", **tokens)
    return found and found[:2]


@pytest.mark.parametrize(
    ("prices", "tokens", "expected"),
    [
        ("in=2 out=8", {"prompt": MILLION, "completion": MILLION}, (2, 8)),
        ("in=2 out=8", {"prompt": MILLION}, (2, 0)),
        ("in=2 out=8 cached=0.5", {"prompt": MILLION, "cached": MILLION // 2, "completion": 0}, (1.25, 0)),
        ("in=2 out=8", {"prompt": MILLION, "cached": MILLION // 2}, (2, 0)),
        ("in=2 out=8 write=2.5", {"prompt": MILLION, "cache_write": MILLION}, (2.5, 0)),
        ("in=2 out=8 write=2.5 write_1h=4", {"prompt": MILLION, "cache_write": MILLION, "cache_write_1h": 500000},
         (3.25, 0)),
        ("in=2 out=8", {"prompt": 0, "completion": MILLION, "reasoning": 900000}, (0, 8)),
        ("in=2 out=8 reasoning=4", {"prompt": 0, "completion": MILLION, "reasoning": 500000}, (0, 6)),
        ("in=1 out=2 >200000/in=2 >200000/out=3", {"prompt": 200000, "completion": 100000}, (0.2, 0.2)),
        ("in=1 out=2 >200000/in=2 >200000/out=3", {"prompt": 200001, "completion": 100000}, (0.400002, 0.3)),
        ("in=1 out=2 cached=0.1 >200000/in=2", {"prompt": 300000, "cached": 100000}, (0.41, 0)),
        ("in=1 out=2 batch/in=0.5 batch/out=1", {"prompt": 1000, "completion": 1000, "service": "batch"}, (5e-4, 1e-3)),
        ("in=1 out=2 cached=0.2 flex/in=0.5", {"prompt": MILLION, "cached": MILLION, "service": "flex"}, (0.2, 0)),
        ("in=1 out=2 priority/in=3", {"prompt": MILLION, "service": "default"}, (1, 0)),
        ("in=0.1 out=0", {"prompt": 3}, (3e-7, 0)),
        ("in=2 out=8 audio_in=20 audio_out=40",
         {"prompt": MILLION, "completion": MILLION, "audio_in": 500000, "audio_out": 250000}, (11, 16)),
        ("in=2 out=8 cached=0.5 audio_in=20 audio_cached=5",
         {"prompt": MILLION, "cached": 500000, "audio_in": 500000, "audio_cached": 250000}, (6.875, 0)),
    ],
)  # fmt: skip
def test_cost(prices: str, tokens: dict[str, Any], expected: tuple[float, float]) -> None:
    assert cost(prices, **tokens) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("prices", "tokens"),
    [
        ("", {"prompt": 1}),
        ("out=1", {"prompt": 1}),
        ("in=1", {"prompt": 1, "completion": 1}),
        ("in=1 out=1 cached=1", {"prompt": 1, "cached": 2}),
        ("in=1 out=1 reasoning=1", {"prompt": 1, "completion": 1, "reasoning": 2}),
        ("in=1 out=1", {"prompt": 1, "service": "priority"}),
        ("in=1 out=1 audio_in=2", {"prompt": 1, "audio_in": 2}),
        ("in=1 out=1 cached=1 audio_in=2", {"prompt": 9, "cached": 5, "audio_in": 5, "audio_cached": 2}),
        ("in=1 out=1", {"prompt": 1, "service": "scale"}),
        ("in=1 out=1", {"prompt": -1}),
    ],
)
def test_what_has_no_price_has_no_cost(prices: str, tokens: dict[str, Any]) -> None:
    assert cost(prices, **tokens) is None


@pytest.mark.parametrize(
    "bad",
    [
        "p\tm\n",
        row("m", "in=x"),
        row("m", "gold=1"),
        row("m", ">x/in=1"),
        row(""),
        row("m").replace("1000", "1k"),
        row("m", "in=1e3"),
        row("m", "-in=1"),
    ],
)
def test_a_malformed_line_is_named(bad: str) -> None:
    with pytest.raises(ConfigError, match=r"^models\.tsv:3: expected 13 columns"):
        table("# comment\n", row("good"), bad)


def test_any_bytes_are_read_or_refused() -> None:
    for junk in (b"", b"\n\n", b"#", b"\xff\xfe", b"a\tb", b"\t" * 12, b"\x00" * 100):
        try:
            assert len(Models(junk)) == 0
        except ConfigError as error:
            assert error.line == 1  # noqa: PT017


# -- in events


def response(models: Models | None, **changes: Any) -> dict[str, Any]:
    x = {"model_answered": "m-2024-08-06", "success": 1, "usage": {"prompt": 1200, "completion": 34, "cached": 200}}
    facts = {"event_id": "0" * 26, "provider_id": b"p", "status": 200, "verdict": {"kind": 1}}
    line = _testing.Writer(2, models=models).encode(
        "ai.response", _testing.Exchange(x | changes), _testing.Facts(facts)
    )
    assert validate.problems(line) == []
    event: dict[str, Any] = json.loads(line)
    return event


def test_an_event_has_family_limits_and_cost() -> None:
    found = response(table(row("m", "in=2.5 out=10 cached=1.25")))
    assert found["data"]["model"] == {
        "id": "m-2024-08-06", "family": "fam", "context_window": 1000, "max_output_tokens": 100
    }  # fmt: skip
    usage = found["data"]["usage"]
    assert usage["input_cost_usd"] == 0.00275
    assert usage["output_cost_usd"] == 0.00034
    assert usage["total_cost_usd"] == 0.00309
    assert "price" not in found["confidence"]["missing"]


def test_what_is_cached_for_an_hour_has_its_own_price() -> None:
    models = table(row("m", "in=1 out=1 write=1.25 write_1h=2"))
    raw = (2, b'{"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens": 300}}')
    usage = {"prompt": 1000, "completion": 0, "cache_write": 400, "raw": raw}
    found = response(models, usage=usage)["data"]["usage"]["input_cost_usd"]
    assert found == pytest.approx((600 + 100 * 1.25 + 300 * 2) / 1e6, abs=1e-12)
    without = response(models, usage={**usage, "raw": (2, b"{}")})["data"]["usage"]["input_cost_usd"]
    assert without == pytest.approx((600 + 400 * 1.25) / 1e6, abs=1e-12)


def test_the_request_has_capabilities_too() -> None:
    facts = {"event_id": "0" * 26, "provider_id": b"p", "verdict": {"model": b"m%3A0"}}
    line = _testing.Writer(0, models=table(row("m"))).encode("ai.request", _testing.Exchange({}), _testing.Facts(facts))
    model = json.loads(line)["data"]["model"]
    assert (model["id"], model["capabilities"]) == ("m:0", {"vision": True, "reasoning": True})


AUDIO = (2, b'{"completion_tokens_details": {"audio_tokens" : 7}}')
SILENT = (2, b'{"completion_tokens_details": {"audio_tokens": 0}}')


@pytest.mark.parametrize(
    ("prices", "changes", "known"),
    [
        ("in=1 out=1", {}, True),
        ("", {}, False),
        ("in=1 out=1", {"model_answered": "nothing known"}, False),
        ("in=1 out=1", {"service_tier": "default"}, True),
        ("in=1 out=1", {"service_tier": "scale"}, False),
        ("in=1 out=1", {"usage": {"prompt": 5, "completion": 9, "raw": AUDIO}}, True),
        ("in=1 out=1 audio_out=3", {"usage": {"prompt": 5, "completion": 9, "raw": AUDIO}}, True),
        ("in=1 out=1 audio_out=3", {"usage": {"prompt": 5, "completion": 6, "raw": AUDIO}}, False),
        ("in=1 out=1", {"usage": {"prompt": 5, "completion": 5, "raw": SILENT}}, True),
    ],
)
def test_a_price_that_is_not_known_is_said(prices: str, changes: dict[str, Any], known: bool) -> None:
    found = response(table(row("m", prices)), **changes)
    assert ("total_cost_usd" in found["data"]["usage"]) is known
    assert ("price" in found["confidence"]["missing"]) is not known


@pytest.mark.parametrize(
    ("usage", "audio"),
    [
        ({}, (0, 0, 0)),
        ({"prompt_tokens_details": {"audio_tokens": 2}, "completion_tokens_details": {"audio_tokens": 4}}, (2, 4, 0)),
        ({"prompt_tokens_details": {"audio_tokens": None}, "audio_tokens": 9}, (0, 0, 0)),
        (
            {"input_token_details": {"cached_tokens_details": {"audio_tokens": 3}, "audio_tokens": 5}},
            (5, 0, 3),
        ),
        (
            {
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"tokenCount": 7, "modality": "AUDIO"}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}, {"modality": "VIDEO", "tokenCount": 9}],
            },
            (7, 8, 6),
        ),
        ({"responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 57}]}, (0, 57, 0)),
        ({"input_tokens_by_modality": [{"modality": "audio", "tokens": 4}, {"modality": "text"}]}, (4, 0, 0)),
        ({"prompt": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"audio_tokens": 1}}}}}}}}}, (0, 0, 0)),
    ],
)
def test_audio_is_counted(usage: Any, audio: tuple[int, int, int]) -> None:
    for text in (json.dumps(usage), json.dumps(usage, indent=2), json.dumps(usage, separators=(",", ":"))):
        assert Models.audio_of(text.encode()) == audio


def test_any_usage_is_read() -> None:
    rng = random.Random(5)
    seed = b'{"prompt_tokens_details":{"audio_tokens":2},"x":[{"modality":"AUDIO","tokenCount":3}]}'
    for _ in range(3000):
        data = bytearray(seed[: rng.randrange(len(seed) + 1)])
        for _ in range(rng.randrange(4)):
            data.insert(rng.randrange(len(data) + 1), rng.choice(b'{}[]":,\\a9'))
        assert all(n >= 0 for n in Models.audio_of(bytes(data)))


def test_of_a_model_that_hears_the_price_of_hearing_has_to_be_known() -> None:
    """A model that only reads is paid by the text, whatever its usage calls its tokens."""
    cells = row("m", "in=1 out=2").split("\t")
    cells[9] = "audio,text>text"
    hears = table("\t".join(cells))
    assert hears.cost("p", "m", prompt=5, audio_in=5) is None
    assert hears.cost("p", "m", prompt=5, completion=3, audio_out=3) == pytest.approx((5e-6, 6e-6, 0))
    assert table(row("m", "in=1 out=2")).cost("p", "m", prompt=5, audio_in=5) == pytest.approx((5e-6, 0, 0))


def test_without_a_registry_nothing_is_said_of_prices() -> None:
    found = response(None)
    assert found["data"]["model"] == {"id": "m-2024-08-06"}
    assert "price" not in found["confidence"]["missing"]


# -- recorded traffic

PROVIDERS = {"gemini": "google", "ollama_cloud": "ollama", "azure_foundry": "azure_openai", "voyageai": "voyage",
             "bedrock_mantle": "aws_bedrock"}  # fmt: skip
# Names that their owner chose, or that only a machine of its own knows.
PRIVATE = re.compile(r"localhost|127\.0\.0\.1|\[::1\]|\.local$|example\.|workers\.dev|^$")


def answered(corpus: Any) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(provider, model) -> truth rows of exchanges that ended well on a public host."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    hosts = {r["id"]: r.get("provider_host") or "" for r in corpus.exchanges()}
    for r in corpus.truth().values():
        name = r.get("model_answered") or r.get("model_requested")
        if r["kind"] == "none" or not r.get("success") or not name or PRIVATE.search(hosts[r["id"]]):
            continue
        provider = r["provider_fine"]
        found.setdefault((PROVIDERS.get(provider, provider), name), []).append(r)
    return found


def test_models_of_recorded_traffic_are_known(corpus: Any) -> None:
    pairs = answered(corpus)
    missed = sorted(pair for pair in pairs if registry().find(*pair) is None)
    print(f"{len(pairs) - len(missed)} of {len(pairs)} known; not: {missed}")
    assert len(pairs) > 150
    assert len(missed) <= 0.05 * len(pairs), missed


@pytest.fixture(scope="module")
def sync(repo_root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sync_models", repo_root / "tools/sync_models.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["sync_models"] = module
    spec.loader.exec_module(module)
    return module


AUDIO_UNITS = {
    "audio_in": "input_audio_tokens", "audio_out": "output_audio_tokens", "audio_cached": "cache_audio_read_tokens",
}  # fmt: skip


def used(truth: dict[str, Any]) -> dict[str, int]:
    usage = truth.get("usage") or {}
    names = {"prompt": "prompt_all", "completion": "completion_all", "cached": "cached", "cache_write": "cache_write"}
    return {to: usage.get(name) or 0 for to, name in names.items()} if usage.get("prompt_all") is not None else {}


def audio(truth: dict[str, Any]) -> dict[str, int]:
    """Of one answer: a session has a list of them."""
    raw = truth.get("usage_raw")
    if not isinstance(raw, dict):
        return {}
    return dict(zip(("audio_in", "audio_out", "audio_cached"), Models.audio_of(json.dumps(raw).encode()), strict=True))


def their_price(provider: str, name: str, tokens: dict[str, int]) -> Any:
    """What the library makes of it on one fixed day; None where it knows no price for tokens."""
    import genai_prices

    ids = {"aws_bedrock": "aws", "azure_openai": "azure", "xai": "x-ai", "vertex": "google"}
    usage = genai_prices.Usage(
        input_tokens=tokens["prompt"],
        output_tokens=tokens["completion"],
        cache_read_tokens=tokens["cached"],
        cache_write_tokens=tokens["cache_write"],
        **{theirs: tokens[ours] for ours, theirs in AUDIO_UNITS.items() if tokens.get(ours)},
    )
    day = datetime(2026, 11, 12, 12, tzinfo=UTC)
    for at in (ids.get(provider, provider), None):  # None: whoever has a model of this name
        try:
            return genai_prices.calc_price(usage, name, provider_id=at, genai_request_timestamp=day)
        except (LookupError, ValueError):
            pass
    return None


def priced_rows(corpus: Any) -> list[tuple[tuple[str, str], dict[str, int]]]:
    """(provider, answered model) and tokens of every exchange that names both, whatever its host."""
    found = []
    for truth in corpus.truth().values():
        name = truth.get("model_answered") or truth.get("model_requested")
        if truth["kind"] != "none" and name:
            provider = truth["provider_fine"]
            tokens = used(truth)
            found.append(((PROVIDERS.get(provider, provider), name), tokens | audio(truth) if tokens else tokens))
    return found


def test_the_arithmetic_equals_genai_prices_on_recorded_traffic(corpus: Any, sync: ModuleType) -> None:
    """Its own prices, put into our table under the answered model."""
    compared = heard = 0
    rows = priced_rows(corpus)
    for (provider, name), tokens in rows:
        theirs = their_price(provider, name, tokens) if tokens else None
        prices = sync.genai_prices(theirs.model_price) if theirs else {}
        if "in" not in prices:  # free of charge there: no price of tokens
            continue
        cells = " ".join(f"{key}={sync._number(prices[key])}" for key in sorted(prices, key=sync._price_order))
        ours = table(row(name, cells)).cost("p", name, **tokens)
        assert ours is not None, (provider, name, tokens, cells)
        assert ours[:2] == pytest.approx((float(theirs.input_price), float(theirs.output_price)), abs=1e-9)
        assert sum(ours) == pytest.approx(float(theirs.total_price), abs=1e-9)
        compared += 1
        heard += any(tokens.get(name) for name in AUDIO_UNITS)
    print(f"{compared} of {len(rows)} exchanges compared, {heard} with audio")
    assert compared > 480
    assert heard >= 4


LITELLM = {
    "sample_spec": {"litellm_provider": "one of"},
    "gpt-t": {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
              "input_cost_per_token_batches": 5e-07, "input_cost_per_token_above_200k_tokens": 2e-06,
              "max_input_tokens": 1000, "mode": "chat", "supports_vision": True},
    "free-t": {"litellm_provider": "openai", "input_cost_per_token": 0, "output_cost_per_token": 0},
}  # fmt: skip
MODELS_DEV = {
    "openai": {"models": {"gpt-t": {"cost": {"input": 1.5, "output": 2}, "limit": {"output": 50}, "name": "T"},
                          "new-t": {"cost": {"input": 3, "output": 4}, "modalities": {"input": ["text"]}}}}
}  # fmt: skip


def test_sources_become_the_same_table_each_time(tmp_path: Path, sync: ModuleType, monkeypatch: Any) -> None:
    (tmp_path / "litellm-9.json").write_text(json.dumps(LITELLM))
    (tmp_path / "api.json").write_text(json.dumps(MODELS_DEV))
    asked: list[str] = []

    def fetched(url: str, timeout: float) -> Any:
        asked.append(url)
        return (tmp_path / "api.json").open("rb")

    monkeypatch.setattr(sync.urllib.request, "urlopen", fetched)
    built = [
        sync.build(
            argparse.Namespace(
                litellm=tmp_path / "litellm-9.json", genai_prices=None, models_dev=where, date=date(2026, 11, 12)
            )
        )
        for where in (str(tmp_path / "api.json"), str(tmp_path / "api.json"), "https://models.dev/api.json")
    ]
    assert built[0] == built[1] == built[2]
    assert asked == ["https://models.dev/api.json"]
    text, disagreements = built[0]
    assert "sources: litellm-9.json, models.dev" in text
    found = {r["id"]: r for r in Models(text.encode())}
    assert found["gpt-t"]["prices"] == {
        ("standard", 0): {"in": 1, "out": 2}, ("standard", 200_000): {"in": 2}, ("batch", 0): {"in": 0.5}
    }  # fmt: skip
    assert (found["gpt-t"]["max_output_tokens"], found["gpt-t"]["name"]) == (50, "T")
    assert found["free-t"]["prices"] == {}
    assert found["new-t"]["prices"] == {("standard", 0): {"in": 3, "out": 4}}
    assert disagreements == ["openai\tgpt-t\tin\t1 (litellm)\t1.5 (models.dev)"]
