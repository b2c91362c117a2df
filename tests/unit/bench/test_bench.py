# SPDX-License-Identifier: Apache-2.0
"""oisp-bench tells right answers from wrong ones, makes the same traffic everywhere, and reads what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from oisp_bench import cases, check, cli, corpora, machine, measure, report, results, stages
from oisp_bench.cases import Case
from oisp_bench.engines import REGISTRY
from oisp_bench.html import page
from oisp_bench.limit import Limit
from oisp_bench.measure import CaseResult, EngineResult
from oisp_bench.report import readme_table
from oisp_bench.spread import Spread
from oisp_core.errors import ConfigError

SMALL: dict[str, dict[str, Any]] = {
    "openai": {
        "kind": "request_response", "seed": 3, "provider": "openai", "size": 2000, "exchanges": 12, "connections": 3,
    },
    "anthropic": {
        "kind": "request_response", "seed": 3, "provider": "anthropic", "size": 40000, "exchanges": 4, "connections": 2,
    },
    "streams": {"kind": "streamed", "seed": 3, "dialect": "openai_obfuscated", "streams": 3, "deltas": 30},
    "pairs": {"kind": "streamed", "seed": 3, "dialect": "anthropic", "streams": 3, "deltas": 30, "segment": 1000},
    "frames": {"kind": "http2", "seed": 3, "connections": 2, "batches": 2, "streams": 3, "deltas": 5},
    "lines": {"kind": "streamed", "seed": 3, "dialect": "ollama", "streams": 2, "deltas": 20},
    "messages": {"kind": "streamed", "seed": 3, "dialect": "bedrock", "streams": 2, "deltas": 20, "segment": 700},
    "carriage": {"kind": "streamed", "seed": 3, "dialect": "gemini", "streams": 2, "deltas": 20, "segment": 700},
    "named": {"kind": "streamed", "seed": 3, "dialect": "responses", "streams": 2, "deltas": 20},
    "noise": {"kind": "noise", "seed": 3, "exchanges": 40, "connections": 8},
    "mix": {"kind": "mix", "seed": 3, "connections": 50},
}  # fmt: skip


def small(name: str, **more: Any) -> Case:
    return Case(name=name, title=name, group="test", analysis="", corpus=SMALL[name], **more)


# --- the traffic ---


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_gives_the_same_traffic(name: str) -> None:
    first, again = corpora.make(name, SMALL[name]), corpora.make(name, SMALL[name])
    assert first.segments == again.segments
    assert first.digest == again.digest
    assert first.digest != corpora.make(name, {**SMALL[name], "seed": 4}).digest


def test_the_traffic_is_that_of_other_machines() -> None:
    """Pinned: a change here makes every stored result incomparable, and needs new digests in the cases."""
    assert {name: corpora.make(name, parameters).digest for name, parameters in SMALL.items()} == {
        "openai": "3c3cd088a6ed3429",
        "anthropic": "bb6bb49cdbf07f01",
        "streams": "13c10217d754dfff",
        "pairs": "689577eb3ac5ed54",
        "frames": "adb4f0c9401f1528",
        "lines": "26b142e9ab8b2885",
        "messages": "bd40c43f6fddfde1",
        "carriage": "b7a341dc8f89fc5c",
        "named": "3b16b510b6c57047",
        "noise": "cc52d42059fb1e5c",
        "mix": "b41e6a6ed78a6523",
    }


@pytest.mark.parametrize("name", SMALL)
def test_records_and_calls_hold_the_same_bytes(name: str) -> None:
    corpus = corpora.make(name, SMALL[name])
    streams: dict[tuple[int, str], bytes] = {}
    for conn, way, _, data, offset in corpus.calls():
        assert len(streams.get((conn, way), b"")) == offset
        streams[conn, way] = streams.get((conn, way), b"") + data
    packed = b"".join(corpus.packed(4096))
    assert len(packed) % 8 == 0
    assert all(data in packed for _, _, _, data in corpus.segments)


# --- right and wrong answers ---


@pytest.mark.parametrize("chunks", [False, True], ids=["whole", "chunks"])
@pytest.mark.parametrize("name", SMALL)
def test_every_engine_gives_the_same_events(name: str, chunks: bool) -> None:
    """The rivals are no straw men: they make every field of every event. Of these two dialects they write no chunks."""
    if chunks and name in {"carriage", "named"}:
        chunks = False
    limit = SMALL[name]["kind"] != "http2" and SMALL[name].get("dialect") not in {"ollama", "bedrock"}
    peers = ["peer"]
    if SMALL[name].get("dialect", "openai") in {"openai", "openai_obfuscated", "anthropic"}:
        peers.append("orjson")
    if SMALL[name]["kind"] == "http2":
        peers.append("h2")
    result = measure.measure(small(name, chunks=chunks, limit=limit, peers=tuple(peers)), rounds=1)
    assert result.status == "right"
    limits = ["C limit", "C plain"] if limit else []
    assert [engine.name for engine in result.engines] == ["packed", "calls", *peers, *limits]


def test_an_answer_that_differs_has_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        """As the engine, but for one field."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.prepare = inner.prepare

        def run(self, sink: Any) -> None:
            output = check.collect(self.inner)
            lines = [json.loads(line) for line in output.splitlines()]
            for line in lines:
                line["data"].pop("latency_ms", None)
            sink(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    made = REGISTRY["peer"].make
    forgetful = REGISTRY["peer"]._replace(make=lambda *a: Forgetful(made(*a)))
    monkeypatch.setitem(REGISTRY, "peer", forgetful)
    result = measure.measure(small("openai"), rounds=1)
    assert "latency_ms" in result.status
    assert result.engines == []


def test_events_that_the_traffic_does_not_hold_are_wrong() -> None:
    corpus = corpora.make("openai", SMALL["openai"])
    events = check.events_of(check.collect(REGISTRY["packed"].make(corpus, "full", False)))
    check.true_events(events, corpus)
    response = next(event for event in events if event["event_type"] == "ai.response")
    response["data"]["choices"][0]["message"]["content"] += "."
    with pytest.raises(check.WrongAnswer, match="text"):
        check.true_events(events, corpus)
    with pytest.raises(check.WrongAnswer, match="requests"):
        check.true_events(events[1:], corpus)


def test_expected_events_and_traffic_are_checked() -> None:
    expected = cases.Expected(events={"ai.request": 99})
    assert "99" in measure.measure(small("openai", expected=expected), rounds=1).status
    expected = cases.Expected(digest="0" * 16)
    assert "written for" in measure.measure(small("openai", expected=expected), rounds=1).status


@pytest.mark.parametrize("name", ["openai", "anthropic", "streams", "pairs", "noise", "mix"])
@pytest.mark.parametrize("batch", [1, 262144])
def test_both_limits_count_what_was_sent(name: str, batch: int) -> None:
    corpus = corpora.make(name, SMALL[name])
    for plain in (False, True):
        limit = Limit(corpus.packed(batch), len(corpus.contexts), [b"api.openai.com", b"api.anthropic.com"], plain)
        for _ in range(2):  # it forgets between runs
            counts = limit.run()
            asked = sum(map(len, corpus.truth.values()))
            assert counts["messages"] == 2 * corpus.exchanges
            assert counts["known_hosts"] == asked
            assert counts["segments"] == len(corpus.segments)
            if SMALL[name]["kind"] == "streamed":
                made = corpora.KINDS["streamed"](
                    **{k: v for k, v in SMALL[name].items() if k not in {"kind", "segment"}}
                )
                sent = b"".join(piece for conn in made for e in conn for piece in e.response)
                assert counts["events"] == sent.count(b"\n\n")


# --- cases ---


def test_every_case_can_be_made() -> None:
    found = cases.select()
    assert len(found) >= 12
    for case in found:
        assert {*case.engines, *case.peers} <= set(REGISTRY)
        assert case.analysis.strip()
        assert case.expected.digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 1", "title"),
        ("title = 'x'\ngroup = 'g'\nanalysis = 'a'\ncorpus = {}\nspeed = 3\n", "speed"),
        ("title =", "no TOML"),
    ],
)
def test_a_wrong_case_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        cases.select([str(path)])
    assert "mine.toml" in str(caught.value)


