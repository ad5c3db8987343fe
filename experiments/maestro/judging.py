"""A judge's verdicts on answers that are there: the paper's metric, where an endpoint is to be had.

The paper prints "preference percentage evaluated by an external LLM judge via a 3-way majority vote" and not what an
answer is preferred to. By default the judge says whether the answer agrees with the reference where a row has one right
answer, and for free texts (creative writing, translation) whether it prefers the answer to the reference. Verdicts are
kept by what was asked: a judge that fails loses none, and equal answers of two arms are asked about once.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encore import configuration, tracking
from encore.benchmarks import read_items
from encore.errors import UserError
from encore.evaluation.judge import Case, Comparison, Judge, summarize
from encore.evaluation.metrics import answer_of
from encore.tracking.run import HOME
from experiments.maestro import cells
from experiments.maestro.settings import RUNS, JudgingSettings, MaestroSettings, cell, group

CODE = [
    Path(path)
    for path in (
        "experiments/maestro/judging.py",
        "src/encore/evaluation/judge.py",
        "src/encore/evaluation/judge_asking.py",
        "src/encore/evaluation/judge_cache.py",
        "src/encore/evaluation/judge_prompts.py",
        "src/encore/evaluation/judge_settings.py",
    )
]
FREE_TEXT = ("constraints", "chrf")  # metrics of benchmarks that have no one right answer
GOOD = ("correct", "win")


def protocol(judging: JudgingSettings, metric: str) -> str:
    """What is asked on a benchmark whose rule is `metric`: correctness, or preference to the reference or the base."""
    if judging.against != "kind":
        return judging.against
    return "reference" if metric in FREE_TEXT else "correctness"


def name(maestro: MaestroSettings, metric: str) -> str:
    """What tables call the judged metric."""
    asked = protocol(maestro.judging, metric)
    verb = "judged correct" if asked == "correctness" else f"preferred to the {asked}"
    votes = maestro.judging.settings(maestro).votes
    return f"{verb}, %, by {maestro.judge_model}, majority of {votes}"


def folder(benchmark: str, method: str, seed: int) -> Path:
    """Where a cell's verdicts are."""
    return cell("evaluate", benchmark, method, seed).parent / "judged" / f"{method}-{seed}"


def judge_cell(job: cells.Job, maestro: MaestroSettings, params: dict[str, Any]) -> None:
    """Asks about every answer of one cell, unless its folder holds the verdicts.

    Raises UserError where the judge is given up (what it said until then is kept), or for verdicts against a base that
    was not run.
    """
    benchmark, method, seed = job
    answers = cell("evaluate", benchmark, method, seed) / "tables" / "answers.jsonl"
    data = RUNS / "data" / benchmark
    metric = json.loads((data / "benchmark.json").read_text(encoding="utf-8"))["metric"]
    asked = protocol(maestro.judging, metric)
    inputs = [answers, data / "test.jsonl", *CODE]
    base = cell("evaluate", benchmark, "base", maestro.seeds[0]) / "tables" / "answers.jsonl"
    if asked == "base":
        if "base" not in maestro.methods:
            raise UserError("maestro.judging.against is base, and maestro.methods has no base: add it")
        inputs.append(base)
    settings = maestro.judging.settings(maestro)
    run = tracking.start(
        out=folder(benchmark, method, seed),
        stage="maestro.judge",
        experiment="maestro",
        group=group(params["profile"], benchmark, method),
        seed=seed,
        params={
            "profile": params["profile"],
            "tracking": params["tracking"],
            "maestro": {"asked": asked, "swap": maestro.judging.swap, "judge": asdict(settings)},
        },
        inputs=inputs,
    )
    if cells.finished(run):
        print(f"maestro.evaluate: {run.final} is up to date", flush=True)
        return
    with run, run.phase("judge"):
        judge = Judge(settings, HOME / "judge" / f"{benchmark}.jsonl")
        items = read_items(data / "test.jsonl")
        said = _answers(answers)
        if asked == "correctness":
            cases = [Case(item.id, item.prompt, item.reference, said[item.id]) for item in items]
            rulings = judge.correctness(cases)
        else:
            rivals = _answers(base) if asked == "base" else {item.id: item.reference for item in items}
            compared = [Comparison(item.id, item.prompt, said[item.id], rivals[item.id]) for item in items]
            rulings = judge.preferences(compared, maestro.judging.swap)
        rows = [
            {"id": one.id, "score": float(one.outcome in GOOD), "outcome": one.outcome, "votes": list(one.votes)}
            for one in rulings
        ]
        run.table("verdicts", rows)
        (run.out / "judge.json").write_text(json.dumps(judge.record(), indent=1), encoding="utf-8")
        run.result({"asked": asked, **summarize(rulings)})


def judge_all(jobs: list[cells.Job], maestro: MaestroSettings) -> None:
    """One cell after the other: a judge's own requests go out several at a time."""
    params = configuration.read(["profile", "tracking"])
    for job in jobs:
        judge_cell(job, maestro, params)


def _answers(path: Path) -> dict[str, str]:
    """By item, what a judge sees of each response: the answer without its thought and tags."""
    if not path.is_file():
        raise UserError(f"{path} is not here: run `dvc repro maestro.evaluate`, whose cells answer the test first")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["id"]: answer_of(row["response"]) for row in rows}
