"""A judge's verdicts on MAESTRO's answers, against a server on this machine: asked as documented, kept, resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from encore import configuration
from encore.benchmarks import Item, write_items
from encore.errors import UserError
from experiments.maestro import collect, judging
from experiments.maestro.arms import arm
from experiments.maestro.settings import MaestroSettings, cell
from tests.encore.evaluation.judge_double import Bench, served

ROOT = Path(__file__).resolve().parents[2]
PARAMS = {"profile": "smoke", "tracking": {"mlflow": "off"}}
ITEMS = [Item(f"row-{number}", f"Question: number {number}?", f"word{number} end") for number in range(4)]
ANSWERS = {"base": ["word0 end", "no", "no", "no"], "ours": ["word0 end", "word1 end", "no", "zz"]}


def inside(prompt: str, tag: str) -> str:
    return prompt.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def say(body):
    """Correct where response and reference are one; of two texts prefers the one later in the alphabet."""
    prompt = body["messages"][0]["content"]
    if "<reference>" in prompt:
        return f"VERDICT: {'CORRECT' if inside(prompt, 'reference') == inside(prompt, 'response') else 'INCORRECT'}"
    a, b = inside(prompt, "response_a"), inside(prompt, "response_b")
    return "VERDICT: TIE" if a == b else f"VERDICT: {'A' if a > b else 'B'}"


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """Answers of two arms, in a folder that has the code."""
    for name in ("src", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_TRACK", "off")

    def write(metric):
        data = Path("runs/maestro/data/rewriting")
        data.mkdir(parents=True)
        write_items(data / "test.jsonl", ITEMS)
        (data / "benchmark.json").write_text(json.dumps({"metric": metric, "metric_name": "by rule"}))
        for method, texts in ANSWERS.items():
            table = cell("evaluate", "rewriting", method, 0) / "tables" / "answers.jsonl"
            table.parent.mkdir(parents=True)
            rows = [
                {"id": item.id, "response": f"<think>x</think><answer>{text}</answer>", "score": 0.0}
                for item, text in zip(ITEMS, texts, strict=True)
            ]
            table.write_text("".join(json.dumps(row) + "\n" for row in rows))

    return write


def asking(url, **judging_settings):
    options = {"retries": 1, "backoff_s": 0.0, "concurrency": 1, "reasks": 1, "timeout_s": 5.0}
    options |= judging_settings.pop("options", {})
    values = {
        "benchmarks": {"names": ["rewriting"]},
        "methods": ["base", "ours"],
        "seeds": [0],
        "judge_url": url,
        "judge_model": "wise",
        "judging": {**judging_settings, "options": options},
    }
    return configuration.build(MaestroSettings, values, "maestro")


def verdicts(method):
    table = judging.folder("rewriting", method, 0) / "tables" / "verdicts.jsonl"
    return [json.loads(line) for line in table.read_text().splitlines()]


@pytest.mark.parametrize(
    ("metric", "against", "outcomes", "called"),
    [
        ("exact_match", "kind", ["correct", "correct", "incorrect", "incorrect"], "judged correct"),
        ("chrf", "kind", ["tie", "tie", "loss", "win"], "preferred to the reference"),
        ("chrf", "correctness", ["correct", "correct", "incorrect", "incorrect"], "judged correct"),
        ("exact_match", "base", ["tie", "win", "tie", "win"], "preferred to the base"),
    ],
)
def test_what_is_asked_depends_on_the_benchmark_or_is_said(answered, metric, against, outcomes, called):
    answered(metric)
    bench = Bench(say)
    with served(bench) as url:
        maestro = asking(url, against=against)
        judging.judge_cell(("rewriting", "ours", 0), maestro, PARAMS)
    found = verdicts("ours")
    assert [row["outcome"] for row in found] == outcomes
    assert [row["score"] for row in found] == [float(one in ("win", "correct")) for one in outcomes]
    assert all(len(row["votes"]) == 3 for row in found) and len(bench.asked) == 4 * 3
    assert judging.name(maestro, metric) == f"{called}, %, by wise, majority of 3"
    shown = " ".join(body["messages"][0]["content"] for body in bench.asked)
    assert "<think>x" not in shown, "a judge sees answers, no thoughts"
    if called.startswith("preferred"):  # word0 end stands on both sides of its comparison
        first = {inside(body["messages"][0]["content"], "response_a") for body in bench.asked}
        assert {"zz"} < first, "places are swapped from vote to vote"


def test_a_judge_that_fails_loses_nothing_and_the_rest_alone_is_asked(answered):
    answered("exact_match")
    bench = Bench(say, dead_after=5)
    with served(bench) as url:
        maestro = asking(url)
        with pytest.raises(UserError, match="5 answers of judges are kept") as caught:
            judging.judge_all([("rewriting", "base", 0), ("rewriting", "ours", 0)], maestro)
        assert "\n" not in str(caught.value) and not judging.folder("rewriting", "base", 0).exists()
        bench.dead_after = None
        judging.judge_all([("rewriting", "base", 0), ("rewriting", "ours", 0)], maestro)
        # "word0 end" and "no" to row 2 are asked about once for both arms
        assert len(bench.asked) == 3 * (4 + 2)
        judging.judge_all([("rewriting", "base", 0), ("rewriting", "ours", 0)], maestro)
        assert len(bench.asked) == 3 * (4 + 2), "finished verdicts are not asked for again"
    assert [row["outcome"] for row in verdicts("base")] == ["correct", "incorrect", "incorrect", "incorrect"]


@pytest.fixture(autouse=True)
def params(tmp_path, monkeypatch):
    """`judge_all` reads profile and tracking where a stage would."""
    (tmp_path / "params.yaml").write_text("profile: smoke\ntracking: {mlflow: 'off'}\n")


def test_nonsense_and_silence_are_undecided_and_count_as_no(answered):
    answered("exact_match")
    with served(Bench(lambda body: "I cannot say." if "number 1?" in str(body) else say(body))) as url:
        judging.judge_cell(("rewriting", "ours", 0), asking(url), PARAMS)
    assert [row["outcome"] for row in verdicts("ours")] == ["correct", "undecided", "incorrect", "incorrect"]
    metrics = json.loads((judging.folder("rewriting", "ours", 0) / "metrics.json").read_text())
    assert metrics["undecided"] == 1 and metrics["rate"] == 0.25


def test_an_endpoint_that_is_slow_or_not_there_is_one_line(answered):
    answered("exact_match")
    with served(Bench(say, latency_s=1.0)) as url, pytest.raises(UserError, match="was tried 2 times") as caught:
        judging.judge_cell(("rewriting", "ours", 0), asking(url, options={"timeout_s": 0.05}), PARAMS)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cannot be reached"):
        judging.judge_cell(("rewriting", "ours", 0), asking("http://127.0.0.1:9"), PARAMS)


def test_the_comparison_takes_the_judge_s_word_and_keeps_the_rule_s(answered, monkeypatch):
    answered("exact_match")
    for method in ANSWERS:
        table = cell("evaluate", "rewriting", method, 0) / "tables" / "answers.jsonl"
        rows = [json.loads(line) | {"tokens": 3, "formatted": True} for line in table.read_text().splitlines()]
        table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with served(Bench(say)) as url:
        maestro = asking(url)
        judging.judge_cell(("rewriting", "ours", 0), maestro, PARAMS)
    monkeypatch.setattr(collect, "record", lambda folder: {"costs": {"phases": {}}})
    found, items = collect._result("rewriting", arm("ours"), [0], judged=True)
    assert items == [item.id for item in ITEMS]
    assert found.scores is not None and found.scores.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    assert found.by_rule is not None and found.by_rule.tolist() == [[0.0] * 4] and found.undecided == [0.0]
    by_rule, _ = collect._result("rewriting", arm("ours"), [0], judged=False)
    assert by_rule.scores is not None and by_rule.scores.tolist() == [[0.0] * 4] and by_rule.undecided == []
    about = {"rewriting": {"metric": "exact_match", "metric_name": "by rule"}}
    assert "by wise" in collect.Collected(maestro, {}, about, {}).metric("rewriting")
    without = configuration.build(MaestroSettings, {"benchmarks": {"names": ["rewriting"]}}, "maestro")
    assert collect.Collected(without, {}, about, {}).metric("rewriting") == "by rule (substitute)"


def test_a_base_to_compare_with_must_be_there(answered):
    answered("exact_match")
    values = {"methods": ["ours"], "judge_url": "u", "judge_model": "m", "judging": {"against": "base"}}
    maestro = configuration.build(MaestroSettings, values, "maestro")
    with pytest.raises(UserError, match=r"maestro\.methods has no base"):
        judging.judge_cell(("rewriting", "ours", 0), maestro, PARAMS)