def test_wrong_parameters_of_traffic_are_named() -> None:
    with pytest.raises(ConfigError, match=r"corpus\.kind"):
        corpora.make("x", {"kind": "none"}, "x.toml")
    with pytest.raises(ConfigError, match="speed"):
        corpora.make("x", {**SMALL["noise"], "speed": 1}, "x.toml")


# --- results ---


def engine(name: str, low: float, middle: float, high: float) -> EngineResult:
    ratio = Spread(low, middle, high)
    return EngineResult(name, "ours", Spread(1, 2, 3), 10.0, ratio, Spread(0.4, 0.5, 0.6), 10, [1, 2, 3])


def run_of(*engines: EngineResult) -> results.Run:
    case = CaseResult(
        name="one", title="One", group="g", analysis="a", status="right", unit="delta", engines=list(engines), floor=8
    )
    return results.Run(machine=machine.machine(), build=machine.build(), cpu=0, cases=[case])


def test_results_survive_storage(tmp_path: Path) -> None:
    run = run_of(engine("packed", 8, 9, 10))
    results.write(run, tmp_path / "run.json")
    assert results.read(tmp_path / "run.json") == run
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match="no result"):
        results.read(tmp_path / "run.json")


@pytest.mark.parametrize(
    ("after", "verdict"),
    [((8.1, 9.1, 10.1), "same"), ((5, 6, 7), "slower"), ((11, 12, 13), "faster"), ((7, 7.9, 8.5), "same")],
)
def test_compare_tells_noise_from_change(after: tuple[float, float, float], verdict: str) -> None:
    found = results.changes(run_of(engine("packed", 8, 9, 10)), run_of(engine("packed", *after)))
    assert [change.verdict for change in found] == [verdict]


def stored_stages(path: Path, ours: tuple[float, float, float], theirs: float) -> Path:
    """As pytest-benchmark writes them, seconds of a hundred units."""
    rows = [("oisp", *ours), ("rival", theirs, theirs, theirs)]
    benchmarks = [
        {
            "name": f"sse: {name}",
            "group": "sse",
            "extra_info": {"count": 100, "ours": name == "oisp"},
            "stats": {"q1": low, "median": middle, "q3": high},
        }
        for name, low, middle, high in rows
    ]
    path.write_text(json.dumps({"machine_info": {}, "benchmarks": benchmarks}))
    return path


@pytest.mark.parametrize(
    ("after", "rival", "verdict"),
    [
        ((1.0, 1.1, 1.2), 5.0, "same"),
        ((1.5, 1.6, 1.7), 5.0, "slower"),
        ((1.5, 1.6, 1.7), 7.5, "same"),  # the machine was slower, not the stage
        ((0.7, 0.8, 0.9), 5.0, "faster"),
    ],
)
def test_compare_tells_a_stage_from_its_machine(
    tmp_path: Path,
    after: tuple[float, float, float],
    rival: float,
    verdict: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = stored_stages(tmp_path / "a.json", (1.0, 1.1, 1.2), 5.0)
    new = stored_stages(tmp_path / "b.json", after, rival)
    drift, found = stages.changes(stages.read(old), stages.read(new))
    assert drift == rival / 5
    assert [(change.engine, change.verdict) for change in found] == [("oisp", verdict)]
    assert cli.main(["compare", str(old), str(new)]) == (verdict == "slower")
    assert "sse" in capsys.readouterr().out


def test_the_report_holds_every_case_and_nothing_from_outside() -> None:
    peer = EngineResult("peer", "peer", Spread(1, 2, 3), 1.0, Spread(1, 1, 1), None, 10, [9, 9, 9])
    text = page(run_of(engine("packed", 8, 9, 10), peer))
    assert "<svg" in text
    assert "9.00" in text
    assert not [word for word in ("http://", "https://", "<script", "url(") if word in text]


def test_the_table_of_the_readme_names_the_machine() -> None:
    text = readme_table(run_of(engine("packed", 8, 9, 10)))
    here = machine.machine()
    assert "| One | 2 / delta | **9.0** | 8.0 to 10.0 |  | 50% |  |" in text
    assert here.kernel in text
    assert here.cpu in text


def test_a_source_tree_is_not_taken_for_a_wheel() -> None:
    """Installed from a wheel, or said not to be: never neither."""
    build = machine.build()
    assert build.wheel or build.why


# --- the command line ---


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "small.toml"
    case.write_text(
        'title = "Small"\ngroup = "test"\nanalysis = "Small."\n[corpus]\nkind = "noise"\nseed = 1\nexchanges = 9\n'
        "connections = 3\n"
    )
    stored, html = tmp_path / "a.json", tmp_path / "a.html"
    assert cli.main(["run", str(case), "--rounds", "2", "--json", str(stored), "--html", str(html)]) == 0
    assert "Small" in capsys.readouterr().out
    assert cli.main(["compare", str(stored), str(stored)]) == 0
    assert "within noise" in capsys.readouterr().out
    assert cli.main(["readme", str(stored)]) == 0
    assert "| Small |" in capsys.readouterr().out
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert cli.main(["readme", str(stored), "--write", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| Small |" in text
    assert cli.main(["list"]) == 0
    assert "sse-openai" in capsys.readouterr().out
    recording = tmp_path / "x.oisp"
    assert cli.main(["corpus", str(case), "--out", str(recording)]) == 0
    assert recording.read_bytes()[:8] == b"OISIOSP\x01"
    assert html.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "no-such-case"], "no-such-case"),
        (["compare", "a.json", "b.json"], "a.json"),
        (["run", "x.toml"], "no such file"),
        (["corpus", "sse", "--out", "x"], "takes one case"),
        (["run", "noise", "--store", "x"], "--store"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
